"""Unit tests of plans: what may be asked for, and what the message is for what may not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gilscope.bench.plan import Plan, PlanError, from_mapping, read
from gilscope.bench.run import expected_seconds, turns

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
APP = {"app": "shop.main:app"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"app": "shop"}, "app: expected module:attribute, as uvicorn takes it, got 'shop'"),
        ({}, "app: expected module:attribute, as uvicorn takes it, got 'nothing'"),
        ({**APP, "users": "100"}, "users: expected a whole number, got '100'"),
        ({**APP, "users": True}, "users: expected a whole number, got True"),
        ({**APP, "users": 0}, "users: expected at least 1, got 0"),
        ({**APP, "duration_s": -1}, "duration_s: expected more than 0, got -1"),
        ({**APP, "warmup_s": -1}, "warmup_s: expected 0 or more, got -1"),
        ({**APP, "rate_per_s": 0}, "rate_per_s: expected more than 0, got 0"),
        ({**APP, "loop": "trio"}, "loop: expected uvloop or asyncio, got 'trio'"),
        ({**APP, "arms": ["none", "fast"]}, "expected some of none, sdk, batch, subprocess, native, got 'fast'"),
        ({**APP, "arms": []}, "arms: expected one or more, each once, got ''"),
        ({**APP, "arms": ["none", "none"]}, "arms: expected one or more, each once, got 'none, none'"),
        ({**APP, "user": 3}, "user: expected a field of a plan"),
        ({**APP, "env": {"SIZE": 3}}, "env.SIZE: expected text, got 3"),
        ({**APP, "factors": {"loop": "uvloop"}}, "factors.loop: expected a list of values, got 'uvloop'"),
        ({**APP, "factors": {"loop": []}}, "factors.loop: expected a list of values, got []"),
        ({**APP, "factors": {"loop": ["uvloop", "trio"]}}, "loop: expected uvloop or asyncio, got 'trio'"),
        ({**APP, "factors": {"batch": [1]}}, "batch: expected a field of factors"),
        ({**APP, "shapes": {"many": {"batch": 1}}}, "batch: expected a field of factors"),
        ({**APP, "factors": {"shape": ["many"]}}, "shape: expected one of , got 'many'"),
        ({**APP, "master": "10.0.0.5", "expect_workers": 2}, "master: expected [HOST:]PORT, got '10.0.0.5'"),
        ({**APP, "master": "5557"}, "expect_workers: expected 1 or more, and only with master, got 0"),
        ({**APP, "expect_workers": 2}, "expect_workers: expected 1 or more, and only with master, got 2"),
    ],
)
def test_plan_with_a_mistake_says_what_was_expected_and_what_came(given: dict[str, Any], message: str) -> None:
    """The message names the file, the field, what was expected, and what was there."""
    with pytest.raises(PlanError) as raised:
        from_mapping(given, "plan.toml")
    assert str(raised.value).startswith("plan.toml: ")
    assert message in str(raised.value)


def test_plan_whose_threshold_names_no_figure_is_refused_before_it_runs() -> None:
    """A threshold that cannot be judged is told at once, and not when everything has been measured."""
    threshold = {"arm": "native", "figure": "p98_ms", "at_most": 1.0}
    with pytest.raises(PlanError, match=r"plan.toml: .*p98_ms"):
        from_mapping({**APP, "thresholds": [threshold]}, "plan.toml")


def test_points_of_two_factors_are_all_combinations() -> None:
    """Every level of a factor meets every level of the other."""
    plan = from_mapping({**APP, "factors": {"loop": ["uvloop", "asyncio"], "env.STEPS": [1, 16]}}, "plan.toml")
    assert list(plan.points()) == [
        {"loop": "uvloop", "env.STEPS": 1},
        {"loop": "uvloop", "env.STEPS": 16},
        {"loop": "asyncio", "env.STEPS": 1},
        {"loop": "asyncio", "env.STEPS": 16},
    ]


def test_plan_at_a_point_has_its_levels_and_variables() -> None:
    """A factor that is a variable is added to those that the plan gives anyway."""
    plan = from_mapping({**APP, "env": {"A": "1"}, "factors": {"users": [7], "env.STEPS": [16]}}, "plan.toml")
    at = plan.at({"users": 7, "env.STEPS": 16})
    assert (at.users, at.env, at.factors) == (7, {"A": "1", "STEPS": "16"}, {})


def test_plan_at_a_shape_has_what_is_special_about_it() -> None:
    """Shapes are points by name, and meet the levels of other factors."""
    shapes = {"many": {"users": 7, "env.STEPS": 64}, "few": {"env.STEPS": 4}}
    plan = from_mapping({**APP, "shapes": shapes, "factors": {"gc_freeze": [False, True]}}, "plan.toml")
    assert [point["shape"] for point in plan.points()] == ["many", "many", "few", "few"]
    at = plan.at({"shape": "many", "gc_freeze": True})
    assert (at.users, at.gc_freeze, at.env, list(at.points())) == (7, True, {"STEPS": "64"}, [{}])


def test_plan_as_json_makes_the_same_plan_again() -> None:
    """What is written to plan.json is enough to go on with the run."""
    given = {**APP, "users": 7, "rate_per_s": 3.5, "factors": {"loop": ["asyncio"]}, "shapes": {"few": {"users": 3}}}
    plan = from_mapping(given, "plan.toml")
    assert from_mapping(json.loads(json.dumps(plan.as_json())), "plan.json") == plan


def test_read_of_a_file_that_is_no_toml_names_it(tmp_path: Path) -> None:
    """The message has the file and the place in it."""
    path = tmp_path / "plan.toml"
    path.write_text("users = \n", encoding="utf-8")
    with pytest.raises(PlanError, match=r"plan.toml: expected TOML: .*line 1"):
        read(path)


def test_read_of_a_file_that_is_not_there_names_it(tmp_path: Path) -> None:
    """The message has the file and why."""
    with pytest.raises(PlanError, match=r"plan.toml: cannot be read: No such file"):
        read(tmp_path / "plan.toml")


def test_plan_without_factors_has_one_point() -> None:
    """There is something to run."""
    assert list(Plan(app="shop.main:app").points()) == [{}]


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("e0*/plan.toml")), ids=lambda path: path.parent.name)
def test_plan_of_an_experiment_can_be_run_within_an_hour_and_tells_p99(path: Path) -> None:
    """The committed plans are what this version of the bench takes; where 100 users ask, there are 1,000 requests."""
    plan = from_mapping(read(path), str(path))
    assert expected_seconds(plan, len(turns(plan))) < 3600
    for point in map(plan.at, plan.points()):
        if point.users < 100:
            continue
        rate_per_s = point.rate_per_s or point.users / point.think_time_s
        assert rate_per_s * point.duration_s * point.repeats >= 1000, point
