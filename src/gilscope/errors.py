"""What gilscope raises.

    GilscopeError
    ├── SettingsError (also a ValueError)    an argument that cannot work: expected, given, and where
    ├── NotNativeError                       asked of a processor that has kept upstream's path, and does not know
    ├── ProbeError                           a recording that cannot be started, or not be written to its end
    └── CaptureError                         a file that is no capture, or none that can be read here

Only constructors, whoever asks for `stats()` and whoever opens a capture ever see one. A setting from the environment
is never worth a crash: it is logged, and its default used.
"""

from __future__ import annotations


class GilscopeError(Exception):
    """The root of everything that gilscope raises on purpose."""


class SettingsError(GilscopeError, ValueError):
    """An argument that cannot work; a ValueError, as upstream's constructors raise."""


class NotNativeError(GilscopeError):
    """Asked of a processor that has kept upstream's path; says why it has."""


class CaptureError(GilscopeError):
    """A file that is no capture, or none that can be read here; says what was expected, what it is, and what to do."""


class ProbeError(GilscopeError):
    """A recording that cannot be started here and now, or whose file could not be completed; says why."""
