"""Upstream's behaviour as a black box, run on theirs and on ours: the same test, against a real receiver."""
