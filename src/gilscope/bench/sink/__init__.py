"""The sink: a real OTLP receiver that counts exactly and fails on request.

It runs as a process of its own (`python -m gilscope.bench.sink`), and serves OTLP/HTTP, OTLP/gRPC and a control port.
Tests and load experiments use it through `Sink`, which needs nothing but the standard library, so that the process
under test can hold it without importing anything that would be measured with it.

    from gilscope.bench.sink import Sink, faults

    with Sink(keep_bodies=10) as sink:
        sink.set_faults(faults.Status(status=503, retry_after_s=1, times=2))
        ...  # export to sink.http_endpoint
        sink.wait_for_spans(512, timeout_s=5)
"""

from gilscope.bench.sink.client import BodyMissingError, Sink, SinkError, SinkTimeoutError
from gilscope.bench.sink.records import RequestRecord, Stats

__all__ = ["BodyMissingError", "RequestRecord", "Sink", "SinkError", "SinkTimeoutError", "Stats"]
