"""The report as JSON: documented keys, plain values, and the sums of the model."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from gilscope.analysis import analyse
from gilscope.report import as_json
from tests.made_capture import LOOP, MS, MadeCapture, stack

if TYPE_CHECKING:
    from collections.abc import Iterator


def report() -> dict[str, Any]:
    """Return the report of a capture that has a bit of everything."""
    capture = MadeCapture(end={"lost": {"ring_full": 3}}, problems=["is odd"])
    seen = capture.stack(stack("encode_spans", "run", truncated=True))
    end = capture.convoy(0, waits=10, stack=seen)
    capture.blocked(end, end + 30, seen)
    capture.collection(LOOP, end, end + 1)
    capture.iteration(end, end + 32, cpu=1)
    return as_json.to_dict(analyse(capture))


def keys(value: object) -> Iterator[str]:
    """Return all keys, however deep; not those of counts, which are data."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            if key not in {"lost", "samples"}:
                yield from keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


def test_json_survives_a_round_trip() -> None:
    """Nothing in it is of a type that JSON has not."""
    made = report()
    assert json.loads(json.dumps(made)) == made


def test_json_has_a_format_number_and_the_sums() -> None:
    """What a script asks for first."""
    made = report()
    assert made["format"] == 1
    assert made["stalled"] == {"count": 2, "total_ns": 93 * MS, "longest_ns": 61 * MS}
    assert sum(stack["ns"] for stack in made["stall_stacks"]) == made["stalled"]["total_ns"]
    parts = made["loops"][0]["stall_parts"]
    assert parts["gil_wait_ns"] + parts["on_cpu_ns"] + parts["off_cpu_ns"] == parts["wall_ns"]


def test_json_shows_stacks_innermost_first() -> None:
    """With function, file and line."""
    held = next(stack for stack in report()["stall_stacks"] if stack["cause"] == "gil_wait")
    assert held["stack"] == {
        "frames": [
            {"function": "encode_spans", "file": "/srv/shop/app/main.py", "line": 10, "first_line": 1},
            {"function": "run", "file": "/srv/shop/app/main.py", "line": 11, "first_line": 1},
        ],
        "truncated": True,
    }


def test_json_keys_are_documented() -> None:
    """Each key is in the module's docstring, and numbers say that they are nanoseconds."""
    assert as_json.__doc__
    found = set(keys(report()))
    assert found - set(re.findall(r"\w+", as_json.__doc__)) == set()
    assert {"since_start_ns", "takes_per_iteration", "ran", "task"} <= found
