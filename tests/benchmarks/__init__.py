"""Benchmarks: a peer and ours in one run, a ratio, and the equality of the results beside it."""
