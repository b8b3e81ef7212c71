"""What is loaded and by what: the OTLP sink, the fault proxy, the demo and its reference app."""
