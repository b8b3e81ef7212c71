"""Forked and spawned children, in programs of their own."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.conformance.sides import names_received

if TYPE_CHECKING:
    from gilscope.bench.sink import Sink

PROLOGUE = """
import multiprocessing, os, sys
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from gilscope import NativeSpanProcessor
kind = {"upstream": BatchSpanProcessor, "gilscope": NativeSpanProcessor}[sys.argv[1]]
def make():
    provider = TracerProvider()
    provider.add_span_processor(kind(OTLPSpanExporter(sys.argv[2]), schedule_delay_millis=3600_000))
    return provider
def end(provider, name):
    provider.get_tracer("t").start_span(name).end()
def work(provider, name):
    end(provider, name)
    assert provider.force_flush()
def spawned(name):
    work(make(), name)
"""

PROGRAMS = {
    "os.fork": """
provider = make()
end(provider, "parent before")
child = os.fork()
if child == 0:
    work(provider, "child")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
work(provider, "parent after")
""",
    "os.fork and an orderly exit": """
provider = make()
end(provider, "parent before")
child = os.fork()
end(provider, "parent after" if child else "child")
if child:
    assert os.waitpid(child, 0)[1] == 0
""",
    "os.fork while the connection is open": """
provider = make()
work(provider, "parent before")
child = os.fork()
if child == 0:
    work(provider, "child")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
work(provider, "parent after")
""",
    "multiprocessing fork": """
provider = make()
end(provider, "parent before")
process = multiprocessing.get_context("fork").Process(target=work, args=(provider, "child"))
process.start()
process.join()
assert process.exitcode == 0
work(provider, "parent after")
""",
    "multiprocessing spawn": """
if __name__ == "__main__":
    provider = make()
    end(provider, "parent before")
    process = multiprocessing.get_context("spawn").Process(target=spawned, args=("child",))
    process.start()
    process.join()
    assert process.exitcode == 0
    work(provider, "parent after")
""",
    "two generations": """
provider = make()
end(provider, "parent before")
child = os.fork()
if child == 0:
    end(provider, "child")
    grandchild = os.fork()
    if grandchild == 0:
        os._exit(0)
    assert os.waitpid(grandchild, 0)[1] == 0
    provider.force_flush()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
work(provider, "parent after")
""",
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_process_sends_its_own_spans_once(
    sink: Sink, side: str, program: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The parent's are the parent's alone; the child works without being told that it is one."""
    script = tmp_path_factory.mktemp("fork") / "program.py"
    script.write_text(PROLOGUE + PROGRAMS[program])
    command = [sys.executable, "-W", "ignore", str(script), side, sink.http_endpoint]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(names_received(sink)) == ["child", "parent after", "parent before"]


def test_native_child_starts_no_thread_before_its_first_span(sink: Sink) -> None:
    """Upstream's starts one in every child."""
    program = PROLOGUE + (
        "def threads():\n"
        "    names = [open(f'/proc/self/task/{task}/comm').read().strip() for task in os.listdir('/proc/self/task')]\n"
        "    return sum(name.startswith('gilscope') for name in names)\n"
        "provider = make(); work(provider, 'parent')\n"
        "print(threads(), flush=True)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    before = threads()\n"
        "    work(provider, 'child')\n"
        "    print(before, threads(), flush=True)\n"
        "    os._exit(0)\n"
        "os.waitpid(child, 0)\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", program, "gilscope", sink.http_endpoint]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["1", "0", "1"], "")
