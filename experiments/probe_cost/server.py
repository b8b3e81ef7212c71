"""`python -m experiments.probe_cost.server`: the chat service of the load tests on uvloop, without tracing, watched.

A child (see `gilscope.bench.child`) that says its port, and ends when its standard input closes. For each
line on its standard input, a tool or "nothing" in JSON, it is watched by that from then on, and says how many requests
it has answered and what CPU time its process has used.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from opentelemetry.trace import NoOpTracerProvider

from gilscope.bench.sockets import bound_socket
from loadtests.apps.chat import create_app

if TYPE_CHECKING:
    import socket


NOTHING, RECORDING, ALWAYS_ON = "nothing", "gilscope, recording", "gilscope, always on"


class Server(uvicorn.Server):
    """Serves until standard input closes."""

    def __init__(self, config: uvicorn.Config, tool: str, capture: Path) -> None:
        super().__init__(config)
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
            _say({"requests": self.server_state.total_requests, "cpu_ns": time.process_time_ns()})
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
    config = uvicorn.Config(
        create_app(NoOpTracerProvider()),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
    server = Server(config, options.tool, options.capture)
    server.run(sockets=[bound_socket("127.0.0.1", 0)])
    server.watch(NOTHING)


if __name__ == "__main__":
    main()
