"""A recording of this process into a capture file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gilscope.errors import ProbeError
from gilscope.probe.session import Session

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self


def record(
    path: str | os.PathLike[str],
    *,
    stall_threshold_ms: float = 20.0,
    sample_period_ms: float = 2.0,
    force: bool = False,
) -> Recording:
    """Everything that the GIL and the event loops of this process do is recorded, until `stop` or the `with` ends.

    Args:
        path: the capture file; it must not exist.
        stall_threshold_ms: an iteration that takes longer is a stall; from half of it on, stacks are sampled.
        sample_period_ms: between two samples of a stall, or an eighth of how long it has lasted, if that is more; up to
            five times this.
        force: replace the file.

    Raises:
        ProbeError: a recording or watch runs already, the file exists or cannot be written, or this platform has no
            probe.
        SettingsError: a threshold or period that cannot work.

    Threading: any thread; one recording in a process. A child by `fork` is not recorded.
    """
    return Recording(Path(path), stall_threshold_ms=stall_threshold_ms, sample_period_ms=sample_period_ms, force=force)


class Recording:
    """A recording that runs; `stop` ends it, and so does the end of a `with`."""

    def __init__(self, path: Path, *, stall_threshold_ms: float, sample_period_ms: float, force: bool) -> None:
        self.path = path
        self._session = Session(
            lambda: create(path, force=force),
            stall_threshold_ms=stall_threshold_ms,
            sample_period_ms=sample_period_ms,
        )

    def stop(self) -> None:
        """The capture is complete, and the process is as it was before; again: nothing.

        Raises:
            ProbeError: the file could not be written to its end; what is there can be read.
        """
        try:
            self._session.stop()
        except OSError as error:
            raise ProbeError(f"{self.path} is not complete: {error}; what is in it can be read") from error

    def stats(self) -> dict[str, Any]:
        """Return what has been recorded so far: events, stacks, samples and what was lost."""
        counted: dict[str, Any] = self._session.native.stats()
        return counted

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def create(path: Path, *, force: bool) -> int:
    """Return the descriptor of a new file, or of one emptied by force.

    Raises:
        ProbeError: it exists, or cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if force else os.O_EXCL)
    try:
        return os.open(path, flags, 0o644)
    except FileExistsError:
        raise ProbeError(f"{path} exists: choose another name, or replace it with force=True (--force)") from None
    except OSError as error:
        raise ProbeError(f"cannot write {path}: {error.strerror}") from error
