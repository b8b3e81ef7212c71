"""What the sink's tests send with: clients that share no code with the sink."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import os
import socket
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping

    from gilscope.bench.sink import Sink

HOST = "127.0.0.1"
TIMEOUT_S = 10.0
PROTOBUF = {"Content-Type": "application/x-protobuf"}


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer as `http.client` reads it."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


def batch(spans: int, name: str = "operation") -> bytes:
    """Returns a serialized request with so many spans of random ids, in two resources."""
    request = ExportTraceServiceRequest()
    scopes = [request.resource_spans.add().scope_spans.add() for _ in range(2)]
    for i in range(spans):
        scopes[i % 2].spans.add(trace_id=os.urandom(16), span_id=os.urandom(8), name=name)
    return request.SerializeToString()


@contextlib.contextmanager
def connected(sink: Sink) -> Iterator[http.client.HTTPConnection]:
    """Gives a connection that is kept alive."""
    connection = http.client.HTTPConnection(HOST, sink.http_port, timeout=TIMEOUT_S)
    try:
        yield connection
    finally:
        connection.close()


def post(connection: http.client.HTTPConnection, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    """Sends a body over the connection, and returns the whole answer."""
    connection.request("POST", "/v1/traces", body, {**PROTOBUF, **(headers or {})})
    response = connection.getresponse()
    return Answer(response.status, response.headers, response.read())


def post_once(sink: Sink, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    """Sends a body over a connection of its own."""
    with connected(sink) as connection:
        return post(connection, body, headers)


@contextlib.contextmanager
def raw_connection(port: int, tls: ssl.SSLContext | None = None) -> Iterator[socket.socket]:
    """Gives a socket, encrypted if asked for."""
    with socket.create_connection((HOST, port), timeout=TIMEOUT_S) as plain:
        if tls is None:
            yield plain
        else:
            with tls.wrap_socket(plain, server_hostname=HOST) as encrypted:
                yield encrypted


def request_bytes(body: bytes, *headers: str, target: str = "/v1/traces", method: str = "POST") -> bytes:
    """Returns a request as bytes; without headers of its own it has the usual ones."""
    lines = headers or ("content-type: application/x-protobuf", f"content-length: {len(body)}")
    return "\r\n".join([f"{method} {target} HTTP/1.1", "host: sink", *lines, "", ""]).encode() + body


def read_until_closed(sock: socket.socket) -> bytes:
    """Returns all that comes until the peer closes; raises `ConnectionResetError` if it resets instead."""
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    return b"".join(parts)


def read_head(sock: socket.socket) -> bytes:
    """Returns what comes up to the end of the first answer's headers, read byte by byte so that no more is taken."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            raise ConnectionError(f"closed after {data!r}")
        data += byte
    return data


def read_answer(sock: socket.socket) -> bytes:
    """Returns the first answer, whose headers say how long it is, and takes no more."""
    head = read_head(sock)
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    body = b""
    while missing := int(length.partition(b":")[2]) - len(body):
        part = sock.recv(missing)
        if not part:
            raise ConnectionError(f"closed within the body of {head!r}")
        body += part
    return head + body
