"""Where the GIL, or everything, has nothing to hook: a clear word, true reports, and no harm."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from gilscope import probe
from gilscope.analysis import analyse
from gilscope.capture import open_capture
from tests.accuracy.recorded import MS, ROOT, needs_probe, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = needs_probe
has_gil = pytest.mark.skipif(probe.facts().gil == "none", reason="this build has no GIL")

PROGRAMS = ROOT / "tests/integration/programs"
STALLING = "import asyncio, time\nasync def main():\n    time.sleep(0.05)\nasyncio.run(main())\nprint('ended')"
WATCHED = """
import asyncio, gilscope
with gilscope.watch(on_stall=print) as watch:
    asyncio.run(asyncio.sleep(0.01))
    print(sum(loop.stalls for loop in watch.totals().loops.values()), 'stalls')
"""


@pytest.fixture
def nothing_to_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that are started see no loaded object."""
    library = tmp_path / "hide_objects.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-o", library, PROGRAMS / "hide_objects.c"], check=True, capture_output=True
    )
    # Behind what is preloaded already: AddressSanitizer has to be the first.
    monkeypatch.setenv("LD_PRELOAD", " ".join([*os.environ.get("LD_PRELOAD", "").split(), str(library)]))


def python(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Return what became of a Python that was expected to exit so."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.smoke
@has_gil
@pytest.mark.usefixtures("nothing_to_hook")
def test_program_with_nothing_to_hook_runs_and_its_user_is_told(tmp_path: Path) -> None:
    """`gilscope record` leaves it alone, says that no loop was seen, and does not claim that none ran."""
    path = tmp_path / "app.gilscope"
    done = python("-m", "gilscope", "record", "-o", str(path), "--", sys.executable, "-c", STALLING)
    assert "ended" in done.stdout
    assert "Waits for the GIL cannot be seen" in done.stderr
    assert "gilscope doctor" in done.stderr
    with open_capture(path) as capture:
        assert "nothing to hook" in analyse(capture).verdict


@has_gil
@pytest.mark.usefixtures("nothing_to_hook")
def test_doctor_where_nothing_can_be_hooked_fails_and_says_what() -> None:
    """Neither the GIL nor the loops: exit code 1."""
    said = python("-m", "gilscope", "doctor", code=1).stdout
    assert "no  waits for the GIL are not watched" in said
    assert "no  iterations of asyncio" in said


@has_gil
@pytest.mark.usefixtures("nothing_to_hook")
def test_watch_with_nothing_to_hook_warns_and_counts_nothing() -> None:
    """The service runs as before."""
    done = python("-c", WATCHED)
    assert done.stdout == "0 stalls\n"
    assert "Waits for the GIL cannot be seen" in done.stderr


@pytest.mark.smoke
def test_time_between_two_loops_is_no_stall_in_any_of_several_recordings(tmp_path: Path) -> None:
    """On a build without a GIL too, where no take of it tells that a loop has stopped, and loops are found anew."""
    run("tests.integration.programs.probe_rounds", tmp_path)
    for path in sorted(tmp_path.glob("*.gilscope")):
        with open_capture(path) as capture:
            analysis = analyse(capture)
            assert [thread.name for thread in capture.threads.values() if thread.loop] == ["MainThread"]
        # Half a second is between the loops; a busy machine may add other stalls, and length to this one.
        assert 50 * MS <= max(stall.parts.wall_ns for stall in analysis.stalls) < 400 * MS


@pytest.mark.skipif(probe.facts().gil != "none", reason="this build has a GIL")
def test_probe_on_a_free_threaded_build_leaves_it_without_a_gil() -> None:
    """An extension that does not say that it can do without switches the GIL on for everybody."""
    code = "import sys, gilscope._probe, gilscope._spans; print(sys._is_gil_enabled())"
    assert python("-W", "error", "-c", code).stdout == "False\n"
