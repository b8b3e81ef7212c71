"""What gilscope raises.

    GilscopeError
    └── SettingsError (also a ValueError)    an argument that cannot work; names what was expected, what came and where

Only constructors and `install`'s callers ever see one. A setting from the environment is never worth a crash: it is
logged, and its default used.
"""

from __future__ import annotations


class GilscopeError(Exception):
    """The root of everything that gilscope raises on purpose."""


class SettingsError(GilscopeError, ValueError):
    """An argument that cannot work; a ValueError, as upstream's constructors raise."""
