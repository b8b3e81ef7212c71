"""What the HTTP receiver answers to a request that meets a fault: pure functions, no I/O."""

from __future__ import annotations

import dataclasses
import email.utils
import math
import time
from typing import Literal

from gilscope.bench.sink import faults, otlp
from gilscope.bench.sink.http_protocol import Response

PROTOBUF = "application/x-protobuf"
SUCCESS = Response(200, content_type=PROTOBUF)

_GARBAGE_HTTP = b"\x00\x9f\x92\x96 this is not HTTP\r\n\r\n\x15\x03\x01\x00\x02"
_GARBAGE_BODY = b"\xff\xff\xff\xff this is not protobuf"
_FILLER_HEADER_BYTES = 8000


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer and the way in which it is delivered.

    Attributes:
        response: The answer, or None for `raw`.
        raw: Bytes in place of a response.
        sent: How much is written: `"whole"`, or a half of the headers, or all headers and a half of the body.
        chunk_bytes: How much is written at once; None means all.
        interval_s: Pause between two chunks.
        then: What becomes of the connection: `"keep"`, `"close"`, `"reset"`, or `"idle_close"` after `idle_s`.
        spans_rejected: Spans that the answer says were rejected.
    """

    response: Response | None = None
    raw: bytes = b""
    sent: Literal["whole", "half_headers", "half_body"] = "whole"
    chunk_bytes: int | None = None
    interval_s: float = 0.0
    then: Literal["keep", "close", "reset", "idle_close"] = "keep"
    idle_s: float = 0.0
    spans_rejected: int = 0


def answer_to(  # noqa: C901, PLR0911, PLR0912  # a table: one case for each fault
    fault: faults.Fault, *, spans: int, target: str
) -> Answer:
    """Returns how a request with so many spans is answered when it meets the fault."""
    match fault:
        case faults.PartialSuccess():
            rejected = min(fault.rejected_spans, spans)
            body = otlp.success(rejected_spans=rejected, message=fault.message)
            return Answer(dataclasses.replace(SUCCESS, body=body), spans_rejected=rejected)
        case faults.TooLarge():
            return Answer(refusal(413, f"the body must be at most {fault.limit_bytes} bytes ({fault.measured})"))
        case faults.Status():
            return Answer(_status(fault))
        case faults.Redirect():
            location = fault.location or target
            return Answer(Response(fault.status, headers=(("location", location),)))
        case faults.Reset(when="body"):
            return Answer(then="reset")
        case faults.Reset():
            return Answer(_wordy_success(), sent="half_body", then="reset")
        case faults.CloseAfterAnswer():
            return Answer(dataclasses.replace(SUCCESS, close=fault.announce), then="close")
        case faults.IdleClose():
            return Answer(SUCCESS, then="idle_close", idle_s=fault.idle_ms / 1000.0)
        case faults.TruncatedAnswer():
            sent: Literal["half_headers", "half_body"] = "half_headers" if fault.within == "headers" else "half_body"
            return Answer(_wordy_success(), sent=sent, then="close")
        case faults.GarbageAnswer(what="http"):
            return Answer(raw=_GARBAGE_HTTP, then="close")
        case faults.GarbageAnswer():
            return Answer(dataclasses.replace(SUCCESS, body=_GARBAGE_BODY))
        case faults.HugeAnswer():
            return Answer(_huge(fault), chunk_bytes=256 << 10)
        case faults.DripAnswer():
            response = dataclasses.replace(_wordy_success(), status=fault.status)
            return Answer(response, chunk_bytes=fault.chunk_bytes, interval_s=fault.interval_ms / 1000.0)
        case _:  # Normal
            return Answer(SUCCESS)


def refusal(status: int, message: str) -> Response:
    """Returns the answer to a request that is wrong: OTLP wants a `google.rpc.Status` as its body.

    Source: OTLP specification 1.5, "OTLP/HTTP Response", "Failures".
    """
    codes = {413: 8, 431: 8, 404: 12, 405: 12}  # RESOURCE_EXHAUSTED, UNIMPLEMENTED
    body = otlp.rpc_status(codes.get(status, 3), message, None)
    headers: dict[int, tuple[tuple[str, str], ...]] = {
        405: (("allow", "POST"),),
        415: (("accept", PROTOBUF), ("accept-encoding", ", ".join(otlp.ENCODINGS))),
    }
    return Response(status, body, PROTOBUF, headers.get(status, ()))


def _status(fault: faults.Status) -> Response:
    headers = list(fault.headers.items())
    if fault.retry_after_s is not None:
        after_s = math.ceil(fault.retry_after_s)
        if fault.retry_after_as == "date":
            at_s = math.ceil(time.time() + fault.retry_after_s)
            headers.append(("retry-after", email.utils.formatdate(at_s, usegmt=True)))
        else:
            headers.append(("retry-after", str(after_s)))
    if fault.rpc_code is None:
        return Response(fault.status, fault.body.encode(), headers=tuple(headers))
    body = otlp.rpc_status(fault.rpc_code, fault.rpc_message, fault.retry_delay_ms)
    return Response(fault.status, body, PROTOBUF, tuple(headers))


def _wordy_success() -> Response:
    """A success whose body is not empty: a partial success that rejects nothing, which OTLP reads as a warning."""
    return dataclasses.replace(SUCCESS, body=otlp.success(message="a warning, so that the answer has a body"))


def _huge(fault: faults.HugeAnswer) -> Response:
    success = dataclasses.replace(SUCCESS, status=fault.status)
    if fault.where == "body":
        return dataclasses.replace(success, body=otlp.success(message="x" * fault.size_bytes))
    headers = tuple(
        (f"x-filler-{start}", "x" * min(_FILLER_HEADER_BYTES, fault.size_bytes - start))
        for start in range(0, fault.size_bytes, _FILLER_HEADER_BYTES)
    )
    return dataclasses.replace(success, headers=headers)
