"""The control interface: plain HTTP and JSON on a port of its own, described in `--help`."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import struct
import urllib.parse
from typing import TYPE_CHECKING, Any, Protocol, cast, get_args

from gilscope.bench.sink import faults
from gilscope.bench.sink.counts import Countable
from gilscope.bench.sink.http_protocol import HttpConnection, Request, Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from gilscope.bench.sink.http_receiver import CloseHow
    from gilscope.bench.sink.records import Stats
    from gilscope.bench.sink.state import State

MAX_CONTROL_BODY_BYTES = 1 << 20
MAX_WAIT_MS = 600_000
BODY_HEADER = struct.Struct("!QQ")
"""In front of each body in the answer to `GET /bodies`: its request's number and its length, big-endian."""


class Controlled(Protocol):
    """What the control interface steers."""

    state: State

    def stats(self) -> Stats:
        """Returns all counts as they are now."""

    def set_faults(self, faults: Sequence[faults.Fault], seed: int) -> None:
        """Replaces the faults in force."""

    def close_connections(self, how: CloseHow) -> int:
        """Ends all connections to the HTTP port."""

    def reset(self) -> None:
        """Clears everything."""


class BadRequestError(ValueError):
    """The request to the control interface is wrong; the message says what was expected."""


class ControlConnection(HttpConnection):
    """One connection to the control interface."""

    def __init__(self, sink: Controlled, on_ended: Callable[[], None]) -> None:
        super().__init__(max_body_bytes=MAX_CONTROL_BODY_BYTES)
        self._sink = sink
        self._on_ended = on_ended
        self._routes: dict[tuple[str, str], Callable[[Request], Awaitable[Response]]] = {
            ("GET", "/stats"): self._get_stats,
            ("GET", "/requests"): self._get_requests,
            ("GET", "/bodies"): self._get_bodies,
            ("GET", "/faults"): self._get_faults,
            ("POST", "/faults"): self._post_faults,
            ("POST", "/wait"): self._post_wait,
            ("POST", "/connections"): self._post_connections,
            ("POST", "/reset"): self._post_reset,
        }

    def respond(self, request: Request) -> Coroutine[None, None, None]:
        """Answers through the route of the request."""
        return self._respond(request)

    def refusal(self, status: int, message: str) -> Response:
        """Returns an answer of the form `{"error": message}`."""
        return _json({"error": message}, status)

    def connection_ended(self) -> None:
        """Tells the listener."""
        self._on_ended()

    async def _respond(self, request: Request) -> None:
        response = request.refusal or await self._route(request)
        self.send(response, request)
        await self.written()
        self.close_if_last(response, request)

    async def _route(self, request: Request) -> Response:
        path = request.target.partition("?")[0]
        route = self._routes.get((request.method, path))
        if route is None:
            known = ", ".join(" ".join(key) for key in self._routes)
            return self.refusal(404, f"expected one of {known}; got {request.method} {path}")
        try:
            return await route(request)
        except ValueError as error:
            return self.refusal(400, str(error))

    async def _get_stats(self, _: Request) -> Response:
        return _json(dataclasses.asdict(self._sink.stats()))

    async def _get_requests(self, _: Request) -> Response:
        return _json([exchange.to_json() for exchange in self._sink.state.counts.records()])

    async def _get_bodies(self, request: Request) -> Response:
        query = urllib.parse.parse_qs(request.target.partition("?")[2])
        bodies = list(self._sink.state.counts.kept_bodies())
        if "last" in query:
            last = int(query["last"][0])
            bodies = bodies[len(bodies) - last if last < len(bodies) else 0 :]
        framed = b"".join(BODY_HEADER.pack(number, len(body)) + body for number, body in bodies)
        return Response(200, framed, "application/octet-stream")

    async def _get_faults(self, _: Request) -> Response:
        return self._faults()

    async def _post_faults(self, request: Request) -> Response:
        document = _document(request, optional=("faults", "seed"))
        listed = document.get("faults", [])
        if not isinstance(listed, list):
            raise BadRequestError(f"faults must be a list, got {listed!r}")
        parsed = [faults.from_json(fault) for fault in listed]
        self._sink.set_faults(parsed, _int(document, "seed", default=0))
        return self._faults()

    async def _post_wait(self, request: Request) -> Response:
        countables = get_args(Countable)
        document = _document(request, optional=("timeout_ms", "spans", *countables))
        asked = [name for name in document if name != "timeout_ms"]
        if len(asked) != 1:
            raise BadRequestError(f"expected one of spans, {', '.join(countables)}; got {asked}")
        name = cast("Countable", "spans_accepted" if asked[0] == "spans" else asked[0])
        timeout_ms = min(_int(document, "timeout_ms", default=10_000), MAX_WAIT_MS)
        try:
            waiting = self._sink.state.counts.wait_until(name, _int(document, asked[0]))
            await asyncio.wait_for(waiting, timeout_ms / 1000.0)
        except asyncio.TimeoutError:
            reached = False
        else:
            reached = True
        return _json({"reached": reached, "stats": dataclasses.asdict(self._sink.stats())})

    async def _post_connections(self, request: Request) -> Response:
        how = _document(request, required=("how",))["how"]
        if how not in {"close", "reset"}:
            raise BadRequestError(f"how must be close or reset, got {how!r}")
        return _json({"closed": self._sink.close_connections(how)})

    async def _post_reset(self, _: Request) -> Response:
        self._sink.reset()
        return _json({})

    def _faults(self) -> Response:
        return _json({"faults": [faults.to_json(fault) for fault in self._sink.state.schedule.faults]})


def _json(document: object, status: int = 200) -> Response:
    return Response(status, json.dumps(document).encode() + b"\n", "application/json")


def _document(request: Request, *, required: tuple[str, ...] = (), optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """Returns the request's JSON object, with all of the required names and none but these and the optional ones."""
    document = json.loads(request.body or b"{}")
    if not isinstance(document, dict):
        raise BadRequestError(f"the body must be a JSON object, got {document!r}")
    if not set(required) <= set(document) <= {*required, *optional}:
        raise BadRequestError(f"expected {', '.join((*required, *optional))}; got {', '.join(document) or 'nothing'}")
    return document


def _int(document: dict[str, Any], name: str, default: int | None = None) -> int:
    value = document.get(name, default)
    if not isinstance(value, int) or value < 0:
        raise BadRequestError(f"{name} must be an integer >= 0, got {value!r}")
    return value
