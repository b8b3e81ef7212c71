"""Thresholds of a plan: a figure of an arm, alone or against another arm's, and what it may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gilscope.bench.compare import pair
from gilscope.bench.figures import NAMES
from gilscope.errors import GilscopeError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gilscope.bench.figures import ArmFigures

_KEYS = {"arm", "against", "figure", "at_most", "at_least", "as"}
_WAYS = ("ratio", "difference")


class ThresholdError(GilscopeError, ValueError):
    """A threshold that cannot be checked; says which, what was expected and what came."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """A figure, and what it may be.

    Attributes:
        against: None for the arm's figure itself.
        way: "ratio" or "difference", where there is an arm to compare with.
    """

    arm: str
    figure: str
    against: str | None
    way: str
    at_most: float | None
    at_least: float | None

    def check(self, arms: Mapping[str, ArmFigures], seed: int) -> dict[str, object]:
        """Return the threshold with what was reached and whether it is met; what cannot be told is not met."""
        said = {
            "arm": self.arm,
            "figure": self.figure,
            **({"against": self.against, "as": self.way} if self.against else {}),
            **({"at_most": self.at_most} if self.at_most is not None else {}),
            **({"at_least": self.at_least} if self.at_least is not None else {}),
        }
        reached = self._reached(arms, seed)
        if reached is None:
            why = "too few requests or no valid cells, or the server did not tell"
            return {**said, "reached": None, "met": False, "why": why}
        met = (self.at_most is None or reached <= self.at_most) and (self.at_least is None or reached >= self.at_least)
        return {**said, "reached": reached, "met": met}

    def _reached(self, arms: Mapping[str, ArmFigures], seed: int) -> float | None:
        if self.against is None:
            own = arms[self.arm].estimate(self.figure, seed) if self.arm in arms else None
            return own.value if own else None
        compared = pair(arms, self.arm, self.against, self.figure, seed)
        if compared is None:
            return None
        if self.way == "difference":
            return compared.difference.value
        return compared.ratio.value if compared.ratio else None


def parse(given: Mapping[str, Any], arms: Collection[str]) -> Threshold:
    """Return the threshold that a plan gives.

    Args:
        given: As in plan.toml and plan.json.
        arms: The arms of the plan, the A/A pair's second one too.

    Raises:
        ThresholdError: It names what there is not, or has no limit.
    """
    where = f"threshold {dict(given)!r}"
    unknown = sorted(set(given) - _KEYS)
    if unknown:
        raise ThresholdError(f"{where}: expected some of {', '.join(sorted(_KEYS))}, got {', '.join(unknown)}")
    _expect(where, "figure", given.get("figure"), NAMES)
    _expect(where, "arm", given.get("arm"), arms)
    if given.get("against") is not None:
        _expect(where, "against", given["against"], arms)
    _expect(where, "as", given.get("as", "ratio"), _WAYS)
    limits = {key: given[key] for key in ("at_most", "at_least") if given.get(key) is not None}
    if not limits:
        raise ThresholdError(f"{where}: expected at_most or at_least, got neither")
    for key, limit in limits.items():
        if isinstance(limit, bool) or not isinstance(limit, (int, float)):
            raise ThresholdError(f"{where}: {key} must be a number, got {limit!r}")
    return Threshold(
        arm=given["arm"],
        figure=given["figure"],
        against=given.get("against"),
        way=given.get("as", "ratio"),
        at_most=limits.get("at_most"),
        at_least=limits.get("at_least"),
    )


def _expect(where: str, key: str, got: object, names: Collection[str]) -> None:
    if got not in names:
        raise ThresholdError(f"{where}: {key} must be one of {', '.join(names)}; got {got!r}")
