"""What is to be found out, and how: a plan, from a file in TOML or from the words of a command line.

For example::

    question = "What does tracing cost at 100 users?"
    app = "loadtests.apps.agent.main:app"
    path = "/chat"
    method = "POST"
    body = '{"conversation": "{number}", "text": "Where is my order?"}'
    arms = ["none", "sdk", "batch", "subprocess", "native"]
    users = 100
    duration_s = 30
    repeats = 5

    [factors]                                  # every combination of these is a point
    loop = ["uvloop", "asyncio"]
    "env.OTEL_BSP_MAX_EXPORT_BATCH_SIZE" = [512, 2048]

    [[thresholds]]                             # exit status 3 if one is missed
    arm = "native"
    against = "none"
    figure = "p99_ms"
    at_most = 1.2

Where every combination would be too many, shapes are points by name, each with what is special about it::

    [shapes."20 kB a span"]                    # the levels of the factor `shape`
    "env.AGENT_PAYLOAD_BYTES" = 20000
"""

from __future__ import annotations

import itertools
import sys
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gilscope.bench import thresholds
from gilscope.bench.arms import Arm
from gilscope.bench.compare import AGAIN
from gilscope.errors import GilscopeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ENVIRONMENT = "env."


class PlanError(GilscopeError):
    """A plan that cannot be run; the message says what was expected, what came, and where."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One experiment.

    Attributes:
        question: In words.
        app: module:attribute of an ASGI application.
        factory: The attribute is a function that makes it.
        path, method, body, headers: What is asked, and how; `{number}` in the body is the request's number.
        locustfile: Its users ask instead.
        arms: Names of `Arm`s; the first is run twice in each block.
        loop: uvloop or asyncio.
        users: Who ask, think and ask again; in an open loop, the requests that may be in flight.
        workers: Processes of locust's that they are spread over; 0 is one, without a master.
        master: [HOST:]PORT at which workers elsewhere find locust's master, and at HOST the server; empty: none.
        expect_workers: How many of those there will be.
        rate_per_s: An open loop's requests; None is a closed loop.
        think_time_s: Of a user, on average; it varies by half of it.
        duration_s: That each cell is measured for.
        warmup_s: That it is loaded for before.
        repeats: Blocks.
        seed: Of the order of the arms and of the arrivals.
        switch_interval_s: As `sys.setswitchinterval` takes it; None leaves it alone.
        gc_freeze: Whether the server calls `gc.freeze()` once the application is loaded.
        env: Environment variables of the server.
        probe: Whether each arm is run once more with the probe, for its stalls.
        py_spy: Whether each arm is run once more under py-spy.
        factors: Names of the fields above, or `env.NAME`, with the values that each takes.
        shapes: Levels of the factor `shape` by name: fields as those of `factors`, with one value each.
        thresholds: As `gilscope.bench.summary` judges them.
    """

    question: str = ""
    app: str = ""
    factory: bool = False
    path: str = "/"
    method: str = "GET"
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    locustfile: str = ""
    arms: tuple[str, ...] = ("none", "sdk", "batch", "subprocess", "native")
    loop: str = "uvloop"
    users: int = 100
    workers: int = 0
    master: str = ""
    expect_workers: int = 0
    rate_per_s: float | None = None
    think_time_s: float = 2.0
    duration_s: float = 30.0
    warmup_s: float = 5.0
    repeats: int = 5
    seed: int = 1
    switch_interval_s: float | None = None
    gc_freeze: bool = False
    env: dict[str, str] = field(default_factory=dict)
    probe: bool = True
    py_spy: bool = False
    factors: dict[str, list[Any]] = field(default_factory=dict)
    shapes: dict[str, dict[str, Any]] = field(default_factory=dict)
    thresholds: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """It can be run.

        Raises:
            PlanError: it cannot; says which field.
        """
        for name in ("workers", "expect_workers"):
            _expect(getattr(self, name) >= 0, name, "0 or more", getattr(self, name))
        elsewhere = self.expect_workers
        _expect(
            not self.workers or not elsewhere, "workers", "0 beside expect_workers: all are elsewhere", self.workers
        )
        _expect(bool(self.master) == bool(elsewhere), "expect_workers", "1 or more, and only with master", elsewhere)
        _expect(not self.master or self.master_port in range(1, 65536), "master", "[HOST:]PORT", self.master)
        for name in ("users", "repeats"):
            _expect(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        for name in ("duration_s", "think_time_s", "rate_per_s", "switch_interval_s"):
            value = getattr(self, name)
            _expect(value is None or value > 0, name, "more than 0", value)
        _expect(self.warmup_s >= 0, "warmup_s", "0 or more", self.warmup_s)
        _expect(self.loop in {"uvloop", "asyncio"}, "loop", "uvloop or asyncio", self.loop)
        known = [arm.value for arm in Arm]
        for arm in self.arms:
            _expect(arm in known, "arms", f"some of {', '.join(known)}", arm)
        _expect(len(set(self.arms)) == len(self.arms) > 0, "arms", "one or more, each once", ", ".join(self.arms))
        _expect(not self.locustfile or Path(self.locustfile).is_file(), "locustfile", "a file", self.locustfile)
        _expect(":" in self.app, "app", "module:attribute, as uvicorn takes it", self.app or "nothing")
        for threshold in self.thresholds:
            thresholds.parse(threshold, [*self.arms, self.arms[0] + AGAIN])  # now, and not after an hour
        for point in self.points() if self.factors else ():
            self.at(point)

    @property
    def host(self) -> str:
        """Where the server listens: on this machine only, or where workers of other machines reach it."""
        return self.master.rpartition(":")[0] or "127.0.0.1"

    @property
    def master_port(self) -> int:
        """Where locust's master listens; 0 if there is none."""
        port = self.master.rpartition(":")[2]
        return int(port) if port.isdecimal() else 0

    def points(self) -> Iterator[dict[str, Any]]:
        """Every combination of the factors' values; one empty one without factors."""
        for values in itertools.product(*self.factors.values()):
            yield dict(zip(self.factors, values, strict=True))

    def at(self, point: Mapping[str, Any]) -> Plan:
        """Return the plan of one point, without factors.

        Raises:
            PlanError: a factor that is none, or a value that cannot be.
        """
        if "shape" in point:
            point = dict(point)
            shape = point.pop("shape")
            _expect(shape in self.shapes, "shape", f"one of {', '.join(self.shapes)}", shape)
            point = {**self.shapes[shape], **point}
        changes = {name: value for name, value in point.items() if not name.startswith(_ENVIRONMENT)}
        _expect_fields(changes, "factors")
        variables = {
            name.removeprefix(_ENVIRONMENT): str(value)
            for name, value in point.items()
            if name.startswith(_ENVIRONMENT)
        }
        return replace(self, factors={}, shapes={}, **changes, env={**self.env, **variables})

    def as_json(self) -> dict[str, Any]:
        """Return every field, as plan.json has it."""
        return {**asdict(self), "arms": list(self.arms)}


def from_mapping(given: Mapping[str, Any], where: str) -> Plan:
    """Return the plan that a file or a command line describes.

    Args:
        given: Some of a plan's fields.
        where: That the message of an error names.

    Raises:
        PlanError: as `Plan`, and for fields that a plan does not have, or of another type.
    """
    try:
        _expect_fields(given, "a plan")
        factors = {**({"shape": list(given["shapes"])} if given.get("shapes") else {}), **given.get("factors", {})}
        return Plan(**{**given, "arms": tuple(given.get("arms", Plan.arms)), "factors": factors})
    except (PlanError, thresholds.ThresholdError) as error:
        raise PlanError(f"{where}: {error}") from None
    except TypeError as error:
        raise PlanError(f"{where}: {error}") from None


def read(path: Path) -> dict[str, Any]:
    """Return what a file in TOML says, for `from_mapping`.

    Raises:
        PlanError: it is not there, or no TOML.
    """
    try:
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]
        plan: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PlanError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise PlanError(f"{path}: expected TOML: {error}") from error
    return plan


_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "text"),
    "bool": ((bool,), "true or false"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "float | None": ((int, float), "a number"),
    "tuple[str, ...]": ((list, tuple), "a list of names"),
    "dict[str, str]": ((dict,), "a table of text"),
    "dict[str, list[Any]]": ((dict,), "a table of lists"),
    "dict[str, dict[str, Any]]": ((dict,), "a table of tables"),
    "list[dict[str, Any]]": ((list,), "a list of tables"),
}


def _expect_fields(given: Mapping[str, Any], of: str) -> None:
    types = {each.name: str(each.type) for each in fields(Plan)}
    for name, value in given.items():
        _expect(name in types, name, f"a field of {of} ({', '.join(types)}, or env.NAME for a factor)", "this")
        kinds, words = _TYPES[types[name]]
        is_number = bool not in kinds and isinstance(value, bool)
        optional = value is None and "None" in types[name]
        _expect(optional or (isinstance(value, kinds) and not is_number), name, words, value)
        if types[name] == "dict[str, str]":
            for key, text in value.items():
                _expect(isinstance(text, str), f"{name}.{key}", "text", text)
    for factor, values in given.get("factors", {}).items():
        _expect(isinstance(values, list) and len(values) > 0, f"factors.{factor}", "a list of values", values)


def _expect(holds: bool, name: str, expected: str, came: object) -> None:  # noqa: FBT001  # the condition
    if not holds:
        raise PlanError(f"{name}: expected {expected}, got {came!r}")
