"""What a watch tells OpenTelemetry: metrics, and events of spans. Loaded only where OpenTelemetry is installed."""
