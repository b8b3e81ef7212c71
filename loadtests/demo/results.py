"""What the blocks found, pooled by arm, and whether it can be believed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from loadtests.apps.chat import SPANS_PER_REQUEST
from loadtests.demo.arms import Arm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadtests.demo.load import LoadResult

# The client and the server have a core each; a client later than this was disturbed, and the latencies are its own.
LATE_CLIENT_NS = 20_000_000
# Of a block's time. A hundredth is what would move a p99.
DISTURBED_SHARE = 0.01


@dataclass(frozen=True, kw_only=True)
class Block:
    """What one block found; see `loadtests.demo.server` for `server`.

    Attributes:
        warm_up_spans: Made before measuring began.
        warm_up_arrived: How many of these the sink then had.
        arrived: Spans of the measured part that the sink accepted, by their ids.
        duplicates: Spans that it accepted more than once.
    """

    arm: Arm
    requests: int
    load: LoadResult
    server: dict[str, Any]
    warm_up_spans: int
    warm_up_arrived: int
    arrived: int
    duplicates: int

    def problems(self) -> list[str]:
        """Return why this block does not count; nothing if it does."""
        found = self.load.failures[:3]
        if len(self.load.failures) > len(found):
            found.append(f"{len(self.load.failures)} requests failed in all")
        made = self.server["spans"]
        if not found and made != self.requests * SPANS_PER_REQUEST:
            found.append(f"{self.requests} requests made {made} spans, not {SPANS_PER_REQUEST} each")
        if self.duplicates:
            found.append(f"{self.duplicates} spans arrived more than once")
        if self.arm is not Arm.NONE and self.warm_up_arrived != self.warm_up_spans:
            found.append(f"of {self.warm_up_spans} spans of the warm-up {self.warm_up_arrived} arrived")
        if self.server["python_threads"] and self.server["native_threads"]:
            found.append(
                f"CPU time cannot be told apart: Python runs {self.server['python_threads']} beside the loop, "
                f"and {self.server['native_threads']} are native"
            )
        found += self._problems_of_stats()
        return [f"{self.arm.label}: {problem}" for problem in found]

    def remarks(self) -> list[str]:
        """Return what a reader of the figures should know; nothing on a quiet machine."""
        found = []
        late_ns = percentile(self.load.late_ns, 99)
        if late_ns > LATE_CLIENT_NS:
            found.append(
                f"{self.arm.label}: the client itself was late, p99 {late_ns / 1e6:.1f} ms: is this machine busy?"
            )
        # With an exporter its own thread may be the one that has the core.
        share = (self.server["core_wait_ns"] or 0) / self.server["measured_ns"]
        if self.arm is Arm.NONE and share > DISTURBED_SHARE:
            found.append(
                f"other programs had the server's core for {share:.1%} of a block while its loop was ready to run"
            )
        return found

    def _problems_of_stats(self) -> list[str]:
        stats = self.server["stats"]
        if stats is None:
            return []
        made = self.warm_up_spans + self.server["spans"]
        arrived = self.warm_up_arrived + self.arrived
        told = {name: stats[name] for name in ("ended", "exported", "queued", "unaccounted")}
        if told != {"ended": made, "exported": arrived, "queued": 0, "unaccounted": 0}:
            return [f"{made} spans were made and {arrived} arrived, but stats() says {told}"]
        return []


@dataclass(frozen=True)
class Spread:
    """Some percentiles of durations, in nanoseconds."""

    p50_ns: int
    p99_ns: int
    max_ns: int

    @classmethod
    def of(cls, values_ns: Sequence[int]) -> Spread:
        """Return those of at least one value."""
        return cls(percentile(values_ns, 50), percentile(values_ns, 99), max(values_ns))


def percentile(values: Sequence[int], percent: float) -> int:
    """Return the smallest value that at least so many per cent of them do not exceed (nearest rank)."""
    return sorted(values)[max(math.ceil(len(values) * percent / 100), 1) - 1]


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """What an arm's blocks found together.

    Attributes:
        made: Spans ended while measuring.
        lost: Made, and never accepted by the sink.
        on_end_ns: For each span, on the event loop's thread; without an exporter, what doing nothing is measured as.
        export_thread_ns: For each span: CPU time of a Python thread that exports, which needs the GIL.
        native_thread_ns: For each span: CPU time of a native thread that exports, which cannot have it.
        lag: Of the event loop.
        latency: Of requests, from the intended start.
    """

    requests: int
    made: int
    arrived: int
    lost: int
    on_end_ns: float
    export_thread_ns: float
    native_thread_ns: float
    lag: Spread
    lag_samples: int
    latency: Spread
    client_late: Spread

    @property
    def gil_ns(self) -> float:
        """GIL time spent on exporting, for each span."""
        return self.on_end_ns + self.export_thread_ns

    @classmethod
    def of(cls, blocks: Sequence[Block]) -> ArmResult:
        """Return what these blocks of one arm found, as if they had been one."""
        servers = [block.server for block in blocks]
        made = sum(server["spans"] for server in servers)
        arrived = sum(block.arrived for block in blocks)
        exporting = blocks[0].arm is not Arm.NONE
        lags_ns = list(chain.from_iterable(server["lags_ns"] for server in servers))
        on_end_ns = sum(server["on_end_ns"] for server in servers) / sum(server["samples"] for server in servers)
        return cls(
            requests=sum(block.requests for block in blocks),
            made=made,
            arrived=arrived,
            lost=made - arrived if exporting else 0,
            on_end_ns=on_end_ns,
            export_thread_ns=sum(s["threads_cpu_ns"] for s in servers if s["python_threads"]) / made,
            native_thread_ns=sum(s["threads_cpu_ns"] for s in servers if not s["python_threads"]) / made,
            lag=Spread.of(lags_ns),
            lag_samples=len(lags_ns),
            latency=Spread.of(list(chain.from_iterable(block.load.latencies_ns for block in blocks))),
            client_late=Spread.of(list(chain.from_iterable(block.load.late_ns for block in blocks))),
        )
