"""Rules about the source that no linter knows."""
