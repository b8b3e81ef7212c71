"""Compiles the encoder with a driver instead of ring and exporter, and imports it; see encoder_driver.c."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shlex
import subprocess
import sysconfig
from functools import cache
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parents[2]
EXT = ROOT / "ext"
BUILD = ROOT / "build" / "counts"
NAME = "encoder_driver"
SOURCES = (Path(__file__).with_name(f"{NAME}.c"), *sorted((EXT / "spans").glob("*.c")), EXT / "core" / "otlp.c")
# As setup.py compiles it, and what a compiler warns of is a failure.
FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-pthread", "-fvisibility=hidden", "-fPIC", "-shared", "-g", "-O3")
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")

# gs_encode_status
OK, NOT_SAMPLED, FAILED, TOO_LARGE, NO_MEMORY = range(5)


class Driver(Protocol):
    """What the compiled module offers."""

    def reset(self) -> None:
        """A new encoder has been made: nothing is interned."""

    def encode(self, span: object, generation: int = 0, pushed: bool = True) -> tuple[int, bytes | None, int, bool]:
        """Return status, record, number of replaced values, and whether the record defines its scope."""

    def repeat(self, span: object, times: int) -> int:
        """The span has been encoded so many times; return the bytes of its record."""


@cache
def compiled() -> Path:
    """Return the driver's file, compiled if nothing with the same contents was."""
    compiler = shlex.split(os.environ.get("CC", "gcc"))
    include = sysconfig.get_path("include")
    command = [*compiler, *FLAGS, *WARNINGS, "-isystem", include, f"-I{EXT}", *map(str, SOURCES)]
    contents = hashlib.sha256(shlex.join(command).encode())
    for path in [*SOURCES, *sorted((EXT / "spans").glob("*.h")), *sorted((EXT / "core").glob("*.h"))]:
        contents.update(path.read_bytes())
    folder = BUILD / contents.hexdigest()[:16]
    module = folder / f"{NAME}{sysconfig.get_config_var('EXT_SUFFIX')}"
    if not module.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = module.with_name(f"{module.name}.{os.getpid()}")
        result = subprocess.run([*command, "-o", str(unfinished)], capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise RuntimeError(f"{NAME} does not compile:\n{shlex.join(command)}\n{result.stderr}")
        unfinished.replace(module)
    return module


@cache
def load() -> Driver:
    """Return the compiled module."""
    spec = importlib.util.spec_from_file_location(NAME, compiled())
    if spec is None or spec.loader is None:
        raise ImportError(f"{compiled()} is no extension module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    driver: Driver = module
    return driver
