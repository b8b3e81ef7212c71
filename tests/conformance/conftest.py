"""A receiver, and services of either side that are shut down afterwards."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from gilscope.bench.sink import Sink
from tests.conformance import sides

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def receiver() -> Iterator[Sink]:
    """One receiver for all of these tests."""
    with Sink(keep_bodies=1000, validate=True, http_paths=("/v1/traces", "/base/v1/traces", "/own")) as sink:
        yield sink
        assert sink.errors() == ""


@pytest.fixture(autouse=True)
def machines_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what this machine may have set: requests prefers its bundle to the exporter's own certificate."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    # Upstream's filters keep a message back that equals the last one, and would do so between tests.
    for name in list(logging.root.manager.loggerDict):
        for each in logging.getLogger(name).filters:
            vars(each).pop("last_log", None) if isinstance(each, logging.Filter) else None


@pytest.fixture
def sink(receiver: Sink) -> Sink:
    """The receiver, empty and without faults."""
    receiver.reset()
    return receiver


@pytest.fixture(params=sides.SIDES)
def side(request: pytest.FixtureRequest) -> str:
    """Upstream's or ours."""
    return str(request.param)


@pytest.fixture(params=sides.PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> str:
    """OTLP's two transports."""
    return str(request.param)


@pytest.fixture
def start(side: str) -> Iterator[Callable[..., sides.Service]]:
    """Make a service of the side; it is shut down after the test."""
    started: list[sides.Service] = []

    def make(exporter: Any = None, **batch: Any) -> sides.Service:
        started.append(sides.service(side, exporter, **batch))
        return started[-1]

    yield make
    for service in started:
        service.provider.shutdown()
