"""One cell: a fresh server with one arm, loaded for a while; what was measured, and whether it may count."""

from __future__ import annotations

import http.client
import os
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from hdrh.histogram import HdrHistogram

from gilscope.bench import requests_file
from gilscope.bench.arms import Arm
from gilscope.bench.child import Child, ChildError
from gilscope.bench.compare import AGAIN
from gilscope.bench.py_spy import PySpy
from gilscope.bench.sink.client import Sink, SinkError
from gilscope.bench.stall_dumps import StallDumps
from gilscope.errors import GilscopeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from gilscope.bench.machine import Cores
    from gilscope.bench.plan import Plan

_START_TIMEOUT_S = 60.0
_FINISH_TIMEOUT_S = 90.0
_WORKERS_TIMEOUT_S = 300.0
_AGAIN_S = 0.2
_YIELDS = 10
_ANSWER_TIMEOUT_S = 30.0
_FIRST_ANSWER_TIMEOUT_S = 30.0
_SATURATED = 0.9
_LATE_NS = 20_000_000
_LONGEST_US = 3_600_000_000
_OK = range(200, 400)
# What the caller has set for another purpose and would change what an arm does.
_NOT_INHERITED = ("OTEL_EXPORTER_", "OTEL_BSP_", "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "GILSCOPE_")


class CellError(GilscopeError):
    """A cell could not be run at all; the message says why, with what the process wrote."""


class CellRunner:
    """Runs one cell after the other, each with processes of its own.

    Threading: one thread.
    """

    def __init__(self, cores: Cores, show: Callable[[str], None]) -> None:
        """Nothing runs yet.

        Args:
            cores: where the processes run.
            show: called once a second with what is going on.
        """
        self._cores = cores
        self._show = show

    def run(self, plan: Plan, arm: str, kind: str, folder: Path) -> dict[str, Any]:
        """Return what cell.json says, but for where in the plan it is; raw files are in the folder.

        Args:
            plan: of one point, without factors.
            arm: its name, with `.again` for the second of an A/A pair.
            kind: "measured", "probe", "pyspy" or "pyspy-dump".
            folder: empty.

        Raises:
            CellError: a process did not start, or the application does not answer as it should.
        """
        with ExitStack() as stack:
            self._show("starting")
            sink = stack.enter_context(self._receiver())
            server = self._start(
                stack,
                "gilscope.bench.server",
                self._server_options(plan, arm.removesuffix(AGAIN), kind, folder, sink.http_endpoint),
                folder / "server.log",
                environment(os.environ, plan.env),
            )
            if not plan.locustfile:
                expect_answer(plan, server.ready["port"])
            load = self._start(
                stack,
                "gilscope.bench.load",
                self._load_options(plan, server.ready["port"], folder),
                folder / "load.log",
                dict(os.environ),
            )
            self._start_users(plan, load)
            try:
                return self._measure(plan, arm.removesuffix(AGAIN), kind, folder, sink, server, load)
            except (ChildError, SinkError) as error:
                return {"problems": [f"lost in the middle: {error}"]}
            except psutil.NoSuchProcess:
                return {"problems": ["lost in the middle: the receiver has ended"]}

    def _measure(  # what a cell is, and who takes part
        self, plan: Plan, arm: str, kind: str, folder: Path, sink: Sink, server: Child, load: Child
    ) -> dict[str, Any]:
        self._wait(plan.warmup_s, "warming up")
        _ask(load, {"do": "begin"})
        _ask(server, "begin")
        sink_cpu = psutil.Process(sink.pid).cpu_times()
        from_ns = time.monotonic_ns()
        with self._watch(kind, server, folder) as notes:
            self._wait(plan.duration_s, "measuring")
        until_ns = time.monotonic_ns()
        sink_used = psutil.Process(sink.pid).cpu_times()
        used = _ask(server, "end")
        self._show("flushing")
        loaded = _ask(load, {"do": "stop", "from_ns": from_ns, "until_ns": until_ns}, _FINISH_TIMEOUT_S)
        finished = _ask(server, "finish", _FINISH_TIMEOUT_S)
        seconds = (until_ns - from_ns) / 1e9
        requests = requests_file.read(folder / "requests.bin")
        asked = len(requests.status) + loaded["unanswered"]
        ok = int(np.isin(requests.status, _OK).sum())
        late_ns = requests.sent_ns - requests.intended_ns
        sink_share = (sink_used.user - sink_cpu.user + sink_used.system - sink_cpu.system) / seconds
        shares = [max(loaded["cpu_shares"]), max(sink_share, 0.0)]
        if not plan.expect_workers:  # those elsewhere have a core each
            shares[0] = max(shares[0], sum(loaded["cpu_shares"]) / (len(self._cores.of_load(plan.workers)) or 1))
        shared = self._cores.load == self._cores.sink and not plan.expect_workers
        facts = {
            "from_ns": from_ns,
            "until_ns": until_ns,
            "requests": {
                "asked": asked,
                "ok": ok,
                "failed": asked - ok,
                "asked_per_s": plan.rate_per_s or asked / seconds,
                "reached_per_s": int(((requests.done_ns >= from_ns) & (requests.done_ns < until_ns)).sum()) / seconds,
            },
            "load": {
                "cpu_share": shares[0],
                "sink_cpu_share": shares[1],
                "core_share": sum(shares) if shared else max(shares),
                "late_p99_ns": int(np.percentile(late_ns, 99)) if len(late_ns) else 0,
            },
            "spans": _spans(arm, finished, sink.stats().spans_accepted),
            "latency_us_hdr": _encoded(requests.done_ns - requests.intended_ns),
            "server": used,
            "notes": notes,
        }
        return {**facts, "problems": problems(facts, flushed=finished["flushed"])}

    def _start_users(self, plan: Plan, load: Child) -> None:
        """All users have started; workers from elsewhere have been waited for."""
        expected = plan.workers or plan.expect_workers
        timeout_s = _WORKERS_TIMEOUT_S if plan.expect_workers else _START_TIMEOUT_S
        deadline_s = time.monotonic() + timeout_s
        asked = f"; start the others with: {worker_command(plan)}" if plan.master else ""
        try:
            while (connected := _ask(load, {"do": "connected"})["connected"]) < expected:
                if time.monotonic() > deadline_s:
                    raise CellError(f"expected {expected} workers within {timeout_s:.0f} s, {connected} came{asked}")
                self._show(f"{connected} of {expected} workers are there{asked}")
                time.sleep(_AGAIN_S)
            _ask(load, {"do": "start"}, _START_TIMEOUT_S)
        except ChildError as error:
            raise CellError(str(error)) from error

    @contextmanager
    def _watch(self, kind: str, server: Child, folder: Path) -> Iterator[list[str]]:
        """py-spy watches, in cells of its own; at the end, what it has to tell is in the list."""
        notes: list[str] = []
        if kind == "pyspy":
            with PySpy(server.pid, folder) as recording:
                yield notes
            notes += recording.notes
        elif kind == "pyspy-dump":
            with StallDumps(server, folder) as dumps:
                yield notes
            notes += dumps.notes
        else:
            yield notes

    @contextmanager
    def _receiver(self) -> Iterator[Sink]:
        allowed = os.sched_getaffinity(0)
        if self._cores.sink is not None:
            os.sched_setaffinity(0, {self._cores.sink})  # before it starts, so that all its threads inherit it
        try:
            sink = Sink(keep_requests=0)
        except SinkError as error:
            raise CellError(f"the OTLP receiver did not start: {error}") from error
        finally:
            os.sched_setaffinity(0, allowed)
        with sink:
            if self._cores.sink == self._cores.load:
                psutil.Process(sink.pid).nice(_YIELDS)  # where they share a core: requests are not to wait for spans
            yield sink

    def _start(
        self, stack: ExitStack, module: str, options: list[str], log: Path, environment: Mapping[str, str]
    ) -> Child:
        try:
            child = Child(module, options, environment=environment, timeout_s=_START_TIMEOUT_S)
        except ChildError as error:
            raise CellError(str(error)) from error

        def stop() -> None:
            log.write_text(child.errors(), encoding="utf-8")
            child.stop()

        stack.callback(stop)
        return child

    def _server_options(self, plan: Plan, arm: str, kind: str, folder: Path, endpoint: str) -> list[str]:
        options = [plan.app, "--arm", arm, "--endpoint", endpoint, "--loop", plan.loop]
        options += ["--bind", plan.host]
        options += ["--factory"] if plan.factory else []
        options += ["--core", str(self._cores.server)] if self._cores.server is not None else []
        options += ["--switch-interval", str(plan.switch_interval_s)] if plan.switch_interval_s is not None else []
        options += ["--gc-freeze"] if plan.gc_freeze else []
        return options + (["--capture", str(folder / "capture.gilscope")] if kind == "probe" else [])

    def _load_options(self, plan: Plan, port: int, folder: Path) -> list[str]:
        options = ["--host", f"http://{plan.host}:{port}", "--requests", str(folder / "requests.bin")]
        options += ["--users", str(plan.users), "--think-time", str(plan.think_time_s), "--seed", str(plan.seed)]
        options += ["--method", plan.method, "--path", plan.path, "--body", plan.body]
        for name, value in plan.headers.items():
            options += ["--header", f"{name}: {value}"]
        options += ["--rate", str(plan.rate_per_s)] if plan.rate_per_s is not None else []
        options += ["--locustfile", plan.locustfile] if plan.locustfile else []
        options += ["--workers", str(plan.workers)] if plan.workers else []
        if plan.master:
            options += ["--master", f"{plan.host}:{plan.master_port}", "--expect-workers", str(plan.expect_workers)]
        cores = self._cores.of_load(plan.workers)
        return options + (["--cores", ",".join(map(str, cores))] if cores else [])

    def _wait(self, seconds: float, doing: str) -> None:
        deadline_s = time.monotonic() + seconds
        while (left_s := deadline_s - time.monotonic()) > 0:
            self._show(f"{doing}, {left_s:.0f} s")
            time.sleep(min(left_s, 1.0))


def worker_command(plan: Plan) -> str:
    """Return what makes another machine one of the load's workers; it need not be started again for each cell."""
    return f"python -m gilscope.bench.worker {plan.host}:{plan.master_port}"


def environment(inherited: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Return the server's environment: what is inherited, but for what would change an arm, and what the plan gives."""
    kept = {name: value for name, value in inherited.items() if not name.startswith(_NOT_INHERITED)}
    for name in ("no_proxy", "NO_PROXY"):  # spans go to this machine, however the application reaches others
        kept[name] = ",".join(filter(None, [kept.get(name), "127.0.0.1"]))
    return {**kept, **given}


def expect_answer(plan: Plan, port: int) -> None:
    """The application answers what will be asked of it: a wrong path is told now, and not after an hour.

    Raises:
        CellError: it does not, or says that it failed.
    """
    connection = http.client.HTTPConnection(plan.host, port, timeout=_FIRST_ANSWER_TIMEOUT_S)
    asked = f"{plan.method} {plan.path}"
    try:
        body = plan.body.replace("{number}", "0").encode() or None
        connection.request(plan.method, plan.path, body, plan.headers)
        response = connection.getresponse()
        said = response.read().decode(errors="replace")[:200]
    except (OSError, http.client.HTTPException) as error:
        raise CellError(
            f"{asked}: expected an answer within {_FIRST_ANSWER_TIMEOUT_S:.0f} s, got {error!r}: does the application "
            "need something that is not running?"
        ) from error
    finally:
        connection.close()
    if response.status not in _OK:
        raise CellError(
            f"{asked}: expected a status from 200 to 399, got {response.status} ({said}): see --path, --method, "
            "--body and --header"
        )


def problems(facts: Mapping[str, Any], *, flushed: bool) -> list[str]:
    """Return why the cell may not count, in words."""
    requests, spans, load = facts["requests"], facts["spans"], facts["load"]
    found = []
    if requests["asked"] == 0:
        found.append("no requests in the measured window")
    if requests["failed"]:
        found.append(f"{requests['failed']} of {requests['asked']} requests failed")
    if not flushed:
        found.append("the last spans could not be flushed in time")
    if spans["unaccounted"] < 0:
        found.append(f"{-spans['unaccounted']} more spans were received than made: something else exports too")
    elif spans["unaccounted"]:
        found.append(f"{spans['unaccounted']} of {spans['made']} spans are missing, and nobody counts them")
    if load["core_share"] > _SATURATED:
        found.append(
            f"load and receiver kept a core busy for {load['core_share']:.0%}: they are measured, not the server"
        )
    if load["late_p99_ns"] > _LATE_NS:
        found.append(
            f"the load was late: requests were sent {load['late_p99_ns'] / 1e6:.0f} ms after they were due (p99)"
        )
    return found


def _encoded(latencies_ns: NDArray[np.int64]) -> str:
    """Return an HDR histogram of the latencies in microseconds, three digits, as HdrHistogram's tools read it."""
    histogram = HdrHistogram(1, _LONGEST_US, 3)
    for latency_us in (latencies_ns // 1000).tolist():
        histogram.record_value(min(max(latency_us, 1), _LONGEST_US))
    return str(histogram.encode(), "ascii")


def _spans(arm: str, finished: Mapping[str, Any], received: int) -> dict[str, Any]:
    """Return what became of the spans; upstream's processors do not count what they drop, so the receiver tells."""
    made, dropped, failed = finished["made"], finished["dropped"], finished["failed"]
    exported = arm not in {Arm.NONE.value, Arm.SDK.value}
    missing = made - received - dropped - failed if exported else 0
    told = arm != Arm.BATCH.value
    return {
        "made": made,
        "received": received,
        "dropped": dropped if told else dropped + max(missing, 0),
        "failed": failed,
        "unaccounted": missing if told else min(missing, 0),
        "replaced": finished["replaced"],
    }


def _ask(child: Child, command: object, timeout_s: float = _ANSWER_TIMEOUT_S) -> dict[str, Any]:
    child.write(command)
    return child.read(timeout_s)
