"""One run of the target under one tool."""

from __future__ import annotations

import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.probe_truth import compare
from experiments.probe_truth.oracle import Oracle
from experiments.probe_truth.tools import PySpy
from experiments.probe_truth.truth import Period, Truth, read
from gilscope.bench.child import Child

if TYPE_CHECKING:
    from experiments.spans.experiment import Figures

NOTHING, GILSCOPE = "nothing", "gilscope"
_START_TIMEOUT_S = 30.0
_END_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Run:
    """What came of it.

    Attributes:
        did: what the target says of itself.
        claim: what a tool inside the target says of waits and holds, if it does.
        held: py-spy's samples, by thread.
        truth: what the kernel says, if it was asked: waits and holds that lie in the run whole.
    """

    did: dict[str, Any]
    claim: compare.Claim | None
    held: dict[int, int]
    truth: Truth | None

    def speed(self) -> Figures:
        """Return how the target fared."""
        return {"items_per_s": self.did["items_per_s"], "lag_p99_ms": self.did["lag_p99_ms"]}

    def judged(self) -> Figures:
        """Return what the tool says, set against the truth."""
        if self.truth is None:
            raise ValueError("expected a run with the kernel's record, got one without")
        figures: Figures = {}
        loop = self.did["loop"]
        told_share = self.did["told"].get("waiting_share")
        held = self.held
        if self.claim is not None:
            functions = {int(thread): name for thread, name in self.did["functions"].items()}
            figures = compare.of_waits(self.truth, self.claim, functions, loop)
            told_share = self._waited_share(self.claim.waits)
            if self.claim.functions:
                held = _held(self.claim.holds)
            else:
                # A watchdog watches the loop alone.
                figures = {name: figures[name] for name in ("loop_found", "loop_holders")}
        if told_share is not None:
            figures["waiting_error"] = 100 * abs(told_share - self._waited_share(self.truth.waits))
        if held:
            figures["holding_error"] = compare.largest_difference(
                compare.shares(held), compare.shares(_held(self.truth.holds))
            )
        return figures

    def _waited_share(self, waits: list[Period]) -> float:
        waited_ns = sum(wait.ns for wait in waits if wait.thread == self.did["loop"])
        length_ns: int = self.did["ended_ns"] - self.did["begun_ns"]
        return waited_ns / length_ns


def _held(holds: list[Period]) -> dict[int, int]:
    held: Counter[int] = Counter()
    for hold in holds:
        held[hold.thread] += hold.ns
    return held


def run(*, seconds: float, loop: str, tool: str = NOTHING, spy_rate: int = 0, checked: bool) -> Run:
    """Return what came of a run.

    Args:
        seconds: how long the target works.
        loop: "asyncio" or "uvloop".
        tool: what watches from inside, of `tools.INSIDE`.
        spy_rate: samples a second that py-spy takes beside it; 0 is no py-spy.
        checked: the kernel records too.

    Raises:
        ChildError: the target failed.
        OracleUnavailableError: `checked`, and the kernel cannot be asked here.
        RuntimeError: py-spy failed, or the kernel's record has holes.
    """
    with tempfile.TemporaryDirectory() as folder:
        capture = Path(folder, "target.gilscope")
        options = ["--seconds", str(seconds), "--loop", loop, "--tool", tool, "--capture", str(capture)]
        child = Child("experiments.probe_truth.target", options, timeout_s=_START_TIMEOUT_S)
        try:
            with ExitStack() as beside:
                oracle = beside.enter_context(Oracle(child.pid)) if checked else None
                spy = beside.enter_context(PySpy(child.pid, spy_rate)) if spy_rate else None
                child.write({})
                did = child.read(_END_TIMEOUT_S)
        finally:
            child.stop()
        claim = _claim(did)
    known = None
    if oracle is not None:
        known = read(oracle.events)
        known = Truth(_within(known.waits, did), _within(known.holds, did))
    return Run(did, claim, spy.held if spy is not None else {}, known)


def _claim(did: dict[str, Any]) -> compare.Claim | None:
    told = did["told"]
    if "capture" in told:
        claim = compare.of_capture(told["capture"])
    elif "sightings" in told:
        claim = compare.of_watchdog(told["sightings"], did["loop"])
    else:
        return None
    claim.waits = _within(claim.waits, did)
    return claim


def _within(periods: list[Period], did: dict[str, Any]) -> list[Period]:
    return compare.inside(periods, did["begun_ns"], did["ended_ns"])
