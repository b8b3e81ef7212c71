"""Who uses the reference app: locust's users."""
