"""Load experiments: what tracing costs a service, with each way of exporting spans."""
