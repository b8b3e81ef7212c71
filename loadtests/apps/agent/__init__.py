"""The reference app of the load tests: a chat service whose agent works in sixteen traced steps; see README.md."""
