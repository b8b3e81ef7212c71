"""Why the event loops of a capture stalled: pure functions over its events.

with open_capture("app.gilscope") as capture:
print(analyse(capture).verdict)
"""

from __future__ import annotations

from gilscope.analysis.model import Analysis, Recorded
from gilscope.analysis.one_pass import analyse

__all__ = ["Analysis", "Recorded", "analyse"]
