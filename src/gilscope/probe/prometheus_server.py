"""An endpoint for Prometheus: `GET /metrics`, one scrape after the other.

One thread for all scrapes, which sleeps in a system call between them: every thread of a process has a number in the
probe, and one for each scrape would use them up.
"""

from __future__ import annotations

import logging
import os
import socket
import socketserver
import sys
import threading
import weakref
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from gilscope.errors import ProbeError
from gilscope.probe.prometheus import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("gilscope")

# A client that is slow to ask or to read keeps the others out for so long.
_CLIENT_S = 5.0

_servers: weakref.WeakSet[PrometheusServer] = weakref.WeakSet()


class PrometheusServer(socketserver.TCPServer):
    """Listens from its making on, answers from `start` to `stop`."""

    allow_reuse_address = True

    def __init__(self, host: str, port: int, text: Callable[[], str]) -> None:
        """The address is taken.

        Args:
            host: a name or an address to listen on.
            port: 0 for any that is free.
            text: what is answered; called on the server's thread.

        Raises:
            ProbeError: the address cannot be had.
        """
        self.text = text
        self._stopping = False
        self._client: socket.socket | None = None
        try:
            self.address_family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            super().__init__((str(address[0]), port), _Answer)
        except OSError as error:
            raise ProbeError(
                f"cannot serve Prometheus on {host}:{port}: {error.strerror or error}; choose another prometheus_port, "
                "or prometheus_host"
            ) from error
        self._thread = threading.Thread(target=self._run, name="gilscope-prometheus", daemon=True)
        _servers.add(self)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Scrapes are answered."""
        self._thread.start()

    def stop(self) -> None:
        """The port is free again; a scrape that is being answered may be cut off."""
        self._stopping = True
        if self._thread.is_alive():
            # Ends the wait for a connection, which has no timeout, and that for a client.
            for waited_for in filter(None, (self.socket, self._client)):
                with suppress(OSError):
                    waited_for.shutdown(socket.SHUT_RDWR)
            self._thread.join(_CLIENT_S)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  # as the base class's
        """The request has been answered, or its client is too slow, or the server stops."""
        self._client = request
        super().process_request(request, client_address)
        self._client = None

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002  # as the base class's
        """The failure is in the log, for debugging: it is the client's mostly."""
        logger.debug("A scrape from %s failed: %r", client_address, sys.exc_info()[1])

    def _run(self) -> None:
        while not self._stopping:
            self.handle_request()


class _Answer(BaseHTTPRequestHandler):
    timeout = _CLIENT_S
    server: PrometheusServer

    def do_GET(self) -> None:
        """The totals are answered, or that there is no such page."""
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(HTTPStatus.NOT_FOUND, "ask for /metrics")
            return
        body = self.server.text().encode("utf-8", "replace")
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Nothing is logged: standard error is the application's."""


def _close_in_child() -> None:
    """A forked child has no thread to answer, and would keep the port from being free when its parent ends."""
    for server in list(_servers):
        server.server_close()


os.register_at_fork(after_in_child=_close_in_child)
