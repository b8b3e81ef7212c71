"""What `install` does with an SDK before 1.34, where BatchSpanProcessor is queue, thread and processor in one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace.export import BatchSpanProcessor

from gilscope.spans.hand_over import Forwarder, hand_over
from gilscope.spans.processor import NativeSpanProcessor
from gilscope.spans.takeover import Refusal, take_over

if TYPE_CHECKING:
    from collections.abc import Callable

    from gilscope.spans.batch import NativeBatch


def swap_processor(old: Any, parent: Any, undo_later: Callable[[Callable[[], None]], None]) -> NativeBatch | Refusal:  # noqa: ANN401 - private attributes
    """Put a NativeSpanProcessor in the old one's place; return its batch, or why there is none."""
    if not _is_plain(old):
        return Refusal("it is a subclass, which can be swapped since opentelemetry-sdk 1.34 only")
    if parent is None:
        return Refusal("it is the provider's only processor, which can be swapped since opentelemetry-sdk 1.34 only")
    if old.done:
        return Refusal("it is shut down")
    exporter = old.span_exporter
    taken = take_over(exporter)
    if isinstance(taken, Refusal):
        return taken
    sizes = (old.max_queue_size, old.schedule_delay_millis, old.max_export_batch_size, old.export_timeout_millis)
    new = NativeSpanProcessor(exporter, *sizes)
    native = new._native
    if native is None:
        return Refusal("its exporter cannot be taken over any more")
    _replace(parent, old, new)
    for method in ("on_end", "force_flush"):
        setattr(old, method, getattr(new, method))
    shutdown_old = old.shutdown
    old.span_exporter = Forwarder(native)
    hand_over(shutdown_old, old.queue, native)
    old.shutdown = new.shutdown

    def undo() -> None:
        if native._shutdown:
            return
        _replace(parent, new, BatchSpanProcessor(exporter, *sizes))
        native.stop()

    undo_later(undo)
    return native


def _replace(parent: Any, old: object, new: object) -> None:  # noqa: ANN401 - private attributes
    with parent._lock:
        parent._span_processors = tuple(new if item is old else item for item in parent._span_processors)


def _is_plain(processor: object) -> bool:
    return type(processor) is BatchSpanProcessor


_patch = {"active": False}


def patch_processor(undo_later: Callable[[Callable[[], None]], None]) -> None:
    """Make later BatchSpanProcessors themselves NativeSpanProcessors; subclasses stay as they are.

    A `__new__` that a class has had cannot be taken away without a trace (object's then refuses arguments), so that it
    stays, and is told to do nothing.
    """
    if "__new__" not in vars(BatchSpanProcessor):

        def new(cls: type, *_args: object, **_kwargs: object) -> object:
            return object.__new__(NativeSpanProcessor if _patch["active"] and cls is BatchSpanProcessor else cls)

        BatchSpanProcessor.__new__ = new  # type: ignore[assignment,method-assign]
    if not _patch["active"]:
        _patch["active"] = True
        undo_later(lambda: _patch.update(active=False))
