"""Peers on the same plans, for comparison only: tests and benchmarks call them, no operation does."""
