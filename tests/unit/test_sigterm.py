"""The SIGTERM hook, in processes of its own where the signal is real."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING

import pytest

from gilscope.spans import lifetime
from gilscope.spans.sigterm import flush_on_sigterm

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = """
import atexit, os, signal, sys
from gilscope.spans import lifetime
from gilscope.spans.sigterm import flush_on_sigterm
class Pipeline:
    def force_flush(self, timeout_millis):
        print("flushed", timeout_millis > 0, flush=True)
        return True
    def shutdown(self, timeout_millis):
        return True
class Owner: pass
owner, pipeline = Owner(), Pipeline()
lifetime.watch(owner, pipeline, 100.0)
{before}
print(flush_on_sigterm(), flush_on_sigterm(), flush=True)
os.kill(os.getpid(), signal.SIGTERM)
print("alive", flush=True)
"""


def run(before: str) -> tuple[int, list[str]]:
    """Return exit status and output of a program that sends itself SIGTERM, after `before`."""
    code = PROGRAM.format(before=textwrap.dedent(before))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout.split("\n")[:-1]


def test_default_action_ends_the_process_by_the_signal() -> None:
    """Whoever waits for the process sees SIGTERM, as without the hook."""
    assert run("") == (-signal.SIGTERM, ["True True", "flushed True"])


def test_previous_handler_is_called_after_the_flush() -> None:
    """With what it would have got."""
    before = "signal.signal(signal.SIGTERM, lambda number, frame: print('previous', number == 15, frame is not None))"
    status, output = run(before)
    assert (status, output) == (0, ["True True", "flushed True", "previous True True", "alive"])


def test_exit_in_previous_handler_sets_the_status() -> None:
    """A handler that raises SystemExit is common."""
    status, output = run("signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))")
    assert (status, output[-1]) == (7, "flushed True")


def test_ignored_signal_stays_ignored() -> None:
    """Nothing is flushed either: the process goes on."""
    assert run("signal.signal(signal.SIGTERM, signal.SIG_IGN)") == (0, ["False False", "alive"])


def test_flush_that_raises_does_not_stop_the_chain() -> None:
    """The process was told to go."""
    status, output = run("pipeline.force_flush = lambda timeout_millis: 1 / 0")
    assert (status, output) == (-signal.SIGTERM, ["True True"])


@pytest.fixture
def sigterm() -> Iterator[None]:
    """Put the handler back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("sigterm")
def test_other_thread_is_refused_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Python lets only the main thread set handlers."""
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(flush_on_sigterm()))
    thread.start()
    thread.join()
    assert results == [False]
    assert "main thread only" in caplog.text
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.usefixtures("sigterm")
def test_handler_of_another_kind_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that was installed in C cannot be called."""
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    assert flush_on_sigterm() is False
    assert "cannot be chained" in caplog.text


@pytest.mark.usefixtures("sigterm")
def test_variable_turns_the_hook_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the processor that is made first."""
    from gilscope import NativeSpanProcessor

    monkeypatch.setenv("GILSCOPE_FLUSH_ON_SIGTERM", "true")
    NativeSpanProcessor().shutdown()
    handler = signal.getsignal(signal.SIGTERM)
    assert callable(handler)
    assert type(handler).__module__ == "gilscope.spans.sigterm"
    assert lifetime.flush_all() is True
