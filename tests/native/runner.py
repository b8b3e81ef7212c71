"""Compiles and runs the C tests: each `test_*.c` in every variant that it asks for.

A test says what it needs in comments of its own lines, the first of them in its first line:

    /* sources: ring.c wake.c */            in ext/core; `probe/x.c` in ext/probe; `./peer.c` beside the test
    /* libs: curl z */                      linked with -l
    /* flags: -fno-plt -Wl,-z,now */        for compiler and linker
    /* variants: plain asan */              default: plain asan tsan
    /* timeout: 120 */                      seconds for one run, default 60
    /* mutant: -DRING_ORDER_PUBLISH=memory_order_relaxed expect-fail */
    /* mutant: plain -DCAPACITY_OFF_BY_ONE expect-fail */

A mutant is compiled with its flags, in the variant it names (default: tsan where the test has it, else its first),
and must compile, and fail when it runs. Binaries are kept under `build/native/` by a hash of all that went into them.
They run in an empty directory that is removed after them: sockets and files go there, by relative paths.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "ext" / "core"
BUILD = ROOT / "build" / "native"

# -Wno-error is nowhere: what a compiler warns of is a failure.
BASE_FLAGS = (
    "-std=c11",
    "-D_GNU_SOURCE",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Wshadow",
    "-Werror",
    "-g",
    "-pthread",
)
VARIANT_FLAGS = {
    "plain": ("-O2",),
    "asan": ("-O1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    # -fno-builtin: gcc expands a fixed-size memcpy inline, and ThreadSanitizer then misses races inside it.
    "tsan": ("-O1", "-fno-omit-frame-pointer", "-fsanitize=thread", "-fno-builtin"),
}
RUN_ENVIRONMENT = {
    "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}
COMPILE_TIMEOUT_S = 120.0
DEFAULT_RUN_TIMEOUT_S = 60.0
# ThreadSanitizer of older compilers cannot map its shadow when the kernel randomises more than 28 bits of addresses.
TSAN_LAYOUT_ERROR = "unexpected memory mapping"

_DIRECTIVE = re.compile(r"^\s*/\*\s*(sources|libs|flags|variants|timeout|mutant):\s*(.*?)\s*\*/\s*$", re.MULTILINE)
_CHECKS = re.compile(r"^(\d+) checks$", re.MULTILINE)


class NativeTestError(Exception):
    """The test is not well-formed, does not compile, or did not do what was expected; the message says it all."""


@dataclass(frozen=True)
class Mutant:
    """A build of the test with a known mistake in it, which the test must notice."""

    flags: tuple[str, ...]
    variant: str


@dataclass(frozen=True)
class NativeTest:
    """What the comments of one C test ask for."""

    path: Path
    sources: tuple[Path, ...]
    libs: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    variants: tuple[str, ...] = tuple(VARIANT_FLAGS)
    timeout_s: float = DEFAULT_RUN_TIMEOUT_S
    mutants: tuple[Mutant, ...] = field(default=())

    @property
    def item_timeout_s(self) -> float:
        """Seconds after which compiling and running together have hung."""
        return COMPILE_TIMEOUT_S + 2 * self.timeout_s + 10


@dataclass(frozen=True)
class Run:
    """How one run of a compiled test ended; `status` is None when it was stopped at its timeout."""

    status: int | None
    output: str

    @property
    def checks(self) -> int:
        """Number of checks made, as the test itself printed it at its end."""
        found = _CHECKS.findall(self.output)
        return int(found[-1]) if found else 0

    @property
    def outcome(self) -> str:
        """The end of the run in words."""
        if self.status is None:
            return "did not end in time"
        if self.status < 0:
            return f"was killed by signal {-self.status}"
        return f"exited with status {self.status} after {self.checks} checks"


def parse(path: Path) -> NativeTest:
    """Return what the test's comments ask for.

    Raises:
        NativeTestError: a comment names something that does not exist, or `sources` is not in the first line.
    """
    text = path.read_text(encoding="utf-8")
    first_line = text.partition("\n")[0]
    if not first_line.startswith("/* sources:"):
        message = f"{path.name}:1: expected `/* sources: NAME.c ... */`, got {first_line!r}"
        raise NativeTestError(message)
    found: dict[str, list[str]] = {}
    for name, value in _DIRECTIVE.findall(text):
        found.setdefault(name, []).append(value)
    sources = tuple(_source(path, name) for name in _words(found, "sources"))
    variants = tuple(_words(found, "variants")) or tuple(VARIANT_FLAGS)
    for variant in variants:
        _check_variant(path, variant)
    timeouts = _words(found, "timeout")
    return NativeTest(
        path=path,
        sources=sources,
        libs=tuple(_words(found, "libs")),
        flags=tuple(_words(found, "flags")),
        variants=variants,
        timeout_s=float(timeouts[-1]) if timeouts else DEFAULT_RUN_TIMEOUT_S,
        mutants=tuple(_mutant(path, value, variants) for value in found.get("mutant", ())),
    )


def compile_test(test: NativeTest, variant: str, extra_flags: tuple[str, ...] = ()) -> Path:
    """Return the test's binary, compiled if nothing with the same contents was.

    Raises:
        NativeTestError: the compiler failed; the message is its output.
    """
    command = [
        *shlex.split(os.environ.get("CC", "gcc")),
        *BASE_FLAGS,
        *VARIANT_FLAGS[variant],
        *test.flags,
        *extra_flags,
        f"-I{CORE.parent}",
        f"-I{CORE}",
        f"-I{Path(__file__).parent}",
        str(test.path),
        *map(str, test.sources),
    ]
    links = [f"-l{lib}" for lib in test.libs]
    binary = BUILD / f"{test.path.stem}-{variant}-{_content_hash(test, [*command, *links])}"
    if binary.exists():
        return binary
    BUILD.mkdir(parents=True, exist_ok=True)
    unfinished = binary.with_name(f"{binary.name}.{os.getpid()}")
    result = subprocess.run(
        [*command, "-o", str(unfinished), *links],
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        timeout=COMPILE_TIMEOUT_S,
        check=False,
    )
    if result.returncode != 0:
        message = f"{test.path.name} does not compile ({variant}):\n{shlex.join(command)}\n{result.stderr}"
        raise NativeTestError(message)
    unfinished.replace(binary)
    return binary


def run_binary(binary: Path, timeout_s: float) -> Run:
    """Return how a run of the binary ended; it is over, with everything it started in its session."""
    run = _run_once([str(binary)], timeout_s)
    if run.status not in (0, None) and TSAN_LAYOUT_ERROR in run.output and (setarch := shutil.which("setarch")):
        run = _run_once([setarch, platform.machine(), "-R", str(binary)], timeout_s)
    return run


def run_test(test: NativeTest, variant: str) -> Run:
    """Return the run of a test that passed.

    Raises:
        NativeTestError: it does not compile, failed, made no check, or hung; the message has its output.
    """
    run = run_binary(compile_test(test, variant), test.timeout_s)
    if run.status != 0 or run.checks == 0:
        message = f"{test.path.name} ({variant}) {run.outcome}\n{run.output}"
        raise NativeTestError(message)
    return run


def run_mutant(test: NativeTest, mutant: Mutant) -> Run:
    """Return the run of a mutant that the test killed: it failed, or hung where the unmutated test ends.

    Raises:
        NativeTestError: it does not compile, could not be run, or survived.
    """
    run = run_binary(compile_test(test, mutant.variant, mutant.flags), test.timeout_s)
    label = f"{test.path.name} ({mutant.variant} {' '.join(mutant.flags)})"
    if TSAN_LAYOUT_ERROR in run.output:
        message = f"{label} could not be run\n{run.output}"
        raise NativeTestError(message)
    if run.status == 0:
        message = f"{label} survived: the mutant was expected to fail, and {run.outcome}\n{run.output}"
        raise NativeTestError(message)
    return run


def _run_once(command: list[str], timeout_s: float) -> Run:
    environment = {**os.environ, **RUN_ENVIRONMENT}
    suppressions = Path(__file__).with_name("tsan.supp")
    if suppressions.exists():
        environment["TSAN_OPTIONS"] += f":suppressions={suppressions}"
    with (
        tempfile.TemporaryDirectory(prefix="gilscope-") as scratch,
        subprocess.Popen(
            command,
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,
        ) as process,
    ):
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            output, _ = process.communicate()
            return Run(status=None, output=output)
    return Run(status=process.returncode, output=output)


def _words(found: dict[str, list[str]], name: str) -> list[str]:
    return [word for value in found.get(name, ()) for word in value.split()]


def _check_variant(path: Path, variant: str) -> None:
    if variant not in VARIANT_FLAGS:
        message = f"{path.name}: variants are {', '.join(VARIANT_FLAGS)}, got {variant!r}"
        raise NativeTestError(message)


def _source(path: Path, name: str) -> Path:
    if name.startswith("./"):
        source = path.parent / name
    elif "/" in name:
        source = ROOT / "ext" / name
    else:
        source = CORE / name
    if not source.is_file():
        message = f"{path.name}:1: source {name} does not exist: {source}"
        raise NativeTestError(message)
    return source


def _mutant(path: Path, value: str, variants: tuple[str, ...]) -> Mutant:
    words = value.split()
    if "expect-fail" not in words:
        message = f"{path.name}: a mutant says `expect-fail`, got {value!r}"
        raise NativeTestError(message)
    flags = tuple(word for word in words if word.startswith("-D"))
    named = [word for word in words if not word.startswith("-D") and word != "expect-fail"]
    if not flags or len(named) > 1:
        message = f"{path.name}: expected `mutant: [VARIANT] -DNAME=VALUE ... expect-fail`, got {value!r}"
        raise NativeTestError(message)
    variant = named[0] if named else "tsan" if "tsan" in variants else variants[0]
    _check_variant(path, variant)
    return Mutant(flags=flags, variant=variant)


@cache
def _compiler_version(compiler: str) -> str:
    return subprocess.run(
        [*shlex.split(compiler), "--version"], capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S, check=True
    ).stdout


def _content_hash(test: NativeTest, command: list[str]) -> str:
    # Every header counts: to find out which are included is what the compiler would be started for.
    headers = [*CORE.parent.rglob("*.h"), *Path(__file__).parent.glob("*.h"), *test.path.parent.glob("*.h")]
    digest = hashlib.sha256()
    digest.update(_compiler_version(os.environ.get("CC", "gcc")).encode())
    digest.update("\0".join(command).encode())
    for path in [test.path, *test.sources, *sorted(set(headers))]:
        digest.update(f"\0{path}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:20]
