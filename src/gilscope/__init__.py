"""gilscope: why an asyncio service's event loop stalls, and a span processor that does not add to it.

    from gilscope import NativeSpanProcessor
    provider.add_span_processor(NativeSpanProcessor())

Names load when they are first used, so that `import gilscope` costs nothing that a program does not ask for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from gilscope._version import __version__

if TYPE_CHECKING:
    from gilscope.probe.recording import record
    from gilscope.probe.watching import watch
    from gilscope.spans.processor import NativeSpanProcessor
    from gilscope.spans.swap import install, uninstall

__all__ = ["NativeSpanProcessor", "__version__", "install", "record", "uninstall", "watch"]

_HOMES = {
    "NativeSpanProcessor": "gilscope.spans.processor",
    "install": "gilscope.spans.swap",
    "record": "gilscope.probe.recording",
    "uninstall": "gilscope.spans.swap",
    "watch": "gilscope.probe.watching",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
