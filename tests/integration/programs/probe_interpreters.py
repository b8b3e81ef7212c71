"""Subinterpreters that come and go while a program is recorded, again and again.

python -m tests.integration.programs.probe_interpreters CAPTURE shared|own TIMES
"""

from __future__ import annotations

import importlib
import sys
import threading
from typing import Any

import gilscope
from tests.integration.programs.probe_load import load

CODE = """
import time
def inner(until):
    while time.monotonic() < until:
        pass
def outer():
    inner(time.monotonic() + 0.003)
    time.sleep(0.002)
    inner(time.monotonic() + 0.003)
outer()
"""


def make(interpreters: Any, gil: str) -> Any:
    """Return a new interpreter with the main one's GIL or one of its own."""
    if sys.version_info >= (3, 13):
        return interpreters.create("legacy" if gil == "shared" else "isolated")
    return interpreters.create(isolated=gil == "own")


def live(gil: str) -> None:
    """An interpreter from its beginning to its end."""
    interpreters = importlib.import_module("_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters")
    interpreter = make(interpreters, gil)
    interpreters.run_string(interpreter, CODE)
    interpreters.destroy(interpreter)


def main(capture: str, gil: str, times: str) -> None:
    """Record, and let interpreters live and die."""
    with load():
        for _ in range(3):
            with gilscope.record(capture, force=True, stall_threshold_ms=0.2, sample_period_ms=0.1):
                for _ in range(int(times)):
                    threads = [threading.Thread(target=live, args=(gil,)) for _ in range(2)]
                    for thread in threads:
                        thread.start()
                    for thread in threads:
                        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
