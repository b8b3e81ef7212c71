"""What can be told of an arm, by name: one function of its cells and of weights for each figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gilscope.bench.statistics import Pool, estimate, mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gilscope.bench.cells import Cell
    from gilscope.bench.statistics import Estimate, Figure, Floats, Integers

PERCENTILES = {"p50_ms": 50.0, "p90_ms": 90.0, "p99_ms": 99.0, "p99.9_ms": 99.9, "max_ms": 100.0}


def _cpu_per_request_ms(facts: Mapping[str, Any]) -> float:
    server = facts["server"]
    return float((server["cpu_ns"] + server.get("children_cpu_ns", 0)) / facts["requests"]["ok"] / 1e6)


def _gc_pause_ms_per_s(facts: Mapping[str, Any]) -> float:
    pause_ns = sum(each["pause_ns"] for each in facts["server"]["gc"])
    return float(pause_ns / (facts["until_ns"] - facts["from_ns"]) * 1e3)


def _lost_spans(spans: Mapping[str, Any]) -> int:
    """Return the spans that were to be sent and were not received: those of `sdk` never were."""
    return int(spans["dropped"] + spans["failed"] + spans["unaccounted"])


# One number a cell; an arm's figure is the mean over its blocks.
_OF_CELLS: dict[str, Callable[[Mapping[str, Any]], float]] = {
    "cpu_per_request_ms": _cpu_per_request_ms,
    "memory_mb": lambda facts: float(facts["server"]["rss_peak_bytes"] / 1e6),
    "loop_lag_p50_ms": lambda facts: float(facts["server"]["loop_lag_p50_ns"] / 1e6),
    "loop_lag_p99_ms": lambda facts: float(facts["server"]["loop_lag_p99_ns"] / 1e6),
    "loop_lag_max_ms": lambda facts: float(facts["server"]["loop_lag_max_ns"] / 1e6),
    "gc_pause_ms_per_s": _gc_pause_ms_per_s,
    "gc_pause_longest_ms": lambda facts: max(each["longest_pause_ns"] for each in facts["server"]["gc"]) / 1e6,
    "run_queue_ms": lambda facts: float(facts["server"]["run_queue_ns"] / 1e6),
    "reached_per_s": lambda facts: float(facts["requests"]["reached_per_s"]),
    "lost_spans": lambda facts: float(_lost_spans(facts["spans"])),
    "unaccounted_spans": lambda facts: float(facts["spans"]["unaccounted"]),
}

_SPANS = ("made", "received", "dropped", "failed", "unaccounted")

NAMES = (*PERCENTILES, *_OF_CELLS)


class ArmFigures:
    """The figures of one arm at one point.

    Attributes:
        cells: One a block, in the order of the blocks.
        pool: All their latencies.
    """

    def __init__(self, cells: Sequence[Cell]) -> None:
        """Sorts the latencies, once for all figures."""
        self.cells = sorted(cells, key=lambda cell: cell.block)
        self.pool = Pool([cell.latencies_ns for cell in self.cells])

    @property
    def blocks(self) -> tuple[int, ...]:
        """Which blocks there are."""
        return tuple(cell.block for cell in self.cells)

    def spans(self) -> dict[str, int]:
        """Return what became of the spans of all blocks; `lost` is what was to be sent and was not received."""
        told = [cell.facts.get("spans") or {} for cell in self.cells]
        sums = {name: sum(int(one.get(name, 0)) for one in told) for name in _SPANS}
        return {**sums, "lost": _lost_spans(sums)}

    def collections(self) -> list[dict[str, float]]:
        """Return the garbage collections of all blocks, by generation; none if the cells do not tell."""
        told = [cell.facts.get("server", {}).get("gc") for cell in self.cells]
        if not all(isinstance(one, list) for one in told):
            return []
        return [
            {
                "collections": sum(each["collections"] for each in of_blocks),
                "pause_ms": sum(each["pause_ns"] for each in of_blocks) / 1e6,
                "longest_ms": max(each["longest_pause_ns"] for each in of_blocks) / 1e6,
            }
            for of_blocks in zip(*told, strict=True)
        ]

    def within(self, blocks: Sequence[int]) -> ArmFigures:
        """Return the figures of these blocks alone."""
        if tuple(blocks) == self.blocks:
            return self
        return ArmFigures([cell for cell in self.cells if cell.block in blocks])

    def figure(self, name: str) -> Figure | None:
        """Return a figure by one of `NAMES`; None if there are too few requests to tell, or a cell does not know."""
        percentile = PERCENTILES.get(name)
        if percentile is not None:
            return self._percentile_ms(percentile) if self.pool.told(percentile) else None
        try:
            return mean([_OF_CELLS[name](cell.facts) for cell in self.cells])
        except (KeyError, TypeError, ZeroDivisionError):
            if name not in _OF_CELLS:
                raise
            return None

    def estimate(self, name: str, seed: int) -> Estimate | None:
        """Return a figure with its interval, or None as `figure` does."""
        figure = self.figure(name)
        return figure and estimate(figure, len(self.cells), seed, of_extremes=name == "max_ms")

    def _percentile_ms(self, percentile: float) -> Figure:
        def of(weights: Integers) -> Floats:
            return self.pool.percentiles(weights, [percentile])[:, 0] / 1e6

        return of
