"""Findings: each on a capture that has its cause and no other, with the numbers that must be in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gilscope.analysis import analyse
from gilscope.analysis.findings import KINDS
from gilscope.capture import Code, EventKind, Frame, Stack, Thread
from tests.made_capture import COROUTINE, EXPORTER, LOOP, MS, WORKER, MadeCapture, stack

if TYPE_CHECKING:
    from gilscope.analysis.model import Finding

SITE = "/srv/venv/lib/python3.11/site-packages"


def found(capture: MadeCapture) -> dict[str, Finding]:
    """Return the findings by kind."""
    findings = {finding.kind: finding for finding in analyse(capture).findings}
    assert findings.keys() <= KINDS.keys()
    return findings


def said(finding: Finding) -> str:
    """Return all of a finding's words."""
    return "\n".join((finding.title, *finding.evidence, finding.remedy))


def test_many_waits_of_one_switch_interval_are_a_convoy() -> None:
    """With how many in one iteration, their mean, and who held the GIL."""
    capture = MadeCapture()
    end = capture.convoy(0, waits=10, holder=WORKER)
    capture.convoy(end + 5, waits=4, holder=WORKER)
    findings = found(capture)
    assert findings.keys() == {"gil_convoy"}
    convoy = findings["gil_convoy"]
    assert convoy.stolen_ns == 70 * MS
    assert "up to 10 times in one iteration" in convoy.title
    assert "14 waits of about one switch interval each (mean 5.0 ms) in 2 stalls: 70 ms" in convoy.evidence[0]
    assert convoy.evidence[1] == "worker had the GIL in 100 % of them (70 ms)"


@pytest.mark.parametrize(("loop", "once"), [(1, "once for each poll"), (2, "once for each callback of libuv")])
def test_convoy_on_uvloop_is_explained(loop: int, once: str) -> None:
    """Uvloop pays for each callback, asyncio for each poll."""
    capture = MadeCapture()
    capture.threads[LOOP] = Thread(LOOP, 101, 0, loop, "MainThread")
    capture.convoy(0, waits=10, holder=WORKER)
    convoy = found(capture)["gil_convoy"]
    assert once in said(convoy)
    assert ("asyncio's own loop" in convoy.remedy) == (loop == 2)


def test_exporter_that_makes_the_convoy_is_named_before_it() -> None:
    """They are the same waits; that the loop was slow to take the GIL is neither's fault."""
    capture = MadeCapture()
    for at in range(0, 42, 7):
        capture.run(EXPORTER, at, at + 5)
        capture.wait(LOOP, at, at + 6)
    capture.iteration(0, 42, cpu=6, waited=36)
    exporter, convoy, no_core = analyse(capture).findings
    assert [finding.kind for finding in (exporter, convoy, no_core)] == ["exporter_thread", "gil_convoy", "no_core"]
    assert (exporter.stolen_ns, convoy.stolen_ns, no_core.stolen_ns) == (30 * MS, 30 * MS, 6 * MS)


def test_two_waits_are_no_convoy() -> None:
    """They may have met by chance."""
    capture = MadeCapture()
    capture.convoy(0, waits=2, holder=WORKER)
    assert analyse(capture, threshold_ns=10 * MS).findings == ()


@pytest.mark.parametrize(
    ("thread", "file"),
    [
        (EXPORTER, "anything.py"),
        (WORKER, f"{SITE}/opentelemetry/sdk/trace/export/__init__.py"),
        (WORKER, f"{SITE}/opentelemetry/exporter/otlp/proto/http/trace_exporter/__init__.py"),
    ],
)
def test_exporter_is_known_by_its_thread_or_its_modules(thread: int, file: str) -> None:
    """The remedy is the native processor."""
    capture = MadeCapture()
    export = capture.stack(stack("encode_spans", "export", file=file))
    capture.convoy(0, waits=10, holder=thread, stack=export)
    finding = analyse(capture).findings[0]
    assert (finding.kind, finding.stolen_ns) == ("exporter_thread", 50 * MS)
    assert "NativeSpanProcessor" in finding.remedy
    assert "mostly in encode_spans" in said(finding)


@pytest.mark.parametrize(
    ("file", "module"),
    [
        ("/usr/lib/python3.11/json/encoder.py", " (json)"),
        ("/usr/lib/python3.10/re.py", " (re)"),
        ("/usr/lib/python3.14t/re/__init__.py", " (re)"),
        ("/usr/lib/python3.11/gzip.py", " (zlib)"),
        ("/srv/json/mine.py", ""),
    ],
)
def test_one_long_hold_is_a_native_call(file: str, module: str) -> None:
    """Named after the library whose Python frame is innermost, with the application's line that called it."""
    capture = MadeCapture()
    own = stack("make_report").frames
    call = capture.stack(Stack((*stack("encode", file=file).frames, *own), truncated=False))
    capture.run(WORKER, 0, 60, call)
    capture.wait(LOOP, 1, 60)
    capture.iteration(0, 61, cpu=2, waited=59)
    findings = found(capture)
    assert findings.keys() == {"long_c_call"}
    finding = findings["long_c_call"]
    assert (finding.title, finding.stolen_ns) == (f"a call into native code{module} kept the GIL", 59 * MS)
    assert "the longest hold 60 ms" in said(finding)
    assert "encode" in finding.evidence[0]
    assert ("called from make_report (app/main.py:10)" in finding.evidence[0]) == bool(module)


def test_native_calls_of_one_thread_and_library_are_one_finding() -> None:
    """With the three places that cost most, the worst first."""
    capture = MadeCapture()
    for number, name in enumerate("abcd"):
        at = 100 * number
        call = capture.stack(stack(name, file="/usr/lib/python3.11/json/encoder.py"))
        capture.run(WORKER, at, at + 20 + number, call)
        capture.wait(LOOP, at, at + 20 + number)
        capture.iteration(at, at + 20 + number, waited=20 + number)
    capture.run(WORKER, 400, 430, capture.stack(stack("e", file="/usr/lib/python3.11/re/__init__.py")))
    capture.wait(LOOP, 400, 430)
    capture.iteration(400, 430, waited=30)
    json, regex = analyse(capture).findings
    assert (json.kind, json.stolen_ns, regex.kind, regex.stolen_ns) == (
        "long_c_call",
        86 * MS,
        "long_c_call",
        30 * MS,
    )
    assert json.evidence[:4] == (
        "worker in d (json/encoder.py:10): 23 ms",
        "worker in c (json/encoder.py:10): 22 ms",
        "worker in b (json/encoder.py:10): 21 ms",
        "4 holds for 86 ms, 74 % of the stalled time; the longest hold 23 ms",
    )


@pytest.mark.parametrize(
    ("readings", "stolen"),
    [
        ([(12, 0, 0), (38, 20.8, 5.2)], 20.8),
        ([(-5, 0, 0), (12, 0, 17), (38, 20.8, 22.2)], 20.8),
        ([(-5, 0, 0), (40, 36, 9)], 24),
    ],
    ids=["in the hold", "in the hold, and before it otherwise", "around it"],
)
def test_long_hold_of_a_thread_without_a_core_is_no_native_call(
    readings: list[tuple[float, float, float]], stolen: float
) -> None:
    """On a core for a fifth of the time between two readings, so in the wait too; at most what was queued counts."""
    capture = MadeCapture()
    capture.run(WORKER, -5, 0)
    capture.run(WORKER, 0, 40, capture.stack(stack("spin")))
    for at, queued, cpu in readings:
        capture.schedule(at, queued, cpu, thread=WORKER)
    capture.wait(LOOP, 10, 40)
    capture.iteration(10, 41, cpu=1, waited=30)
    findings = found(capture)
    assert findings.keys() == {"holder_without_core"}
    finding = findings["holder_without_core"]
    assert finding.stolen_ns == stolen * MS
    assert finding.evidence[0].startswith(f"worker: about {stolen:.0f} ms, ")
    assert "priority inversion" in said(finding)
    assert "CPU limit" in finding.remedy


@pytest.mark.parametrize(
    "readings", [[], [(20, 0, 0)], [(-2000, 0, 0), (20, 1000, 10)], [(0, 0, 0), (40, 40, 40)], [(0, 0, 0), (40, 0, 1)]]
)
def test_native_call_stays_one_without_proof_of_a_missing_core(readings: list[tuple[int, int, int]]) -> None:
    """No readings, one, two that are too far apart, a thread that was on a core, and one that nobody queued."""
    capture = MadeCapture()
    for at, queued, cpu in readings:
        capture.schedule(at, queued, cpu, thread=WORKER)
    capture.run(WORKER, 0, 40, capture.stack(stack("dumps")))
    capture.wait(LOOP, 0, 40)
    capture.iteration(0, 40, waited=40)
    assert found(capture).keys() == {"long_c_call"}


def test_exporter_that_collects_is_said_to() -> None:
    """It has no file to be in."""
    capture = MadeCapture()
    capture.collection(EXPORTER, 1, 39)
    capture.run(EXPORTER, 0, 40)
    capture.wait(LOOP, 0, 40)
    capture.iteration(0, 41, waited=40)
    assert found(capture)["exporter_thread"].evidence[-1] == "mostly in [garbage collection]"


def test_holder_that_collects_is_no_native_call() -> None:
    """The collector keeps the GIL like any native code, and has a finding of its own."""
    capture = MadeCapture()
    capture.collection(WORKER, 1, 39)
    capture.run(WORKER, 0, 40, capture.stack(stack("load")))
    capture.wait(LOOP, 0, 40)
    capture.iteration(0, 41, waited=40)
    findings = found(capture)
    assert findings.keys() == {"garbage_collection"}
    assert findings["garbage_collection"].stolen_ns == 38 * MS


def test_long_hold_is_no_finding_if_the_loop_asked_only_at_its_end() -> None:
    """A hold of 60 ms of which the loop waited for the last 6 obeyed as soon as Python code does."""
    capture = MadeCapture()
    for start in range(0, 240, 60):
        capture.run(WORKER, start, start + 59)
        capture.wait(LOOP, start + 53, start + 59)
    capture.iteration(0, 240, cpu=1, waited=24)
    assert "long_c_call" not in found(capture)


def test_long_hold_that_samples_saw_in_several_places_is_python_code() -> None:
    """It would have let go if it had had a core: no library is to blame."""
    capture = MadeCapture()
    for at, name in [(20, "first"), (40, "second")]:
        capture.sample(WORKER, at, capture.stack(stack(name)))
    capture.run(WORKER, 0, 60)
    capture.wait(LOOP, 1, 60)
    capture.iteration(0, 61, cpu=2, waited=59)
    assert "long_c_call" not in found(capture)


def test_long_call_is_found_behind_a_little_python_code() -> None:
    """What prepared the call held the GIL too, and is not the call."""
    capture = MadeCapture()
    capture.sample(WORKER, 5, capture.stack(stack("prepare")), since=4)
    capture.sample(WORKER, 40, capture.stack(stack("dumps")), since=35)
    capture.run(WORKER, 0, 60)
    capture.wait(LOOP, 0, 60)
    capture.iteration(0, 61, cpu=1, waited=60)
    finding = found(capture)["long_c_call"]
    assert "worker in dumps" in finding.evidence[0]
    assert 50 * MS < finding.stolen_ns < 60 * MS


def test_blocking_call_names_function_line_and_coroutine() -> None:
    """The application's function, the library's leaf below it, and the coroutine around it."""
    capture = MadeCapture()
    recv = stack("recv_into", file="/usr/lib/python3.11/socket.py").frames
    load = stack("load_prices").frames
    handler = stack("handler", flags=COROUTINE).frames
    capture.blocked(1, 41, capture.stack(Stack((*recv, *load, *handler), truncated=False)))
    capture.iteration(0, 42, cpu=2)
    finding = found(capture)["blocking_call"]
    assert finding.stolen_ns == 40 * MS
    assert finding.evidence[:3] == (
        "load_prices (app/main.py:10)",
        "it was waiting in recv_into (socket.py:10)",
        "called from the coroutine handler (app/main.py:10)",
    )
    assert "asyncio.to_thread" in finding.remedy


def test_blocking_calls_of_one_line_are_one_finding() -> None:
    """However different the stacks below and above it are."""
    capture = MadeCapture()
    for number in range(4):
        leaf, load = stack(f"leaf{number}", file="/usr/lib/python3.11/ssl.py").frames, stack("load").frames
        seen = capture.stack(Stack((*leaf, *load), truncated=False))
        capture.blocked(100 * number, 100 * number + 30, seen)
        capture.iteration(100 * number, 100 * number + 30)
    (finding,) = analyse(capture).findings
    assert (finding.kind, finding.stolen_ns) == ("blocking_call", 120 * MS)


def test_computing_callback_is_named() -> None:
    """By the application's function that most of its time is in."""
    capture = MadeCapture()
    capture.sample(LOOP, 10, capture.stack(stack("score")))
    capture.iteration(0, 30, cpu=30)
    finding = found(capture)["cpu_in_callback"]
    assert (finding.title, finding.stolen_ns) == ("the loop computed in score", 30 * MS)


def test_computing_in_small_pieces_between_waits_is_no_finding() -> None:
    """11 ms of CPU in a stall of 61 ms would not have been a stall."""
    capture = MadeCapture()
    capture.convoy(0, waits=10, holder=WORKER)
    assert "cpu_in_callback" not in found(capture)


def test_collections_are_a_finding_and_not_the_callbacks_fault() -> None:
    """The place where a collection happened to run is not its cause."""
    capture = MadeCapture()
    capture.sample(LOOP, 10, capture.stack(stack("innocent")))
    capture.collection(LOOP, 2, 28)
    capture.iteration(0, 30, cpu=30)
    findings = found(capture)
    assert findings.keys() == {"garbage_collection"}
    finding = findings["garbage_collection"]
    assert finding.stolen_ns == 26 * MS
    assert "gc.freeze()" in finding.remedy
    assert "generation 2: 1, 26 ms" in finding.evidence


def test_run_queue_and_handing_over_are_a_lack_of_cores() -> None:
    """Both are time in which the loop could have run."""
    capture = MadeCapture()
    capture.wait(LOOP, 0, 5)
    capture.schedule(6, 0)
    capture.schedule(29, 20)
    capture.iteration(0, 30, cpu=5, waited=5)
    finding = found(capture)["no_core"]
    assert finding.stolen_ns == 25 * MS
    assert finding.evidence[:2] == (
        "20 ms in the kernel's run queue, at least",
        "5.0 ms between the moment the GIL became free and the moment it was taken",
    )


@pytest.mark.parametrize(("threads", "is_queue"), [(2, False), (3, True)])
def test_threads_that_take_turns_while_the_loop_waits_are_too_many(threads: int, is_queue: bool) -> None:
    """All of them were before the loop's turn."""
    capture = MadeCapture()
    for number in range(threads):
        capture.run(10 + number, 8 * number, 8 * number + 8)
    capture.wait(LOOP, 0, 8 * threads)
    capture.iteration(0, 25, cpu=1, waited=8 * threads)
    findings = found(capture)
    assert ("too_many_threads" in findings) == is_queue
    if is_queue:
        assert findings["too_many_threads"].stolen_ns == 24 * MS
        assert "up to 3 of them" in said(findings["too_many_threads"])


def test_findings_are_sorted_by_what_they_stole() -> None:
    """The first is the one to remove first."""
    capture = MadeCapture()
    capture.blocked(0, 30, capture.stack(stack("short")))
    capture.iteration(0, 30)
    capture.sample(LOOP, 110, capture.stack(stack("long")))
    capture.iteration(100, 150, cpu=50)
    assert [finding.kind for finding in analyse(capture).findings] == ["cpu_in_callback", "blocking_call"]


def test_small_causes_are_no_findings() -> None:
    """A hundredth of the stalled time is not worth anybody's work."""
    capture = MadeCapture()
    capture.sample(LOOP, 50, capture.stack(stack("main")))
    capture.collection(LOOP, 10, 11)
    capture.iteration(0, 100, cpu=100)
    assert found(capture).keys() == {"cpu_in_callback"}


def test_causes_outside_of_stalls_are_no_findings() -> None:
    """What did not delay anything long enough is left alone."""
    capture = MadeCapture()
    capture.collection(LOOP, 0, 15)
    capture.iteration(0, 19, cpu=19)
    assert analyse(capture).findings == ()


def test_place_without_a_line_has_the_first_line_of_its_function() -> None:
    """0 means that the line is unknown."""
    capture = MadeCapture()
    frame = Frame(Code("score", "/srv/shop/app/rank.py", 7, 0), 0)
    capture.sample(LOOP, 10, capture.stack(Stack((frame,), truncated=False)))
    capture.iteration(0, 30, cpu=30)
    assert found(capture)["cpu_in_callback"].evidence[0] == "score (app/rank.py:7)"


def test_loop_of_an_undefined_thread_has_findings_too() -> None:
    """A capture that was damaged may have lost the thread's name."""
    capture = MadeCapture()
    capture.threads.clear()
    for at in (0, 6, 12, 18):
        capture.run(WORKER, at + 1, at + 6)
        capture.wait(LOOP, at + 1, at + 6)
    capture.event(EventKind.ITERATION, LOOP, 0, 25, count=5, a=5 * MS, b=20 * MS)
    assert "thread 3 had the GIL" in said(found(capture)["gil_convoy"])
