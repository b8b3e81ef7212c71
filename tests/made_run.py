"""Runs of the bench made by hand: folders with the raw files that a run leaves, and a truth that is known."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from gilscope.bench import requests_file
from gilscope.bench.requests_file import Request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gilscope.bench.statistics import Integers

ARMS = ("none", "sdk", "batch", "native")


def latencies_ns(
    random: np.random.Generator, requests: int, *, factor: float = 1.0, between_blocks: float = 0.05
) -> Integers:
    """Return the latencies of a block: log-normal around 20 ms, in a block that is faster or slower as a whole."""
    block = factor * np.exp(random.normal(0, between_blocks))
    return np.asarray(20e6 * block * np.exp(random.normal(0, 0.3, requests)), dtype=np.int64)


class MadeRun:
    """A run folder with the files of the plan and the machine; cells are added one by one."""

    def __init__(self, folder: Path, *, arms: Sequence[str] = ARMS, repeats: int = 5, **plan: Any) -> None:
        """Writes the plan and the machine."""
        self.folder = folder
        self._cells = 0
        plan = {
            "question": "What does tracing cost?",
            "app": "shop.main:app",
            "users": 100,
            "thresholds": [],
            "seed": 1,
            **plan,
        }
        self._write("plan.json", {**plan, "arms": list(arms), "repeats": repeats})
        self._write("machine.json", {"cpu": "made", "cores": 2, "command": "gilscope bench"})

    def cell(self, arm: str, block: int, took_ns: Integers | None = None, **changes: Any) -> Path:
        """Add a cell, valid unless told otherwise, and return its folder."""
        took_ns = np.full(2000, 20_000_000) if took_ns is None else took_ns
        name = f"cells/{self._cells:04}-{arm}"
        facts = {
            "cell": self._cells,
            "block": block,
            "point": {},
            "arm": arm,
            "kind": "measured",
            "valid": True,
            "problems": [],
            "requests": {
                "asked": len(took_ns),
                "ok": len(took_ns),
                "failed": 0,
                "asked_per_s": 50,
                "reached_per_s": 50,
            },
            "spans": {"made": 1000, "received": 990, "dropped": 10, "failed": 0, "unaccounted": 0},
            "server": {
                "cpu_ns": len(took_ns) * 2_000_000,
                "children_cpu_ns": 0,
                "rss_peak_bytes": 64_000_000,
                "loop_lag_p99_ns": 3_000_000,
            },
            **changes,
        }
        self._cells += 1
        folder = self.folder / name
        folder.mkdir(parents=True)
        starts_ns = range(0, len(took_ns) * 1_000_000, 1_000_000)
        requests_file.write(
            folder / "requests.bin",
            [Request(start, start, start + int(took), 200) for start, took in zip(starts_ns, took_ns, strict=True)],
        )
        self._write(f"{name}/cell.json", facts)
        return folder

    def fill(self, factors: Mapping[str, float], *, blocks: int = 5, requests: int = 2500, seed: int = 7) -> None:
        """Add a cell for each arm in each block, with latencies that are this much longer than 20 ms at the median."""
        random = np.random.default_rng(seed)
        for block in range(blocks):
            for arm, factor in factors.items():
                self.cell(arm, block, latencies_ns(random, requests, factor=factor))

    def _write(self, name: str, document: object) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))
