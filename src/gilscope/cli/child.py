"""A command that runs in the foreground, as if it had been started without us."""

from __future__ import annotations

import math
import os
import signal
import time
from typing import TYPE_CHECKING

from gilscope.errors import GilscopeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AWAITED = {*_FORWARDED, signal.SIGCHLD}
# Upon Ctrl-C, the first, Python programs end in order; the other is for those that have not by then. SIGKILL is nothing
# for us to send: a server that is killed leaves its workers behind.
_ENDINGS = (signal.SIGINT, signal.SIGTERM)
_GRACE_S = 10.0
# The child's end wakes us, unless another thread of this process (a tracer's, say) has taken the signal.
_LOOK_S = 1.0
# Python ignores these, and its children would inherit that.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
_SIGNAL_STATUS = 128


class StartError(GilscopeError):
    """The command could not be started."""


def run(command: Sequence[str], environment: Mapping[str, str], duration_s: float | None = None) -> int:
    """The command has run to its end; returns its exit status as a shell does: 128 + N if signal N ended it.

    SIGINT, SIGTERM and SIGHUP are passed on to it.

    Args:
        command: the program, found in PATH, and its arguments.
        environment: all of its environment.
        duration_s: end it after so many seconds; the status is then 0.

    Raises:
        StartError: there is no such program, or it cannot be executed.
    """
    # Blocked and waited for, not handled: so each tells where it came from.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    try:
        pid = os.posix_spawnp(command[0], list(command), environment, setsigmask=before, setsigdef=_IGNORED_BY_PYTHON)
        return _wait(pid, duration_s)
    except OSError as error:
        raise StartError(f"cannot run {command[0]}: {error.strerror}") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait(pid: int, duration_s: float | None) -> int:
    endings = iter(_ENDINGS)
    deadline = math.inf if duration_s is None else time.monotonic() + duration_s
    ended_by_us = False
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return 0 if ended_by_us else code if code >= 0 else _SIGNAL_STATUS - code
        remaining_s = deadline - time.monotonic()
        received = signal.sigtimedwait(_AWAITED, max(0.0, min(remaining_s, _LOOK_S)))
        if received is None and remaining_s <= 0:
            ended_by_us = True
            ending = next(endings)
            os.kill(pid, ending)
            deadline = math.inf if ending is _ENDINGS[-1] else time.monotonic() + _GRACE_S
        elif received is not None and received.si_signo in _FORWARDED and received.si_code <= 0:
            # Sent by a process. The kernel sends Ctrl-C to the whole foreground group, and two of them would make
            # some servers drop their connections.
            os.kill(pid, received.si_signo)
