"""`python -m experiments.probe_cost.server`: the chat service of the load tests on uvloop, without tracing, watched.

A child (see `loadtests.child`) that says its port when it serves, and ends when its standard input closes.
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
from typing import TYPE_CHECKING, Any

import uvicorn
from opentelemetry.trace import NoOpTracerProvider

from loadtests.apps.chat import create_app
from loadtests.sockets import bound_socket

if TYPE_CHECKING:
    import socket


RECORDING, ALWAYS_ON = "gilscope, recording", "gilscope, always on"


class Server(uvicorn.Server):
    """Serves until standard input closes."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """It serves; the parent has been told."""
        await super().startup(sockets)
        if self.started and sockets:
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._hear)
            sys.stdout.write(json.dumps({"port": sockets[0].getsockname()[1]}) + "\n")
            sys.stdout.flush()

    def _hear(self) -> None:
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        self.should_exit = True


def watching(tool: str, capture: str) -> AbstractContextManager[Any]:
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
    parser.add_argument("--tool", choices=["nothing", RECORDING, ALWAYS_ON, "VizTracer"], required=True)
    parser.add_argument("--capture", required=True, help="where gilscope records to")
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
    with watching(options.tool, options.capture):
        Server(config).run(sockets=[bound_socket("127.0.0.1", 0)])


if __name__ == "__main__":
    main()
