"""`python -m gilscope.bench.server`: an ASGI application on uvicorn with one arm in place, steered over standard input.

A child of the bench (see `gilscope.bench.child`). It says its port when it serves, answers `ping`, `begin`, `end` and
`finish` with a line of JSON each, all from the event loop, and ends when its standard input closes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sys
import time
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.importer import ImportFromStringError, import_from_string

from gilscope.bench.arms import Arm, Pipeline
from gilscope.bench.instruments import Collections, LoopLag, Usage
from gilscope.bench.sockets import bound_socket

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

_KEEP_ALIVE_S = 75  # longer than a user thinks


class Measurement:
    """What the instruments show between `begin` and `end`.

    Threading: the event loop's thread only.
    """

    def __init__(self, pipeline: Pipeline, capture: Path | None) -> None:
        self.pipeline = pipeline
        self._capture = capture
        self._recording = ExitStack()

    def begin(self) -> dict[str, Any]:
        """Measuring has begun."""
        if self._capture is not None:
            import gilscope

            self._recording.enter_context(gilscope.record(self._capture, force=True))
        self._collections, self._usage = Collections(), Usage()
        self._lag = LoopLag(asyncio.get_running_loop())
        return {"spans": self.pipeline.spans}

    def end(self) -> dict[str, Any]:
        """Measuring has ended; return what was measured."""
        measured = {**self._usage.end(), "gc": self._collections.end(), **self._lag.end()}
        self._recording.close()
        return measured

    def finish(self) -> dict[str, Any]:
        """Every span has left the process or been given up; return how many there were since it began."""
        finished = self.pipeline.finish()
        return {"made": self.pipeline.spans, **finished, "replaced": self.pipeline.replaced}


class Server(uvicorn.Server):
    """Serves, and does what standard input says."""

    def __init__(self, config: uvicorn.Config, measurement: Measurement, *, gc_freeze: bool) -> None:
        super().__init__(config)
        self._measurement = measurement
        self._gc_freeze = gc_freeze
        self._commands: dict[str, Callable[[], dict[str, Any]]] = {
            "ping": lambda: {"at_ns": time.monotonic_ns()},
            "begin": measurement.begin,
            "end": measurement.end,
            "finish": measurement.finish,
        }
        self._read = b""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """It serves; the parent has been told."""
        await super().startup(sockets)
        if self.started and sockets:
            self._measurement.pipeline.complete()  # many applications arrange their tracing while they start
            if self._gc_freeze:
                gc.collect()
                gc.freeze()
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._hear)
            _say({"port": sockets[0].getsockname()[1]})

    def _hear(self) -> None:
        data = os.read(sys.stdin.fileno(), 4096)
        if not data:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self.should_exit = True
        *lines, self._read = (self._read + data).split(b"\n")
        for line in lines:
            try:
                _say(self._commands[json.loads(line)]())
            except BaseException:
                self.should_exit = True  # the loop logs it, and the parent reads that
                raise


def _say(document: dict[str, Any]) -> None:
    os.write(_answers, json.dumps(document).encode() + b"\n")


_answers = 1


def main() -> None:
    """Serve until standard input closes."""
    global _answers  # noqa: PLW0603  # one in a process
    parser = argparse.ArgumentParser(prog="python -m gilscope.bench.server", description=__doc__)
    parser.add_argument("app", help="module:attribute of an ASGI application")
    parser.add_argument("--factory", action="store_true", help="the attribute is a function that makes it")
    parser.add_argument("--arm", type=Arm, choices=list(Arm), required=True)
    parser.add_argument("--endpoint", required=True, help="URL of the OTLP/HTTP receiver")
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], required=True)
    parser.add_argument("--bind", default="127.0.0.1", metavar="HOST", help="listen there (default: %(default)s)")
    parser.add_argument("--core", type=int, help="run on this core only")
    parser.add_argument("--switch-interval", type=float, metavar="S", help="as sys.setswitchinterval takes it")
    parser.add_argument("--gc-freeze", action="store_true", help="call gc.freeze() when the application is loaded")
    parser.add_argument("--capture", type=Path, help="record the probe to this file while measuring")
    options = parser.parse_args()
    # What the application prints is none of our answers.
    _answers = os.dup(1)
    os.dup2(2, 1)
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    if options.switch_interval is not None:
        sys.setswitchinterval(options.switch_interval)
    sys.path.insert(0, str(Path.cwd()))
    pipeline = Pipeline(options.arm, options.endpoint)
    application = _application(options.app, factory=options.factory)
    pipeline.instrument(application)
    config = uvicorn.Config(
        application,
        loop=options.loop,
        http="httptools",
        access_log=False,
        log_level="warning",
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=1,
    )
    server = Server(config, Measurement(pipeline, options.capture), gc_freeze=options.gc_freeze)
    server.run(sockets=[bound_socket(options.bind, 0)])
    if not server.started:
        sys.exit(f"{options.app} did not start: its lifespan failed")


def _application(name: str, *, factory: bool) -> Any:  # noqa: ANN401  # whatever uvicorn serves
    try:
        found = import_from_string(name)
        return found() if factory else found
    except ImportFromStringError as error:
        sys.exit(str(error))
    except ImportError as error:
        traceback.print_exc()
        sys.exit(f"{name} cannot be imported from {Path.cwd()}: {error}")


if __name__ == "__main__":
    main()
