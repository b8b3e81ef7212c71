"""`python -m loadtests.demo.server`: the chat service on uvicorn, with instruments, steered over standard input.

A child of the demo (see `gilscope.bench.child`). It prints its port when it serves; answers `begin` (warm-up is over:
spans so far are flushed, measuring starts) and `end` (measuring stops, everything is exported) with a line of JSON
each; and exits when its standard input closes.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import gc
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import uvicorn
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from gilscope import NativeSpanProcessor
from gilscope.bench.sockets import bound_socket
from loadtests.apps.chat import create_app
from loadtests.demo.arms import Arm
from loadtests.demo.instruments import LagMeter, MeasuredProcessor, OtherThreads, core_wait_ns

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from opentelemetry.sdk.trace import SpanProcessor

FLUSH_TIMEOUT_MS = 20_000


class Measurement:
    """What the instruments show between `begin` and `end`.

    Threading: the event loop's thread only.
    """

    def __init__(self, processor: SpanProcessor) -> None:
        self._processor = processor
        self._measured = MeasuredProcessor(processor)
        # Attributes of a resource that a deployment would have; what the environment says is left out.
        resource = Resource(
            {"service.name": "support-agent", "service.version": "3.2", "deployment.environment": "demo"}
        )
        self.provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self.provider.add_span_processor(self._measured)

    def begin(self) -> dict[str, Any]:
        """Measuring has begun; return what there was before."""
        flushed = self.provider.force_flush(FLUSH_TIMEOUT_MS)
        gc.collect()  # every block starts with the same debts
        warm_up_spans = self._measured.spans
        self._measured.spans = self._measured.samples = self._measured.on_end_ns = 0
        self._threads = OtherThreads.now()
        self._core_wait_ns = core_wait_ns()
        self._began_ns = time.monotonic_ns()
        self._lag = LagMeter(asyncio.get_running_loop())
        return {"flushed": flushed, "spans": warm_up_spans}

    def end(self) -> dict[str, Any]:
        """Measuring is over and the last span has been sent; return the measurements."""
        self._lag.stop()
        measured_ns = time.monotonic_ns() - self._began_ns
        waited_ns = core_wait_ns()
        if waited_ns is not None and self._core_wait_ns is not None:
            waited_ns -= self._core_wait_ns
        before_shutdown = OtherThreads.now()
        self.provider.shutdown()
        # Only now: the spans that were still queued have been exported by the same thread, which has ended.
        after_shutdown = OtherThreads.now()
        stats = self._processor.stats() if isinstance(self._processor, NativeSpanProcessor) else None
        return {
            "spans": self._measured.spans,
            "samples": self._measured.samples,
            "on_end_ns": self._measured.on_end_ns,
            "threads_cpu_ns": after_shutdown.cpu_ns - self._threads.cpu_ns,
            "python_threads": sorted({*self._threads.python, *before_shutdown.python}),
            "native_threads": sorted({*self._threads.native, *before_shutdown.native}),
            "measured_ns": measured_ns,
            "core_wait_ns": waited_ns,
            "lags_ns": self._lag.lags_ns.tolist(),
            "stats": None if stats is None else {**dataclasses.asdict(stats), "unaccounted": stats.unaccounted},
        }


class Server(uvicorn.Server):
    """Serves, and does what standard input says."""

    def __init__(self, config: uvicorn.Config, measurement: Measurement) -> None:
        super().__init__(config)
        self._commands: dict[str, Callable[[], dict[str, Any]]] = {"begin": measurement.begin, "end": measurement.end}
        self._read = b""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """It serves; the parent has been told."""
        await super().startup(sockets)
        if self.started and sockets:
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._hear)
            say({"port": sockets[0].getsockname()[1]})

    def _hear(self) -> None:
        data = os.read(sys.stdin.fileno(), 4096)
        if not data:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self.should_exit = True
        *lines, self._read = (self._read + data).split(b"\n")
        for line in lines:
            try:
                say(self._commands[json.loads(line)["do"]]())
            except BaseException:
                self.should_exit = True  # the loop logs it, and the parent reads that
                raise


def say(document: dict[str, Any]) -> None:
    """The parent gets this line."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Serve until standard input closes."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.demo.server", description=__doc__)
    parser.add_argument("--arm", type=Arm, choices=list(Arm), required=True)
    parser.add_argument("--endpoint", required=True, help="URL of the OTLP/HTTP receiver")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], required=True)
    parser.add_argument("--core", type=int, help="run on this core only")
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    # Both processors are shown as they come, whatever the caller's environment says.
    for name in [name for name in os.environ if name.startswith(("OTEL_", "GILSCOPE_"))]:
        del os.environ[name]
    try:
        listening = bound_socket("127.0.0.1", options.port)
        measurement = Measurement(options.arm.processor(options.endpoint))
    except OSError as error:
        sys.exit(f"{error.strerror} (--port 0 takes any that is free)")
    except ImportError as error:
        sys.exit(f"{error} (`make build` installs all that the demo needs)")
    config = uvicorn.Config(
        create_app(measurement.provider),
        loop=options.loop,
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
        timeout_keep_alive=60,  # longer than a connection of a slow load is idle
    )
    Server(config, measurement).run(sockets=[listening])


if __name__ == "__main__":
    main()
