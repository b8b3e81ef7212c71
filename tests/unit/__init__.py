"""Units, each alone: the native half is `fake_pipeline`, and no socket is opened."""
