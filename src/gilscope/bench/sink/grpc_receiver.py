"""OTLP/gRPC: `TraceService.Export` on grpcio's asyncio server, an implementation independent of the exporters'."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, NoReturn

import grpc
import grpc.aio

from gilscope.bench.sink import faults, otlp

if TYPE_CHECKING:
    from gilscope.bench.sink.counts import Exchange
    from gilscope.bench.sink.settings import Settings
    from gilscope.bench.sink.state import State

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
METHOD = "Export"

_MAX_PEERS = 100_000

Context = grpc.aio.ServicerContext[bytes, bytes]


class GrpcReceiver:
    """The OTLP/gRPC port.

    grpcio does not tell when connections open or close: `connections_opened` grows with each peer that was not seen
    before. Messages over `max_body_bytes` are refused by grpcio itself, with RESOURCE_EXHAUSTED, and counted nowhere.

    Attributes:
        port: The port in use.

    Threading: the event loop's thread only.
    """

    def __init__(self, state: State, host: str, settings: Settings) -> None:
        """Binds the port (0 for any).

        Raises:
            OSError: The port is in use or not allowed, or a certificate cannot be read.
        """
        self._state = state
        self._peers: dict[str, int] = {}
        self._server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),  # a busy port is an error, not shared
                ("grpc.max_receive_message_length", settings.max_body_bytes),
                # Messages come as they were sent, so that their size and encoding can be counted.
                ("grpc.per_message_decompression", 0),
            ]
        )
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(self._export)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
        address = f"{host}:{settings.grpc_port}"
        credentials = _credentials(settings)
        try:
            if credentials is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from error

    async def start(self) -> None:
        """Returns once calls are served."""
        await self._server.start()

    async def stop(self) -> None:
        """Ends all calls and connections."""
        await self._server.stop(grace=None)

    def forget_peers(self) -> None:
        """Lets every connection count as new again."""
        self._peers.clear()

    async def _export(self, message: bytes, context: Context) -> bytes:
        exchange = self._state.counts.begin("grpc", self._peer_number(context.peer()))
        exchange.method = "POST"
        exchange.target = f"/{SERVICE}/{METHOD}"
        exchange.headers = [(key, _metadata_text(value)) for key, value in context.invocation_metadata() or ()]
        fault = self._state.schedule.for_request("grpc")
        try:
            body = self._state.decoder.decode(message, otlp.grpc_encoding(message))
        except otlp.BadBodyError as error:
            await _abort(context, exchange, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except otlp.BodyTooLargeError as error:
            await _abort(context, exchange, grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        exchange.received(body)
        if fault is None:
            fault = self._state.schedule.for_body("grpc", body.wire_bytes, len(body.protobuf))
        if fault is not None:
            exchange.fault = faults.kind_of(fault)
        try:
            return await _answer(fault, exchange, context)
        finally:
            exchange.unanswered()  # the client cancelled, or its deadline passed

    def _peer_number(self, peer: str) -> int:
        number = self._peers.get(peer)
        if number is None:
            if len(self._peers) >= _MAX_PEERS:
                self._peers.clear()
            self._state.counts.connections_opened += 1
            number = self._peers[peer] = self._state.counts.connections_opened
        return number


async def _answer(fault: faults.Fault | None, exchange: Exchange, context: Context) -> bytes:
    """Returns the answer to a received request, or ends the call, as its fault says."""
    if isinstance(fault, faults.Hang):
        await asyncio.Event().wait()  # until the client gives up and grpcio cancels this
    if fault is not None and fault.delay_ms:
        await asyncio.sleep(fault.delay_ms / 1000.0)
    match fault:
        case faults.GrpcStatus():
            await _abort(context, exchange, grpc.StatusCode[fault.code], fault.message, _retry_metadata(fault))
        case faults.TooLarge():
            # As gRPC's own implementations say it: the text is all that tells it from other exhausted resources.
            text = f"Received message larger than max ({fault.measured} size vs. {fault.limit_bytes})"
            await _abort(context, exchange, grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        case faults.PartialSuccess():
            rejected = min(fault.rejected_spans, exchange.spans)
            exchange.answered("OK", success=True, spans_rejected=rejected)
            return otlp.success(rejected_spans=rejected, message=fault.message)
    exchange.answered("OK", success=True)
    return otlp.success()


async def _abort(
    context: Context,
    exchange: Exchange,
    code: grpc.StatusCode,
    message: str,
    metadata: tuple[tuple[str, bytes], ...] = (),
) -> NoReturn:
    """Ends the call with a status other than OK."""
    exchange.answered(code.name, success=False)
    await context.abort(code, message, trailing_metadata=metadata)
    raise AssertionError  # abort raises


def _retry_metadata(fault: faults.GrpcStatus) -> tuple[tuple[str, bytes], ...]:
    if fault.retry_delay_ms is None:
        return ()
    metadata: list[tuple[str, bytes]] = []
    if fault.retry_info_in in {"status_details", "both"}:
        number = faults.GRPC_CODES.index(fault.code) + 1
        metadata.append(("grpc-status-details-bin", otlp.rpc_status(number, fault.message, fault.retry_delay_ms)))
    if fault.retry_info_in in {"retryinfo", "both"}:
        retry_info = otlp.retry_info(fault.retry_delay_ms)
        metadata.append(("google.rpc.retryinfo-bin", retry_info.SerializeToString()))
    return tuple(metadata)


def _credentials(settings: Settings) -> grpc.ServerCredentials | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    client_ca = settings.client_ca.read_bytes() if settings.client_ca is not None else None
    return grpc.ssl_server_credentials(
        [(settings.tls_key.read_bytes(), settings.tls_cert.read_bytes())],
        root_certificates=client_ca,
        require_client_auth=client_ca is not None,
    )


def _metadata_text(value: str | bytes) -> str:
    """Binary metadata as it is on the wire: base64 without padding."""
    return base64.b64encode(value).decode().rstrip("=") if isinstance(value, bytes) else value
