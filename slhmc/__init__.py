"""Lattice QCD with (self-learning) Hybrid Monte Carlo on CPUs, GPUs and MPI ranks."""

__version__ = "0.1.0"
