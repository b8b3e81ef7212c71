"""Puts native pipelines where upstream's batches are: in what a provider has already, and in what is still to come.

What is there is swapped inside the processor, which stays the same object: whoever holds it may go on flushing it, and
what a third party assigned to it stays. What is to come passes `opentelemetry.sdk.trace.export.BatchProcessor`, a
global that `BatchSpanProcessor.__init__` looks up, so that subclasses (Langfuse's, for one) are reached as well. Before
1.34 there was no such object: there a plain BatchSpanProcessor is replaced as a whole, and a subclass is left alone.
"""

from __future__ import annotations

import inspect
import logging
import threading
import weakref
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter

from gilscope.spans import metrics
from gilscope.spans.batch import NativeBatch
from gilscope.spans.before_1_34 import patch_processor, swap_processor
from gilscope.spans.environment import boolean, choose, read
from gilscope.spans.hand_over import Forwarder, hand_over
from gilscope.spans.processor import HAS_BATCH_PROCESSOR, NativeSpanProcessor
from gilscope.spans.settings import batch_settings
from gilscope.spans.sigterm import flush_on_sigterm
from gilscope.spans.takeover import Refusal, say_once, take_over

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from opentelemetry.trace import TracerProvider

logger = logging.getLogger(__name__)

# Not typed: BatchProcessor is a global that only some versions have, and that is assigned to.
sdk_export: Any = import_module("opentelemetry.sdk.trace.export")


@dataclass(frozen=True)
class Swapped:
    """A processor that exports natively now."""

    processor: str
    endpoint: str


@dataclass(frozen=True)
class Kept:
    """A processor that was left as it is."""

    processor: str
    reason: str


@dataclass(frozen=True)
class Report:
    """What `install` did.

    Attributes:
        swapped: processors of the provider that are native now, and were not before.
        kept: those that are not.
        patched: whether BatchSpanProcessors that are made from now on are native where they can be.
        error: why nothing, or not everything, could be done.
    """

    swapped: tuple[Swapped, ...] = ()
    kept: tuple[Kept, ...] = ()
    patched: bool = False
    error: str | None = None

    def __str__(self) -> str:
        lines = [f"{item.processor} exports natively to {item.endpoint}" for item in self.swapped]
        lines += [f"{item.processor} is as it was, because {item.reason}" for item in self.kept]
        if self.patched:
            lines.append("later BatchSpanProcessors will be native where they can be")
        if self.error is not None:
            lines.append(self.error)
        return "; ".join(lines) or "nothing to swap"


_lock = threading.RLock()
# How to undo each swap, oldest first.
_undo: list[Callable[[], None]] = []


def install(provider: TracerProvider | None = None) -> Report:
    """Return what was swapped: pairs of BatchSpanProcessor and OTLPSpanExporter export natively. Never raises.

    Idempotent. Spans that wait in upstream's queues move over; none is lost or sent twice. `GILSCOPE_SPANS=off` makes
    it do nothing.

    Args:
        provider: whose processors; the global one if None, and then later processors are covered too.
    """
    if (read("GILSCOPE_SPANS") or "").lower() == "off":
        return Report(error="GILSCOPE_SPANS is off")
    try:
        import gilscope._spans  # noqa: F401 - nothing is touched unless it can be replaced
    except ImportError as error:
        return Report(error=f"gilscope's native module cannot be loaded: {error}")
    with _lock:
        try:
            return _install(provider)
        except Exception as error:
            logger.exception("gilscope.install() failed; what is not swapped goes on as before")
            return Report(error=f"{type(error).__name__}: {error}")


def uninstall() -> None:
    """What `install` swapped is upstream's again, and nothing is swapped any more. Never raises."""
    with _lock:
        while _undo:
            try:
                _undo.pop()()
            except Exception:
                logger.exception("gilscope.uninstall() failed; what is not put back stays native")


def _install(provider: TracerProvider | None) -> Report:
    patched = _patch() if provider is None else False
    active = getattr(provider or trace.get_tracer_provider(), "_active_span_processor", None)
    swapped: list[Swapped] = []
    kept: list[Kept] = []
    for processor, parent in _leaves(active, None):
        name = type(processor).__qualname__
        outcome = _swap_or_say(processor, parent)
        if isinstance(outcome, Refusal):
            kept.append(Kept(name, outcome.reason))
        elif outcome is not None:
            swapped.append(Swapped(name, outcome.settings.url))
    if choose(None, "flush_on_sigterm", ["GILSCOPE_FLUSH_ON_SIGTERM"], boolean, default=False):
        flush_on_sigterm()
    return Report(tuple(swapped), tuple(kept), patched)


def _leaves(processor: object, parent: object) -> Iterator[tuple[object, object]]:
    """Yield each processor that is no list of others, with the list that it is in."""
    children = getattr(processor, "_span_processors", None)
    if isinstance(children, tuple | list):
        for child in tuple(children):
            yield from _leaves(child, processor)
    elif processor is not None:
        yield processor, parent


def _swap_or_say(processor: object, parent: object) -> NativeBatch | Refusal | None:
    try:
        return _swap(processor, parent)
    except Exception as error:
        logger.exception("%s could not be swapped", type(processor).__qualname__)
        return Refusal(f"{type(error).__name__}: {error}")


def _swap(processor: object, parent: object) -> NativeBatch | Refusal | None:
    """Return the native batch that took over, or why none did; None if one had before."""
    if isinstance(processor, SimpleSpanProcessor):
        return Refusal("it exports each span before it returns, which a native thread would change")
    if not isinstance(processor, BatchSpanProcessor):
        return Refusal("it is not a BatchSpanProcessor")
    if isinstance(getattr(processor, "_batch_processor", None), NativeBatch):
        return None
    if HAS_BATCH_PROCESSOR:
        return _swap_batch(processor)
    return swap_processor(processor, parent, _undo.append)


def _swap_batch(processor: Any) -> NativeBatch | Refusal:  # noqa: ANN401 - private attributes
    """Put a native batch into the processor."""
    old = processor._batch_processor
    if type(old) is not _upstream_class():
        return Refusal(f"its batch is a {type(old).__qualname__}, not upstream's")
    if old._shutdown:
        return Refusal("it is shut down")
    exporter = old._exporter
    taken = take_over(exporter)
    if isinstance(taken, Refusal):
        return taken
    sizes = (old._max_queue_size, old._schedule_delay_millis, old._max_export_batch_size, old._export_timeout_millis)
    native = NativeBatch(exporter, taken, batch_settings(*sizes))
    metrics.register(native, None)
    converted = type(processor) is BatchSpanProcessor
    processor._batch_processor = native
    if converted:
        processor._native = native
        processor.__class__ = NativeSpanProcessor
        vars(processor).setdefault("on_end", native.emit)
    # For a thread that had already looked up the old batch.
    old.emit = native.emit
    old._exporter = Forwarder(native)
    hand_over(old.shutdown, old._queue, native)

    weak = weakref.ref(processor)

    def undo() -> None:
        living = weak()
        if living is None or living._batch_processor is not native or native._shutdown:
            return
        again = _upstream_class()(*_upstream_arguments(exporter, sizes, getattr(old, "_metrics", None)))
        living._batch_processor = again
        if converted:
            if vars(living).get("on_end") == native.emit:
                del living.on_end
            living.__class__ = BatchSpanProcessor
            del living._native
        native.stop()

    _undo.append(undo)
    return native


def _upstream_arguments(exporter: SpanExporter, sizes: Sequence[float], its_metrics: object) -> list[object]:
    """Return the positional arguments of upstream's BatchProcessor; it has had its metrics among them since 1.43."""
    max_queue_size, schedule_delay_millis, max_export_batch_size, export_timeout_millis = sizes
    arguments: list[object] = [exporter, schedule_delay_millis, max_export_batch_size, export_timeout_millis]
    arguments += [max_queue_size, "Span"]
    return arguments if its_metrics is None else [*arguments, its_metrics]


def _upstream_class() -> Any:  # noqa: ANN401 - a class that older SDKs lack
    found = sdk_export.BatchProcessor
    return found.gilscope_replaces if hasattr(found, "gilscope_replaces") else found


def _patch() -> bool:
    """Make later BatchSpanProcessors native; return whether they are."""
    if not HAS_BATCH_PROCESSOR:
        patch_processor(_undo.append)
        return True
    upstream = sdk_export.BatchProcessor
    if not hasattr(upstream, "gilscope_replaces"):
        patched = _patched(upstream)
        sdk_export.BatchProcessor = patched

        def undo() -> None:
            if sdk_export.BatchProcessor is patched:
                sdk_export.BatchProcessor = upstream

        _undo.append(undo)
    return True


def _patched(upstream: Any) -> Any:  # noqa: ANN401 - a class made of upstream's, whatever it is
    """Return a class that makes native batches where it can, and upstream's otherwise; it may be subclassed as that."""
    signature = inspect.signature(upstream.__init__)

    class BatchProcessor(upstream):  # type: ignore[misc]
        gilscope_replaces = upstream

        def __new__(cls, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            if cls is not BatchProcessor:
                return super().__new__(cls)
            # Neither is an instance of this class, so that its __init__ does not run.
            native = _native_instead(signature, args, kwargs)
            return upstream(*args, **kwargs) if native is None else native

    BatchProcessor.__qualname__ = upstream.__qualname__
    BatchProcessor.__module__ = upstream.__module__
    return BatchProcessor


def _native_instead(
    signature: inspect.Signature, args: tuple[object, ...], kwargs: dict[str, object]
) -> NativeBatch | None:
    """Return the native batch for upstream's arguments; None, when upstream's has to be made. Never raises."""
    try:
        given = signature.bind(None, *args, **kwargs).arguments
        exporter = given["exporter"]
        if given["exporting"] != "Span":
            return None
        taken = take_over(exporter)
        if isinstance(taken, Refusal):
            say_once(logging.INFO, exporter, taken)
            return None
        batch = batch_settings(
            given["max_queue_size"],
            given["schedule_delay_millis"],
            given["max_export_batch_size"],
            given["export_timeout_millis"],
        )
        native = NativeBatch(exporter, taken, batch)
        metrics.register(native, None)
    except Exception:
        logger.exception("No native span processor could be made; upstream's is used")
        return None
    return native
