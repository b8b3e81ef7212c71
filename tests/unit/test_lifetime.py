"""Pipelines end with their owner, or with the process."""

from __future__ import annotations

import _thread
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from gilscope.spans import lifetime

if TYPE_CHECKING:
    import pytest

    from tests.unit.fake_pipeline import Pipeline


class Owner:
    """Owns a pipeline."""


def queued_pipeline(pipelines: list[Pipeline]) -> Any:
    """Return a pipeline with something in it."""
    from gilscope._spans import Pipeline

    pipeline: Any = Pipeline(on_message=print)  # type: ignore[call-arg]
    pipeline.queue.append(object())
    return pipeline


def test_empty_pipeline_ends_with_its_owner_at_once(pipelines: list[Pipeline]) -> None:
    """Without a thread."""
    owner = Owner()
    pipeline = queued_pipeline(pipelines)
    pipeline.queue.clear()
    lifetime.watch(owner, pipeline, 100.0)
    del owner
    assert pipeline.shutdown_timeouts == [0]


def test_full_pipeline_is_sent_in_the_background(pipelines: list[Pipeline]) -> None:
    """Garbage collection does not wait for a collector, and does not lose spans either."""
    owner = Owner()
    pipeline = queued_pipeline(pipelines)
    finished = threading.Event()
    inner = pipeline.shutdown
    threads: list[int] = []

    def shutdown(timeout_millis: float) -> bool:
        threads.append(threading.get_ident())
        done: bool = inner(timeout_millis)
        finished.set()
        return done

    pipeline.shutdown = shutdown
    lifetime.watch(owner, pipeline, 100.0)
    del owner
    assert finished.wait(10)
    assert pipeline.shutdown_timeouts == [100.0]
    assert threads != [threading.get_ident()]
    assert not pipeline.queue


def test_full_pipeline_without_a_thread_waits_for_the_exit(
    monkeypatch: pytest.MonkeyPatch, pipelines: list[Pipeline]
) -> None:
    """When no thread can be had, the exit takes care."""

    def refuse(*_args: object) -> int:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    owner = Owner()
    pipeline = queued_pipeline(pipelines)
    lifetime.watch(owner, pipeline, 100.0)
    del owner
    assert not pipeline.stopped
    lifetime.shut_down_all()
    assert pipeline.stopped
    assert not lifetime._running


def test_exit_budget_is_for_all_together(monkeypatch: pytest.MonkeyPatch, pipelines: list[Pipeline]) -> None:
    """Three processors and a dead collector must not take three times five seconds."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    owners = [Owner() for _ in range(3)]
    made = [queued_pipeline(pipelines) for _ in owners]
    for owner, pipeline in zip(owners, made, strict=True):
        inner = pipeline.shutdown

        def slow(timeout_millis: float, inner: Any = inner) -> Any:
            clock[0] += timeout_millis / 1000
            return inner(timeout_millis)

        pipeline.shutdown = slow
        lifetime.watch(owner, pipeline, 5000.0)
    lifetime.shut_down_all()
    assert [pipeline.shutdown_timeouts for pipeline in made] == [[5000.0], [0.0], [0.0]]


def test_flush_all_tells_the_truth(pipelines: list[Pipeline]) -> None:
    """One that fails is enough."""
    owner = Owner()
    good, bad = queued_pipeline(pipelines), queued_pipeline(pipelines)
    bad.reachable = False
    lifetime.watch(owner, good, 100.0)
    assert lifetime.flush_all() is True
    lifetime.watch(owner, bad, 100.0)
    assert lifetime.flush_all() is False


def test_exiting_is_true_in_atexit_functions_only() -> None:
    """In every supported version the main thread counts as ended by then."""
    code = (
        "import atexit; from gilscope.spans import lifetime;"
        "atexit.register(lambda: print(lifetime.exiting())); print(lifetime.exiting())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
