"""Unit tests of the order of a run's cells, and of what makes a cell invalid."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from gilscope.bench.cell import environment, problems
from gilscope.bench.machine import Cores
from gilscope.bench.plan import Plan
from gilscope.bench.run import turns


def plan_of(**fields: Any) -> Plan:
    """Return a plan for some application."""
    return Plan(app="shop.main:app", **fields)


def test_turns_of_every_block_hold_each_arm_once_and_the_first_twice() -> None:
    """The second of the first arm is the A/A pair that shows the noise."""
    found = turns(plan_of(arms=("none", "batch"), repeats=4, probe=False))
    for block in range(4):
        assert sorted(turn.arm for turn in found if turn.block == block) == ["batch", "none", "none.again"]


def test_turns_run_in_an_order_that_differs_between_blocks_but_not_between_runs() -> None:
    """The order is random, so that no arm is always first, and the same for the same seed, so that a run can go on."""
    plan = plan_of(repeats=6, probe=False)
    orders = {tuple(turn.arm for turn in turns(plan) if turn.block == block) for block in range(6)}
    assert len(orders) > 1
    assert turns(plan) == turns(plan)


def test_turns_with_probe_and_py_spy_come_after_everything_that_is_measured() -> None:
    """What disturbs a server runs in cells of its own, and at the end."""
    kinds = [turn.kind for turn in turns(plan_of(arms=("none", "batch"), repeats=2, probe=True, py_spy=True))]
    assert kinds == ["measured"] * 6 + ["probe"] * 2 + ["pyspy"] * 2 + ["pyspy-dump"] * 2


def test_turns_of_a_plan_with_points_run_each_arm_at_each_point() -> None:
    """Every point is a whole experiment."""
    found = turns(plan_of(arms=("none",), repeats=2, probe=False, factors={"users": [1, 2, 3]}))
    assert Counter(turn.point["users"] for turn in found) == {1: 4, 2: 4, 3: 4}


@pytest.mark.parametrize(
    ("allowed", "cores", "of_workers"),
    [
        ({3}, Cores(server=None, load=None, sink=None), []),
        ({0, 1}, Cores(server=1, load=0, sink=0), [0]),
        ({4, 5, 6}, Cores(server=6, load=4, sink=5), [4]),
        ({0, 1, 2, 3}, Cores(server=3, load=0, sink=2, others=(1,)), [0, 1]),
        (set(range(8)), Cores(server=7, load=0, sink=6, others=(1, 2, 3, 4, 5)), [0, 1, 2, 3, 4, 5]),
    ],
)
def test_cores_give_the_server_one_of_its_own_as_soon_as_there_are_two(
    allowed: set[int], cores: Cores, of_workers: list[int]
) -> None:
    """With more, the receiver has one too, and workers of the load share what is left."""
    assert (Cores.among(allowed), cores.of_load(workers=2)) == (cores, of_workers)


def facts_of(**changed: Any) -> dict[str, Any]:
    """Return what a cell without problems measured, but for what is changed: `requests__failed=1`."""
    facts: dict[str, Any] = {
        "requests": {"asked": 100, "ok": 100, "failed": 0},
        "spans": {"made": 1600, "unaccounted": 0},
        "load": {"core_share": 0.3, "late_p99_ns": 1_000_000},
    }
    for name, value in changed.items():
        group, _, key = name.partition("__")
        facts[group][key] = value
    return facts


def test_problems_of_a_sound_cell_are_none() -> None:
    """It counts."""
    assert problems(facts_of(), flushed=True) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"requests__failed": 3}, "3 of 100 requests failed"),
        ({"requests__asked": 0}, "no requests in the measured window"),
        ({"spans__unaccounted": 7}, "7 of 1600 spans are missing, and nobody counts them"),
        ({"spans__unaccounted": -7}, "7 more spans were received than made"),
        ({"load__core_share": 0.95}, "load and receiver kept a core busy for 95%"),
        ({"load__late_p99_ns": 50_000_000}, "requests were sent 50 ms after they were due (p99)"),
    ],
)
def test_problems_of_a_cell_that_cannot_count_are_named(changed: dict[str, Any], said: str) -> None:
    """Each reason is told, with its figures."""
    found = problems(facts_of(**changed), flushed=True)
    assert len(found) == 1
    assert said in found[0]


def test_problems_of_a_cell_that_could_not_flush_are_named() -> None:
    """Spans that were still under way would be told as lost."""
    assert problems(facts_of(), flushed=False) == ["the last spans could not be flushed in time"]


def test_environment_leaves_out_what_would_change_an_arm_but_for_the_plan() -> None:
    """The caller's exporter settings are for another purpose; the plan's are a factor."""
    found = environment({"PATH": "/bin", "OTEL_BSP_MAX_QUEUE_SIZE": "9"}, {"OTEL_BSP_SCHEDULE_DELAY": "100"})
    assert (found.get("PATH"), found.get("OTEL_BSP_MAX_QUEUE_SIZE"), found.get("OTEL_BSP_SCHEDULE_DELAY")) == (
        "/bin",
        None,
        "100",
    )


def test_environment_with_a_proxy_keeps_spans_on_this_machine() -> None:
    """A proxy that the application needs must not get the spans."""
    found = environment({"NO_PROXY": "intern", "HTTP_PROXY": "http://proxy:3128"}, {})
    assert (found["NO_PROXY"], found["no_proxy"]) == ("intern,127.0.0.1", "127.0.0.1")
