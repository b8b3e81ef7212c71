"""Lets the GIL go and takes it again, many times, while the probe records: for callgrind. Argument: how often."""

from __future__ import annotations

import os
import sys
import time

from gilscope import _probe


def main(times: int) -> None:
    """The main thread has let the GIL go and taken it so many times, with nobody else about."""
    _probe.start(os.open(os.devnull, os.O_WRONLY), b"{}", sample_after_ns=10**12, sample_period_ns=10**9)
    for _ in range(times):
        time.sleep(0)
    _probe.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]))
