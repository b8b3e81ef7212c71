"""Reads settings: an argument if there is one, otherwise the first variable that is set, otherwise the default.

A bad argument raises; a bad variable is logged and replaced by the default, since the program that reads it is rarely
the one that set it. An empty variable counts as not set, as the OpenTelemetry specification has it.
"""

from __future__ import annotations

import logging
import math
from os import environ
from typing import TYPE_CHECKING, TypeVar

from gilscope.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

logger = logging.getLogger(__name__)


def read(name: str) -> str | None:
    """Return what the variable holds, without blanks around it; None when it is empty or not set."""
    return environ.get(name, "").strip() or None


def first_set(names: Sequence[str]) -> tuple[str, str] | None:
    """Return the first of these variables that is set, with its value."""
    for name in names:
        value = read(name)
        if value is not None:
            return name, value
    return None


def choose(argument: object, name: str, variables: Sequence[str], parse: Callable[[object, str], T], default: T) -> T:
    """Return the argument if it is not None, otherwise the first variable that is set, otherwise the default.

    Args:
        argument: what the caller was given.
        name: of the argument, for messages.
        variables: of the environment, the strongest first.
        parse: makes the value of what was given, `(given, name of the setting and where it came from)`.
        default: for nothing, and for a variable that cannot work.

    Raises:
        SettingsError: by `parse`, for an argument only.
    """
    if argument is not None:
        return parse(argument, name)
    found = first_set(variables)
    if found is None:
        return default
    variable, text = found
    try:
        return parse(text, f"{name} ({variable})")
    except SettingsError as error:
        logger.warning("%s; using the default, %s", error, default)
        return default


def number(given: object, where: str) -> float:
    """Return a finite number."""
    try:
        value = float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise SettingsError(f"{where} must be a number, got {given!r}")
    return value


def integer(given: object, where: str, at_least: int, at_most: int) -> int:
    """Return an integer of the range."""
    try:
        value = int(given)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        raise SettingsError(f"{where} must be an integer, got {given!r}") from None
    if value < at_least:
        raise SettingsError(f"{where} must be >= {at_least}, got {value}")
    if value > at_most:
        raise SettingsError(f"{where} must be <= {at_most}, got {value}")
    return int(value)


def boolean(given: object, where: str) -> bool:
    """Return the boolean that was given, or that `true` and `false` spell in any case."""
    if isinstance(given, bool):
        return given
    text = str(given).lower()
    if text not in {"true", "false"}:
        raise SettingsError(f"{where} must be true or false, got {given!r}")
    return text == "true"
