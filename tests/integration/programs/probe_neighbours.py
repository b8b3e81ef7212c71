"""A recorded program beside what else changes an interpreter.

python -m tests.integration.programs.probe_neighbours CAPTURE gevent|memray|load
"""

from __future__ import annotations

import sys
import time
from importlib import import_module

import gilscope


def with_gevent(capture: str) -> None:
    """A monkey-patched program; its threads are greenlets, and so are those that record."""
    import_module("gevent.monkey").patch_all()
    gevent = import_module("gevent")

    def work() -> None:
        for _ in range(20):
            sum(range(10_000))
            time.sleep(0.002)

    with gilscope.record(capture):
        gevent.joinall([gevent.spawn(work) for _ in range(20)])
        pool = gevent.get_hub().threadpool
        for task in [pool.spawn(sum, range(3_000_000)) for _ in range(3)]:
            task.get()


def with_memray(capture: str) -> None:
    """Another tool that swaps slots, put in before and taken out in the middle."""
    memray = import_module("memray")

    from tests.integration.programs.probe_load import load, spin

    with load():
        with memray.Tracker(f"{capture}.memray"), gilscope.record(capture, force=True):
            spin(0.1)
        with gilscope.record(capture, force=True):
            with memray.Tracker(f"{capture}.memray2"):
                spin(0.1)
            spin(0.1)


def with_load(capture: str) -> None:
    """Nothing but load."""
    from tests.integration.programs.probe_load import load, spin

    with load(), gilscope.record(capture):
        spin(0.5)


if __name__ == "__main__":
    {"gevent": with_gevent, "memray": with_memray, "load": with_load}[sys.argv[2]](sys.argv[1])
