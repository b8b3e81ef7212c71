"""The probe: who had the GIL, who waited for it, and how long every iteration of the event loop took.

Linux with glibc, CPython 3.10 and later, asyncio and uvloop. Nothing of it is loaded until it is asked for.
"""

from __future__ import annotations

from gilscope.probe.facts import Facts, facts
from gilscope.probe.recording import Recording, record

__all__ = ["Facts", "Recording", "facts", "record"]
