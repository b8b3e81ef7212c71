"""Export of spans without the GIL: the processor, where its settings come from, and how it takes upstream's place.

settings      what is asked for: arguments, then OTEL_EXPORTER_OTLP_TRACES_*, OTEL_EXPORTER_OTLP_*, defaults
takeover      the settings of an exporter that exists already
batch         one running pipeline, in the shape of upstream's BatchProcessor
processor     NativeSpanProcessor
swap          puts a native batch where upstream's was; autoload does that under opentelemetry-instrument
lifetime      what is left is sent at exit; sigterm, on a signal
messages      what the native thread has to say, logged under upstream's names
stats         counts; metrics shows them as OpenTelemetry metrics
"""
