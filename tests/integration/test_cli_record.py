"""`gilscope record` around real processes: it changes nothing for them, and each that runs a loop leaves a capture."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from gilscope.capture import Capture, EventKind, open_capture
from gilscope.errors import CaptureError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(importlib.util.find_spec("gilscope._probe") is None, reason="the probe is not built")

DEADLINE_S = 60.0
GILSCOPE = [sys.executable, "-m", "gilscope"]
LOOP = "import asyncio; asyncio.run(asyncio.sleep(0.01))"
UNTIL_SIGNALLED = """
import os, signal, sys
awaited = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
print("ready", flush=True)
print(signal.Signals(signal.sigwait(awaited)).name, flush=True)
# A second one would come from whoever passed on the first: at once.
print(signal.sigtimedwait(awaited, 0.5), flush=True)
sys.exit(5)
"""


def record(directory: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `gilscope record` in a directory to its end."""
    return subprocess.run(
        [*GILSCOPE, "record", *words],
        cwd=directory,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def python(code: str, *arguments: str) -> list[str]:
    """Return the words that stand for a Python program in `gilscope record`'s command line."""
    return ["--", sys.executable, "-c", code, *arguments]


def read(path: Path) -> Capture:
    """Return a capture that has been read to its end."""
    with open_capture(path) as capture:
        for _ in capture.events():
            pass
    return capture


def captures(directory: Path) -> list[str]:
    """Return the names of the captures in a directory, every pid as PID."""
    return sorted(re.sub(r"\.\d+\.", ".PID.", path.name) for path in directory.glob("*.gilscope"))


def test_program_with_a_loop_leaves_a_complete_capture(tmp_path: Path) -> None:
    """The capture is at the path asked for, ended in order, has the loop, and the next command is named."""
    done = record(tmp_path, "-o", "svc.gilscope", *python(LOOP))
    assert done.returncode == 0, done.stderr
    capture = read(tmp_path / "svc.gilscope")
    assert capture.end is not None
    assert [thread.loop for thread in capture.threads.values() if thread.loop] == [1]
    assert re.search(r"^gilscope: svc\.gilscope \([\d.]+ \w+\)\n", done.stderr)
    assert done.stderr.endswith("gilscope: next: gilscope report svc.gilscope\n")
    assert captures(tmp_path) == ["svc.gilscope"]


def test_threshold_is_what_the_capture_says(tmp_path: Path) -> None:
    """`--threshold-ms` reaches the recording."""
    done = record(tmp_path, "--threshold-ms", "7.5", *python(LOOP))
    assert read(tmp_path / "app.gilscope").metadata["stall_threshold_ns"] == 7_500_000, done.stderr


@pytest.mark.parametrize(
    ("code", "status"),
    [("", 0), ("raise SystemExit(7)", 7), ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137)],
    ids=["fine", "seven", "killed"],
)
def test_exit_status_is_the_programs(tmp_path: Path, code: str, status: int) -> None:
    """As a shell would tell it."""
    assert record(tmp_path, *python(code)).returncode == status


def test_program_sees_its_own_arguments_streams_and_path(tmp_path: Path) -> None:
    """Standard output is untouched, and `sys.path` is as it is without the recording."""
    words = python("import sys; print(sys.argv, sys.path)", "a b", "--", "-o", "x")
    plain = subprocess.run(words[1:], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert record(tmp_path, *words).stdout == plain.stdout


def test_existing_file_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    """The program does not run and the file stays as it is; --force replaces it."""
    (tmp_path / "app.gilscope").write_bytes(b"precious")
    code = f"open('started', 'w'); {LOOP}"
    refused = record(tmp_path, *python(code))
    assert refused.returncode == 1
    assert refused.stderr == ("gilscope: app.gilscope exists: give another name with -o, or --force to replace it\n")
    assert (tmp_path / "app.gilscope").read_bytes() == b"precious"
    assert not (tmp_path / "started").exists()
    assert record(tmp_path, "--force", *python(code)).returncode == 0
    assert read(tmp_path / "app.gilscope").end is not None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_signal_to_record_is_forwarded_once(tmp_path: Path, number: signal.Signals) -> None:
    """The program gets it, and its exit status is still passed on."""
    command = [*GILSCOPE, "record", "--", sys.executable, "-c", UNTIL_SIGNALLED]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        output, _ = process.communicate(timeout=DEADLINE_S)
    assert (output, process.returncode) == (f"{number.name}\nNone\n", 5)


def test_ctrl_c_at_a_terminal_reaches_the_program(tmp_path: Path) -> None:
    """The kernel sends it to both, so that `gilscope record` has nothing to pass on and tells what it has."""
    master, slave = pty.openpty()
    command = [*GILSCOPE, "record", "--", sys.executable, "-c", UNTIL_SIGNALLED]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        stdin=slave,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  # there is no other way to get one
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.write(master, b"\x03")
        output, _ = process.communicate(timeout=DEADLINE_S)
    os.close(master)
    os.close(slave)
    assert (output, process.returncode) == ("SIGINT\nNone\n", 5)


def test_duration_ends_a_program_as_ctrl_c_does(tmp_path: Path) -> None:
    """It is interrupted, the capture is complete, and the status is 0."""
    code = "import asyncio; asyncio.run(asyncio.sleep(1000))"
    done = record(tmp_path, "--duration", "1", *python(code))
    assert done.returncode == 0, done.stderr
    assert "KeyboardInterrupt" in done.stderr
    assert read(tmp_path / "app.gilscope").end is not None


def test_shadowed_sitecustomize_still_runs(tmp_path: Path) -> None:
    """It is imported under its name, and the process is recorded all the same."""
    (tmp_path / "sitecustomize.py").write_text("import builtins; builtins.customized = True")
    code = f"import sys; print(customized, sys.modules['sitecustomize'].__file__); {LOOP}"
    done = record(
        tmp_path, *python(code), PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    )
    assert done.stdout == f"True {tmp_path / 'sitecustomize.py'}\n", done.stderr
    assert captures(tmp_path) == ["app.gilscope"]


def test_failing_sitecustomize_is_reported_as_without_us(tmp_path: Path) -> None:
    """What it raises is `site`'s to report; the program runs on and is recorded."""
    (tmp_path / "sitecustomize.py").write_text("raise ValueError('theirs')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    words = python(f"print('runs'); {LOOP}")
    plain = subprocess.run(
        words[1:], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    done = record(tmp_path, *words, PYTHONPATH=path)
    assert done.stderr.startswith(plain.stderr)
    assert "theirs" in plain.stderr
    assert (done.stdout, captures(tmp_path)) == ("runs\n", ["app.gilscope"])


def test_interpreter_without_gilscope_is_named_with_the_fix(tmp_path: Path) -> None:
    """The program runs as ever, and at the end it is said what to install where."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--symlinks", "bare"], cwd=tmp_path, check=True)
    bare = str(tmp_path / "bare" / "bin" / "python")
    done = record(tmp_path, bare, "-c", "print('runs')", PYTHONPATH="")
    assert done.stdout == "runs\n"
    assert done.stderr == (
        f"gilscope: no capture was written: {bare} was not recorded, "
        f"it has no gilscope: {bare} -m pip install gilscope\n"
    )
    assert done.returncode == 1


@pytest.mark.parametrize("option", ["-I", "-E", "-S", "-sE"])
def test_option_that_keeps_us_out_is_named(tmp_path: Path, option: str) -> None:
    """There is no capture, and the message says which option is why."""
    done = record(tmp_path, "--", sys.executable, option, "-c", "print('runs')")
    assert (done.returncode, done.stdout) == (1, "runs\n")
    assert f"{sys.executable} {option} ignores PYTHONPATH" in done.stderr


def test_program_that_is_no_python_is_told_of(tmp_path: Path) -> None:
    """Its status is passed on, and if it was 0 the recording has failed."""
    done = record(tmp_path, "--", "sh", "-c", "exit 4")
    assert "no capture was written: no Python has run" in done.stderr
    assert (done.returncode, record(tmp_path, "true").returncode) == (4, 1)


def test_unknown_program_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    """One line, no traceback, and the old capture is still there in spite of --force."""
    (tmp_path / "app.gilscope").write_bytes(b"precious")
    done = record(tmp_path, "--force", "--", "no-such-program")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "cannot run no-such-program" in done.stderr
    assert (tmp_path / "app.gilscope").read_bytes() == b"precious"


DESCENDANTS = {
    "subprocess": f"import subprocess, sys; subprocess.run([sys.executable, '-c', {LOOP!r}], check=True)",
    "os.fork": f"""
import os
child = os.fork()
if not child:
    {LOOP}
    raise SystemExit
os.waitpid(child, 0)
""",
    "multiprocessing fork": """
import multiprocessing, asyncio
def work():
    asyncio.run(asyncio.sleep(0.01))
child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join()
""",
}


@pytest.mark.parametrize("how", DESCENDANTS)
def test_descendant_with_a_loop_is_recorded_into_its_own_file(tmp_path: Path, how: str) -> None:
    """Both captures are complete, the descendant's is named by its pid, and both are told of."""
    done = record(tmp_path, *python(f"{DESCENDANTS[how]}\n{LOOP}"))
    assert done.returncode == 0, done.stderr
    assert captures(tmp_path) == ["app.PID.gilscope", "app.gilscope"]
    (path,) = tmp_path.glob("app.*.gilscope")
    both = [read(path), read(tmp_path / "app.gilscope")]
    assert all(capture.end is not None for capture in both)
    assert both[0].metadata["pid"] == int(path.suffixes[0].removeprefix(".")) != both[1].metadata["pid"]
    assert f"gilscope: {path.name} (" in done.stderr


def test_spawned_workers_are_recorded_and_their_helpers_are_not(tmp_path: Path) -> None:
    """Two workers leave a capture each; multiprocessing's resource tracker, which runs no loop, leaves none."""
    (tmp_path / "spawns.py").write_text(
        """
import asyncio, multiprocessing
def work():
    asyncio.run(asyncio.sleep(0.01))
if __name__ == "__main__":
    children = [multiprocessing.get_context("spawn").Process(target=work) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
"""
    )
    done = record(tmp_path, "--", sys.executable, "spawns.py")
    assert done.returncode == 0, done.stderr
    assert captures(tmp_path) == ["app.PID.gilscope", "app.PID.gilscope", "app.gilscope"]
    assert re.search(r"next: gilscope report app\.\d+\.gilscope\n$", done.stderr)


def test_descendant_without_a_loop_leaves_nothing(tmp_path: Path) -> None:
    """Whether it is another Python, a fork, or a fork that becomes another program."""
    code = f"""
import os, subprocess, sys
subprocess.run([sys.executable, "-c", "import asyncio"], check=True)
subprocess.run(["true"], preexec_fn=os.getpid, check=True)
child = os.fork()
if not child:
    os._exit(0)
os.waitpid(child, 0)
{LOOP}
"""
    done = record(tmp_path, *python(code))
    assert done.returncode == 0, done.stderr
    assert captures(tmp_path) == ["app.gilscope"]


def test_program_behind_a_shell_is_recorded_at_the_path_asked_for(tmp_path: Path) -> None:
    """The shell is what was started, but the only capture is the one that was meant."""
    done = record(tmp_path, "--", "sh", "-c", f'"{sys.executable}" -c "{LOOP}"; exit 3')
    assert (done.returncode, captures(tmp_path)) == (3, ["app.gilscope"]), done.stderr


def test_program_that_replaces_itself_replaces_its_own_capture(tmp_path: Path) -> None:
    """Launchers end by `exec`; what counts is what the process became."""
    code = f"import os, sys; os.execv(sys.executable, [sys.executable, '-c', {LOOP!r}, 'second'])"
    done = record(tmp_path, *python(code))
    assert done.returncode == 0, done.stderr
    assert captures(tmp_path) == ["app.gilscope"]
    assert read(tmp_path / "app.gilscope").metadata["argv"][-1] == "second"


def test_captures_of_earlier_descendants_are_neither_touched_nor_told_of(tmp_path: Path) -> None:
    """They are another recording's."""
    earlier = tmp_path / "app.1.gilscope"
    earlier.write_bytes(b"earlier")
    done = record(tmp_path, "--force", *python(LOOP))
    assert earlier.read_bytes() == b"earlier"
    assert "app.1.gilscope" not in done.stderr


def test_killed_program_leaves_what_it_had_written(tmp_path: Path) -> None:
    """After SIGKILL the capture has its iterations, and no end."""
    code = "import asyncio\nasync def main():\n    while True:\n        await asyncio.sleep(0.001)\nasyncio.run(main())"
    command = [*GILSCOPE, "record", "--", sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        path = tmp_path / "app.gilscope"
        pid = wait_for_an_iteration(process, path)
        os.kill(pid, signal.SIGKILL)
        _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 128 + signal.SIGKILL, errors
    capture = read(path)
    assert capture.end is None
    assert any(thread.loop for thread in capture.threads.values())


def wait_for_an_iteration(process: subprocess.Popen[str], path: Path) -> int:
    """Return the recorded process's pid as soon as its capture has an iteration."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            with open_capture(path) as capture:
                while events := capture.poll():
                    if any(event.kind == EventKind.ITERATION for event in events):
                        return int(capture.metadata["pid"])
        except CaptureError:
            pass  # not there as yet, or not its metadata
        with suppress(subprocess.TimeoutExpired):
            pytest.fail(f"ended with {process.wait(0.05)} before it had an iteration")
    raise AssertionError(f"no iteration in {path} after {DEADLINE_S} s")
