"""A recorded program that ends in a given way.

python -m tests.integration.programs.probe_ends CAPTURE daemons|forgotten|kill|full|device|exists
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path

import gilscope
from gilscope.errors import ProbeError
from tests.integration.programs.probe_load import load, spin, ticks


def daemons(capture: str) -> None:
    """The interpreter ends while daemon threads wait for the GIL, and nobody has stopped the recording."""
    gilscope.record(capture)

    def run() -> None:
        while True:
            spin(0.001)
            time.sleep(0)

    def loop() -> None:
        asyncio.run(ticks(threading.Event()))

    for target in (run, run, run, loop):
        threading.Thread(target=target, daemon=True).start()
    time.sleep(0.05)


def forgotten(capture: str) -> None:
    """The program ends, with exit code 3, and nobody has stopped the recording."""
    gilscope.record(capture)
    asyncio.run(asyncio.sleep(0.01))
    sys.exit(3)


def kill(capture: str) -> None:
    """The process is killed under load, once it has written something."""
    with load(), gilscope.record(capture) as recording:
        while recording.stats()["events"] == 0:
            spin(0.01)
        os.kill(os.getpid(), signal.SIGKILL)


def full(capture: str) -> None:
    """The disk is full after 256 kB; the program goes on, and may record again when there is room."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, hard))
    said = ""
    with load():
        recording = gilscope.record(capture)
        while recording.stats()["write_error"] == 0:
            asyncio.run(asyncio.sleep(0))
        spin(0.1)
        try:
            recording.stop()
        except ProbeError as error:
            said = str(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        with gilscope.record(f"{capture}.again"):
            spin(0.01)
    print(json.dumps(said))  # noqa: T201


def open_files() -> set[str]:
    """Return the numbers of this process's open files."""
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are all that is wanted


def device(capture: str) -> None:
    """Nothing can be written at all."""
    before = open_files()
    try:
        with gilscope.record("/dev/full", force=True):
            spin(0.05)
        said = ""
    except ProbeError as error:
        said = str(error)
    assert open_files() == before
    with gilscope.record(capture):
        spin(0.05)
    print(json.dumps(said))  # noqa: T201


def exists(capture: str) -> None:
    """The file is there already."""
    Path(capture).write_text("precious")
    try:
        gilscope.record(capture)
        said = ""
    except ProbeError as error:
        said = str(error)
    assert Path(capture).read_text() == "precious"
    with gilscope.record(capture, force=True):
        spin(0.05)
    print(json.dumps(said))  # noqa: T201


if __name__ == "__main__":
    (chosen,) = (one for one in (daemons, forgotten, kill, full, device, exists) if one.__name__ == sys.argv[2])
    chosen(sys.argv[1])
