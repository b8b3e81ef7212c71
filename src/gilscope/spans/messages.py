"""What the native side has to say, logged under the names that upstream's classes log under.

So that log levels and filters which a program sets for OpenTelemetry keep working. Rate limits are the native side's.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gilscope.spans.settings import Protocol

_EXPORTER_LOGGERS: dict[Protocol, str] = {
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "grpc": "opentelemetry.exporter.otlp.proto.grpc.exporter",
}
# Where upstream says the same: since 1.34, and before.
_QUEUE_LOGGERS = ("opentelemetry.sdk._shared_internal", "opentelemetry.sdk.trace.export")
_QUEUE_TEXTS = ("Queue full", "Dropping Span")


class MessageLog:
    """Logs native messages; the `on_message` of one pipeline. Holds no reference to anything that could hold it."""

    def __init__(self, protocol: Protocol) -> None:
        self._exporter = logging.getLogger(_EXPORTER_LOGGERS[protocol])
        self._queue = logging.getLogger(next(name for name in _QUEUE_LOGGERS if name in sys.modules))

    def __call__(self, level: int, text: str, suppressed: int) -> None:
        """The message is logged, if the program's logging can do that; it is lost otherwise.

        Threading: called by the thread that ended a span or flushes; blocks for as long as the log handlers do.
        """
        logger = self._queue if text.startswith(_QUEUE_TEXTS) else self._exporter
        # Whatever a filter or a handler raises: the code that ended a span has no part in it.
        with contextlib.suppress(Exception):
            # Whole, not as arguments: upstream's DuplicateFilter on these loggers compares what is to be formatted.
            logger.log(level, f"{text} (suppressed {suppressed})" if suppressed else text)
