"""The arms: what happens to a span when it ends."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor


class Arm(str, enum.Enum):
    """What the server exports its spans with, at default settings."""

    NONE = "none"
    STOCK = "stock"
    NATIVE = "native"

    @property
    def label(self) -> str:
        """How tables call it."""
        return {"none": "no exporter", "stock": "BatchSpanProcessor", "native": "NativeSpanProcessor"}[self.value]

    def processor(self, endpoint: str) -> SpanProcessor:
        """Return a processor that exports to this URL over OTLP/HTTP.

        Raises:
            ImportError: A package is missing, or gilscope's native module is not built.
        """
        from opentelemetry.sdk.trace import SpanProcessor

        if self is Arm.NONE:
            return SpanProcessor()
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter(endpoint=endpoint)
        if self is Arm.STOCK:
            from opentelemetry.sdk.trace.export import BatchSpanProcessor

            return BatchSpanProcessor(exporter)
        from gilscope import NativeSpanProcessor

        return NativeSpanProcessor(exporter)
