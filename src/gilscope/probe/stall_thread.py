"""The thread that tells of stalls. Between two it sleeps in native code, without the GIL and without a timer."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from gilscope.probe.rate_limit import RateLimit
from gilscope.probe.stall import Stall

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gilscope.probe.session import Session

logger = logging.getLogger("gilscope")

_LOGGED_EVERY_S = 10.0
_ASLEEP_S = 86_400.0
_WAKE_EVERY_S = 0.01
# A service that is never idle stalls a hundred times a second. Where nobody asks for each, this thread takes the GIL
# once a second, and fetches no more than so many.
_PAUSE_S = 1.0
_AT_ONCE = 10
# For a callback that is at it when the watch ends; after that it is left to itself.
_CALLBACK_S = 5.0


def log_stall(stall: Stall, left_out: int) -> None:
    """The stall is in the log."""
    logger.warning("%s%s", stall, f" ({left_out} more were left out)" if left_out else "")


class StallThread:
    """Fetches stalls as they end, and hands each to a callback, or to the log."""

    def __init__(
        self,
        session: Session,
        keep: Callable[[Stall], object],
        on_stall: Callable[[Stall], object] | None,
        *,
        log: bool,
    ) -> None:
        """The thread runs.

        Args:
            session: with totals; it must not be stopped before this is.
            keep: called with every stall, first; must not raise.
            on_stall: called with every stall; what it raises is logged.
            log: without a callback, stalls are logged.
        """
        self._session = session
        self._keep = keep
        self._on_stall = on_stall
        self._log = log
        self._stalls_limit = RateLimit(_LOGGED_EVERY_S)
        self._errors_limit = RateLimit(_LOGGED_EVERY_S)
        self._stopping = False
        self._stopped = threading.Event()
        self._in_native = False
        self._thread = threading.Thread(target=self._run, name="gilscope-stalls", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """The thread does not use the native side any more, and has ended, unless a callback keeps it.

        Threading: any, this thread's own too.
        """
        self._stopping = True
        self._stopped.set()
        deadline = time.monotonic() + _CALLBACK_S
        if threading.current_thread() is self._thread:
            return
        while self._thread.is_alive() and (self._in_native or time.monotonic() < deadline):
            # More than once, for it may have looked at `_stopping` and not be asleep yet.
            self._session.native.wake()
            self._thread.join(_WAKE_EVERY_S)
        self.catch_up()

    def catch_up(self) -> None:
        """Stalls that have ended are kept, the last ten at least, if no callback waits for them. Threading: any."""
        for _ in range(_AT_ONCE):
            stall = None if self._on_stall is not None else self._fetch(0)
            if stall is None:
                return
            self._take_in(stall)

    def _run(self) -> None:
        # A callback that forks goes on in the child, where nobody tells of stalls.
        while self._session.running:
            # Set before `_stopping` is looked at, so that `stop` sees either this or an end.
            self._in_native = True
            try:
                if self._stopping:
                    return
                stall = self._fetch(_ASLEEP_S)
            finally:
                self._in_native = False
            if stall is not None:
                self._take_in(stall)
                if self._on_stall is None:
                    self._stopped.wait(_PAUSE_S)
                    self.catch_up()

    def _fetch(self, timeout_s: float) -> Stall | None:
        native = self._session.native.next_stall(timeout_s)
        return None if native is None else Stall.of(native, self._named(native))

    def _take_in(self, stall: Stall) -> None:
        self._keep(stall)
        self._tell(stall)

    def _named(self, native: Mapping[str, Any]) -> Mapping[int, str]:
        numbers = {native["thread"], *(holder["thread"] for holder in native["holders"])}
        return {number: self._name(number) for number in numbers}

    def _name(self, number: int) -> str:
        native_id, name = self._session.native.thread(number) or (0, "")
        if not name:
            # The native side learns names a little late.
            live = {thread.native_id: thread.name for thread in threading.enumerate()}
            name = live.get(native_id, "")
        return name

    def _tell(self, stall: Stall) -> None:
        # Whatever a callback, a filter or a handler raises, CancelledError included: the next stall is told.
        with contextlib.suppress(BaseException):
            if self._on_stall is not None:
                self._call(self._on_stall, stall)
            elif self._log and (left_out := self._stalls_limit.admit()) is not None:
                log_stall(stall, left_out)

    def _call(self, on_stall: Callable[[Stall], object], stall: Stall) -> None:
        try:
            on_stall(stall)
        except BaseException:
            if (left_out := self._errors_limit.admit()) is not None:
                logger.exception("on_stall failed%s", f" ({left_out} more failures were left out)" if left_out else "")
