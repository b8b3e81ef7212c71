"""`python -m experiments.probe_cost.server`: the chat service of the load tests on uvloop, without tracing, watched.

A child (see `gilscope.bench.child`) that says its port, and ends when its standard input closes. For each
line on its standard input, a tool or "nothing" in JSON, it is watched by that from then on, and says how many requests
it has answered, how many steps of requests it has begun, and what CPU time its process has used.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sys
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from opentelemetry.trace import NoOpTracer, NoOpTracerProvider

from gilscope.bench.sockets import bound_socket
from loadtests.apps.chat import create_app

if TYPE_CHECKING:
    import socket

    from opentelemetry.trace import Tracer


NOTHING, RECORDING, ALWAYS_ON = "nothing", "gilscope, recording", "gilscope, always on"


class Steps(NoOpTracerProvider):
    """Traces nothing, and counts the steps that there would be spans of, 16 a request: the service's work in small."""

    def __init__(self) -> None:
        self.begun = 0

    def get_tracer(self, *_names: object, **_more: object) -> Tracer:
        """Return a tracer that counts."""
        return _Counting(self)


class _Counting(NoOpTracer):
    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def start_as_current_span(self, *args: Any, **more: Any) -> Any:  # noqa: ANN401 - as the class it is of
        self._steps.begun += 1
        return super().start_as_current_span(*args, **more)


class Server(uvicorn.Server):
    """Serves until standard input closes."""

    def __init__(self, config: uvicorn.Config, steps: Steps, tool: str, capture: Path) -> None:
        super().__init__(config)
        self._steps = steps
        self._capture = capture
        self._tool = NOTHING
        self._captures = 0
        self._watching: AbstractContextManager[Any] = nullcontext()
        self.watch(tool)

    def watch(self, tool: str) -> None:
        """This process is watched by the tool, and by nothing else."""
        if tool != self._tool:
            self._watching.__exit__(None, None, None)
            self._watching = watching(tool, self._capture.with_suffix(f".{self._captures}"))
            self._watching.__enter__()
            self._tool = tool
            self._captures += 1

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """It serves; the parent has been told."""
        await super().startup(sockets)
        if self.started and sockets:
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._hear)
            _say({"port": sockets[0].getsockname()[1]})

    def _hear(self) -> None:
        line = os.read(sys.stdin.fileno(), 4096)  # one line at a time: the parent waits for the answer
        if line:
            self.watch(json.loads(line))
            requests, cpu_ns = self.server_state.total_requests, time.process_time_ns()
            _say({"requests": requests, "steps": self._steps.begun, "cpu_ns": cpu_ns})
        else:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self.should_exit = True


def _say(document: dict[str, int]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def watching(tool: str, capture: Path) -> AbstractContextManager[Any]:
    """Return what watches this process while it is entered."""
    if tool.startswith("gilscope"):
        import gilscope

        return gilscope.watch(log=False) if tool == ALWAYS_ON else gilscope.record(capture)
    if tool == "VizTracer":
        import viztracer

        tracer = viztracer.VizTracer(verbose=0)
        tracer.start()
        return nullcontext()
    return nullcontext()


def contend() -> None:
    """A thread in the background wants the GIL a tenth of the time, in pieces of 20 ms, as exporters do."""
    while True:
        end_s = time.thread_time() + 0.02
        while time.thread_time() < end_s:
            pass
        time.sleep(0.18)


def main() -> None:
    """Serve until standard input closes."""
    parser = argparse.ArgumentParser(prog="python -m experiments.probe_cost.server", description=__doc__)
    parser.add_argument("--tool", choices=[NOTHING, RECORDING, ALWAYS_ON, "VizTracer"], required=True)
    parser.add_argument("--capture", type=Path, required=True, help="where gilscope records to")
    parser.add_argument("--core", type=int, required=True, help="run on this core only")
    parser.add_argument("--contended", action="store_true", help="with a thread in the background that wants the GIL")
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})
    if options.contended:
        threading.Thread(target=contend, daemon=True).start()
    steps = Steps()
    config = uvicorn.Config(
        create_app(steps),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
    # What has been made until here is not gone through by each collection of what a turn has made.
    gc.freeze()
    server = Server(config, steps, options.tool, options.capture)
    server.run(sockets=[bound_socket("127.0.0.1", 0)])
    server.watch(NOTHING)


if __name__ == "__main__":
    main()
