"""What py-spy sees of stalls: a dump of every thread's stack, asked for when the event loop does not answer.

None of py-spy's recordings can be matched to a stall, since they have no clock of ours. Here the bench asks the loop of
the server every few milliseconds whether it runs, and starts `py-spy dump` when no answer comes for 20 ms. py-spy needs
some 25 ms more, so of stalls under 50 ms it sees what came after: each line tells whether the loop still stood still.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

from gilscope.bench.child import Child, ChildError
from gilscope.bench.py_spy import NOT_INSTALLED, path_of_py_spy, why

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

STALL_S = 0.02  # as the probe has it
MOST_DUMPS = 20
_EVERY_S = 0.005
_TIMEOUT_S = 30.0


class StallDumps:
    """Dumps the server's stacks when its loop stands still, until the end of the `with`, into `stalls-pyspy.jsonl`.

    A line has `from_ns` (the loop was asked) and `until_ns` (it answered), `dump_from_ns` and `dump_until_ns`, `within`
    (the dump was complete before the loop answered), and `threads`, as py-spy gives them; all of CLOCK_MONOTONIC.

    Attributes:
        notes: how many dumps came in time, or why there are none.

    Threading: asks in a thread of its own, so nobody else may talk to the server meanwhile.
    """

    def __init__(self, server: Child, folder: Path) -> None:
        self.notes: list[str] = []
        self._server = server
        self._path = folder / "stalls-pyspy.jsonl"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stall dumps")
        self._lines: list[dict[str, Any]] = []
        self._lost: ChildError | None = None

    def __enter__(self) -> Self:
        """It watches."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """The lines are written.

        Raises:
            ChildError: the server has ended, or did not answer for half a minute.
        """
        self._over.set()
        self._thread.join()
        self._path.write_text("".join(f"{json.dumps(line)}\n" for line in self._lines), encoding="utf-8")
        self.notes.append(summary(self._lines))
        if self._lost is not None and error is None:
            raise self._lost

    def _watch(self) -> None:
        try:
            while not self._over.wait(_EVERY_S):
                from_ns = time.monotonic_ns()
                self._server.write("ping")
                if len(self._lines) < MOST_DUMPS and not self._server.has_line(STALL_S):
                    dump = self._dump()
                    until_ns = self._server.read(_TIMEOUT_S)["at_ns"]
                    within = dump["dump_until_ns"] <= until_ns
                    self._lines.append({"from_ns": from_ns, "until_ns": until_ns, "within": within, **dump})
                else:
                    self._server.read(_TIMEOUT_S)
        except ChildError as error:
            self._lost = error

    def _dump(self) -> dict[str, Any]:
        from_ns = time.monotonic_ns()
        # With --nonblocking it is no quicker, and some dumps fail: the stacks change while they are read.
        command = [path_of_py_spy(), "dump", "--json", "--pid", str(self._server.pid)]
        threads: list[dict[str, Any]] = []
        said = None
        try:
            ended = subprocess.run(command, capture_output=True, check=False, timeout=_TIMEOUT_S)
            if ended.returncode == 0:
                threads = json.loads(ended.stdout)
            else:
                said = why(ended.stderr.decode(errors="replace").strip())
        except FileNotFoundError:
            said = NOT_INSTALLED
        except subprocess.TimeoutExpired:
            said = f"py-spy did not end within {_TIMEOUT_S:.0f} s"
        if said is not None and said not in self.notes:
            self.notes.append(said)
        return {"dump_from_ns": from_ns, "dump_until_ns": time.monotonic_ns(), "threads": threads}


def summary(lines: list[dict[str, Any]]) -> str:
    """Return in words how many stalls were dumped, and how many of the dumps were complete before the stall ended."""
    if not lines:
        return f"the loop did not stand still for {STALL_S * 1e3:.0f} ms"
    took_ms = statistics.median(line["dump_until_ns"] - line["dump_from_ns"] for line in lines) / 1e6
    within = sum(line["within"] and bool(line["threads"]) for line in lines)
    return (
        f"{within} of {len(lines)} dumps of stalls by py-spy were complete before the stall was over: "
        f"one takes {took_ms:.0f} ms (median)"
    )
