"""The parsers of a collector's answer survive every seed, and a few seconds of libFuzzer where there is clang."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fuzz import seeds
from tests.native import runner

_HERE = Path(__file__).parent
_TARGETS = {"fuzz_answer": seeds.answers, "fuzz_answer_text": seeds.texts}
_FUZZ_SECONDS = int(os.environ.get("FUZZ_SECONDS", "4"))
_SANITIZERS = ("-O1", "-g", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all")


def _compile(compiler: str, target: str, to: Path, *more: str) -> Path:
    test = runner.parse(_HERE / f"{target}.c")
    command = [
        *shlex.split(compiler),
        *runner.BASE_FLAGS,
        *_SANITIZERS,
        *more,
        f"-I{runner.CORE}",
        str(test.path),
        *map(str, test.sources),
        "-o",
        str(to / target),
        *(f"-l{lib}" for lib in test.libs),
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=runner.COMPILE_TIMEOUT_S, check=False)
    assert result.returncode == 0, f"{shlex.join(command)}\n{result.stderr}"
    return to / target


def _corpus(target: str, to: Path) -> Path:
    corpus = to / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(_TARGETS[target]()):
        (corpus / f"{number:03}").write_bytes(seed)
    return corpus


def _run(command: list[str], timeout_s: float) -> str:
    environment = {**os.environ, **runner.RUN_ENVIRONMENT}
    result = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
        timeout=timeout_s,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-20_000:]
    return result.stdout


@pytest.mark.native
@pytest.mark.parametrize("target", sorted(_TARGETS))
def test_fuzz_target_on_its_seeds_finds_nothing(target: str, tmp_path: Path) -> None:
    """Each seed is read without an error that a sanitizer sees, and with what must hold of any answer."""
    compiler = os.environ.get("CC", "gcc")
    binary = _compile(compiler, target, tmp_path, "-fsanitize=address,undefined", str(_HERE / "replay.c"))
    inputs = sorted(map(str, _corpus(target, tmp_path).iterdir()))
    assert f"{len(inputs)} inputs" in _run([str(binary), *inputs], 60)


@pytest.mark.native
@pytest.mark.skipif(shutil.which("clang") is None, reason="libFuzzer comes with clang")
@pytest.mark.parametrize("target", sorted(_TARGETS))
def test_fuzz_target_for_some_seconds_finds_nothing(target: str, tmp_path: Path) -> None:
    """Neither do the inputs that libFuzzer makes of the seeds; `FUZZ_SECONDS` sets for how long it tries."""
    binary = _compile("clang", target, tmp_path, "-fsanitize=fuzzer,address,undefined")
    corpus = _corpus(target, tmp_path)
    output = _run(
        [
            str(binary),
            f"-max_total_time={_FUZZ_SECONDS}",
            "-max_len=70000",
            "-timeout=10",
            f"-artifact_prefix={tmp_path}/",
            str(corpus),
        ],
        _FUZZ_SECONDS + 60,
    )
    assert "DONE" in output, output[-2_000:]
