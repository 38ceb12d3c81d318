"""Runnable studies and benchmarks."""
