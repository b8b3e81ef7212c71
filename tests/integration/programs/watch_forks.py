"""A watched program that forks: in the child there is no watch, the inherited one does nothing, and another may start.

python -m tests.integration.programs.watch_forks FORKS
"""

from __future__ import annotations

import gc
import json
import os
import socket
import sys
import threading
import traceback
import warnings
from typing import TYPE_CHECKING
from urllib.request import urlopen

import gilscope
from tests.integration.programs.watch_load import block, burner, eventually, run, stalls

if TYPE_CHECKING:
    from collections.abc import Callable

    from gilscope.probe.stall import Stall
    from gilscope.probe.watching import Watch


def in_child(inherited: Watch) -> None:
    """Look at what is inherited, and watch for itself."""
    assert not inherited.running
    assert inherited.totals() == inherited.totals()
    inherited.stop()
    assert threading.active_count() == 1
    told: list[Stall] = []
    with gilscope.watch(on_stall=told.append, prometheus_port=0) as watch:
        inherited.stop()
        assert watch.running
        run(stalls(block, 0.04, 1))
        eventually(lambda: told)
        assert watch.totals().loops["MainThread"].stalls >= 1
        with urlopen(f"http://127.0.0.1:{watch.prometheus_port}/metrics", timeout=10) as answer:
            assert b"gilscope_loop_stalls_total" in answer.read()
    assert len([callback for callback in gc.callbacks if "on_collection" in repr(callback)]) == 0


def forked(work: Callable[[], None]) -> int:
    """Do the work in a child; return its pid."""
    with warnings.catch_warnings():
        # 3.12 and later warn of every fork in a process with threads, which is what this is about.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001  # told, and the child ends here in any case
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def crash(port: int, parents: socket.socket, leave: socket.socket) -> None:
    """Watch, leave a child behind that lives until it is told to end, and end without a word when it runs."""

    def stay() -> None:
        leave.send(b"runs")
        leave.recv(1)

    parents.close()
    gilscope.watch(log=False, prometheus_port=port)
    forked(stay)


def main(forks: int) -> None:
    """Fork while there is load; the parent's watch goes on."""
    with gilscope.watch(log=False, prometheus_port=0) as watch, burner():
        run(stalls(block, 0.03, 1))
        failed = sum(os.waitpid(forked(lambda: in_child(watch)), 0)[1] != 0 for _ in range(forks))
        run(stalls(block, 0.03, 1))
        eventually(lambda: watch.totals().loops["MainThread"].stalls >= 2)
    port = watch.prometheus_port or 0
    ours, left = socket.socketpair()
    with ours:
        failed += os.waitpid(forked(lambda: crash(port, ours, left)), 0)[1] != 0
        assert ours.recv(4) == b"runs"
        # The child that is left has not kept the port.
        gilscope.watch(log=False, prometheus_port=port).stop()
        ours.send(b".")
    print(json.dumps({"failed": failed}))  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]))
