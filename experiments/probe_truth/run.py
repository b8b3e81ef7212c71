"""One run of the target under one tool."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.probe_truth import compare
from experiments.probe_truth.oracle import Oracle
from experiments.probe_truth.tools import INSIDE, Sampler
from experiments.probe_truth.truth import Period, Truth, read
from gilscope.bench.child import Child

if TYPE_CHECKING:
    from collections.abc import Callable

    from experiments.probe_truth.tools import PySpy
    from experiments.spans.experiment import Figures

NOTHING, GILSCOPE = "nothing", "gilscope"
_START_TIMEOUT_S = 30.0
_END_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Run:
    """What came of it.

    Attributes:
        did: what the target says of itself.
        told: what the tool says.
        claim: of waits and holds, if it does.
        truth: what the kernel says, if it was asked: waits and holds that lie in the run whole.
    """

    did: dict[str, Any]
    told: dict[str, Any]
    claim: compare.Claim | None
    truth: Truth | None

    def speed(self) -> Figures:
        """Return how the target fared."""
        return {"items_per_s": self.did["items_per_s"], "lag_p99_ms": self.did["lag_p99_ms"]}

    def failures(self) -> Figures:
        """Return how the tool itself fared, if it tells."""
        return {"failed_samples": 100 * self.told["failed_share"]} if "failed_share" in self.told else {}

    def judged(self) -> Figures:
        """Return what the tool says, set against the truth."""
        if self.truth is None:
            raise ValueError("expected a run with the kernel's record, got one without")
        figures: Figures = {}
        told_share = self.told.get("waiting_share")
        held: dict[int, int] = self.told.get("held", {})
        if self.claim is not None:
            figures = self._judged(self.claim, self.truth)
            if self.claim.waits:
                told_share = self._waited_share(self.claim.waits)
            if self.claim.functions:
                held = _held(self.claim.holds)
        if told_share is not None:
            figures["waiting_error"] = 100 * abs(told_share - self._waited_share(self.truth.waits))
        if held:
            figures["holding_error"] = compare.largest_difference(
                compare.shares(held), compare.shares(_held(self.truth.holds))
            )
        return figures

    def _judged(self, claim: compare.Claim, truth: Truth) -> Figures:
        functions = {int(thread): name for thread, name in self.did["functions"].items()}
        # Who tells holders alone is told the waits.
        whole = claim if claim.waits else replace(claim, waits=truth.waits)
        figures = compare.of_waits(truth, whole, functions, self.did["loop"])
        if not claim.waits:
            return {name: figures[name] for name in ("holders", "loop_holders", "functions")}
        if not claim.functions:
            # A watchdog watches the loop alone.
            return {name: figures[name] for name in ("loop_found", "loop_holders")}
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


def run(
    *,
    seconds: float,
    loop: str,
    tool: str = NOTHING,
    beside: Callable[[int], PySpy | Sampler] | None = None,
    checked: bool,
) -> Run:
    """Return what came of a run.

    Args:
        seconds: how long the target works.
        loop: "asyncio" or "uvloop".
        tool: what watches from inside, of `tools.INSIDE`.
        beside: makes what watches from outside, for the target's process id.
        checked: the kernel records too.

    Raises:
        ChildError: the target failed.
        OracleUnavailableError: `checked`, and the kernel cannot be asked here.
        RuntimeError: what watches from outside failed, or the kernel's record has holes.
    """
    with tempfile.TemporaryDirectory() as folder:
        capture = Path(folder, "target.gilscope")
        options = ["--seconds", str(seconds), "--loop", loop, "--tool", tool, "--capture", str(capture)]
        needed = INSIDE[tool].environment()
        environment = {**os.environ, **needed} if needed else None
        child = Child("experiments.probe_truth.target", options, environment=environment, timeout_s=_START_TIMEOUT_S)
        try:
            with ExitStack() as watching:
                oracle = watching.enter_context(Oracle(child.pid)) if checked else None
                outside = beside(child.pid) if beside is not None else None
                if outside is not None:
                    watching.enter_context(outside)
                child.write({})
                did = child.read(_END_TIMEOUT_S)
        finally:
            child.stop()
        told: dict[str, Any] = did["told"] if outside is None else outside.told()
        claim = _claim(told, did)
    known = None
    if oracle is not None:
        known = read(oracle.events)
        known = Truth(_within(known.waits, did), _within(known.holds, did))
    return Run(did, told, claim, known)


def _claim(told: dict[str, Any], did: dict[str, Any]) -> compare.Claim | None:
    if "capture" in told:
        claim = compare.of_capture(told["capture"])
    elif "sightings" in told:
        claim = compare.of_watchdog(told["sightings"], did["loop"])
    elif "samples" in told:
        claim = compare.of_samples(told["samples"], round(1e9 / Sampler.RATE_HZ))
    else:
        return None
    claim.waits = _within(claim.waits, did)
    return claim


def _within(periods: list[Period], did: dict[str, Any]) -> list[Period]:
    return compare.inside(periods, did["begun_ns"], did["ended_ns"])
