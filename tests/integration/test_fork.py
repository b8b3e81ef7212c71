"""Forks of every kind: the parent's spans are sent by the parent alone, a child's by the child, all of them once."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gilscope.bench.sink.client import Sink

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
THREAD_NAME = "gilscope-export"
DEADLINE_S = 20.0


@pytest.fixture
def sink() -> Iterator[Sink]:
    """A receiver that knows each span by its id."""
    with Sink(track_ids=True) as receiver:
        yield receiver


@pytest.mark.smoke
@pytest.mark.parametrize("how", ["os", "c", "multiprocessing-fork", "multiprocessing-spawn"])
def test_forked_children_send_their_own_spans_once(sink: Sink, how: str) -> None:
    """Children start empty, without the native thread, and every span of every process arrives exactly once."""
    children, spans = 3, 100
    program = subprocess.run(
        [sys.executable, "-m", "tests.integration.programs.forks", sink.http_endpoint, how, str(children), str(spans)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert program.returncode == 0, program.stderr
    books: list[dict[str, Any]] = [json.loads(line) for line in program.stdout.splitlines()]
    before = [one for one in books if one["who"] == "child-before"]
    after = [one for one in books if one["who"] == "child"]
    (parent,) = (one for one in books if one["who"] == "parent")
    assert len(before) == len(after) == children
    for one in before:
        assert (one["ended"], one["queued"], THREAD_NAME in one["threads"]) == (0, 0, False)
    for one in after:
        assert (one["ended"], one["exported"], THREAD_NAME in one["threads"]) == (spans, spans, True)
    assert all(one["unaccounted"] == 0 for one in books)
    stats = sink.stats()
    assert stats.distinct_spans_accepted == stats.spans_accepted == parent["exported"] + children * spans
    assert parent["exported"] == parent["ended"] >= spans


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def get(port: int) -> str:
    """Return the answer to one request; retried while the server starts."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().read().decode()
        except OSError:
            if time.monotonic() > deadline:
                raise
        finally:
            connection.close()


SERVERS = {
    "gunicorn-preload": [
        "gunicorn",
        "--preload",
        "--workers=2",
        "--bind=127.0.0.1:{port}",
        "tests.integration.programs.web:wsgi",
    ],
    "gunicorn": ["gunicorn", "--workers=2", "--bind=127.0.0.1:{port}", "tests.integration.programs.web:wsgi"],
    "uvicorn-workers": ["uvicorn", "--workers=2", "--port={port}", "tests.integration.programs.web:app"],
}


@pytest.mark.parametrize("spans_at_import", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("server", SERVERS)
def test_servers_with_workers_lose_nothing(sink: Sink, server: str, spans_at_import: bool) -> None:
    """Every request's span arrives, from every worker, also when the master has sent spans before it forked."""
    port = free_port()
    environment = {
        **os.environ,
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": sink.http_endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "SPANS_AT_IMPORT": "1" if spans_at_import else "",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", *(word.format(port=port) for word in SERVERS[server])]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        pids = [get(port) for _ in range(60)]
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode in {0, -signal.SIGTERM}, errors.decode()
    assert b"Traceback" not in errors, errors.decode()
    at_import = sink.stats().distinct_spans_accepted - len(pids)
    sink.wait_for_spans(len(pids) + at_import)
    if not spans_at_import:
        assert at_import == 0
    elif server == "gunicorn-preload":
        assert at_import == 1
    stats = sink.stats()
    assert stats.distinct_spans_accepted == stats.spans_accepted
