"""The endpoint for Prometheus, of a process that is busy."""

from __future__ import annotations

import socket
import threading
from itertools import pairwise
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

import gilscope
from gilscope.errors import ProbeError
from gilscope.probe import prometheus_server
from tests.accuracy.recorded import needs_gil, needs_probe
from tests.exposition import parsed
from tests.integration.programs.watch_load import DEADLINE_S, block, burner, eventually, run, spin, stalls

if TYPE_CHECKING:
    from tests.exposition import Samples

pytestmark = needs_probe

ITERATIONS = ("gilscope_loop_iteration_seconds_count", frozenset({("loop", "MainThread")}))


def scrape(port: int | None) -> Samples:
    """Return what the endpoint answers."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=DEADLINE_S) as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        return parsed(answer.read().decode())


@needs_gil
@pytest.mark.smoke
def test_scrapes_of_a_busy_process_are_whole_and_never_fall() -> None:
    """Twenty scrapes while a loop and a thread fight for the GIL."""
    scrapes = []
    with gilscope.watch(log=False, prometheus_port=0) as watch, burner():
        for _ in range(20):
            run(stalls(spin, 0.005, 2))
            scrapes.append(scrape(watch.prometheus_port))
        scrapes.append(parsed(watch.prometheus()))
    for before, after in pairwise(scrapes):
        assert {key: value for key, value in before.items() if after[key] < value} == {}
    assert scrapes[-1][ITERATIONS] >= 80
    wait = frozenset({("waiter", "MainThread"), ("holder", "burner")})
    assert scrapes[-1]["gilscope_gil_wait_seconds_total", wait] > 0


def test_other_pages_are_not_found() -> None:
    """The endpoint answers what it is for."""
    with gilscope.watch(log=False, prometheus_port=0) as watch:
        with pytest.raises(HTTPError) as caught:
            urlopen(f"http://127.0.0.1:{watch.prometheus_port}/", timeout=DEADLINE_S)
        caught.value.close()
        assert caught.value.code == 404


def server_threads() -> list[threading.Thread]:
    """Return those that answer scrapes."""
    return [thread for thread in threading.enumerate() if thread.name == "gilscope-prometheus"]


def test_client_that_says_nothing_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection without a request is open while the watch stops, and the port is free for the next watch."""
    monkeypatch.setattr(prometheus_server._Answer, "timeout", None)
    watch = gilscope.watch(log=False, prometheus_port=0)
    port = watch.prometheus_port
    with socket.create_connection(("127.0.0.1", port or 0)):
        eventually(lambda: any(server._client for server in prometheus_server._servers))
        watch.stop()
        assert server_threads() == []
        with gilscope.watch(log=False, prometheus_port=port):
            run(stalls(block, 0.0, 2))
            assert eventually(lambda: ITERATIONS in scrape(port))


def test_port_that_is_taken_is_a_clear_error_and_nothing_runs() -> None:
    """The error names the address and what to change; a watch on another port starts."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ProbeError, match=rf"127\.0\.0\.1:{port}: Address already in use; choose another"):
            gilscope.watch(prometheus_port=port)
        gilscope.watch(log=False, prometheus_port=0).stop()
