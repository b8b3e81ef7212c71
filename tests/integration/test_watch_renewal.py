"""A watch whose memory for definitions is full: it begins anew, and what it dumps from then on is whole."""

from __future__ import annotations

import base64
import random
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import gilscope
from tests.accuracy.recorded import needs_gil, needs_probe, read, read_whole
from tests.integration.programs.watch_load import burner, eventually, run, spin, stalls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [needs_probe, needs_gil]

# As much as a watch keeps for definitions.
MOST_BYTES = 16 << 20
# A name in base64 is as long as one can be. All together cannot be compressed to less than 22 MiB.
RANDOM_BYTES, NAMES = 192, 120_000
# So many have room in the ring, which is emptied meanwhile.
NAMES_AT_ONCE = 5_000


@contextmanager
def sleepers(count: int) -> Iterator[list[threading.Thread]]:
    """Threads that do nothing."""
    stop = threading.Event()
    threads = [threading.Thread(target=stop.wait, name=f"sleeper-{number}") for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_dump_after_definitions_were_renewed_has_all_names_and_stacks(tmp_path: Path) -> None:
    """Threads are renamed, with names that cannot be compressed, until there is no room for their definitions.

    Every name is a definition. The stacks of before are forgotten with their stalls, and defined anew when they come
    again, those of code that has been met before too, and the names of threads that have had them for long.
    """
    chosen = random.Random(7)
    path = tmp_path / "last.gilscope"
    with gilscope.watch(log=False, span_events=False) as watch, sleepers(50) as threads:
        from gilscope import _probe

        def is_known(thread: threading.Thread) -> bool:
            return any(_probe.thread(number) == (thread.native_id, thread.name) for number in range(200))

        def dumped_bytes() -> int:
            watch.dump(path, force=True)
            return path.stat().st_size

        with burner():
            run(stalls(spin, 0.04, 3))
        for _ in range(NAMES // NAMES_AT_ONCE):
            for _ in range(NAMES_AT_ONCE // len(threads)):
                for thread in threads:
                    thread.name = base64.b64encode(chosen.randbytes(RANDOM_BYTES)).decode()
                _probe.name_threads()
            eventually(lambda: is_known(threads[-1]))
        eventually(lambda: dumped_bytes() < MOST_BYTES)
        with burner():
            run(stalls(spin, 0.04, 3))
        # What has happened in the last half second may not be there.
        eventually(lambda: dumped_bytes() and read(path).analysis.stall_count >= 3)
    found = read_whole(path)
    names = {thread.name for thread in found.threads.values()}
    assert {"MainThread", "burner"} <= names
    assert {thread.name for thread in threads} <= names
    assert "?" not in {frame.code.name for stack in found.stacks.values() for frame in stack.frames}
    functions = {
        frame.code.name
        for part in found.analysis.stall_stacks
        for frame in part.stack.frames
        if part.cause == "gil_wait"
    }
    assert "hog" in functions
