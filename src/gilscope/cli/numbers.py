"""Numbers among a command's words."""

from __future__ import annotations

import argparse
import math


def positive(text: str) -> float:
    """Return the number.

    Raises:
        argparse.ArgumentTypeError: it is none, or not above 0.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return number
