"""Says what tracing costs a service: p99 and the rest, with each way of exporting spans, under load.

The application is started as it is, in a fresh process for each measurement, with one arm in place: none (not traced),
sdk (spans made, not exported), batch (BatchSpanProcessor), subprocess (spans handed to a child process), native
(gilscope's NativeSpanProcessor). What the application has arranged to export its spans with is replaced by the arm; an
application that is not traced is instrumented for it. Spans go to a receiver of gilscope's own on this machine.

The arms run in blocks, in random order, with the first arm twice: what differs between those two is noise. Raw files,
summary.json, summary.md and report.html are written to a folder.

Exit status: 0 measured, and all thresholds of the plan met; 1 nothing could be measured; 2 the command or the plan is
wrong, and nothing was begun; 3 a threshold was missed. A run that was interrupted goes on with --resume.

For example:
  gilscope bench myapp.main:app --path /chat --users 100 --duration 60
  gilscope bench myapp.main:app --path /chat --method POST --body '{"text": "hello {number}"}' --arms none,batch,native
  gilscope bench myapp.main:app --locustfile locustfile.py --loop asyncio
  gilscope bench --plan experiments/e01/plan.toml --out build/e01
  gilscope bench myapp.main:app --users 5000 --master 10.0.0.5:5557 --expect-workers 4
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gilscope.cli import pages
from gilscope.cli.numbers import positive
from gilscope.errors import GilscopeError
from gilscope.report.page import NoPageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gilscope.bench.plan import Plan

_USAGE = 2
_THRESHOLD_MISSED = 3
_REFERENCE_APP = {
    "app": "loadtests.apps.agent.main:app",
    "path": "/chat",
    "method": "POST",
    "body": '{"conversation": "c-{number}", "text": "Where is my order, and can I return it?"}',
    "headers": {"Content-Type": "application/json"},
    "env": {"AGENT_TRACING": "on"},
}
_QUICK = {"duration_s": 8.0, "warmup_s": 2.0, "repeats": 3}


class BenchError(GilscopeError):
    """Nothing can be measured."""


class UsageError(GilscopeError):
    """The words of the command line cannot be followed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The parser knows the command's arguments."""
    # Without defaults of their own: what is not said is the plan's, or the plan's file's.
    parser.add_argument("app", metavar="APP", nargs="?", help="module:attribute of an ASGI application")
    parser.add_argument("--factory", action="store_true", default=None, help="the attribute is a function")
    asking = parser.add_argument_group("what is asked")
    asking.add_argument("--path", metavar="PATH", help="(default: /)")
    asking.add_argument("--method", metavar="METHOD", help="(default: GET)")
    asking.add_argument("--body", metavar="TEXT", help="{number} in it becomes the request's number")
    asking.add_argument("--header", metavar="'NAME: VALUE'", action="append", help="may be repeated")
    asking.add_argument("--locustfile", metavar="FILE", help="your own users ask instead")
    load = parser.add_argument_group("how much")
    load.add_argument("--users", metavar="N", type=int, help="who ask, think, and ask again (default: 100)")
    load.add_argument("--workers", metavar="N", type=int, help="processes of locust's for them (default: one, alone)")
    load.add_argument("--master", metavar="[HOST:]PORT", help="users in workers on other machines, which connect here")
    load.add_argument("--expect-workers", metavar="N", type=int, help="how many of those to wait for")
    load.add_argument("--think-time", metavar="S", type=positive, dest="think_time_s", help="of a user (default: 2)")
    load.add_argument(
        "--open-loop",
        metavar="RATE",
        type=positive,
        dest="rate_per_s",
        help="requests a second, come what may",
    )
    load.add_argument("--duration", metavar="S", type=positive, dest="duration_s", help="of each cell (default: 30)")
    load.add_argument("--warmup", metavar="S", type=positive, dest="warmup_s", help="before each (default: 5)")
    load.add_argument("--repeats", metavar="N", type=int, help="blocks (default: 5)")
    load.add_argument("--quick", action="store_true", help="3 blocks of 8 s: a first look")
    how = parser.add_argument_group("how")
    how.add_argument("--arms", metavar="A,B", help="(default: none,sdk,batch,subprocess,native)")
    how.add_argument("--loop", choices=["uvloop", "asyncio"], help="(default: uvloop)")
    how.add_argument("--env", metavar="NAME=VALUE", action="append", help="a variable of the server's; may be repeated")
    how.add_argument("--gc-freeze", action="store_true", default=None, help="call gc.freeze() once the app is loaded")
    how.add_argument(
        "--switch-interval", metavar="S", type=positive, dest="switch_interval_s", help="sys.setswitchinterval"
    )
    either = argparse.BooleanOptionalAction
    how.add_argument("--probe", action=either, default=None, help="captures of stalls, in runs of their own (default)")
    how.add_argument("--py-spy", action=either, default=None, help="py-spy's flame graphs, likewise (default: no)")
    how.add_argument("--seed", metavar="N", type=int, help="of the order and the arrivals (default: 1)")
    how.add_argument("--plan", metavar="FILE", type=Path, help="a plan in TOML; what is said here goes before it")
    how.add_argument("-o", "--out", metavar="DIR", type=Path, help="(default: bench-DATE-TIME)")
    how.add_argument("--resume", action="store_true", help="go on with the run in DIR, by its plan")


def run(arguments: argparse.Namespace) -> int:
    """The bench has run; returns its exit status."""
    try:
        from gilscope.bench.plan import PlanError
    except ImportError as error:
        raise BenchError(f"{error}: the bench needs more packages: pip install 'gilscope[bench]'") from error
    folder = arguments.out or Path(time.strftime("bench-%Y%m%d-%H%M%S"))
    try:
        plan = _plan(arguments, folder)
    except (PlanError, UsageError) as error:
        sys.stderr.write(f"gilscope: {error}\n")
        return _USAGE
    return _measure(plan, folder)


def _plan(arguments: argparse.Namespace, folder: Path) -> Plan:
    from gilscope.bench.plan import from_mapping

    given = _given(arguments)
    if arguments.resume:
        begun = _begun(folder)
        changed = [name for name, value in given.items() if begun.get(name) != value]
        if changed:
            raise UsageError(f"{folder}: a run goes on by the plan that it began with; leave out {', '.join(changed)}")
        given = begun
    elif folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is there already: give another folder with --out, or --resume to go on with it")
    return from_mapping(given, str(arguments.plan or "the command line"))


def _measure(plan: Plan, folder: Path) -> int:
    try:
        from gilscope.bench import markdown, statistics, summary
        from gilscope.bench.cell import CellError, worker_command
        from gilscope.bench.run import expected_seconds, turns
        from gilscope.bench.run import run as run_plan
    except ImportError as error:
        raise BenchError(f"{error}: the bench needs more packages: pip install 'gilscope[bench]'") from error
    planned = turns(plan)
    sys.stderr.write(
        f"{len(planned)} measurements into {folder}, about {expected_seconds(plan, len(planned)) / 60:.0f} minutes\n"
    )
    sys.stderr.write(_too_few(plan, statistics.needed(99)))
    if plan.master:
        sys.stderr.write(f"to be started on other machines, {plan.expect_workers} in all: {worker_command(plan)}\n")
    is_new = not folder.exists()
    try:
        run_plan(plan, folder, _progress())
    except KeyboardInterrupt:
        sys.stderr.write(f"\nstopped; what is done is kept: `gilscope bench --resume --out {folder}` goes on\n")
        raise
    except CellError:
        if is_new and not any(folder.glob("cells/*/cell.json")):
            shutil.rmtree(folder)  # so that the same command can be given again
        raise
    found = summary.summarize(folder)
    (folder / "summary.md").write_text(markdown.render(found), encoding="utf-8")
    (folder / "summary.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    shown = _page(folder, found) or folder / "summary.md"
    sys.stdout.write(f"\n{markdown.as_text(found)}\n{shown}: open it in a browser\n")
    points: Any = found["points"]
    if not any(point["arms"] for point in points):
        raise BenchError(f"nothing could be measured: no cell is valid; see the reasons above, and {folder}/cells")
    thresholds: Any = found["thresholds"]
    return 0 if all(threshold["met"] for threshold in thresholds) else _THRESHOLD_MISSED


def _too_few(plan: Plan, needed: int) -> str:
    """Return what to say where there cannot be enough requests to tell p99; how many a locustfile asks is not known."""
    expected = plan.duration_s * plan.repeats * (plan.rate_per_s or plan.users / plan.think_time_s)
    if plan.locustfile or expected >= needed:
        return ""
    return (
        f"p99 needs {needed:,} requests an arm, and there will be {expected:,.0f} at most: give a longer --duration, "
        "more --repeats or more --users to be told it\n"
    )


def _page(folder: Path, summary: Mapping[str, Any]) -> Path | None:
    """The run's page is written, and returned; None where the package was built without."""
    try:
        pages.write_captures(folder)
        text = pages.of_run(folder, summary)
    except NoPageError:
        return None
    path = folder / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of the plan: those of the file, and before them those of the command line."""
    from gilscope.bench import plan

    given: dict[str, Any] = plan.read(arguments.plan) if arguments.plan else {}
    names = {each.name for each in fields(plan.Plan)}
    words = {name: value for name, value in vars(arguments).items() if name in names and value is not None}
    if arguments.header:
        words["headers"] = dict(_split(header, ":", "--header") for header in arguments.header)
    if arguments.env:
        words["env"] = dict(_split(variable, "=", "--env") for variable in arguments.env)
    if arguments.arms:
        words["arms"] = arguments.arms.split(",")
    if not words.get("app") and not given.get("app") and not arguments.resume:
        _expect_reference_app()
        words = {**_REFERENCE_APP, **words}
    return {**given, **(_QUICK if arguments.quick else {}), **words}


def _begun(folder: Path) -> dict[str, Any]:
    path = folder / "plan.json"
    if not path.exists():
        raise UsageError(f"{path} is not there: expected the folder of a run with --out, to go on with")
    begun: dict[str, Any] = json.loads(path.read_bytes())
    return begun


def _split(text: str, by: str, option: str) -> tuple[str, str]:
    name, found, value = text.partition(by)
    if not found:
        raise UsageError(f"{option}: expected NAME{by}VALUE, got {text!r}")
    return name.strip(), value.strip()


def _expect_reference_app() -> None:
    if not Path("loadtests/apps/agent").is_dir():
        raise UsageError(
            "expected APP, as uvicorn takes it (myapp.main:app); only gilscope's source tree has one to try with"
        )


def _progress() -> Callable[[str], None]:
    """Return what shows a line of progress: over the one before on a terminal, else one for each measurement."""
    shown = [""]

    def show(text: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{text[:118]}")
        elif text.partition(":")[0] != shown[0]:
            shown[0] = text.partition(":")[0]
            sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    return show
