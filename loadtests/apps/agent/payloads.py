"""The content that spans carry: JSON of an exact size, made once, so that a request only refers to it."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

_WORDS = ("order", "parcel", "label", "refund", "invoice", "courier", "address", "Friday", "warranty", "screen")


@dataclass(frozen=True)
class Payload:
    """What one step's spans carry as input and as output, and under which names."""

    input_name: str
    input: str
    output_name: str
    output: str


def payload(input_name: str, output_name: str, payload_bytes: int) -> Payload:
    """Return content that takes `payload_bytes` in both attributes together, the same on every run."""
    input_bytes = payload_bytes // 2
    return Payload(
        input_name=input_name,
        input=content("user", input_bytes),
        output_name=output_name,
        output=content("assistant", payload_bytes - input_bytes),
    )


def content(role: str, size_bytes: int) -> str:
    """Return messages as the GenAI conventions write them, in ASCII: `size_bytes` characters of JSON.

    Raises:
        ValueError: The message's frame alone is larger.
    """
    room_bytes = size_bytes - len(_messages(role, ""))
    if room_bytes < 0:
        raise ValueError(f"size_bytes must be >= {size_bytes - room_bytes}, got {size_bytes}")
    words = random.Random(f"{role} {size_bytes}").choices(_WORDS, k=room_bytes // 4 + 1)
    return _messages(role, " ".join(words)[:room_bytes].ljust(room_bytes, "."))


def _messages(role: str, text: str) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])
