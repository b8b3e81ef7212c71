"""`python -m loadtests.demo`: the command."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING

from loadtests.demo import table
from loadtests.demo.plan import BLOCKS, Cores, Plan
from loadtests.demo.results import ArmResult
from loadtests.demo.run import DemoError, run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_DESCRIPTION = """\
Shows what exporting spans costs a FastAPI service: with OpenTelemetry's BatchSpanProcessor, with gilscope's
NativeSpanProcessor, and with no exporter at all, as the floor. Each is a real server (uvicorn, httptools) that
gets the same real requests; the spans go to a real OTLP receiver on this machine, which counts them.
Takes under a minute. Nothing leaves this machine."""

_EPILOG = """\
examples:
  python -m loadtests.demo                       the table, on uvloop
  python -m loadtests.demo --loop asyncio        the same on asyncio's own loop
  python -m loadtests.demo --users 300           three times the load
  python -m loadtests.demo --requests 2000       longer, so steadier in the tail
  python -m loadtests.demo --json > demo.json    every sample, for your own analysis

exit code: 0 fine; 1 it could not be run, or the figures do not add up and so are not shown; 2 usage.

The rows: "GIL time per span spent on exporting" is time in which nothing else in the process can run Python.
"event-loop lag" is how late the loop answers an event; whatever waits in it delays every request at once."""


_TELL_EVERY_S = 1.9


class _Progress:
    """One line on standard error: rewritten on a terminal; elsewhere a line for each block, and every two seconds."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._step = ""
        self._told = 0.0

    def show(self, text: str) -> None:
        """The user knows."""
        if self._terminal:
            sys.stderr.write(f"\r\x1b[K{text}")
        elif text.partition(":")[0] != self._step or time.monotonic() - self._told >= _TELL_EVERY_S:
            self._step = text.partition(":")[0]
            self._told = time.monotonic()
            sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def clear(self) -> None:
        """The line is free for other output."""
        if self._terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def parse(arguments: Sequence[str] | None) -> tuple[Plan, bool]:
    """Return the plan, and whether JSON is wanted."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.demo",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--requests", type=_between(4, 100_000), default=500, help="for each column (default: %(default)s)"
    )
    parser.add_argument(
        "--users",
        type=_between(1, 2000),
        default=100,
        help="each sends a request every two seconds, whether or not it has been answered (default: %(default)s)",
    )
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], default="uvloop", help="(default: %(default)s)")
    parser.add_argument(
        "--port", type=_between(0, 65535), default=0, help="of the service under load (default: any that is free)"
    )
    parser.add_argument(
        "--warm-up",
        type=_between(0, 60),
        default=1,
        metavar="SECONDS",
        help="of requests that do not count, for each fresh server; at least ten requests (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table; durations are in ns")
    options = parser.parse_args(arguments)
    plan = Plan(
        requests=options.requests,
        users=options.users,
        loop=options.loop,
        port=options.port,
        warm_up_s=options.warm_up,
        cores=Cores.here(),
    )
    return plan, options.json


def _between(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:  # argparse puts this name into its messages
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be from {least} to {most}, got {value}")
        return value

    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo, and return the exit code."""
    plan, as_json = parse(arguments)
    progress = _Progress()
    progress.show(
        f"{plan.requests} requests for each column, {plan.requests_per_second:g} a second, {len(BLOCKS)} blocks: "
        f"about {plan.expected_seconds:.0f} s"
    )
    try:
        blocks = run(plan, progress.show)
    except DemoError as error:
        progress.clear()
        sys.stderr.write(f"demo: {error}\n")
        return 1
    except KeyboardInterrupt:
        progress.clear()
        sys.stderr.write("demo: interrupted\n")
        return 130
    progress.clear()
    problems = [problem for block in blocks for problem in block.problems()]
    if problems:
        sys.stderr.write("demo: these figures would not be true:\n" + "".join(f"  {line}\n" for line in problems))
        return 1
    results = {arm: ArmResult.of([block for block in blocks if block.arm is arm]) for arm in table.COLUMNS}
    if as_json:
        print(json.dumps(table.document(plan, results, blocks)))
        return 0
    print("\n" + table.table(results))
    print("\n" + table.answer(results))
    print("\n" + table.how(plan, results))
    for block in blocks:
        for remark in block.remarks():
            print(f"  remark    {remark}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
