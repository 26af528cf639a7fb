"""Measures the library against its peers; see `docs/benchmarks.md`."""
