"""Builds what is compiled: every `ext/_NAME.pyx` is `gilscope._NAME`, with the C of `ext/NAME` and `ext/core`.

Switches in the environment, each with a directory of its own under `build/`:
    GILSCOPE_SANITIZE=address,undefined     gcc's sanitizers; run Python with libasan in LD_PRELOAD
    GILSCOPE_DEBUG=1                        -O0, assertions
    GILSCOPE_COVERAGE=1                     gcov of the C, line tracing of the Cython
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SANITIZE = os.environ.get("GILSCOPE_SANITIZE", "")
DEBUG = os.environ.get("GILSCOPE_DEBUG") == "1"
COVERAGE = os.environ.get("GILSCOPE_COVERAGE") == "1"
VARIANT = "-".join([*filter(None, SANITIZE.split(",")), *["debug"] * DEBUG, *["coverage"] * COVERAGE]) or "release"

COMPILE = ["-std=c11", "-D_GNU_SOURCE", "-pthread", "-fvisibility=hidden", "-Wall", "-Wextra", "-g"]
COMPILE += ["-O0", "-UNDEBUG"] if DEBUG or COVERAGE else ["-O1"] if SANITIZE else ["-O3"]
LINK = ["-pthread"]
if SANITIZE:
    COMPILE += [f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all"]
    LINK += [f"-fsanitize={SANITIZE}"]
if COVERAGE:
    COMPILE += ["--coverage", "-DCYTHON_TRACE_NOGIL=1"]
    LINK += ["--coverage"]


def tool_output(command: str) -> list[str] | None:
    """Return what the command printed, as words; None when there is no such command, or it failed."""
    try:
        return shlex.split(subprocess.run(command.split(), capture_output=True, text=True, check=True).stdout)
    except (OSError, subprocess.CalledProcessError):
        return None


def require_header(header: str, debian: str, fedora: str, flags: list[str]) -> None:
    """Return when the compiler finds the header; otherwise end the build, saying which package has it."""
    command = [*shlex.split(os.environ.get("CC", "cc")), *flags, "-E", "-x", "c", "-o", os.devnull, "-"]
    try:
        subprocess.run(command, input=f"#include <{header}>\n", capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise SystemExit(f"gilscope: no C compiler ({command[0]}): apt-get install gcc, or dnf install gcc") from None
    except subprocess.CalledProcessError as error:
        packages = f"apt-get install {debian}, or dnf install {fedora}"
        raise SystemExit(f"gilscope: {header} was not found: {packages}\n{error.stderr}") from None


class BuildExtensions(build_ext):
    """Finds the libraries and runs Cython, when there is something to compile and not before."""

    def finalize_options(self) -> None:
        """Turn each `.pyx` into C below `build/` and add the flags of the libraries."""
        from Cython.Build import cythonize  # an sdist is made without it

        compiling = tool_output("pkg-config --cflags libcurl") or tool_output("curl-config --cflags") or []
        linking = tool_output("pkg-config --libs libcurl") or tool_output("curl-config --libs") or ["-lcurl"]
        require_header("curl/curl.h", "libcurl4-openssl-dev", "libcurl-devel", compiling)
        require_header("zlib.h", "zlib1g-dev", "zlib-devel", compiling)
        extensions = self.distribution.ext_modules or []
        for extension in extensions:
            extension.extra_compile_args = [*COMPILE, *compiling]
            extension.extra_link_args = [*LINK, *([] if extension.name == "gilscope._probe" else linking), "-lz"]
        self.distribution.ext_modules = cythonize(
            extensions,
            build_dir=f"build/{VARIANT}/cython",
            include_path=["ext", "ext/core"],
            compiler_directives={"language_level": "3", "linetrace": COVERAGE},
        )
        super().finalize_options()


HEADERS = sorted(map(str, Path("ext").rglob("*.h")))
CORE = sorted(map(str, Path("ext/core").glob("*.c")))
# The probe needs no transport: of the core it takes these, and is not linked with libcurl.
PROBE_CORE = ["ext/core/ring.c", "ext/core/wake.c"]


def extension(pyx: Path) -> Extension:
    """Return what `ext/_NAME.pyx` is built from; the flags come when it is."""
    name = pyx.stem.removeprefix("_")
    return Extension(
        f"gilscope.{pyx.stem}",
        sources=[
            str(pyx),
            *sorted(map(str, Path("ext", name).glob("*.c"))),
            *(PROBE_CORE if name == "probe" else CORE),
        ],
        depends=HEADERS,
        include_dirs=["ext", "ext/core", f"ext/{name}"],
    )


setup(
    cmdclass={"build_ext": BuildExtensions},
    ext_modules=[extension(pyx) for pyx in sorted(Path("ext").glob("_*.pyx"))],
    # A switch or a flag that changed leaves no trace in a file's time: compile always, the Makefile knows when.
    options={"build": {"build_base": f"build/{VARIANT}"}, "build_ext": {"force": "1"}},
)
