"""However a process ends, its spans are sent, it ends soon, and with its own exit code."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gilscope.bench.sink.client import Sink

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]

EXIT_CODES = {"plain": 0, "forgotten": 0, "exception": 1, "exit-3": 3, "busy-thread": 0}


def run(endpoint: str, how: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    command = [sys.executable, "-m", "tests.integration.programs.ending", endpoint, how]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False)


@pytest.fixture
def silent_endpoint() -> Iterator[str]:
    """A collector that accepts connections, as its kernel does for it, and never reads from one."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1/traces"


@pytest.mark.smoke
@pytest.mark.parametrize("how", EXIT_CODES)
def test_spans_are_sent_however_the_process_ends(how: str) -> None:
    """Spans that were queued at the end arrive, with or without a provider that shuts down."""
    with Sink(track_ids=True) as sink:
        program = run(sink.http_endpoint, how, 30)
        assert program.returncode == EXIT_CODES[how], program.stderr
        assert sink.stats().distinct_spans_accepted >= 100
        assert ("Traceback" in program.stderr) == (how == "exception")


@pytest.mark.parametrize("how", EXIT_CODES)
def test_a_silent_collector_does_not_hold_the_process(silent_endpoint: str, how: str) -> None:
    """The process ends with its own exit code within the exit budget of 5 s (the limit here is for a slow machine)."""
    program = run(silent_endpoint, how, 30)
    assert program.returncode == EXIT_CODES[how], program.stderr
    assert "spans lost" in program.stderr


@pytest.mark.smoke
def test_an_interrupt_ends_a_flush(silent_endpoint: str) -> None:
    """Ctrl-C while a flush waits is a KeyboardInterrupt at once, not at the flush's deadline."""
    assert run(silent_endpoint, "interrupted", 30).returncode == 130
