"""The sink's client: starts a sink as a process of its own and steers it.

Standard library only, and no thread: it can be used inside the process under test without disturbing it.
"""

from __future__ import annotations

import http.client
import json
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gilscope.bench.child import Child, ChildError
from gilscope.bench.sink import faults as faults_module
from gilscope.bench.sink.records import RequestRecord, Stats

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from typing_extensions import Self

    from gilscope.bench.sink.faults import Fault

_HOST = "127.0.0.1"
_START_TIMEOUT_S = 30.0
_ANSWER_TIMEOUT_S = 30.0
_BODY_HEADER = struct.Struct("!QQ")

WaitFor = Literal["requests", "spans_received", "spans_accepted", "spans_rejected", "spans_unanswered"]


class SinkError(RuntimeError):
    """The sink could not be started, or it refused what was asked of it; its message is included."""


class SinkTimeoutError(SinkError):
    """A count was not reached in time; the message has the counts as they were then."""


class BodyMissingError(SinkError):
    """A body that was asked for is not kept."""


class Sink:
    """A running sink; a context manager that stops it.

    Threading: any thread, one at a time; each call is one HTTP request to the control port, and blocks for its answer.
    After a fork the child may go on asking, but only the parent may stop the sink.
    """

    def __init__(  # noqa: PLR0913  # one for each option of the process
        self,
        *,
        http_port: int = 0,
        grpc_port: int = 0,
        http_paths: Sequence[str] = ("/v1/traces",),
        tls_cert: Path | str | None = None,
        tls_key: Path | str | None = None,
        client_ca: Path | str | None = None,
        keep_bodies: int = 0,
        keep_requests: int = 1000,
        track_ids: bool | int = False,
        validate: bool = False,
        max_body_bytes: int = 64 << 20,
        max_connections: int = 1000,
        python: str = sys.executable,
    ) -> None:
        """Starts a sink; it serves all its ports when this returns.

        Args:
            http_port: Port of OTLP/HTTP, or 0 for any.
            grpc_port: Port of OTLP/gRPC, or 0 for any.
            http_paths: Paths that OTLP/HTTP answers on; all others are 404.
            tls_cert: Certificate chain in PEM; turns TLS on for both protocols.
            tls_key: Its private key in PEM.
            client_ca: If given, clients need a certificate signed by it.
            keep_bodies: How many of the last bodies to keep for `requests`.
            keep_requests: How many of the last requests to keep.
            track_ids: Whether to count spans by their ids; a number bounds the ids kept (True: a million).
            validate: Whether to parse each body in full, and to refuse bad ones.
            max_body_bytes: Larger bodies are refused.
            max_connections: Further connections to the HTTP port are closed at once.
            python: The interpreter that runs the sink; it needs httptools, grpcio and opentelemetry-proto.

        Raises:
            SinkError: It did not start; the message has what it wrote to standard error.
        """
        options: list[str] = []
        for name, value in (
            ("http-port", http_port),
            ("grpc-port", grpc_port),
            ("keep-bodies", keep_bodies),
            ("keep-requests", keep_requests),
            ("max-body-bytes", max_body_bytes),
            ("max-connections", max_connections),
        ):
            options += [f"--{name}", str(value)]
        for path in http_paths:
            options += ["--http-path", path]
        for name, file in (("tls-cert", tls_cert), ("tls-key", tls_key), ("client-ca", client_ca)):
            if file is not None:
                options += [f"--{name}", str(Path(file).resolve())]
        if track_ids:
            options += ["--track-ids"] if track_ids is True else ["--track-ids", str(track_ids)]
        if validate:
            options.append("--validate")
        self._scheme = "http" if tls_cert is None else "https"
        self._http_path = http_paths[0]
        try:
            self._child = Child(
                "gilscope.bench.sink", ["--exit-with-parent", *options], python=python, timeout_s=_START_TIMEOUT_S
            )
        except ChildError as error:
            raise SinkError(str(error)) from error
        self.http_port: int = self._child.ready["http_port"]
        self.grpc_port: int = self._child.ready["grpc_port"]
        self.control_port: int = self._child.ready["control_port"]

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stops the sink."""
        self.stop()

    @property
    def pid(self) -> int:
        """The sink's process id."""
        return self._child.pid

    @property
    def http_endpoint(self) -> str:
        """URL of OTLP/HTTP with its path, as `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` wants it."""
        return f"{self._scheme}://{_HOST}:{self.http_port}{self._http_path}"

    @property
    def grpc_endpoint(self) -> str:
        """URL of OTLP/gRPC."""
        return f"{self._scheme}://{_HOST}:{self.grpc_port}"

    def stats(self) -> Stats:
        """Returns all counts as they are now."""
        return Stats(**self._ask("GET", "/stats"))

    def requests(self) -> list[RequestRecord]:
        """Returns the last requests, oldest first, with the decompressed bodies that are kept."""
        records = self._ask("GET", "/requests")
        bodies = self._bodies()
        return [RequestRecord.from_json(record, bodies.get(record["number"])) for record in records]

    def bodies(self) -> list[bytes]:
        """Returns the decompressed body of every request that had a good one, oldest first.

        Raises:
            BodyMissingError: Not all of them are kept.
        """
        records = [record for record in self.requests() if record.encoding]
        found = [record.body for record in records if record.body is not None]
        good = sum(self.stats().encodings.values())
        if len(found) != good:
            raise BodyMissingError(
                f"{good} bodies were received, {len(found)} of them are kept: see keep_bodies and keep_requests"
            )
        return found

    def set_faults(self, *faults: Fault, seed: int = 0) -> None:
        """Replaces the faults in force; without any, everything is normal again.

        Args:
            faults: Tried in this order; see `gilscope.bench.sink.faults`.
            seed: Of the generator that decides where a fault has a probability or a weight.
        """
        document = {"seed": seed, "faults": [faults_module.to_json(fault) for fault in faults]}
        self._ask("POST", "/faults", document)

    def close_connections(self, how: Literal["close", "reset"] = "close") -> int:
        """Ends every connection to the HTTP port that is open now, and returns how many there were."""
        closed: int = self._ask("POST", "/connections", {"how": how})["closed"]
        return closed

    def wait_for_spans(self, spans: int, timeout_s: float = 10.0) -> Stats:
        """Returns the counts once `spans` spans were accepted since the start or the last reset.

        Raises:
            SinkTimeoutError: They were not, in `timeout_s` seconds.
        """
        return self.wait_for("spans_accepted", spans, timeout_s)

    def wait_for(self, name: WaitFor, at_least: int, timeout_s: float = 10.0) -> Stats:
        """Returns the counts once the named one is `at_least` so large.

        Raises:
            SinkTimeoutError: It was not, in `timeout_s` seconds.
        """
        document = {name: at_least, "timeout_ms": round(timeout_s * 1000.0)}
        answer = self._ask("POST", "/wait", document, timeout_s + _ANSWER_TIMEOUT_S)
        stats = Stats(**answer["stats"])
        if not answer["reached"]:
            raise SinkTimeoutError(f"expected {name} >= {at_least} within {timeout_s} s, got {stats}")
        return stats

    def reset(self) -> None:
        """Clears counts, records, bodies and faults, and resets the connections to the HTTP port."""
        self._ask("POST", "/reset", {})

    def stop(self) -> int:
        """Stops the sink, and returns its exit code (negative: the signal that ended it); may be repeated."""
        return self._child.stop()

    def errors(self) -> str:
        """Returns what the sink has written to standard error: nothing, unless the sink itself has a bug."""
        return self._child.errors()

    def _bodies(self) -> dict[int, bytes]:
        framed = self._send("GET", "/bodies")
        bodies: dict[int, bytes] = {}
        start = 0
        while start < len(framed):
            number, size_bytes = _BODY_HEADER.unpack_from(framed, start)
            start += _BODY_HEADER.size
            bodies[number] = framed[start : start + size_bytes]
            start += size_bytes
        return bodies

    def _ask(self, method: str, path: str, document: object = None, timeout_s: float = _ANSWER_TIMEOUT_S) -> Any:  # noqa: ANN401
        """Returns the JSON that the control interface answers."""
        return json.loads(self._send(method, path, document, timeout_s))

    def _send(self, method: str, path: str, document: object = None, timeout_s: float = _ANSWER_TIMEOUT_S) -> bytes:
        # One connection per request: nothing is shared with a forked child, and no proxy setting applies.
        connection = http.client.HTTPConnection(_HOST, self.control_port, timeout=timeout_s)
        try:
            body = None if document is None else json.dumps(document)
            connection.request(method, path, body, {"Connection": "close"})
            response = connection.getresponse()
            answer = response.read()
        except OSError as error:
            raise SinkError(
                f"the sink does not answer {method} {path}: {error!r}; its errors: {self.errors()}"
            ) from error
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise SinkError(f"the sink refused {method} {path}: {answer.decode(errors='replace').strip()}")
        return answer
