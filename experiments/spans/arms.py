"""The processors that are compared, behind one interface; only processes under test make them."""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

BATCH = "BatchSpanProcessor"
FASTOTEL = "fastotel"
NATIVE = "gilscope"
ALL = (BATCH, FASTOTEL, NATIVE)


def available(arm: str) -> bool:
    """Return whether an arm, by its name or its name and a variant (`gilscope, gzip`), can run here."""
    return processor_of(arm) != FASTOTEL or find_spec("fastotel") is not None


def processor_of(arm: str) -> str:
    """Return the arm's processor."""
    return arm.partition(",")[0]


class Arm:
    """A processor under test, running.

    Attributes:
        processor: what the SDK calls.
    """

    processor: SpanProcessor

    def settle(self) -> None:
        """A batch that was delivered is behind it, and the next one is noticed at once."""

    def counted_losses(self) -> int | None:
        """Return what the processor itself says it lost; None if it does not count."""
        return None


class BatchArm(Arm):
    """opentelemetry-sdk's BatchSpanProcessor with its OTLP exporter over HTTP."""

    def __init__(self, endpoint: str, compression: str, **batch: Any) -> None:  # noqa: ANN401  # handed on as given
        from opentelemetry.exporter.otlp.proto.http import Compression
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        exporter = OTLPSpanExporter(endpoint=endpoint, compression=Compression(compression))
        self.processor = BatchSpanProcessor(exporter, **batch)
        self._batch: Any = vars(self.processor)["_batch_processor"]

    def settle(self) -> None:
        """The worker has cleared its event, which it does after an export: else the next batch waits for the delay."""
        deadline_s = time.monotonic() + 1.0
        while self._batch._worker_awaken.is_set() and time.monotonic() < deadline_s:
            time.sleep(0.0002)


class FastotelArm(Arm):
    """fastotel's OTLPSpanProcessor, written in Rust."""

    def __init__(self, endpoint: str, compression: str, **batch: Any) -> None:  # noqa: ANN401  # handed on as given
        from fastotel import OTLPSpanProcessor

        self.processor = OTLPSpanProcessor(endpoint=endpoint, compression=compression, **batch)
        self._native: Any = vars(self.processor)["_native"]

    def counted_losses(self) -> int:
        """Return its three counters, which have no public name."""
        return int(self._native.dropped_spans() + self._native.failed_spans() + self._native.rejected_spans())


class NativeArm(Arm):
    """gilscope's NativeSpanProcessor."""

    def __init__(self, endpoint: str, compression: str, **batch: Any) -> None:  # noqa: ANN401  # handed on as given
        from gilscope import NativeSpanProcessor

        self._native = NativeSpanProcessor(endpoint=endpoint, compression=compression, **batch)
        self.processor = self._native

    def counted_losses(self) -> int:
        """Return what its stats have by reason."""
        stats = self._native.stats()
        return stats.dropped.total + stats.failed.total


def make(arm: str, endpoint: str, *, compression: str = "none", **batch: Any) -> Arm:  # noqa: ANN401  # handed on as given
    """Return the arm's processor, running, with default settings but for those given."""
    kinds: dict[str, type[Any]] = {BATCH: BatchArm, FASTOTEL: FastotelArm, NATIVE: NativeArm}
    made: Arm = kinds[processor_of(arm)](endpoint, compression, **batch)
    return made


def end_each(processor: SpanProcessor, spans: list[ReadableSpan]) -> None:
    """Hand over the spans as the SDK does, one call each."""
    for span in spans:
        processor.on_end(span)
