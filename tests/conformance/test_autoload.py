"""opentelemetry-instrument, with the entry point of the installed distribution."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conformance.sides import GRPC, HTTP, names_received

if TYPE_CHECKING:
    from gilscope.bench.sink import Sink

PROGRAM = """
from opentelemetry import trace
(processor,) = trace.get_tracer_provider()._active_span_processor._span_processors
trace.get_tracer("t").start_span("automatic").end()
print(type(processor).__name__)
"""


# Upstream's configurator gets an argument of upstream's own distro and says that it ignores it.
UPSTREAMS_REMARK = "OTEL_CONFIG_FILE is set; ignoring configurator kwargs"


def instrumented(program: str, sink: Sink, protocol: str, **environment: str) -> str:
    """Return what the program printed under opentelemetry-instrument; it must not have said anything else."""
    command = [str(Path(sys.executable).parent / "opentelemetry-instrument"), sys.executable, "-c", program]
    settings = {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_ENDPOINT": sink.grpc_endpoint if protocol == GRPC else f"http://127.0.0.1:{sink.http_port}",
    }
    env = os.environ | settings | environment
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=env)
    said = [line for line in done.stderr.splitlines() if not line.startswith(UPSTREAMS_REMARK)]
    assert (done.returncode, said) == (0, [])
    return done.stdout.strip()


def test_configured_pair_is_native(sink: Sink, protocol: str) -> None:
    """Without a line of code; what is queued is sent at exit."""
    assert instrumented(PROGRAM, sink, protocol) == "NativeSpanProcessor"
    assert names_received(sink) == ["automatic"]
    assert " gilscope/" in dict(sink.requests()[0].headers)["user-agent"]


def test_switch_leaves_upstreams(sink: Sink, protocol: str) -> None:
    """GILSCOPE_SPANS=off."""
    assert instrumented(PROGRAM, sink, protocol, GILSCOPE_SPANS="off") == "BatchSpanProcessor"
    assert names_received(sink) == ["automatic"]
    assert "gilscope/" not in dict(sink.requests()[0].headers)["user-agent"]


def test_pair_of_a_configuration_file_is_native(sink: Sink, tmp_path: Path) -> None:
    """OTEL_CONFIG_FILE, which takes the place of all other variables."""
    pytest.importorskip("opentelemetry.configuration", reason="needs opentelemetry-configuration, for CPython 3.11 on")
    file = tmp_path / "otel.yaml"
    file.write_text(
        "file_format: '1.0'\n"
        "tracer_provider:\n"
        "  processors:\n"
        f"    - batch: {{exporter: {{otlp_http: {{endpoint: '{sink.http_endpoint}'}}}}}}\n"
    )
    assert instrumented(PROGRAM, sink, HTTP, OTEL_CONFIG_FILE=str(file)) == "NativeSpanProcessor"
    assert names_received(sink) == ["automatic"]
    assert " gilscope/" in dict(sink.requests()[0].headers)["user-agent"]


@pytest.mark.parametrize("exporters", ["none", "console"])
def test_nothing_to_swap_is_fine(sink: Sink, exporters: str) -> None:
    """No exporter, or one that is not OTLP."""
    printed = instrumented("print('ran')", sink, HTTP, OTEL_TRACES_EXPORTER=exporters)
    assert printed == "ran"


def test_processor_made_by_the_program_is_native(sink: Sink) -> None:
    """What the program adds itself passes the same point."""
    program = (
        "from opentelemetry import trace\n"
        "from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter\n"
        "from opentelemetry.sdk.trace.export import BatchSpanProcessor\n"
        "trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))\n"
        "trace.get_tracer('t').start_span('own').end()\n"
    )
    instrumented(program, sink, HTTP, OTEL_TRACES_EXPORTER="none")
    assert names_received(sink) == ["own"]
    assert " gilscope/" in dict(sink.requests()[0].headers)["user-agent"]
