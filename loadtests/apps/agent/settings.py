"""What the service reads from its environment."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_SMALLEST_PAYLOAD_BYTES = 500  # room for valid JSON in each of the two attributes
_LARGEST_PAYLOAD_BYTES = 500_000
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class SettingsError(ValueError):
    """A variable has a value that cannot work; the message says which, what was expected, and what came."""


@dataclass(frozen=True)
class Settings:
    """How the service works, and how much of it is traced.

    Attributes:
        tracing: Whether the service sets up OpenTelemetry itself.
        steps: Spans below the one of the workflow.
        payload_bytes: Size of the two content attributes of a span together.
        large_share: Part of the requests, from 0 to 1, whose agent span carries `large_bytes` of state.
        tool_failure_share: Part of the requests, from 0 to 1, in which a tool fails once and is called again.
    """

    tracing: bool = False
    steps: int = 16
    payload_bytes: int = 500
    large_share: float = 0.0
    large_bytes: int = 200_000
    tool_failure_share: float = 0.01
    time_to_first_token_ms: float = 4.0
    tokens_per_second: float = 4000.0
    log_level: str = "WARNING"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Return the settings; a variable that is empty or not there leaves the default.

        Raises:
            SettingsError: A value is not of the kind or in the range that is expected.
        """
        read = _Reader(environment)
        return cls(
            tracing=read.choice("AGENT_TRACING", ("off", "on"), "off") == "on",
            steps=read.integer("AGENT_STEPS", cls.steps, 1, 1000),
            payload_bytes=read.payload_bytes("AGENT_PAYLOAD_BYTES", cls.payload_bytes),
            large_share=read.number("AGENT_LARGE_SHARE", cls.large_share, 0, 1),
            large_bytes=read.integer("AGENT_LARGE_BYTES", cls.large_bytes, _SMALLEST_PAYLOAD_BYTES, 10_000_000),
            tool_failure_share=read.number("AGENT_TOOL_FAILURE_SHARE", cls.tool_failure_share, 0, 1),
            time_to_first_token_ms=read.number("AGENT_TIME_TO_FIRST_TOKEN_MS", cls.time_to_first_token_ms, 0, 60_000),
            tokens_per_second=read.number("AGENT_TOKENS_PER_SECOND", cls.tokens_per_second, 1, 1_000_000),
            log_level=read.choice("AGENT_LOG_LEVEL", _LOG_LEVELS, cls.log_level),
        )


class _Reader:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        text = self._text(name)
        if text is None:
            return default
        found = {choice.lower(): choice for choice in choices}.get(text.lower())
        if found is None:
            raise SettingsError(f"{name} must be {' or '.join(choices)}, got {text!r}")
        return found

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        text = self._text(name)
        if text is None:
            return default
        expected = f"{name} must be a whole number from {least} to {most}, got {text!r}"
        try:
            value = int(text)
        except ValueError:
            raise SettingsError(expected) from None
        if not least <= value <= most:
            raise SettingsError(expected)
        return value

    def payload_bytes(self, name: str, default: int) -> int:
        value = self.integer(name, default, 0, _LARGEST_PAYLOAD_BYTES)
        if 0 < value < _SMALLEST_PAYLOAD_BYTES:
            raise SettingsError(
                f"{name} must be 0 or from {_SMALLEST_PAYLOAD_BYTES} to {_LARGEST_PAYLOAD_BYTES}, got '{value}'"
            )
        return value

    def number(self, name: str, default: float, least: float, most: float) -> float:
        text = self._text(name)
        if text is None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:  # not a number is in no range
            raise SettingsError(f"{name} must be a number from {least:g} to {most:g}, got {text!r}")
        return value

    def _text(self, name: str) -> str | None:
        return self._environment.get(name, "").strip() or None
