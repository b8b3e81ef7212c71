"""Logs as JSON, one object a line, each with the trace and the span in which it was written."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from opentelemetry import trace

LOGGER = logging.getLogger("loadtests.apps.agent")

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """A record's time, level, logger, message, ids, and whatever was passed as `extra`.

    Threading: to be called where the record is made, whose span is the current one.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return one line of JSON."""
        entry: dict[str, Any] = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            entry["trace_id"] = trace.format_trace_id(context.trace_id)
            entry["span_id"] = trace.format_span_id(context.span_id)
        entry.update({name: value for name, value in vars(record).items() if name not in _STANDARD})
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def set_up(level: str) -> None:
    """The service's logger writes JSON to standard error from this level on; calling again changes the level only."""
    LOGGER.setLevel(level)
    if not any(isinstance(handler.formatter, JsonFormatter) for handler in LOGGER.handlers):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter())
        LOGGER.addHandler(handler)
        LOGGER.propagate = False
