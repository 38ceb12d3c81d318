"""Benchmarks against the peers: one command each, numbers as they come."""
