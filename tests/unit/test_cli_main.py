"""The `gilscope` command itself: its commands, help, exit codes, errors in one line, and files that are not lost."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from gilscope import cli
from gilscope.cli import numbers, output, report
from gilscope.errors import GilscopeError
from tests.capture_writer import CaptureWriter

if TYPE_CHECKING:
    from pathlib import Path


def exit_code(*words: str) -> object:
    """Return the code with which the words make argparse end the process."""
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    return ended.value.code


def test_no_words_show_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The first thing that is tried tells what there is."""
    assert exit_code() == 0
    shown = capsys.readouterr().out
    assert [name for name in cli.COMMANDS if f"\n  {name} " not in shown] == []


@pytest.mark.parametrize("words", [("no-such",), ("report",), ("report", "x", "--text", "--json"), ("--no-such",)])
def test_wrong_words_are_a_usage_error(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and how it is to be used on standard error."""
    assert exit_code(*words) == 2
    assert "usage: gilscope" in capsys.readouterr().err


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_of_each_command_has_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It teaches, and is the docstring of the command's module."""
    assert exit_code(name, "--help") == 0
    shown = capsys.readouterr().out
    documented = (import_module(f"gilscope.cli.{name}").__doc__ or "").splitlines()[0]
    assert documented in shown
    assert f"For example:\n  gilscope {name}" in shown


def test_command_loads_no_other_command() -> None:
    """Starting is quick, and one that is broken does not break the others."""
    code = (
        "import sys; from gilscope import cli\n"
        "try: cli.main(['top', '--help'])\n"
        "except SystemExit: print([n for n in cli.COMMANDS if f'gilscope.cli.{n}' in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "['top']\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (GilscopeError("it is so"), 1, "gilscope: it is so\n"),
        (PermissionError(13, "Permission denied", "x.svg"), 1, "gilscope: Permission denied: x.svg\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_expected_error_is_one_line(
    error: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback, and Ctrl-C says nothing."""

    def fail(_arguments: object) -> int:
        raise error

    monkeypatch.setattr(report, "run", fail)
    assert cli.main(["report", "x"]) == code
    assert capsys.readouterr().err == said


def test_reader_that_has_gone_ends_it_quietly(tmp_path: Path) -> None:
    """As under `| head`: no traceback, now or at the interpreter's end."""
    path = CaptureWriter().write(tmp_path / "app.gilscope")
    command = [sys.executable, "-m", "gilscope", "report", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "ten", ""])
def test_number_that_is_none_or_not_positive_is_refused(text: str) -> None:
    """With what was expected and what came."""
    with pytest.raises(Exception, match="expected a number above 0, got"):
        numbers.positive(text)
    assert numbers.positive("0.5") == 0.5


def test_existing_file_is_replaced_only_by_force(tmp_path: Path) -> None:
    """And the message says so."""
    path = tmp_path / "app.svg"
    path.write_text("old")
    with pytest.raises(output.ExistsError, match=r"app\.svg exists.*--force"), output.opened(str(path), force=False):
        pass
    assert path.read_text() == "old"
    with output.opened(str(path), force=True) as stream:
        stream.write("new")
    assert path.read_text() == "new"


def test_failure_while_writing_leaves_everything_as_it_was(tmp_path: Path) -> None:
    """Neither half a file nor a lost one."""
    path = tmp_path / "app.svg"
    path.write_text("old")

    def fail(name: str) -> None:
        with output.opened(name, force=True) as stream:
            stream.write("half")
            raise GilscopeError

    for name in (str(path), str(tmp_path / "other.svg")):
        with pytest.raises(GilscopeError):
            fail(name)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    """`-o /dev/null` needs no force and is still a device afterwards; a link stands for it here."""
    device = tmp_path / "null"
    device.symlink_to("/dev/null")
    with output.opened(str(device), force=False) as stream:
        stream.write("x")
    assert device.is_char_device()


def test_minus_is_standard_output(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """And nothing is told of it, for that would be in the output."""
    with output.opened("-", force=False) as stream:
        stream.write("x")
    output.tell("-", "open it")
    assert capsys.readouterr().out == "x"


@pytest.mark.parametrize(
    ("size_bytes", "said"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (2_345_678, "2.35 MB")]
)
def test_size_is_said_in_units(tmp_path: Path, size_bytes: int, said: str) -> None:
    """As people read it."""
    path = tmp_path / "x"
    path.write_bytes(b"\0" * size_bytes)
    assert output.size(path) == said
