"""What gilscope raises.

    GilscopeError
    ├── SettingsError (also a ValueError)    an argument that cannot work: expected, given, and where
    └── NotNativeError                       asked of a processor that has kept upstream's path, and does not know

Only constructors and whoever asks for `stats()` ever see one. A setting from the environment is never worth a crash: it
is logged, and its default used.
"""

from __future__ import annotations


class GilscopeError(Exception):
    """The root of everything that gilscope raises on purpose."""


class SettingsError(GilscopeError, ValueError):
    """An argument that cannot work; a ValueError, as upstream's constructors raise."""


class NotNativeError(GilscopeError):
    """Asked of a processor that has kept upstream's path; says why it has."""
