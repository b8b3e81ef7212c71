"""Accepts TCP connections, with the faults that happen before a request does."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from gilscope.bench.sink.faults import NoHandshake, Reset
from gilscope.bench.sockets import bound_socket, reset_on_close

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from gilscope.bench.sink.faults import Refuse
    from gilscope.bench.sink.schedule import Schedule

BACKLOG = 512


class Listener:
    """A listening socket that can refuse, hold, reset or serve what connects to it.

    It accepts by itself rather than through asyncio's server, because asyncio starts TLS before anyone is asked.

    Attributes:
        port: The port in use; it stays the same when the socket is closed and reopened.
        open: Connections that are held or served now.

    Threading: the event loop's thread only.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        serve: Callable[[int], asyncio.Protocol],
        tls: ssl.SSLContext | None,
        schedule: Schedule,
        max_connections: int,
        on_opened: Callable[[], int],
        on_overflow: Callable[[], None],
    ) -> None:
        """Starts listening.

        Args:
            host: Address to bind.
            port: Port to bind, or 0 for any.
            serve: Makes the protocol of a new connection with the number that `on_opened` gave it.
            tls: How connections are encrypted, or None for plain TCP.
            schedule: Says which fault a connection meets.
            max_connections: Further connections are closed at once.
            on_opened: Called for each connection accepted; returns its number.
            on_overflow: Called for each connection closed because too many were open.

        Raises:
            OSError: The port is in use or not allowed.
        """
        self._host = host
        self._serve = serve
        self._tls = tls
        self._schedule = schedule
        self._max_connections = max_connections
        self._on_opened = on_opened
        self._on_overflow = on_overflow
        self._loop = asyncio.get_running_loop()
        self._connecting: set[asyncio.Task[None]] = set()
        self._reopening: asyncio.TimerHandle | None = None
        self.open = 0
        self._socket = bound_socket(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._is_listening = False
        self._listen()

    def apply(self, refuse: Refuse | None) -> None:
        """Starts or stops refusing connections, as the faults now in force say."""
        if self._reopening is not None:
            self._reopening.cancel()
            self._reopening = None
        if refuse is None:
            self._listen()
            return
        self._refuse()
        if refuse.duration_ms is not None:
            self._reopening = self._loop.call_later(refuse.duration_ms / 1000.0, self._listen)

    def close(self) -> None:
        """Stops listening; connections that are served stay open."""
        if self._reopening is not None:
            self._reopening.cancel()
        if self._is_listening:
            self._loop.remove_reader(self._socket)
        self._is_listening = False
        self._socket.close()
        for task in self._connecting:
            task.cancel()

    def connection_ended(self) -> None:
        """To be called when a served connection is gone."""
        self.open -= 1

    def _listen(self) -> None:
        if not self._is_listening:
            self._is_listening = True
            self._socket.listen(BACKLOG)
            self._loop.add_reader(self._socket, self._accept)

    def _refuse(self) -> None:
        """Closes the listening socket. A bound socket that does not listen keeps the port ours meanwhile."""
        if self._is_listening:
            self._is_listening = False
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = bound_socket(self._host, self.port)

    def _accept(self) -> None:
        while self._is_listening:
            try:
                sock, _ = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            sock.settimeout(0)
            if self.open >= self._max_connections:
                sock.close()
                self._on_overflow()
                continue
            self.open += 1
            task = self._loop.create_task(self._connect(sock, self._on_opened()))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self, sock: socket.socket, number: int) -> None:
        """Gives a new connection to its protocol, or to its fault."""
        is_ours = True
        try:
            fault = self._schedule.for_connection()
            if isinstance(fault, Reset):
                reset_on_close(sock)
                return
            if isinstance(fault, NoHandshake):
                await self._hold(sock)
                return
            if fault is not None:  # NotReading
                await self._schedule.replaced.wait()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            is_ours = False  # from here on asyncio closes it, and its protocol tells us
            await self._loop.connect_accepted_socket(lambda: self._serve(number), sock, ssl=self._tls)
        except OSError:
            # The client went away or failed the TLS handshake, and knows it.
            if not is_ours:
                self.connection_ended()
        finally:
            if is_ours:
                sock.close()
                self.connection_ended()

    async def _hold(self, sock: socket.socket) -> None:
        """Reads and never answers until the faults are replaced or the client closes."""
        replaced = self._loop.create_task(self._schedule.replaced.wait())
        try:
            while not replaced.done():
                reading = self._loop.create_task(self._loop.sock_recv(sock, 65536))
                await asyncio.wait({reading, replaced}, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    reading.cancel()
                    await asyncio.wait({reading})
                elif not reading.result():
                    return
        finally:
            replaced.cancel()
