"""An opt-in handler that flushes on SIGTERM and then does what would have been done without it.

Kubernetes and systemd end a process with SIGTERM, and Python's default runs no atexit function. A server that installs
its own handler later (uvicorn, gunicorn, hypercorn) replaces this one, and shuts down in an orderly way itself.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from typing import TYPE_CHECKING

from gilscope.spans import lifetime

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

logger = logging.getLogger(__name__)


class _Chain:
    """The handler, and the one that was there before it."""

    def __init__(self, previous: Callable[[int, FrameType | None], object] | int) -> None:
        self.previous = previous

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """What is queued has been flushed within the exit budget, and the previous handler has run."""
        try:
            lifetime.flush_all()
        except Exception:
            logger.exception("Flushing on SIGTERM failed")
        if callable(self.previous):
            self.previous(number, frame)
            return
        # The default action, so that the exit status says SIGTERM.
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def flush_on_sigterm() -> bool:
    """Return whether SIGTERM flushes from now on; idempotent, and never raises.

    Threading: the main thread only, as Python's `signal.signal`.
    """
    if threading.current_thread() is not threading.main_thread():
        logger.warning("Flushing on SIGTERM can be set up by the main thread only; SIGTERM is left as it is")
        return False
    previous = signal.getsignal(signal.SIGTERM)
    if isinstance(previous, _Chain):
        return True
    if previous is None:
        logger.warning(
            "SIGTERM has a handler that Python did not install, which cannot be chained; it is left as it is"
        )
        return False
    if previous is signal.SIG_IGN:
        return False
    signal.signal(signal.SIGTERM, _Chain(previous))
    return True
