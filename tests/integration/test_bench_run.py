"""Whole runs of the bench, on real servers and real load: what is kept, what is refused, and what is left behind."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from gilscope.bench import cell, requests_file
from gilscope.bench import run as run_module
from gilscope.bench.cell import CellError, CellRunner
from gilscope.bench.machine import Cores
from gilscope.bench.plan import Plan
from gilscope.bench.run import run
from gilscope.bench.summary import summarize

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(importlib.util.find_spec("locust") is None, reason="the extra `bench` is not installed")

TIMEOUT_S = 60.0
APP = "tests.integration.programs.bench_apps"
PLAN = Plan(
    app=f"{APP}:untraced",
    factory=True,
    path="/work",
    arms=("none", "batch"),
    users=4,
    think_time_s=0.1,
    duration_s=0.6,
    warmup_s=0.3,
    repeats=1,
    probe=False,
)


def plan_of(**fields: Any) -> Plan:
    """Return the plan with some other fields."""
    return dataclasses.replace(PLAN, **fields)


def cells_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what every cell.json says, by the name of its folder."""
    return {path.parent.name: json.loads(path.read_bytes()) for path in sorted(folder.glob("cells/*/cell.json"))}


def run_one(plan: Plan, folder: Path, show: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Return what one cell of the arm `batch` measured."""
    return CellRunner(Cores.here(), show).run(plan, "batch", "measured", folder)


@pytest.fixture(autouse=True)
def no_process_left() -> Any:
    """Fail if a test leaves a process behind."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


def test_run_of_a_plan_measures_every_arm_and_goes_on_with_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All cells are there; a second run does only the one that was taken away."""
    monkeypatch.setattr(run_module, "_TRIES", 1)  # on a busy machine a cell is invalid, and would be repeated
    run(PLAN, tmp_path, lambda _: None)
    first = cells_of(tmp_path)
    assert {facts["arm"] for facts in first.values()} == {"batch", "none", "none.again"}
    gone = next(name for name, facts in first.items() if facts["arm"] == "batch")
    (tmp_path / "cells" / gone / "cell.json").unlink()
    run(PLAN, tmp_path, lambda _: None)
    second = cells_of(tmp_path)
    assert {name for name, facts in second.items() if facts != first.get(name)} == {gone}


def test_cell_writes_down_the_requests_of_its_window(tmp_path: Path) -> None:
    """Every request was due inside it, was sent no earlier, and was answered after that."""
    facts = run_one(PLAN, tmp_path)
    requests = requests_file.read(tmp_path / "requests.bin")
    assert facts["requests"]["ok"] == facts["requests"]["asked"] == len(requests.status) > 0
    assert (requests.intended_ns >= facts["from_ns"]).all()
    assert (requests.intended_ns < facts["until_ns"]).all()
    assert (requests.sent_ns >= requests.intended_ns).all()
    assert (requests.done_ns > requests.sent_ns).all()


def test_cell_of_an_open_loop_asks_at_its_rate(tmp_path: Path) -> None:
    """The requests that are due do not depend on the answers: one in each slot, so two may be missing."""
    facts = run_one(plan_of(rate_per_s=50.0, users=20), tmp_path)
    assert facts["requests"]["asked"] == pytest.approx(50 * (facts["until_ns"] - facts["from_ns"]) / 1e9, abs=2)


def test_cell_of_a_locustfile_writes_down_what_its_users_asked(tmp_path: Path) -> None:
    """A locustfile runs as it is, and its requests are those that the file holds."""
    locustfile = tmp_path / "locustfile.py"
    locustfile.write_text(
        "from locust import HttpUser, constant, task\n"
        "class Buyer(HttpUser):\n"
        "    wait_time = constant(0.1)\n"
        "    @task\n"
        "    def buy(self):\n"
        "        self.client.get('/work')\n",
        encoding="utf-8",
    )
    facts = run_one(plan_of(locustfile=str(locustfile)), tmp_path)
    assert facts["requests"]["ok"] == facts["requests"]["asked"] > 0


def test_cell_with_workers_writes_down_what_all_of_them_asked(tmp_path: Path) -> None:
    """Two workers share the arrivals: each has half of them, and all are in one file."""
    facts = run_one(plan_of(rate_per_s=50.0, users=20, workers=2), tmp_path)
    assert facts["requests"]["failed"] == 0
    assert facts["requests"]["asked"] == pytest.approx(50 * (facts["until_ns"] - facts["from_ns"]) / 1e9, abs=3)


def free_port() -> int:
    """Return a port that nobody listens at."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        return int(listening.getsockname()[1])


def test_cells_with_workers_elsewhere_write_down_what_they_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes, started once as the bench says, take half of the arrivals each, by clocks that are not its own."""
    monkeypatch.setattr(cell, "_WORKERS_TIMEOUT_S", TIMEOUT_S / 2)
    started: list[subprocess.Popen[bytes]] = []
    ahead = "import time\nnow_ns = time.monotonic_ns\ntime.monotonic_ns = lambda: now_ns() + 3_600_000_000_000\n"
    (tmp_path / "sitecustomize.py").write_text(ahead, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    def start(doing: str) -> None:
        said, _, command = doing.partition("; start the others with: python ")
        if said.startswith("0 of 2 workers") and not started:
            started.extend(subprocess.Popen([sys.executable, *command.split()], env=environment) for _ in range(2))

    plan = plan_of(rate_per_s=50.0, users=20, master=f"127.0.0.1:{free_port()}", expect_workers=2)
    try:
        run_one(plan, tmp_path, start)
        facts = run_one(plan, tmp_path)
    finally:
        for worker in started:
            worker.terminate()
            worker.wait(TIMEOUT_S)
    requests = requests_file.read(tmp_path / "requests.bin")
    seconds = (facts["until_ns"] - facts["from_ns"]) / 1e9
    assert facts["requests"]["failed"] == 0
    # A window ends when its worker hears of it, so there may be a few more than by one clock.
    assert facts["requests"]["asked"] == pytest.approx(50 * seconds, abs=6)
    assert (requests.intended_ns >= facts["from_ns"]).all()
    assert (requests.intended_ns < facts["until_ns"] + 200_000_000).all()


def test_cell_whose_workers_do_not_come_says_how_to_start_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits without end, and the message has the command."""
    monkeypatch.setattr(cell, "_WORKERS_TIMEOUT_S", 0.2)
    port = free_port()
    with pytest.raises(CellError, match=rf"expected 1 workers within 0 s, 0 came; .*gilscope\.bench\.worker .*:{port}"):
        run_one(plan_of(master=str(port), expect_workers=1), tmp_path)


def test_cell_with_dumps_of_stalls_has_the_stack_that_stalls(tmp_path: Path) -> None:
    """A stall that py-spy has time for is dumped while it lasts, and shows the function that is to blame."""
    CellRunner(Cores.here(), lambda _: None).run(
        plan_of(path="/stalling", duration_s=1.0, users=1), "none", "pyspy-dump", tmp_path
    )
    lines = [json.loads(line) for line in (tmp_path / "stalls-pyspy.jsonl").read_text().splitlines()]
    if not lines[0]["threads"]:
        pytest.skip("py-spy may not look into processes here")
    seen = [line for line in lines if line["within"] and "block" in json.dumps(line["threads"])]
    assert seen
    assert all(line["from_ns"] < line["dump_from_ns"] < line["dump_until_ns"] < line["until_ns"] for line in seen)


def test_cell_with_the_probe_leaves_a_capture(tmp_path: Path) -> None:
    """It can be read as any other capture."""
    pytest.importorskip("gilscope._probe")
    from gilscope.capture import open_capture

    CellRunner(Cores.here(), lambda _: None).run(PLAN, "batch", "probe", tmp_path)
    with open_capture(tmp_path / "capture.gilscope") as capture:
        assert capture is not None


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/failing", r"GET /failing: expected a status from 200 to 399, got 500 \(no stock\)"),
        ("/nowhere", r"GET /nowhere: expected a status from 200 to 399, got 404"),
    ],
)
def test_run_against_an_application_that_fails_ends_at_once(path: str, said: str, tmp_path: Path) -> None:
    """A bench that would measure nothing says so before it begins."""
    with pytest.raises(CellError, match=said):
        run(plan_of(path=path), tmp_path, lambda _: None)


def test_run_against_an_application_that_hangs_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for without end."""
    monkeypatch.setattr(cell, "_FIRST_ANSWER_TIMEOUT_S", 0.5)
    with pytest.raises(CellError, match="GET /hanging: expected an answer within"):
        run(plan_of(path="/hanging"), tmp_path, lambda _: None)


def test_run_of_an_application_that_cannot_be_imported_says_why(tmp_path: Path) -> None:
    """The message has what the server wrote."""
    with pytest.raises(CellError, match=r"nowhere\.at_all"):
        run(plan_of(app="nowhere.at_all:app"), tmp_path, lambda _: None)


def test_cell_whose_server_dies_is_a_cell_with_a_problem(tmp_path: Path) -> None:
    """What comes after it can go on."""
    assert "lost in the middle" in run_one(plan_of(path="/dying", duration_s=1.0), tmp_path)["problems"][0]


def test_cell_whose_receiver_dies_is_a_cell_with_a_problem(tmp_path: Path) -> None:
    """Spans that nobody received are no cheap spans."""

    def kill(doing: str) -> None:
        if doing.startswith("measuring"):
            for child in psutil.Process().children():
                if "gilscope.bench.sink" in child.cmdline():
                    child.kill()

    plan = plan_of(env={"OTEL_EXPORTER_OTLP_TIMEOUT": "1"})
    assert "lost in the middle" in run_one(plan, tmp_path, kill)["problems"][0]


def test_arm_that_loses_spans_without_a_word_is_found_out(tmp_path: Path) -> None:
    """Its cell is in no figure: what it costs is the cost of sending less."""
    facts = CellRunner(Cores.here(), lambda _: None).run(plan_of(app=f"{APP}:lossy"), "native", "measured", tmp_path)
    assert facts["spans"]["unaccounted"] == pytest.approx(facts["spans"]["made"] / 5, abs=1)
    assert any("spans are missing, and nobody counts them" in problem for problem in facts["problems"])


@pytest.mark.soak  # half a minute: it takes blocks to tell
def test_arm_that_keeps_the_loop_is_found_out(tmp_path: Path) -> None:
    """Five milliseconds a span are beyond the noise, and the answer says which arm is slower."""
    run(plan_of(app=f"{APP}:keeping_the_loop", repeats=4), tmp_path, lambda _: None)
    summary: Any = summarize(tmp_path)
    (pair,) = (one for one in summary["points"][0]["pairs"] if (one["arm"], one["figure"]) == ("batch", "p50_ms"))
    assert pair["beyond_noise"]
    assert pair["difference"]["value"] >= 15


def test_run_that_is_interrupted_keeps_what_is_done_and_goes_on(tmp_path: Path) -> None:
    """Ctrl-C ends every process; the cells that were finished are not run again."""
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "gilscope", "bench"]
    words = [PLAN.app, "--factory", "--path", "/work", "--arms", "none", "--users", "5", "--think-time", "0.1"]
    words += ["--duration", "0.6", "--warmup", "0.3", "--repeats", "1", "--no-probe"]
    with subprocess.Popen(
        [*command, *words, "--out", str(folder)], stderr=subprocess.PIPE, start_new_session=True
    ) as running:
        assert running.stderr is not None
        while not (line := running.stderr.readline()).startswith(b"2 of 2"):
            assert line, "it has ended"
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does it
        _, said = running.communicate(timeout=TIMEOUT_S)
    assert running.returncode == 130
    assert f"gilscope bench --resume --out {folder}" in said.decode()
    done = cells_of(folder)
    assert {facts["arm"] for facts in done.values()} < {"none", "none.again"}
    subprocess.run([*command, "--resume", "--out", str(folder)], capture_output=True, check=False, timeout=TIMEOUT_S)
    after = cells_of(folder)
    assert {name: after[name] for name in done} == done
    assert {facts["arm"] for facts in after.values()} == {"none", "none.again"}
