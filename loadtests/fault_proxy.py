"""A TCP proxy that spoils connections at run time, between an exporter and the sink: for HTTP, TLS and gRPC alike.

It runs as a process of its own (`python -m loadtests.fault_proxy PORT`), is steered over its standard input, and exits
when that closes. Use it through `FaultProxy`:

    with Sink() as sink, FaultProxy(sink.grpc_port) as proxy:
        ...  # export to 127.0.0.1:proxy.port
        proxy.set(Conditions(blackhole=True))

Standard library only: the handle lives inside the process under test.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import signal
import sys
from typing import TYPE_CHECKING, Any, Literal

from gilscope.bench.child import Child, ChildError
from gilscope.bench.sockets import bound_socket, reset_on_close

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from types import TracebackType

    from typing_extensions import Self

HOST = "127.0.0.1"
CHUNK_BYTES = 64 << 10
QUEUED_CHUNKS = 64
"""What a delayed direction of a connection may hold: 4 MiB."""
MAX_CONNECTIONS = 1000
BACKLOG = 512
THROTTLE_STEPS_PER_S = 50

_TIMEOUT_S = 30.0

Direction = Literal["to_server", "to_client"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conditions:
    """What happens to the connections, old and new, until it is replaced. The default is a clean line.

    Attributes:
        direction: Which direction the other fields spoil; None means both. `refuse` has no direction.
        blackhole: Nothing gets through and nothing is lost: what was sent arrives once this is lifted, as with packets
            that are dropped and sent again. New connections are accepted, but do not reach the server.
        delay_ms: Everything arrives so much later, in order and without loss of throughput.
        bytes_per_s: Throughput of each connection; None means unlimited.
        cut_after_bytes: A connection ends once it has passed so many bytes in a direction since it was opened. The
            bytes up to there arrive.
        cut_how: `"reset"` ends it with RST on both sides, `"close"` with FIN.
        refuse: New connections are refused.
    """

    direction: Direction | None = None
    blackhole: bool = False
    delay_ms: float = 0.0
    bytes_per_s: float | None = None
    cut_after_bytes: int | None = None
    cut_how: Literal["reset", "close"] = "reset"
    refuse: bool = False

    def __post_init__(self) -> None:
        if self.delay_ms < 0.0:
            raise ValueError(f"delay_ms must be >= 0, got {self.delay_ms}")
        if self.bytes_per_s is not None and self.bytes_per_s <= 0.0:
            raise ValueError(f"bytes_per_s must be > 0, got {self.bytes_per_s}")
        if self.cut_after_bytes is not None and self.cut_after_bytes < 0:
            raise ValueError(f"cut_after_bytes must be >= 0, got {self.cut_after_bytes}")

    def spoils(self, direction: Direction) -> bool:
        """Whether the direction is meant."""
        return self.direction is None or self.direction == direction


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProxyStats:
    """What the proxy has seen since its start.

    Attributes:
        connections_opened: Connections accepted.
        connections_open: Connections open now.
        to_server_bytes: Bytes passed on to the server.
        to_client_bytes: Bytes passed on to clients.
    """

    connections_opened: int
    connections_open: int
    to_server_bytes: int
    to_client_bytes: int


class FaultProxy:
    """A running proxy; a context manager that stops it.

    Attributes:
        port: The port that clients connect to, on 127.0.0.1.

    Threading: any thread, one at a time; each call blocks until the proxy has done it.
    """

    def __init__(self, target_port: int, *, port: int = 0, python: str = sys.executable) -> None:
        """Starts a proxy to `target_port` on 127.0.0.1; `port` 0 takes any.

        Raises:
            ChildError: It could not start.
        """
        options = [str(target_port), "--port", str(port)]
        self._child = Child("loadtests.fault_proxy", options, python=python, timeout_s=_TIMEOUT_S)
        self.port: int = self._child.ready["port"]

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stops the proxy."""
        self.stop()

    def set(self, conditions: Conditions) -> None:
        """Replaces the conditions; `set(Conditions())` gives a clean line."""
        self._ask({"do": "set", "conditions": dataclasses.asdict(conditions)})

    def reset_connections(self) -> int:
        """Resets every open connection on both sides, and returns how many there were."""
        closed: int = self._ask({"do": "reset_connections"})["closed"]
        return closed

    def close_connections(self) -> int:
        """Closes every open connection on both sides, and returns how many there were."""
        closed: int = self._ask({"do": "close_connections"})["closed"]
        return closed

    def stats(self) -> ProxyStats:
        """Returns what passed so far."""
        return ProxyStats(**self._ask({"do": "stats"}))

    def stop(self) -> int:
        """Stops the proxy, and returns its exit code; may be repeated."""
        return self._child.stop()

    def errors(self) -> str:
        """Returns what the proxy has written to standard error: nothing, unless it has a bug."""
        return self._child.errors()

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        self._child.write(command)
        answer = self._child.read(_TIMEOUT_S)
        if "error" in answer:
            raise ChildError(answer["error"])
        return answer


class _Proxy:
    """The proxy itself. Event loop's thread only."""

    def __init__(self, target_port: int, port: int) -> None:
        self._target_port = target_port
        self._socket = bound_socket(HOST, port)
        self._server: asyncio.Server | None = None
        self.port: int = self._socket.getsockname()[1]
        self.conditions = Conditions()
        self._changed = asyncio.Event()
        self._connections: set[_Connection] = set()
        self._opened = 0
        self.passed_bytes: dict[Direction, int] = {"to_server": 0, "to_client": 0}

    async def listen(self) -> None:
        """Accepts connections."""
        if self._server is None:
            self._server = await asyncio.start_server(
                self._serve, sock=self._socket, limit=CHUNK_BYTES, backlog=BACKLOG
            )

    def refuse(self) -> None:
        """Refuses connections, and keeps the port."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._socket = bound_socket(HOST, self.port)

    async def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carries out a command of the handle, and returns the answer."""
        match command:
            case {"do": "set", "conditions": conditions}:
                self.conditions = Conditions(**conditions)
                self._changed.set()
                self._changed = asyncio.Event()
                if self.conditions.refuse:
                    self.refuse()
                else:
                    await self.listen()
                return {}
            case {"do": "reset_connections" | "close_connections"}:
                ended = tuple(self._connections)
                for connection in ended:
                    connection.end("reset" if command["do"] == "reset_connections" else "close")
                return {"closed": len(ended)}
            case {"do": "stats"}:
                stats = ProxyStats(
                    connections_opened=self._opened,
                    connections_open=len(self._connections),
                    to_server_bytes=self.passed_bytes["to_server"],
                    to_client_bytes=self.passed_bytes["to_client"],
                )
                return dataclasses.asdict(stats)
            case _:
                return {"error": f"unknown command {command!r}"}

    async def until_passable(self, direction: Direction) -> None:
        """Returns once the direction is no black hole."""
        while self.conditions.blackhole and self.conditions.spoils(direction):
            await self._changed.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._opened += 1
        connection = _Connection(self, self._target_port, reader, writer)
        if len(self._connections) >= MAX_CONNECTIONS:
            connection.end("reset")
            return
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)


class _Connection:
    """A client's connection and the one to the server that belongs to it."""

    def __init__(
        self, proxy: _Proxy, target_port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._target_port = target_port
        self._reader = reader
        self._writers = [writer]
        self._running = asyncio.current_task()

    async def run(self) -> None:
        """Passes data in both directions until both have ended, or either fails."""
        client = self._writers[0]
        how: Literal["reset", "close"] = "reset"  # an error of one side is passed on to the other
        try:
            await self._proxy.until_passable("to_server")
            reader, server = await asyncio.open_connection(HOST, self._target_port, limit=CHUNK_BYTES)
            self._writers.append(server)
            await _all_or_none(self._pass("to_server", self._reader, server), self._pass("to_client", reader, client))
            how = "close"
        except _CutError:
            how = self._proxy.conditions.cut_how
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._end_sockets(how)

    def end(self, how: Literal["reset", "close"]) -> None:
        """Ends both sides."""
        self._end_sockets(how)
        if self._running is not None:
            self._running.cancel()

    def _end_sockets(self, how: Literal["reset", "close"]) -> None:
        for writer in self._writers:
            if how == "reset":
                if not writer.transport.is_closing():
                    reset_on_close(writer.get_extra_info("socket"))
                writer.transport.abort()
            else:
                writer.close()

    async def _pass(self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUED_CHUNKS)
        await _all_or_none(self._fill(direction, reader, queue), self._drain(direction, queue, writer))

    async def _fill(
        self, direction: Direction, reader: asyncio.StreamReader, queue: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        """Reads, and says from when on each piece may be passed on; an empty piece is the end."""
        loop = asyncio.get_running_loop()
        data = b"-"
        while data:
            await self._proxy.until_passable(direction)
            data = await reader.read(CHUNK_BYTES)
            conditions = self._proxy.conditions
            delay_s = conditions.delay_ms / 1000.0 if conditions.spoils(direction) else 0.0
            await queue.put((loop.time() + delay_s, data))

    async def _drain(
        self, direction: Direction, queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        passed_bytes = 0
        while True:
            due_s, data = await queue.get()
            await asyncio.sleep(max(due_s - loop.time(), 0.0))
            await self._proxy.until_passable(direction)
            if not data:
                writer.write_eof()
                return
            while data:
                conditions = self._proxy.conditions
                spoiled = conditions.spoils(direction)
                step_bytes = len(data)
                if spoiled and conditions.bytes_per_s is not None:
                    step_bytes = min(step_bytes, max(1, int(conditions.bytes_per_s / THROTTLE_STEPS_PER_S)))
                if spoiled and conditions.cut_after_bytes is not None:
                    step_bytes = min(step_bytes, max(0, conditions.cut_after_bytes - passed_bytes))
                writer.write(data[:step_bytes])
                await writer.drain()
                passed_bytes += step_bytes
                self._proxy.passed_bytes[direction] += step_bytes
                data = data[step_bytes:]
                if spoiled and conditions.cut_after_bytes is not None and passed_bytes >= conditions.cut_after_bytes:
                    raise _CutError
                if spoiled and conditions.bytes_per_s is not None:
                    await asyncio.sleep(step_bytes / conditions.bytes_per_s)
                    await self._proxy.until_passable(direction)


class _CutError(Exception):
    """The connection has passed as many bytes as it may."""


async def _all_or_none(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Returns when all have; if one fails, cancels the others and raises (a TaskGroup, which 3.10 lacks)."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _run(target_port: int, port: int) -> None:
    loop = asyncio.get_running_loop()
    proxy = _Proxy(target_port, port)
    await proxy.listen()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, commands.feed_eof)
    _print({"port": proxy.port})
    while line := await commands.readline():
        _print(await proxy.obey(json.loads(line)))
    await proxy.obey({"do": "reset_connections"})


def _print(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 after standard input has closed, 1 if the port cannot be had."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.fault_proxy",
        description="A TCP proxy on 127.0.0.1 that spoils connections on request. It prints its port as JSON when it "
        "is ready, reads one command of JSON per line from standard input, and exits when that closes.",
        epilog='commands: {"do": "set", "conditions": {"blackhole": true}}, {"do": "reset_connections"}, '
        '{"do": "close_connections"}, {"do": "stats"}; see the class Conditions for all conditions',
    )
    parser.add_argument("target_port", type=int, help="port on 127.0.0.1 to connect to")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; default any")
    options = parser.parse_args(arguments)
    with contextlib.suppress(KeyboardInterrupt):
        try:
            asyncio.run(_run(options.target_port, options.port))
        except OSError as error:
            sys.stderr.write(f"fault_proxy: {error.strerror or error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
