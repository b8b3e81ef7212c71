"""The always-on use: stalls told one by one, totals for whoever scrapes them, and the last seconds for a look back."""

from __future__ import annotations

import atexit
import logging
import os
from collections import deque
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gilscope.errors import ProbeError, SettingsError
from gilscope.probe.prometheus import exposition
from gilscope.probe.recording import create
from gilscope.probe.session import Session, in_memory
from gilscope.probe.stall_thread import StallThread
from gilscope.probe.totals import Totals, read_totals

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

    from gilscope.probe.prometheus_server import PrometheusServer
    from gilscope.probe.stall import Stall
    from gilscope.telemetry.metrics import MeterProvider

logger = logging.getLogger("gilscope")

# Less often than a recording: a service that is never idle is in long iterations all the time.
_SAMPLE_PERIOD_MS = 10.0
_STALLS_KEPT = 100
_LAST_PORT = 65_535


def watch(
    *,
    stall_threshold_ms: float = 20.0,
    on_stall: Callable[[Stall], object] | None = None,
    prometheus_port: int | None = None,
    prometheus_host: str = "127.0.0.1",
    meter_provider: MeterProvider | None = None,
    span_events: bool = True,
    log: bool = True,
) -> Watch:
    """This process is watched until `stop`, the end of the `with`, or its own end.

    With OpenTelemetry installed, the totals are metrics of the meter `gilscope`, and stalls are events of spans.

    Args:
        stall_threshold_ms: an iteration of an event loop that takes longer is a stall.
        on_stall: called with each stall, soon after it has ended, on a thread of the watch's own; while it runs, up to
            sixteen more are kept.
        prometheus_port: where `GET /metrics` is answered; 0 is any free port (`Watch.prometheus_port`).
        prometheus_host: the address to listen on.
        meter_provider: the global one if None.
        span_events: in the middle of a stall, the event `gilscope.stall` is added to the current span; for loops in the
            main thread.
        log: without `on_stall`, stalls are warnings of the logger `gilscope`, one in ten seconds.

    Raises:
        ProbeError: a recording or watch runs already, the port is taken, or this platform has no probe.
        SettingsError: a threshold or port that cannot work.

    Threading: any thread; one watch in a process. A child by `fork` has none, and may start its own.
    """
    return Watch(
        stall_threshold_ms=stall_threshold_ms,
        on_stall=on_stall,
        prometheus=None if prometheus_port is None else (prometheus_host, prometheus_port),
        meter_provider=meter_provider,
        span_events=span_events,
        log=log,
    )


class Watch:
    """A watch that runs; `stop` ends it, and so does the end of a `with`.

    Attributes:
        prometheus_port: the port of the endpoint, None without one.

    Threading: every method by any thread. Nothing raises because of the watch itself.
    """

    def __init__(
        self,
        *,
        stall_threshold_ms: float,
        on_stall: Callable[[Stall], object] | None,
        prometheus: tuple[str, int] | None,
        meter_provider: MeterProvider | None,
        span_events: bool,
        log: bool,
    ) -> None:
        self.prometheus_port: int | None = None
        self._stalls: deque[Stall] = deque(maxlen=_STALLS_KEPT)
        self._totals = Totals()
        with ExitStack() as undo:
            # First, for it is what most likely fails.
            server = _server(prometheus, self.prometheus)
            if server is not None:
                undo.callback(server.stop)
                self.prometheus_port = server.port
            self._session = Session(
                in_memory,
                stall_threshold_ms=stall_threshold_ms,
                sample_period_ms=_SAMPLE_PERIOD_MS,
                totals=True,
                stall_hook=_span_hook() if span_events else None,
            )
            undo.callback(self._end_session)
            self._stall_thread = StallThread(self._session, self._stalls.append, on_stall, log=log)
            undo.callback(self._stall_thread.stop)
            if server is not None:
                server.start()
            _show_metrics(self, meter_provider)
            atexit.register(self.stop)
            undo.callback(atexit.unregister, self.stop)
            self._undo = undo.pop_all()

    @property
    def running(self) -> bool:
        """Whether it has not been stopped; in a child by `fork` it is not running."""
        return self._session.running

    @property
    def stalls(self) -> tuple[Stall, ...]:
        """The last hundred stalls, oldest first; without `on_stall` not all, if there are more than ten a second."""
        with self._session.reading() as native:
            if native is not None:
                self._stall_thread.catch_up()
        return tuple(self._stalls)

    def totals(self) -> Totals:
        """Return what was counted since the watch began; once it has ended, what was counted until then."""
        with self._session.reading() as native:
            if native is not None:
                self._totals = read_totals(native)
            return self._totals

    def prometheus(self) -> str:
        """Return the totals in Prometheus' text format 0.0.4, for an endpoint that is there already."""
        return exposition(self.totals())

    def dump(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """The last seconds, some thirty of a busy service, are in a capture file that `gilscope report` reads.

        Args:
            path: the file; it must not exist.
            force: replace it.

        Raises:
            ProbeError: the watch has ended, or the file exists or cannot be written.
        """
        with self._session.reading() as native:
            if native is None:
                raise ProbeError(f"nothing to write to {path}: the watch has ended, or is that of the parent process")
            file = create(Path(path), force=force)
            try:
                native.dump(file)
            except OSError as error:
                raise ProbeError(f"{path} is not complete: {error}; what is in it can be read") from error
            finally:
                os.close(file)

    def stop(self) -> None:
        """The process is as it was before; again, or in a child by `fork`: nothing.

        Threading: waits for an `on_stall` that runs, five seconds at most.
        """
        self._undo.close()

    def _end_session(self) -> None:
        with self._session.reading() as native:
            if native is None:
                return
            try:
                self._session.stop()
            except OSError:
                logger.exception("The watch did not end in order")
            # Afterwards, for then it is all there; under the lock, for the next watch makes totals of its own.
            self._totals = read_totals(native)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def _server(address: tuple[str, int] | None, text: Callable[[], str]) -> PrometheusServer | None:
    if address is None:
        return None
    host, port = address
    if not 0 <= port <= _LAST_PORT:
        raise SettingsError(f"prometheus_port must be from 0 to {_LAST_PORT}, got {port!r}")
    from gilscope.probe.prometheus_server import PrometheusServer

    return PrometheusServer(host, port, text)


def _span_hook() -> Callable[[int, int], None] | None:
    with suppress(ImportError):  # no OpenTelemetry here
        from gilscope.telemetry.spans import add_stall_event

        return add_stall_event
    return None


def _show_metrics(watched: Watch, meter_provider: MeterProvider | None) -> None:
    with suppress(ImportError):  # no OpenTelemetry here
        from gilscope.telemetry.metrics import show

        show(watched, meter_provider)
