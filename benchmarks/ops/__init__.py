"""Speed and memory of the ops against what people use instead: ``python -m benchmarks.ops``."""
