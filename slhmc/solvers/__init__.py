"""Iterative solvers."""

from slhmc.solvers.conjugate_gradient import ConjugateGradient

__all__ = ["ConjugateGradient"]
