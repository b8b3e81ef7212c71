"""The page about an experiment: the summary of a bench run, which docs/bench.md describes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gilscope.report import page, page_arms, percentile_plot
from gilscope.report.markup import Markup, element, joined
from gilscope.report.page_arms import levels

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_LATENCIES = ("p50", "p90", "p99", "p99.9", "max")
# What is told of each arm beside latencies; those that the cells do not tell are left out.
_COSTS = {
    "cpu_per_request_ms": "CPU a request, ms",
    "memory_mb": "memory at most, MB",
    "loop_lag_p99_ms": "loop lag p99, ms",
    "gc_pause_ms_per_s": "garbage collection, ms a second",
    "gc_pause_longest_ms": "longest collection, ms",
}
_SPANS = ("made", "received", "dropped", "failed", "unaccounted")
_FIGURES = 4
# As the answer does: the tail, or else what can be told.
_TOLD = ("p99", "p90", "p50")
# Whose figure stands on top where there is no room for all.
_ASKED_FIRST = ("none", "batch", "native", "subprocess", "sdk")
_HUNDRED, _TEN = 100, 10
_BEYOND = {True: "yes", False: "no", None: "cannot be told"}


def render(summary: Mapping[str, Any], watched: Iterable[page_arms.Watched] = (), unseen: Iterable[str] = ()) -> str:
    """Return the page.

    Args:
        summary: as `gilscope.bench.summary` makes it.
        watched: what the probe and py-spy saw, arm by arm.
        unseen: what of that could not be read, and why.
    """
    title = str(summary["question"] or "gilscope bench")
    points = summary["points"]
    header = [
        element("h1", title),
        element("p", str(summary["answer"]), class_="verdict"),
        page.figures(_figures(points[0]["arms"])) if points else "",
    ]
    sections = [
        page.section("What was not seen", _unseen(summary, unseen)),
        *(_latency(summary, number, point) for number, point in enumerate(points)),
        *page_arms.sections(watched),
        *(part for point in points for part in _cost(point)),
        *(_spans(point) for point in points),
        *(part for point in points for part in _pairs(point)),
        page.section("Thresholds", _thresholds(summary["thresholds"])) if summary["thresholds"] else "",
        page.section("How this was made", _made(summary["how"])),
    ]
    return page.render(f"gilscope: {title}", header, sections)


def _figures(arms: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    order = {name: rank for rank, name in enumerate(_ASKED_FIRST)}
    chosen = sorted(arms, key=lambda name: order.get(name, len(order)))[:_FIGURES]
    told = (name for name in _TOLD if any(arm["latency_ms"][name]["value"] is not None for arm in arms.values()))
    latency = next(told, _TOLD[0])
    for name in (name for name in arms if name in chosen):
        figure, title = arms[name]["latency_ms"][latency], f"{latency}, {name}"
        if figure["value"] is None:
            yield title, "not known", figure.get("why", "")
        elif figure["low"] is None:
            yield title, f"{_number(figure['value'])} ms", "one block has no interval"
        else:
            spread = f"{_number(figure['low'])} to {_number(figure['high'])} ms, {arms[name]['blocks']} blocks"
            yield title, f"{_number(figure['value'])} ms", spread


def _unseen(summary: Mapping[str, Any], unseen: Iterable[str]) -> Markup:
    lines = [
        f"cell {one['cell']} ({one['arm']}) is left out of every figure: {'; '.join(one['problems'])}"
        for one in summary["invalid"]
    ]
    # The same of several arms is said once.
    arms: dict[str, list[str]] = {}
    for point in summary["points"]:
        where = levels(point["point"])
        for arm in point["missing"]:
            arms.setdefault(f"no valid cell{where}", []).append(arm)
        for name, arm in point["arms"].items():
            untold = [latency for latency, figure in arm["latency_ms"].items() if "why" in figure]
            for note in (*arm["notes"], *([f"too few requests to tell {', '.join(untold)}"] if untold else [])):
                arms.setdefault(f"{note}{where}", []).append(name)
        lines += [f"{point['rates']}{where}"] if point["rates"] else []
    lines += [f"{', '.join(names)}: {note}" for note, names in arms.items()]
    lines += unseen
    return element("ul", *(element("li", line) for line in lines)) if lines else element("p", "Every cell was valid.")


def _latency(summary: Mapping[str, Any], number: int, point: Mapping[str, Any]) -> Markup:
    where = levels(point["point"])
    arms = point["arms"]
    said = [element("p", str(point["answer"]))] if len(summary["points"]) > 1 else []
    drawn = percentile_plot.render(summary, number)
    return page.section(
        f"Latency by percentile{where}",
        *said,
        page.how_to_read(
            "Each line is one way of exporting spans. To the right are rarer, slower requests: every step of a nine "
            "(90, 99, 99.9 %) has the same room. Lines that lie on each other cost the same; where one leaves the "
            "others is the share of requests that it makes slower. The band is the interval: where bands overlap, the "
            "run does not tell the lines apart.",
            "Latency counts from the moment a request was meant to be sent, so that a server that stands still cannot "
            "hide it.",
        ),
        page.picture(drawn, f"Latency by percentile{where}; the table below has the same in numbers"),
        page.table(
            f"Latency in ms{where}: value, and its 95 % interval from resampled blocks",
            ("arm", *_LATENCIES),
            (
                (name, *(_interval(arm["latency_ms"].get(latency)) for latency in _LATENCIES))
                for name, arm in arms.items()
            ),
        ),
    )


def _cost(point: Mapping[str, Any]) -> Iterator[Markup]:
    where, arms = levels(point["point"]), point["arms"]
    told = {
        key: name
        for key, name in _COSTS.items()
        if any((arm.get(key) or {}).get("value") is not None for arm in arms.values())
    }
    if told:
        yield page.section(
            f"Cost{where}",
            page.table(
                f"What each arm cost the server{where}",
                ("arm", *told.values(), "requests a second, asked", "reached"),
                (
                    (
                        name,
                        *(_interval(arm.get(key)) for key in told),
                        *(_rate(arm, key) for key in ("asked_per_s", "reached_per_s")),
                    )
                    for name, arm in arms.items()
                ),
            ),
        )


def _spans(point: Mapping[str, Any]) -> Markup:
    where = levels(point["point"])
    return page.section(
        f"Spans delivered{where}",
        page.table(
            f"Spans{where}; unaccounted ones were made, and neither received nor told as lost",
            ("arm", *_SPANS),
            ((name, *(f"{arm['spans'][key]:,}" for key in _SPANS)) for name, arm in point["arms"].items()),
        ),
    )


def _pairs(point: Mapping[str, Any]) -> Iterator[Markup]:
    pairs = [_pair(one, _BEYOND[one["beyond_noise"]]) for one in point["pairs"]]
    pairs += [_pair(one, "this is the noise") for one in point["noise"].values()]
    if pairs:
        where = levels(point["point"])
        yield page.section(
            f"Pairs, and the noise{where}",
            page.how_to_read(
                "Each arm is compared with another in the same block, so that what changes from block to block cancels "
                "out. The noise is the same arm measured twice in each block: a ratio within it says nothing.",
            ),
            page.table(
                f"Ratios and differences of pairs{where}, with 95 % intervals",
                ("pair", "figure", "ratio", "difference", "beyond the noise"),
                pairs,
                numbers=2,
            ),
        )


def _pair(one: Mapping[str, Any], beyond: str) -> tuple[str, ...]:
    pair = f"{one['arm']} against {one['against']}"
    return pair, str(one["figure"]), _interval(one["ratio"]), _interval(one["difference"]), beyond


def _rate(arm: Mapping[str, Any], key: str) -> str:
    rate = arm["requests"][key]
    return "not told" if rate is None else _number(rate)


def _thresholds(thresholds: Iterable[Mapping[str, Any]]) -> Markup:
    def row(one: Mapping[str, Any]) -> tuple[str, ...]:
        against = f" against {one['against']} ({one['as']})" if "against" in one else ""
        limits = [
            f"{word} {one[key]:g}" for key, word in (("at_most", "at most"), ("at_least", "at least")) if key in one
        ]
        reached = str(one.get("why", "not known")) if one["reached"] is None else _number(one["reached"])
        wanted = f"{one['arm']}{against}, {one['figure']}: {' and '.join(limits)}{levels(one['point'])}"
        return wanted, reached, "met" if one["met"] else "missed"

    return page.table("What the plan asked for", ("threshold", "reached", "so it is"), map(row, thresholds))


def _made(how: Mapping[str, Any]) -> Markup:
    rows = (element("tr", element("th", name, scope="row"), element("td", _flat(value))) for name, value in how.items())
    return joined([element("table", element("tbody", *rows))])


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_flat(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return " ".join(map(_flat, value))
    return str(value)


def _interval(figure: Mapping[str, Any] | None) -> str:
    if figure is None or figure["value"] is None:
        return "not known"
    if figure["low"] is None:
        return _number(figure["value"])
    return f"{_number(figure['value'])} [{_number(figure['low'])} to {_number(figure['high'])}]"


def _number(value: float) -> str:
    """Return three digits, and none beyond the point from 100 on."""
    if abs(value) >= _HUNDRED:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < _TEN else f"{value:.1f}"
