"""Benchmarks: every kernel beside the bound of the machine it runs on, measured in the same run."""

from slhmc.bench.report import main

__all__ = ["main"]
