"""Prints how many milliseconds it took to import tracing and end a first span: `python program.py PROCESSOR`.

A program of its own, so that nothing but what is measured has been imported.
"""

import sys
import time

BEGAN_S = time.perf_counter()

processor_name = sys.argv[1]

from opentelemetry.sdk.trace import SpanProcessor, TracerProvider  # noqa: E402  # what is measured
from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: E402  # every processor imports it

provider = TracerProvider(shutdown_on_exit=False)
if processor_name == "BatchSpanProcessor":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
elif processor_name == "fastotel":
    from fastotel import OTLPSpanProcessor

    provider.add_span_processor(OTLPSpanProcessor())
elif processor_name == "gilscope":
    from gilscope import NativeSpanProcessor

    provider.add_span_processor(NativeSpanProcessor())
else:
    provider.add_span_processor(SpanProcessor())
provider.get_tracer("experiments.first_span").start_span("first").end()

print((time.perf_counter() - BEGAN_S) * 1e3, flush=True)

import os  # noqa: E402  # after what is measured

os._exit(0)
