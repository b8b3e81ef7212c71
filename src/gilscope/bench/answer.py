"""The answer of a run in one sentence for each point, from figures only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gilscope.bench.compare import AGAIN, beyond_noise, pair
from gilscope.bench.statistics import FEWEST_BLOCKS, needed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gilscope.bench.compare import Pair
    from gilscope.bench.figures import ArmFigures

_LABELS = {
    "none": "without tracing",
    "sdk": "with spans made and not exported",
    "batch": "with BatchSpanProcessor",
    "subprocess": "with a subprocess",
    "native": "with gilscope's native exporter",
}
# The tail is the question; where there are too few requests to tell it, what can be told is better than nothing.
_TOLD = ("p99_ms", "p90_ms", "p50_ms")
# Rates further apart than this compare two loads, not two arms.
_RATES_APART = 1.02


def sentence(
    point: Mapping[str, object],
    arms: Mapping[str, ArmFigures],
    planned: Sequence[str],
    same: Mapping[str, Pair],
    seed: int,
) -> str:
    """Return what was found at this point.

    Args:
        point: Its levels.
        arms: Those with valid cells.
        planned: All arms of the plan, in its order.
        same: The A/A pair by figure.
        seed: Of the intervals.
    """
    where = _where(point)
    shown = [arm for arm in planned if arm in arms and not arm.endswith(AGAIN)]
    missing = [arm for arm in planned if arm not in arms]
    figure = next((name for name in _TOLD if any(arms[arm].figure(name) for arm in shown)), None)
    if figure is None:
        why = f"no arm has the {needed(50):,} requests that p50 needs" if shown else "no cell is valid"
        return f"{where}nothing can be told: {why}."
    told = [arm for arm in shown if arms[arm].figure(figure)]
    noise = same.get(figure)
    compared = {arm: pair(arms, arm, told[0], figure, seed) for arm in told[1:]}
    parts = [_told(arm, figure, arms, compared.get(arm), noise, seed) for arm in told]
    name = figure.removesuffix("_ms")
    text = f"{where}{name} is {', '.join(parts)}"
    factor = noise.factor if noise else None
    text += f"; the noise of this machine is {_times(factor)}" if factor else "; the noise of this machine is not known"
    text += _native_and_batch(arms, figure, noise, seed)
    if figure != _TOLD[0]:
        text += f"; no arm has the {needed(99):,} requests that p99 needs"
    untold = [arm for arm in shown if arm not in told]
    if untold:
        text += f"; too few requests to tell {name} of {', '.join(untold)}"
    text += _lost(arms)
    if missing:
        text += f"; nothing valid of {', '.join(missing)}"
    fewest = min(len(arms[arm].cells) for arm in told)
    if fewest < FEWEST_BLOCKS:
        text += f"; with {fewest} {'block' if fewest == 1 else 'blocks'} of an arm, no more than a first impression"
    apart = rates_apart(arms)
    if apart:
        text += f"; {apart}"
    return text + "."


def of_points(points: Sequence[Mapping[str, Any]]) -> str:
    """Return in a sentence or two what a run found, however many points it had.

    Args:
        points: As the summary has them, with an `answer` each.
    """
    if len(points) == 1:
        return str(points[0]["answer"])
    figure, base = _TOLD[0], next(iter(points[0]["arms"]), "")
    ratios: dict[str, list[tuple[float, Mapping[str, Any]]]] = {}
    for point in points:
        for one in point["pairs"]:
            if (one["figure"], one["against"]) == (figure, base) and one["ratio"]:
                ratios.setdefault(one["arm"], []).append((one["ratio"]["value"], point))
    if not ratios:
        return " ".join(str(point["answer"]) for point in points)
    unseen = sum(not point["arms"] for point in points)
    nothing = f"; {unseen} of them have no valid cell" if unseen else ""
    parts = [_between([ratio for ratio, _ in found], len(points), arm) for arm, found in ratios.items()]
    most, worst, where = max(
        ((ratio, arm, point) for arm, found in ratios.items() for ratio, point in found), key=lambda found: found[0]
    )
    name = figure.removesuffix("_ms")
    told = {arm: _ms(where["arms"][arm]["latency_ms"][name]["value"]) for arm in (worst, base)}
    levels = ", ".join(f"{key} {value}" for key, value in where["point"].items())
    return (
        f"Over {len(points)} points, {name} in times of that {_label(base)}: {', '.join(parts)}; the most is "
        f"{_times(most)} {_label(worst)} at {levels}: {told[worst]}, and {told[base]} {_label(base)}{nothing}. Each "
        "point has its own answer."
    )


def rates_apart(arms: Mapping[str, ArmFigures]) -> str | None:
    """Return what to say where the arms did not carry the same load; None if they did."""
    means = {arm: one.figure("reached_per_s") and one.estimate("reached_per_s", 0) for arm, one in arms.items()}
    rates = {arm: rate.value for arm, rate in means.items() if rate}
    if not rates:
        return None
    slowest, fastest = min(rates, key=rates.__getitem__), max(rates, key=rates.__getitem__)
    if rates[fastest] <= rates[slowest] * _RATES_APART:
        return None
    return (
        f"the arms did not carry the same load ({slowest} {rates[slowest]:.1f} requests/s, "
        f"{fastest} {rates[fastest]:.1f}), so latencies are not comparable as they stand"
    )


def _label(arm: str) -> str:
    return _LABELS.get(arm, f"with {arm}")


def _between(ratios: Sequence[float], points: int, arm: str) -> str:
    low, high = _times(min(ratios)), _times(max(ratios))
    some = "" if len(ratios) == points else f" (at {len(ratios)} of them)"
    return f"{low if low == high else f'{low} to {high}'} {_label(arm)}{some}"


def _where(point: Mapping[str, object]) -> str:
    levels = [f"{value} users" if name == "users" else f"{name} {value}" for name, value in point.items()]
    return f"At {', '.join(levels)}, " if levels else ""


def _told(
    arm: str, figure: str, arms: Mapping[str, ArmFigures], compared: Pair | None, noise: Pair | None, seed: int
) -> str:
    found = arms[arm].estimate(figure, seed)
    said = f"{_ms(found.value) if found else 'unknown'} {_label(arm)}"
    if compared is None or compared.ratio is None:
        return said
    apart = beyond_noise(compared, noise)
    if apart:
        return f"{said} ({_times(compared.ratio.value)})"
    low, high = compared.ratio.low, compared.ratio.high
    between = f" [{_times(low)} to {_times(high)}]" if low is not None and high is not None else ""
    within = "which cannot be told apart" if apart is False else "and whether that is noise cannot be told"
    return f"{said} ({_times(compared.ratio.value)}{between}, {within})"


def _lost(arms: Mapping[str, ArmFigures]) -> str:
    """Return which arms lost spans: to throw work away is no way to be fast."""
    spans = {arm: one.spans() for arm, one in arms.items()}
    return "".join(f"; {arm} lost {of['lost']:,} of {of['made']:,} spans" for arm, of in spans.items() if of["lost"])


def _native_and_batch(arms: Mapping[str, ArmFigures], figure: str, noise: Pair | None, seed: int) -> str:
    compared = pair(arms, "native", "batch", figure, seed)
    if compared is None or compared.ratio is None:
        return ""
    apart = beyond_noise(compared, noise)
    if apart is None:
        return ""
    if not apart:
        return "; native and batch cannot be told apart"
    return f"; native is {'slower' if compared.ratio.value > 1 else 'faster'} than batch"


def _ms(value: float) -> str:
    return f"{value:.1f} ms" if value < 10 else f"{value:,.0f} ms"  # noqa: PLR2004  # three digits say enough


def _times(value: float) -> str:
    return f"{value:.2f} x" if value < 2 else f"{value:.1f} x"  # noqa: PLR2004  # near 1, hundredths matter
