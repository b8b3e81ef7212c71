"""`requests.bin`: when each request of a cell was meant to start, was sent and was answered, in raw nanoseconds.

Eight bytes that say what the file is, then 32 bytes a request: four little-endian int64. All times are of
CLOCK_MONOTONIC, which is one clock for all processes of a machine. Raw, because every figure can then be made again.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gilscope.errors import GilscopeError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_MAGIC = b"gsreq\x00\x01\x00"
_RECORD_BYTES = 32


class RequestsFileError(GilscopeError):
    """A file of requests cannot be used; the message says which, what is wrong with it and what to do."""


class Request(NamedTuple):
    """One request.

    Attributes:
        intended_ns: When it was meant to start: latency counts from here, also when the load was late.
        sent_ns: When it was sent.
        done_ns: When the answer was there.
        status: The HTTP status; 0 if there was no answer.
    """

    intended_ns: int
    sent_ns: int
    done_ns: int
    status: int


class Requests(NamedTuple):
    """Requests by column, in the order of the file.

    Attributes:
        intended_ns: (n,) int64, as are the others; see `Request`.
    """

    intended_ns: NDArray[np.int64]
    sent_ns: NDArray[np.int64]
    done_ns: NDArray[np.int64]
    status: NDArray[np.int64]


def write(path: Path, requests: Sequence[Request]) -> None:
    """The file has these requests; it appears whole or not at all.

    Raises:
        OSError: It could not be written.
    """
    records = np.array(requests, dtype="<i8").reshape(len(requests), 4)
    unfinished = path.with_name(path.name + ".part")
    try:
        with unfinished.open("wb") as file:
            file.write(_MAGIC)
            file.write(records.tobytes())
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def read(path: Path) -> Requests:
    """Return what the file holds.

    Raises:
        RequestsFileError: It is not there, is of another kind, ends inside a request, or has times that cannot be.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RequestsFileError(f"cannot read {path}: {error.strerror}; run the cell again") from error
    if data[: len(_MAGIC)] != _MAGIC:
        raise RequestsFileError(
            f"{path} must begin with {_MAGIC!r}, got {data[: len(_MAGIC)]!r}; run the cell again with this version"
        )
    over_bytes = (len(data) - len(_MAGIC)) % _RECORD_BYTES
    if over_bytes:
        raise RequestsFileError(
            f"{path} must hold {_RECORD_BYTES} bytes a request, but {over_bytes} are left at its end (byte "
            f"{len(data) - over_bytes}): it was cut off; run the cell again"
        )
    records = np.frombuffer(data, dtype="<i8", offset=len(_MAGIC)).reshape(-1, 4).astype(np.int64)
    requests = Requests(*records.T)
    begun_ns = np.maximum(requests.sent_ns, requests.intended_ns)
    wrong = np.flatnonzero((requests.status != 0) & (requests.done_ns < begun_ns))
    if wrong.size:
        raise RequestsFileError(
            f"{path}: request {wrong[0]} (of {len(records)}) must be answered after it was meant to start and sent, "
            f"got {Request(*(int(value) for value in records[wrong[0]]))}; run the cell again"
        )
    return requests
