"""A traced program that forks in a given way; each process prints its pid and its books as JSON, one line each.

python -m tests.integration.programs.forks ENDPOINT os|c|multiprocessing-fork|multiprocessing-spawn CHILDREN SPANS
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import multiprocessing
import os
import random
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import TracerProvider

from gilscope import NativeSpanProcessor


def make_provider(endpoint: str) -> tuple[TracerProvider, NativeSpanProcessor]:
    """Return a provider whose spans go to the endpoint."""
    processor = NativeSpanProcessor(endpoint=endpoint, schedule_delay_millis=60_000)
    provider = TracerProvider()
    provider.add_span_processor(processor)
    return provider, processor


def make_spans(provider: TracerProvider, spans: int) -> None:
    """End that many spans."""
    tracer = provider.get_tracer("forks")
    for _ in range(spans):
        with tracer.start_as_current_span("step"):
            pass


def thread_names() -> list[str]:
    """Return the names of this process's threads; the SDK has short-lived ones after a fork, which may end here."""
    names = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            names.append((task / "comm").read_text().strip())
    return sorted(names)


def tell(who: str, processor: NativeSpanProcessor) -> None:
    """Print the books, in one write, since parent and children share the pipe."""
    stats = processor.stats()
    threads = thread_names()
    line = json.dumps(
        {
            "who": who,
            "pid": os.getpid(),
            "ended": stats.ended,
            "exported": stats.exported,
            "queued": stats.queued,
            "unaccounted": stats.unaccounted,
            "threads": threads,
        }
    )
    os.write(1, (line + "\n").encode())


def in_child(provider: TracerProvider, processor: NativeSpanProcessor, spans: int) -> None:
    """What a child does: nothing is started before its first span, and its spans are its own."""
    # Python does this for the forks it knows of; otherwise the ids of the child's spans would be the parent's again.
    random.seed()
    tell("child-before", processor)
    make_spans(provider, spans)
    processor.force_flush(10_000)
    tell("child", processor)


def spawned(endpoint: str, spans: int) -> None:
    """The child of multiprocessing's spawn has nothing of the parent's."""
    provider, processor = make_provider(endpoint)
    in_child(provider, processor, spans)


def fork_with(fork: object, provider: TracerProvider, processor: NativeSpanProcessor, spans: int) -> int:
    """Fork, and do the child's work in the child. Returns the child's pid."""
    pid: int = fork()  # type: ignore[operator]  # os.fork, or the C library's
    if pid == 0:
        code = 1
        try:
            in_child(provider, processor, spans)
            code = 0
        except BaseException:  # noqa: BLE001  # told, and the child ends here in any case
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def main(endpoint: str, how: str, children: int, spans: int) -> None:
    """Make spans in the parent all the while, and in each child."""
    provider, processor = make_provider(endpoint)
    make_spans(provider, spans)
    stop = threading.Event()

    def load() -> None:
        while not stop.wait(0.001):
            make_spans(provider, 1)

    loader = threading.Thread(target=load)
    loader.start()
    failed = 0
    if how in {"os", "c"}:
        # PyDLL keeps the GIL while it calls: Python knows nothing of the fork, and the child has the GIL.
        fork = os.fork if how == "os" else ctypes.PyDLL(None).fork
        pids = [fork_with(fork, provider, processor, spans) for _ in range(children)]
        failed = sum(os.waitpid(pid, 0)[1] != 0 for pid in pids)
    else:
        context: Any = multiprocessing.get_context(how.removeprefix("multiprocessing-"))
        work = (provider, processor, spans)
        processes = [
            context.Process(target=in_child, args=work)
            if how.endswith("fork")
            else context.Process(target=spawned, args=(endpoint, spans))
            for _ in range(children)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
            failed += process.exitcode != 0
    stop.set()
    loader.join()
    provider.force_flush()
    tell("parent", processor)
    sys.exit(failed)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
