"""The server side of HTTP/1.1 on asyncio, parsed by httptools: what the receiver and the control interface share."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import http
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, cast

import httptools

from gilscope.bench.sockets import reset_on_close

if TYPE_CHECKING:
    from collections.abc import Coroutine

MAX_HEADERS = 200
MAX_HEADERS_BYTES = 64 << 10
MAX_PIPELINED = 16
DISCARD_FACTOR = 16
"""A body over the limit is read and thrown away, so that the client reads our 413, up to this multiple of the limit."""

NO_BODY_STATUSES = frozenset({204, 304})


@dataclasses.dataclass(slots=True)
class Request:
    """A request; its body is empty until it was read whole. Header names are in lower case."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    keep_alive: bool
    body: bytes = b""
    refusal: Response | None = None

    def header(self, name: str) -> str | None:
        """Returns the first value of a header, or None."""
        return next((value for key, value in self.headers if key == name), None)


@dataclasses.dataclass(frozen=True, slots=True)
class Response:
    """An answer; `close` ends the connection after it and says so."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain"
    headers: tuple[tuple[str, str], ...] = ()
    close: bool = False

    def encode(self, request: Request | None) -> bytes:
        """Returns the bytes that answer the request (None: one that could not be parsed)."""
        bodiless = self.status in NO_BODY_STATUSES
        lines = [f"HTTP/1.1 {self.status} {reason_phrase(self.status)}"]
        if not bodiless:
            lines += [f"content-type: {self.content_type}", f"content-length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.close or request is None or not request.keep_alive:
            lines.append("connection: close")
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        return head if bodiless or (request and request.method == "HEAD") else head + self.body


def reason_phrase(status: int) -> str:
    """Returns the standard reason phrase, or "Unknown" for a status that has none."""
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


class HttpConnection(asyncio.Protocol, ABC):
    """One connection of a server: parses requests and has them answered one after the other.

    A subclass answers: at once from `respond`, or from a coroutine that `respond` returns. Requests that a client sends
    ahead meanwhile wait their turn, at most `MAX_PIPELINED` of them. When the connection ends, a coroutine under way is
    cancelled.

    Threading: the event loop's thread only.
    """

    def __init__(self, *, max_body_bytes: int) -> None:
        self.transport: asyncio.Transport
        self.is_closing = False
        self._max_body_bytes = max_body_bytes
        self._parser = httptools.HttpRequestParser(self)
        self._request: Request | None
        self._start_request()
        self._pipelined: collections.deque[Request] = collections.deque()
        self._answering: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    # What a subclass does.

    @abstractmethod
    def respond(self, request: Request) -> Coroutine[None, None, None] | None:
        """Answers a whole request with `send` and `close_if_last`, or returns the coroutine that will."""

    @abstractmethod
    def refusal(self, status: int, message: str) -> Response:
        """Returns the answer to a request that is not handled because it is wrong."""

    def headers_received(self, request: Request) -> None:
        """Called once a request's headers have come. Setting `request.refusal` discards its body and answers that."""

    def connection_ended(self) -> None:
        """Called once the connection is gone."""

    # What a subclass may call.

    def send(self, response: Response, request: Request | None) -> None:
        """Writes an answer; once it was written, `close_if_last` must follow."""
        self.transport.write(response.encode(request))

    def close_if_last(self, response: Response, request: Request) -> None:
        """Closes the connection if either side wants that after this answer."""
        if response.close or not request.keep_alive:
            self.close()

    async def written(self) -> None:
        """Returns once the kernel has taken everything that was written."""
        await self._writable.wait()

    @property
    def all_written(self) -> bool:
        """Whether the kernel has taken everything that was written."""
        return self._writable.is_set() and not self.transport.get_write_buffer_size()

    @property
    def reading_body(self) -> bool:
        """Whether a request's headers have come, but not its whole body."""
        return self._request is not None

    def close(self) -> None:
        """Closes the connection once all was written; what still comes in is ignored."""
        self.is_closing = True
        self.transport.close()

    def reset(self) -> None:
        """Resets the connection at once; what was not written is lost."""
        self.is_closing = True
        if not self.transport.is_closing():
            reset_on_close(self.transport.get_extra_info("socket"))
        self.transport.abort()

    # asyncio's callbacks.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """For asyncio."""
        self.transport = cast("asyncio.Transport", transport)
        # With no room at all, "writing is paused" means "the kernel has not taken everything yet".
        self.transport.set_write_buffer_limits(high=0)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """For asyncio."""
        self.is_closing = True
        if self._answering is not None:
            self._answering.cancel()
        self.connection_ended()

    def pause_writing(self) -> None:
        """For asyncio."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """For asyncio."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """For asyncio."""
        rest = memoryview(data)
        while rest and not self.is_closing:
            try:
                self._parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                rest = memoryview(self._without_upgrade() + rest[upgrade.args[0] :])
            except httptools.HttpParserCallbackError:  # an error of ours, not of the client
                self.reset()
                raise
            except httptools.HttpParserError as error:
                if not self.is_closing:
                    self.malformed(str(error))
                return
            else:
                return

    def malformed(self, message: str) -> None:
        """Answers bytes that are no HTTP request, and closes."""
        self.send(self.refusal(400, message), None)
        self.close()

    # httptools' callbacks.

    def on_url(self, url: bytes) -> None:
        """For httptools; may come in several pieces."""
        self._target += url
        self._count_header_bytes(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """For httptools."""
        self._count_header_bytes(len(name) + len(value))
        if not self._headers_too_large:
            self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """For httptools."""
        if self.is_closing or self._parser.should_upgrade():
            return
        request = Request(
            method=self._parser.get_method().decode("latin-1"),
            target=self._target.decode("latin-1"),
            headers=self._headers,
            keep_alive=self._parser.should_keep_alive(),
        )
        self._request = request
        request.refusal = self._refusal_by_headers(request)
        self.headers_received(request)
        self._meet_expectation(request)

    def on_body(self, body: bytes) -> None:
        """For httptools."""
        if self.is_closing or self._request is None:
            return
        self._body_bytes += len(body)
        if self._body_bytes > self._max_body_bytes and self._request.refusal is None:
            self._request.refusal = self.refusal(413, f"the body must be at most {self._max_body_bytes} bytes")
        if self._request.refusal is None:
            self._body_parts.append(body)
        else:
            self._body_parts.clear()
            if self._body_bytes > DISCARD_FACTOR * self._max_body_bytes:
                self.reset()

    def on_message_complete(self) -> None:
        """For httptools."""
        request = self._request
        if self.is_closing or request is None:
            return
        request.body = b"".join(self._body_parts)
        self._start_request()
        if self._answering is None:
            self._answer(request)
        else:
            self._pipelined.append(request)
            if len(self._pipelined) >= MAX_PIPELINED:
                self.transport.pause_reading()

    # The rest is private.

    def _without_upgrade(self) -> bytes:
        """Returns the head of a request that offers an upgrade, such as curl's to h2c, without the offer.

        A server is free to ignore it, but llhttp takes what follows such a head for another protocol, so that the
        request has to be read again from its head.
        """
        method = self._parser.get_method().decode("latin-1")
        lines = [f"{method} {self._target.decode('latin-1')} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in self._headers if name not in {"upgrade", "connection"}]
        self._parser = httptools.HttpRequestParser(self)
        self._start_request()
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _start_request(self) -> None:
        self._target = b""
        self._headers: list[tuple[str, str]] = []
        self._headers_bytes = 0
        self._headers_too_large = False
        self._request = None
        self._body_parts: list[bytes] = []
        self._body_bytes = 0

    def _count_header_bytes(self, size_bytes: int) -> None:
        self._headers_bytes += size_bytes
        if self._headers_bytes > MAX_HEADERS_BYTES or len(self._headers) >= MAX_HEADERS:
            self._headers_too_large = True
            self._target = self._target[:MAX_HEADERS_BYTES]

    def _refusal_by_headers(self, request: Request) -> Response | None:
        """Returns the answer to what no subclass would take."""
        if self._headers_too_large:
            too_large = f"headers must be at most {MAX_HEADERS} and {MAX_HEADERS_BYTES} bytes"
            return dataclasses.replace(self.refusal(431, too_large), close=True)
        length = request.header("content-length")
        if length is not None and int(length) > self._max_body_bytes:
            return self.refusal(413, f"the body must be at most {self._max_body_bytes} bytes, got {length}")
        if request.method in {"POST", "PUT"} and length is None and request.header("transfer-encoding") is None:
            return self.refusal(411, "a body needs a Content-Length or chunked Transfer-Encoding")
        expect = request.header("expect")
        if expect is not None and expect.lower() != "100-continue":
            return self.refusal(417, f"Expect must be 100-continue, got {expect}")
        return None

    def _meet_expectation(self, request: Request) -> None:
        """Lets a client send its body that asks first, as curl does from 1 MiB on; or refuses without it."""
        if self.is_closing or self._answering is not None or (request.header("expect") or "").lower() != "100-continue":
            return
        if request.refusal is None:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        else:
            request.refusal = dataclasses.replace(request.refusal, close=True)
            self._start_request()
            self._answer(request)

    def _answer(self, request: Request) -> None:
        """Has a request answered, and then those that wait behind it."""
        coroutine = self.respond(request)
        if coroutine is not None:
            self._answering = asyncio.get_running_loop().create_task(self._answer_all(coroutine))

    async def _answer_all(self, coroutine: Coroutine[None, None, None] | None) -> None:
        try:
            while True:
                if coroutine is not None:
                    await coroutine
                if self.is_closing or not self._pipelined:
                    return
                coroutine = self.respond(self._pipelined.popleft())
                if not self.transport.is_closing():
                    self.transport.resume_reading()
        except Exception:
            self.reset()
            raise
        finally:
            self._answering = None
