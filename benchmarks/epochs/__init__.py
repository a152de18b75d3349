"""Time of an epoch against the same model written the usual way: ``python -m benchmarks.epochs``."""
