"""Uses an installed gilscope as a user would: spans reach a server in this process, and the probe finds a stall.

With `--from-wheel` it also sees to it that what it used is no source tree.
"""

import asyncio
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

from opentelemetry.sdk.trace import TracerProvider

import gilscope
from gilscope.analysis import analyse
from gilscope.capture import open_capture

SPANS = 10


class Receiver(BaseHTTPRequestHandler):
    """Keeps the bodies that were posted."""

    bodies: list[bytes] = []  # noqa: RUF012 - one receiver in this process

    def do_POST(self) -> None:
        """Answer as an OTLP collector that took everything."""
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=server.serve_forever, daemon=True).start()
processor = gilscope.NativeSpanProcessor(endpoint=f"http://127.0.0.1:{server.server_port}/v1/traces")
provider = TracerProvider()
provider.add_span_processor(processor)
tracer = provider.get_tracer("smoke")
for number in range(SPANS):
    with tracer.start_as_current_span("smoke-span", attributes={"number": number}):
        pass
flushed = provider.force_flush(10_000)
provider.shutdown()
server.shutdown()
arrived = b"".join(Receiver.bodies).count(b"smoke-span")
assert flushed, f"force_flush said {flushed}"
assert arrived == SPANS, f"{arrived} of {SPANS} spans arrived"
assert "--from-wheel" not in sys.argv or "site-packages" in gilscope.__file__, gilscope.__file__
print(f"gilscope {version('gilscope')}: {arrived} of {SPANS} spans arrived")


async def stall() -> None:
    """The loop stands still for 50 ms."""
    await asyncio.sleep(0.01)
    time.sleep(0.05)  # noqa: ASYNC251 - that is the stall
    await asyncio.sleep(0.01)


with tempfile.TemporaryDirectory(prefix="gilscope-") as folder:
    path = Path(folder, "smoke.gilscope")
    with gilscope.record(path):
        asyncio.run(stall())
    with open_capture(path) as capture:
        analysis = analyse(capture)
assert analysis.stall_count == 1, analysis.verdict
assert "stall" in analysis.verdict, analysis.verdict
print(f"the probe: {analysis.verdict}")
