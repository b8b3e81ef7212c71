"""machine.json: on what a run was made, and the cores that it was given."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

_PACKAGES = (
    "gilscope",
    "opentelemetry-sdk",
    "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry-instrumentation-fastapi",
    "fastapi",
    "starlette",
    "uvicorn",
    "uvloop",
    "locust",
    "py-spy",
)
_TIMEOUT_S = 10


@dataclass(frozen=True, kw_only=True)
class Cores:
    """Where each process may run; None is anywhere.

    Attributes:
        others: What is left for workers of the load.
    """

    server: int | None
    load: int | None
    sink: int | None
    others: tuple[int, ...] = ()

    @classmethod
    def here(cls) -> Cores:
        """Return the cores that this process may use, assigned."""
        return cls.among(os.sched_getaffinity(0))

    @classmethod
    def among(cls, allowed: Collection[int]) -> Cores:
        """Return one core for the server alone, and others for the rest, as far as there are any."""
        ordered = sorted(allowed)
        if len(ordered) == 1:
            return cls(server=None, load=None, sink=None)
        # Not the first: that is the one that takes most interrupts.
        return cls(server=ordered[-1], load=ordered[0], sink=ordered[-2], others=tuple(ordered[1:-2]))

    def of_load(self, workers: int) -> list[int]:
        """Return the cores for so many workers: all but the server's and the receiver's, where there are more."""
        if self.load is None:
            return []
        return [self.load, *self.others] if workers else [self.load]

    def sentence(self) -> str:
        """Return the same in words."""
        if self.server is None:
            return "one core for everything, so server, load and receiver disturb each other"
        if self.load == self.sink:
            return f"the server alone on core {self.server}, load and receiver on core {self.load}"
        return f"the server alone on core {self.server}, load on core {self.load}, receiver on core {self.sink}"


def describe(cores: Cores, expect_workers: int) -> dict[str, Any]:
    """Return what machine.json says; of load that comes from elsewhere, that it does."""
    placed = cores.sentence()
    if expect_workers:
        placed += f"; the users in {expect_workers} workers elsewhere, whose clocks are their own"
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "placed": placed,
        "kernel": platform.release(),
        "python": f"{sys.implementation.name} {platform.python_version()}",
        "packages": {name: found for name in _PACKAGES if (found := package_version(name)) is not None},
        "git": _git(),
        "command": " ".join(["gilscope", *sys.argv[1:]]),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def cpu_model() -> str:
    """Return what the processor calls itself, or its architecture."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.machine()


def package_version(package: str) -> str | None:
    """Return what is installed; None if nothing is."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git() -> str | None:
    """Return the commit of the current directory, `+` behind it if something has been changed; None if it has none."""
    git = shutil.which("git")
    if git is None:
        return None
    commands = ([git, "rev-parse", "--short", "HEAD"], [git, "status", "--porcelain", "--untracked-files=no"])
    done = [
        subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S) for command in commands
    ]
    if done[0].returncode != 0:
        return None
    return done[0].stdout.strip() + ("+" if done[1].stdout.strip() else "")
