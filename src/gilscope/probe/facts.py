"""What the probe can do in this process."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """What the hooks found here.

    Attributes:
        gil: "hooked", "none" (a free-threaded build has none), "unavailable" (the interpreter has no slots to hook).
        memory_error: why the sampler cannot read stacks; None if it can.
        native_error: why the native module cannot be loaded; None if it can, else nothing of the probe works.
    """

    gil: str
    memory_error: str | None
    native_error: str | None


def facts() -> Facts:
    """Return what works in this process; nothing is recorded, and no hook stays."""
    try:
        from gilscope import _probe
    except ImportError as error:
        return Facts(gil="unavailable", memory_error=None, native_error=str(error))
    error_number = _probe.memory_readable()
    return Facts(gil=_probe.gil(), memory_error=os.strerror(error_number) if error_number else None, native_error=None)
