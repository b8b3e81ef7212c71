"""Unit tests of py-spy's dumps of stalls, with a server that answers as it is told."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, cast

import pytest

from gilscope.bench import stall_dumps
from gilscope.bench.child import Child, ChildError
from gilscope.bench.py_spy import NOT_INSTALLED
from gilscope.bench.stall_dumps import StallDumps, summary

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT_S = 10.0


class Server:
    """Stands still when it is first asked, and answers from then on, or never."""

    pid = 1

    def __init__(self, *, ends: bool = False) -> None:
        self.goes_on = threading.Event()
        self._ends = ends
        self._asked = 0

    def write(self, _: object) -> None:
        """It is asked."""
        self._asked += 1
        if self._asked > 1:
            self.goes_on.set()

    def has_line(self, _: float) -> bool:
        """Return whether it answers at once."""
        return self._asked > 1

    def read(self, _: float) -> dict[str, Any]:
        """Return its answer."""
        if self._ends:
            self.goes_on.set()
            raise ChildError("it has ended")
        return {"at_ns": 1}


def watched(server: Server, folder: Path) -> StallDumps:
    """Return the dumps, once the server goes on."""
    with StallDumps(cast("Child", server), folder) as dumps:
        assert server.goes_on.wait(TIMEOUT_S)
    return dumps


def test_summary_of_dumps_tells_how_many_came_in_time() -> None:
    """A dump that was complete after the loop had answered may show what came later; an empty one shows nothing."""
    told: list[tuple[int, bool, list[Any]]] = [(90, True, [{}]), (120, True, []), (140, True, [{}]), (300, False, [{}])]
    lines = [
        {"dump_from_ns": 0, "dump_until_ns": took_ms * 1_000_000, "within": within, "threads": threads}
        for took_ms, within, threads in told
    ]
    said = "2 of 4 dumps of stalls by py-spy were complete before the stall was over: one takes 130 ms (median)"
    assert summary(lines) == said


def test_dumps_without_py_spy_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stall is written down all the same, without stacks."""
    monkeypatch.setattr(stall_dumps, "path_of_py_spy", lambda: str(tmp_path / "nowhere"))
    assert NOT_INSTALLED in watched(Server(), tmp_path).notes
    assert json.loads((tmp_path / "stalls-pyspy.jsonl").read_text())["threads"] == []


def test_dumps_of_a_server_that_ends_raise_what_became_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has not answered must not pass for the answer to what is asked next."""
    monkeypatch.setattr(stall_dumps, "path_of_py_spy", lambda: str(tmp_path / "nowhere"))
    with pytest.raises(ChildError, match="it has ended"):
        watched(Server(ends=True), tmp_path)
