"""Inputs that the fuzz targets start from, and that every build is run on."""

from __future__ import annotations

import base64
import gzip
import zlib

_PARTIAL_SUCCESS = b"\x0a\x08\x08\xac\x02\x12\x03bad"
_RETRY_INFO = b"\x0a\x08\x08\x02\x10\x80\xca\xb5\xee\x01"
_ANY = b"\x0a\x28type.googleapis.com/google.rpc.RetryInfo\x12" + bytes([len(_RETRY_INFO)]) + _RETRY_INFO
_STATUS = b"\x08\x08\x12\x04busy\x1a" + bytes([len(_ANY)]) + _ANY
_DATES = (
    b"Sun, 06 Nov 1994 08:49:37 GMT",
    b"Sunday, 06-Nov-94 08:49:37 GMT",
    b"Sun Nov  6 08:49:37 1994",
    b"Thu, 29 Feb 2024 23:59:60 GMT",
    b"Sun, 30 Feb 2025 00:00:00 GMT",
    b"Fri, 31 Dec 9999 23:59:59 GMT",
    b"120",
    b"99999999999999999999999",
)


def _answer(protocol: int, head: bytes, body: bytes = b"") -> bytes:
    return bytes([protocol]) + len(body).to_bytes(2, "big") + body + head


def _frame(message: bytes, *, compressed: bool = False) -> bytes:
    return bytes([compressed]) + len(message).to_bytes(4, "big") + message


def answers() -> list[bytes]:
    """Return inputs for `fuzz_answer`."""
    protobuf = b"content-type: application/x-protobuf\r\n"
    grpc = b"HTTP/2 200 \r\ncontent-type: application/grpc\r\n"
    seeds = [
        b"",
        b"\x00\xff\xff",
        _answer(0, b"HTTP/1.1 200 OK\r\n" + protobuf + b"\r\n", _PARTIAL_SUCCESS),
        _answer(
            0, b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n" + protobuf + b"\r\n", gzip.compress(_PARTIAL_SUCCESS)
        ),
        _answer(0, b"HTTP/1.1 200 OK\r\ncontent-encoding: deflate\r\n" + protobuf, zlib.compress(bytes(200_000), 9)),
        _answer(0, b"HTTP/1.1 400 Bad Request\r\n" + protobuf + b"\r\n", _STATUS),
        _answer(
            0,
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 \x1b[31m\xff\r\ncontent-type: text/plain\r\n\r\n",
            b"no\r\n\x00\xc3",
        ),
        _answer(1, grpc + b"\r\ngrpc-status: 0\r\ngrpc-message: \r\n\r\n", _frame(_PARTIAL_SUCCESS)),
        _answer(
            1,
            grpc + b"grpc-encoding: gzip\r\n\r\ngrpc-status: 0\r\n",
            _frame(gzip.compress(_PARTIAL_SUCCESS), compressed=True),
        ),
        _answer(1, grpc + b"grpc-status: 8\r\ngrpc-status-details-bin: " + base64.b64encode(_STATUS) + b"\r\n\r\n"),
        _answer(
            1, grpc + b"grpc-status: 14\r\ngoogle.rpc.retryinfo-bin: " + base64.b64encode(_RETRY_INFO) + b"\r\n\r\n"
        ),
        _answer(1, grpc + b"grpc-status: 8\r\ngrpc-message: Received%20message%20larger%20than%20max%zz%\r\n\r\n"),
        _answer(1, b"HTTP/1.1 413 Payload Too Large\r\n\r\n"),
        _answer(1, grpc + b"grpc-status: 99999999999999\r\n:\r\n: \r\nx\r\n\r\n", b"\x00\xff\xff\xff\xff"),
    ]
    seeds += [
        _answer(0, b"HTTP/1.1 503 Busy\r\nretry-after: " + date + b"\r\ndate: " + date + b"\r\n\r\n") for date in _DATES
    ]
    return seeds


def texts() -> list[bytes]:
    """Return inputs for `fuzz_answer_text`."""
    return [
        b"",
        *_DATES,
        _PARTIAL_SUCCESS,
        _STATUS,
        base64.b64encode(_STATUS),
        base64.urlsafe_b64encode(bytes(range(251, 256)) * 4).rstrip(b"="),
        b"100%25%C3%A9%zz%4%",
        "é€😀\u2028\u202e\x85\x00".encode() * 40,
        b"\xc0\xaf\xe0\x80\xaf\xed\xa0\x80\xf4\x90\x80\x80\xf5\xff\xe2\x82",
        b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
        b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01hi",
        b"Received message LARGER than max",
    ]
