"""`python -m loadtests.demo` in a very short form: its figures add up, and its errors say what to do."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gilscope.bench.sockets import bound_socket

ROOT = Path(__file__).resolve().parents[2]
REQUESTS = 40
SPANS_PER_REQUEST = 16
ARMS = {"none", "stock", "native"}


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Return the demo's exit code and output; it ends by itself well within the time."""
    command = [sys.executable, "-m", "loadtests.demo", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """What one short run prints with --json."""
    done = run_demo("--requests", str(REQUESTS), "--users", "200", "--warm-up", "0", "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_spans_made_are_those_of_the_requests(document: dict[str, Any]) -> None:
    """Each arm has had all requests, and each request made its sixteen spans."""
    assert document["spans_per_request"] == SPANS_PER_REQUEST
    made = {name: arm["made"] for name, arm in document["arms"].items()}
    assert made == dict.fromkeys(ARMS, REQUESTS * SPANS_PER_REQUEST)


@pytest.mark.parametrize("arm", ["stock", "native"])
def test_spans_all_arrive_at_this_small_load(document: dict[str, Any], arm: str) -> None:
    """The receiver has every span, by its id."""
    found = document["arms"][arm]
    assert (found["arrived"], found["lost"]) == (REQUESTS * SPANS_PER_REQUEST, 0)


def test_stats_of_the_native_processor_agree_with_the_receiver(document: dict[str, Any]) -> None:
    """What stats() counted is what was made, and what arrived, warm-up included."""
    blocks = [block for block in document["blocks"] if block["arm"] == "native"]
    assert len(blocks) == 2
    for block in blocks:
        stats, warm_up = block["stats"], block["warm_up_spans"]
        assert warm_up == 10 * SPANS_PER_REQUEST
        assert stats["ended"] == block["spans"] + warm_up
        assert stats["exported"] == block["arrived"] + warm_up
        assert (stats["queued"], stats["unaccounted"]) == (0, 0)


def test_time_is_booked_to_the_thread_that_spent_it(document: dict[str, Any]) -> None:
    """The stock processor exports on a Python thread, ours on a native one; without an exporter there is neither."""
    threads = {block["arm"]: (block["python_threads"], block["native_threads"]) for block in document["blocks"]}
    assert threads["none"] == ([], [])
    assert len(threads["stock"][0]) == 1
    assert threads["stock"][1] == []
    assert threads["native"][0] == []
    assert len(threads["native"][1]) == 1
    arms = document["arms"]
    assert arms["stock"]["export_thread_ns"] > arms["stock"]["native_thread_ns"] == 0
    assert arms["native"]["native_thread_ns"] > arms["native"]["export_thread_ns"] == 0
    for arm in ("stock", "native"):
        assert arms[arm]["gil_ns"] == pytest.approx(arms[arm]["on_end_ns"] + arms[arm]["export_thread_ns"])


def test_native_exporting_takes_less_of_the_gil(document: dict[str, Any]) -> None:
    """Within one run, interleaved: less than half, where it is a tenth or less when the machine is quiet."""
    arms = document["arms"]
    assert 0 < arms["native"]["gil_ns"] < arms["stock"]["gil_ns"] / 2


def test_samples_give_the_percentiles_that_are_shown(document: dict[str, Any]) -> None:
    """Lag and latency of an arm come from all its blocks; nothing is earlier than it can be, and none is left out."""
    for name, arm in document["arms"].items():
        blocks = [block for block in document["blocks"] if block["arm"] == name]
        lags_ns = [lag for block in blocks for lag in block["lags_ns"]]
        latencies_ns = [latency for block in blocks for latency in block["latencies_ns"]]
        assert len(latencies_ns) == REQUESTS
        # What the service waits for others, in a row, but that uvloop counts a timer from its last look at the clock.
        assert min(latencies_ns) > 23_000_000
        assert arm["lag_samples"] == len(lags_ns) > 100
        assert min(lags_ns) >= 0
        assert (arm["lag"]["max_ns"], arm["latency"]["max_ns"]) == (max(lags_ns), max(latencies_ns))
        assert arm["lag"]["p50_ns"] <= arm["lag"]["p99_ns"] <= arm["lag"]["max_ns"]


def test_answer_is_one_sentence_with_the_figures(document: dict[str, Any]) -> None:
    """It names what both took of the GIL, as the table does."""
    answer = document["answer"]
    for arm in ("native", "stock"):
        assert f"{document['arms'][arm]['gil_ns'] / 1e3:.2f} us" in answer
    assert re.fullmatch(r"Exporting a span took [^\n]*no span was lost\.", answer)


def test_port_in_use_is_said_and_how_to_go_on() -> None:
    """The server cannot start; the message has the port and the way out, and no traceback."""
    with bound_socket("127.0.0.1", 0) as taken:
        taken.listen()
        done = run_demo("--requests", "4", "--port", str(taken.getsockname()[1]))
        assert done.returncode == 1
        last = done.stderr.splitlines()[-1]
        assert f"127.0.0.1:{taken.getsockname()[1]}: Address already in use" in last
        assert "--port 0" in last
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--requests", "1"], "--requests: must be from 4 to 100000, got 1"),
        (["--port", "70000"], "--port: must be from 0 to 65535, got 70000"),
        (["--users", "x"], "--users: invalid number value: 'x'"),
    ],
)
def test_wrong_usage_is_explained(arguments: list[str], message: str) -> None:
    """Exit code 2, with what was expected and what came."""
    done = run_demo(*arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_help_shows_commands_that_can_be_run() -> None:
    """Every example uses options that exist."""
    done = run_demo("--help")
    assert done.returncode == 0
    examples = re.findall(r"^  python -m loadtests\.demo(.*?)(?:   |$)", done.stdout, re.MULTILINE)
    assert len(examples) >= 4
    known = set(re.findall(r"^  (--[\w-]+)", done.stdout, re.MULTILINE))
    assert {option for example in examples for option in re.findall(r"--[\w-]+", example)} <= known
