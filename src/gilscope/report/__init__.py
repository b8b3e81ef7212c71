"""Reports: each renders an analysis or a capture, and computes nothing."""
