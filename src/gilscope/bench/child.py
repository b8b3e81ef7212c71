"""A child process that says when it is ready: what the handles of the sink and of the fault proxy share.

Standard library only, and no thread: the handles live inside the process under test.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_STOP_TIMEOUT_S = 5.0


class ChildError(RuntimeError):
    """A child process did not start, ended early or did not answer; the message has what it wrote to standard error."""


class Child:
    """A module of ours that runs as `python -m module` and writes lines of JSON, the first one when it is ready.

    The child gets a pipe as its standard input and is expected to exit when that closes, so that it never outlives
    this process, however that ends. After a fork, `stop` is for the parent only.

    Attributes:
        ready: The first line.
    """

    def __init__(
        self,
        module: str,
        options: Sequence[str],
        *,
        python: str = sys.executable,
        environment: Mapping[str, str] | None = None,
        timeout_s: float,
    ) -> None:
        """Starts the module; it is ready when this returns.

        Args:
            module: its name.
            options: of its command line.
            python: the interpreter that runs it.
            environment: the child's, whole; if None it has this process's, without what instruments that.
            timeout_s: for how long to wait until it is ready.

        Raises:
            ChildError: It ended, or was not ready within `timeout_s` seconds.
        """
        self._module = module
        self._buffered = b""
        self._last_errors: str | None = None
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # closed by stop
        # What instruments or checks the process under test stays out of the child: opentelemetry-instrument's
        # PYTHONPATH (hence -E) and a sanitizer's LD_PRELOAD.
        self._process = subprocess.Popen(
            [python, *(["-E"] if environment is None else []), "-m", module, *options],
            env=environment or {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            bufsize=0,  # nothing is left to be written when the child has died
        )
        try:
            self.ready: dict[str, Any] = self.read(timeout_s)
        except BaseException:
            self._process.kill()  # at once, for it may not be able to end by itself
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def read(self, timeout_s: float) -> dict[str, Any]:
        """Returns the next line that the child writes.

        Raises:
            ChildError: It ended, or wrote none within `timeout_s` seconds.
        """
        if not self.has_line(timeout_s):
            raise ChildError(f"{self._module} wrote nothing within {timeout_s} s: {self.errors()}")
        line, _, self._buffered = self._buffered.partition(b"\n")
        document: dict[str, Any] = json.loads(line)
        return document

    def has_line(self, timeout_s: float) -> bool:
        """Returns whether the child has written a line that was not read, or does so within `timeout_s` seconds.

        Raises:
            ChildError: It ended.
        """
        stdout = _pipe(self._process.stdout)
        deadline_s = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffered:
                if not selector.select(max(deadline_s - time.monotonic(), 0.0)):
                    return False
                data = os.read(stdout.fileno(), 65536)
                if not data:
                    raise ChildError(f"{self._module} ended with code {self._process.wait()}: {self.errors()}")
                self._buffered += data
        return True

    def write(self, document: object) -> None:
        """Sends the child a line of JSON.

        Raises:
            ChildError: It has ended.
        """
        stdin = _pipe(self._process.stdin)
        try:
            stdin.write(json.dumps(document).encode() + b"\n")
        except BrokenPipeError as error:
            raise ChildError(f"{self._module} ended with code {self._process.wait()}: {self.errors()}") from error

    def stop(self) -> int:
        """Ends the child, and returns its exit code (negative: the signal that ended it); may be repeated."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        code = self._process.wait()
        if self._last_errors is None:
            self._last_errors = self.errors()
            for stream in (self._process.stdin, self._process.stdout, self._stderr):
                if stream is not None:
                    stream.close()
        return code

    def errors(self) -> str:
        """Returns what the child has written to standard error so far."""
        if self._last_errors is not None:
            return self._last_errors
        size_bytes = os.fstat(self._stderr.fileno()).st_size
        return os.pread(self._stderr.fileno(), size_bytes, 0).decode(errors="replace").strip()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise ChildError("a child's standard streams must be pipes")
    return stream
