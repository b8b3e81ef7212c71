"""Programs that the integration tests start as processes of their own."""
