"""`python -m gilscope.bench.worker HOST:PORT`: makes requests for a bench on another machine, until that has ended.

HOST:PORT is what `gilscope bench --master` was given, and the bench prints the whole command. The same version of
gilscope must be installed here, with its extra `bench`. A locustfile comes from the bench, and is run as it is: connect
only to a bench that you trust. Each measurement is made by a process of its own, so that none inherits what the one
before it has left behind; when no bench has been there for two minutes, this ends.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
from importlib.util import find_spec

_LAST_PORT = 65_535


def main() -> int:
    """Return 0 once a bench that was there has ended, or the status of what failed."""
    parser = argparse.ArgumentParser(
        prog="python -m gilscope.bench.worker",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("master", metavar="HOST:PORT", type=_address, help="where the bench waits for workers")
    options = parser.parse_args()
    if find_spec("locust") is None:
        sys.exit("locust is not installed: a worker needs more packages: pip install 'gilscope[bench]'")
    cells = 0
    # A pipe that closes when this process ends, however it does: the child ends with it.
    command = [sys.executable, "-m", "gilscope.bench.workers", options.master]
    while True:
        with subprocess.Popen(command, stdin=subprocess.PIPE) as cell:
            try:
                status = cell.wait()
            except KeyboardInterrupt:
                return 130
        if status != 0:
            return 0 if cells else status
        cells += 1


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) <= _LAST_PORT:
        raise argparse.ArgumentTypeError(f"expected HOST:PORT, got {text!r}")
    try:
        socket.getaddrinfo(host, int(port))
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{host} cannot be found: {error}") from None
    return text


if __name__ == "__main__":
    sys.exit(main())
