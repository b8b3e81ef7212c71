"""Users in processes of their own, which locust's master in this one steers: on this machine, or on others.

`python -m gilscope.bench.workers HOST:PORT` is such a process, for one cell. It learns from the master what to ask and
whom, and sends every request back in nanoseconds of its own clock. CLOCK_MONOTONIC is one clock for the processes of
one machine, and none beyond it: a worker elsewhere measures from when it hears `begin` until it hears `stop`, and its
times are moved so that its window begins with the bench's. What lies between two times of one request is exact; what
lies between requests of two machines, or a request and a stall, only to about what a message takes on the network.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()  # before anything opens a socket, as locust does it

import argparse  # noqa: E402
import itertools  # noqa: E402
import os  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
from gevent import threadpool  # noqa: E402
from locust import runners  # noqa: E402
from locust.env import Environment  # noqa: E402

from gilscope._version import __version__  # noqa: E402
from gilscope.bench.users import PATIENCE_S, Users  # noqa: E402

# Between locust's master and its workers; locust has messages of its own beside them.
_WHAT, _HERE, _BEGIN, _STOP, _DONE = (f"gilscope_{name}" for name in ("what", "here", "begin", "stop", "done"))
_NO_MASTER_S = 120
_ON_ITS_WAY_S = 0.2


class Workers:
    """The workers of a cell, as their master sees them.

    Attributes:
        runner: Locust's, which starts the users.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        """The master listens; workers on this machine are on their way."""
        # The master knows the classes of the users, of which it runs none.
        users = Users(options)
        host, _, port = (options.master or "127.0.0.1:0").rpartition(":")
        runner = self.runner = users.environment.create_master_runner(host, int(port))
        self._expected = options.expect_workers or options.workers
        self._here: set[str] = set()
        self._done: list[dict[str, Any]] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        numbers = itertools.count()
        what = {name: value for name, value in vars(options).items() if name not in {"requests", "cores"}}
        what["workers"], what["version"] = self._expected, __version__
        what["locustfile_text"] = Path(options.locustfile).read_text(encoding="utf-8") if options.locustfile else ""

        def tell(msg: Any, **_: object) -> None:  # noqa: ANN401  # a message of locust's
            runner.send_message(_WHAT, {**what, "worker": next(numbers)}, client_id=msg.node_id)

        runner.register_message(_WHAT, tell)
        runner.register_message(_HERE, lambda msg, **_: self._here.add(msg.node_id))
        runner.register_message(_DONE, lambda msg, **_: self._done.append(msg.data))
        command = [sys.executable, "-m", "gilscope.bench.workers", f"127.0.0.1:{runner.server.port}", "--same-clock"]
        for _ in range(options.workers):
            # A pipe that closes when this process ends, however it does.
            self._processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL))

    def connected(self) -> int:
        """Return how many workers can start.

        Raises:
            RuntimeError: one of this machine's has ended.
        """
        ended = [process.returncode for process in self._processes if process.poll() is not None]
        if ended:
            raise RuntimeError(f"{len(ended)} of {self._expected} workers ended, with {ended}")
        return len(self._here)

    def begin(self) -> None:
        """Measuring has begun."""
        self.runner.send_message(_BEGIN)

    def stop(self, from_ns: int, until_ns: int) -> dict[str, Any]:
        """As that of `Users`, for all of them."""
        self.runner.send_message(_STOP, {"from_ns": from_ns, "until_ns": until_ns})
        deadline_ns = time.monotonic_ns() + round((PATIENCE_S + 10) * 1e9)
        while len(self._done) < self._expected:
            self.connected()
            if time.monotonic_ns() > deadline_ns:
                raise RuntimeError(f"{len(self._done)} of {self._expected} workers told what they asked")
            gevent.sleep(0.02)
        return {
            "cpu_shares": [share for told in self._done for share in told["cpu_shares"]],
            "unanswered": sum(told["unanswered"] for told in self._done),
            "requests": sorted(tuple(request) for told in self._done for request in told["requests"]),
        }

    def leave(self) -> None:
        """The workers have been told that this cell has ended, so that they wait for the next one."""
        self.runner.send_message("quit")
        gevent.sleep(_ON_ITS_WAY_S)


class Worker:
    """The users of one worker."""

    def __init__(self, master: str, *, same_clock: bool) -> None:
        """The master has accepted it, and tells what to ask.

        Raises:
            ConnectionError: no master is there.
        """
        self._same_clock = same_clock
        runners.CONNECT_TIMEOUT, runners.CONNECT_RETRY_COUNT = 1, _NO_MASTER_S
        host, _, port = master.rpartition(":")
        self._environment = Environment()
        self.runner = self._environment.create_worker_runner(host, int(port))
        self.runner.register_message(_WHAT, self._prepare)
        self.runner.register_message(_BEGIN, lambda **_: self._users.begin())
        self.runner.register_message(_STOP, self._stop, concurrent=True)
        self.runner.send_message(_WHAT)

    def _prepare(self, msg: Any, **_: object) -> None:  # noqa: ANN401  # a message of locust's
        what = argparse.Namespace(**msg.data)
        if what.version != __version__:
            sys.stderr.write(f"the bench is gilscope {what.version}, and this {__version__}: install the same\n")
            os._exit(1)
        # Read once, here: a worker ends without a word, and would leave the folder behind.
        with tempfile.TemporaryDirectory(prefix="gilscope-worker-") as folder:
            if what.locustfile and not self._same_clock:
                what.locustfile = str(Path(folder, "locustfile.py"))
                Path(what.locustfile).write_text(what.locustfile_text, encoding="utf-8")
            self._users = Users(what, self._environment)
        self._users.runner = self.runner
        self.runner.send_message(_HERE)

    def _stop(self, msg: Any, **_: object) -> None:  # noqa: ANN401  # a message of locust's
        from_ns, until_ns = msg.data["from_ns"], msg.data["until_ns"]
        if self._same_clock:
            told = self._users.stop(from_ns, until_ns)
        else:
            begun_ns = self._users.begun_ns
            told = self._users.stop(begun_ns, time.monotonic_ns())
            ahead_ns = from_ns - begun_ns
            told["requests"] = [(*(ns + ahead_ns for ns in times), status) for *times, status in told["requests"]]
        self.runner.send_message(_DONE, told)


def main() -> None:
    """Be one of locust's workers, until its master or standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m gilscope.bench.workers", description=__doc__)
    parser.add_argument("master", metavar="HOST:PORT")
    parser.add_argument("--same-clock", action="store_true", help="the master is on this machine")
    options = parser.parse_args()
    gevent.spawn(_end_with_parent)
    try:
        worker = Worker(options.master, same_clock=options.same_clock)
    except ConnectionError:
        sys.exit(f"no bench at {options.master} within {_NO_MASTER_S} s: expected one that waits there for workers")
    worker.runner.greenlet.join()
    os._exit(0)  # nobody waits for what greenlets are still doing


def _end_with_parent() -> None:
    threadpool.ThreadPool(1).spawn(sys.stdin.read).get()
    os._exit(0)


if __name__ == "__main__":
    main()
