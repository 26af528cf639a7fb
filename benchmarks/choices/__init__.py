"""Is the planner's first choice the fastest? `python -m benchmarks.choices`."""
