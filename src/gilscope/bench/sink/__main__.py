"""`python -m gilscope.bench.sink`: runs the sink until SIGTERM, SIGINT or, if asked for, the end of standard input."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
from typing import TYPE_CHECKING

from gilscope.bench.sink.control import ControlConnection
from gilscope.bench.sink.grpc_receiver import GrpcReceiver
from gilscope.bench.sink.http_receiver import CloseHow, HttpReceiver
from gilscope.bench.sink.listener import Listener
from gilscope.bench.sink.schedule import Schedule
from gilscope.bench.sink.settings import HOST, Settings, parse_arguments
from gilscope.bench.sink.state import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gilscope.bench.sink.faults import Fault
    from gilscope.bench.sink.records import Stats

MAX_CONTROL_CONNECTIONS = 64


class SinkServer:
    """The three ports of a sink, and what the control interface does to them.

    Threading: the event loop's thread only.
    """

    def __init__(self, settings: Settings) -> None:
        """Binds all ports; `start` must follow.

        Raises:
            OSError: A port is in use or not allowed, or a certificate cannot be used.
        """
        self.state = State(settings)
        with contextlib.ExitStack() as opened:
            self._http = HttpReceiver(
                self.state,
                HOST,
                settings.http_port,
                paths=frozenset(settings.http_path),
                tls=settings.tls_context(),
                max_connections=settings.max_connections,
            )
            opened.callback(self._http.close)
            self._control = Listener(
                HOST,
                settings.control_port,
                serve=lambda _: ControlConnection(self, self._control.connection_ended),
                tls=None,
                schedule=Schedule(),
                max_connections=MAX_CONTROL_CONNECTIONS,
                on_opened=lambda: 0,
                on_overflow=lambda: None,
            )
            opened.callback(self._control.close)
            self._grpc = GrpcReceiver(self.state, HOST, settings)
            opened.pop_all()

    async def start(self) -> dict[str, int]:
        """Returns the ports once all of them are served."""
        await self._grpc.start()
        return {
            "http_port": self._http.listener.port,
            "grpc_port": self._grpc.port,
            "control_port": self._control.port,
        }

    async def stop(self) -> None:
        """Stops listening and ends all connections."""
        self._http.close()
        self._control.close()
        await self._grpc.stop()

    def stats(self) -> Stats:
        """Returns all counts as they are now."""
        return self.state.counts.stats(
            faults=dict(self.state.schedule.applied), connections_open=self._http.listener.open
        )

    def set_faults(self, faults: Sequence[Fault], seed: int) -> None:
        """Replaces the faults in force; connections that an earlier fault held are served or dropped."""
        self.state.schedule.set(faults, seed=seed)
        self._http.apply_faults()

    def close_connections(self, how: CloseHow) -> int:
        """Ends all connections to the HTTP port, and returns how many there were."""
        return self._http.close_connections(how)

    def reset(self) -> None:
        """Clears counts, records, bodies and faults, and resets the connections to the HTTP port."""
        self.set_faults((), seed=0)
        self._http.close_connections("reset")
        self._grpc.forget_peers()
        self.state.reset_counts()


async def run(settings: Settings) -> None:
    """Runs a sink until it is told to stop, having printed its ports.

    Raises:
        OSError: It cannot be set up as the settings ask for.
    """
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if settings.exit_with_parent:
        _watch_stdin(loop, stopped)
    server = SinkServer(settings)
    ports = await server.start()
    line = json.dumps({**ports, "pid": os.getpid(), "tls": settings.tls_cert is not None})
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
    await stopped.wait()
    await server.stop()


def _watch_stdin(loop: asyncio.AbstractEventLoop, stopped: asyncio.Event) -> None:
    """Sets the event once standard input ends, which it does when the last process that holds its other end does."""

    def read() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            loop.remove_reader(sys.stdin.fileno())
            stopped.set()

    try:
        loop.add_reader(sys.stdin.fileno(), read)
    except PermissionError as error:  # epoll takes no regular files and no /dev/null
        raise OSError("--exit-with-parent needs a pipe as standard input") from error


def _allow_open_files(needed: int) -> None:
    """Raises the soft limit of open files as far as needed and allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 after a clean end, 1 if the sink could not be set up (2, by argparse, for usage)."""
    settings = parse_arguments(arguments)
    _allow_open_files(settings.max_connections + 256)
    try:
        asyncio.run(run(settings))
    except OSError as error:
        sys.stderr.write(f"sink: {error.strerror or error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
