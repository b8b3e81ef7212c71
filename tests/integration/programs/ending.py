"""A traced program that makes 100 spans and ends in a given way.

python -m tests.integration.programs.ending ENDPOINT plain|forgotten|exception|exit-3|busy-thread|interrupted
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from opentelemetry.sdk.trace import TracerProvider

from gilscope import NativeSpanProcessor


def main(endpoint: str, how: str) -> None:
    """End as told."""
    processor = NativeSpanProcessor(endpoint=endpoint)
    provider = TracerProvider(shutdown_on_exit=how != "forgotten")
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("ending")

    def make(spans: int) -> None:
        for _ in range(spans):
            with tracer.start_as_current_span("step"):
                pass

    make(100)
    if how == "exception":
        raise RuntimeError("as told")
    if how == "exit-3":
        sys.exit(3)
    if how == "busy-thread":
        started = threading.Event()

        def work() -> None:
            while True:
                make(1)
                started.set()

        threading.Thread(target=work, daemon=True).start()
        started.wait()
    if how == "interrupted":
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            processor.force_flush(60_000)
        except KeyboardInterrupt:
            sys.exit(130)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
