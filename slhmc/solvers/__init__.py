"""Iterative solvers, extreme eigenvalues, rational approximations."""

from slhmc.solvers.bicgstab import BiCGStab
from slhmc.solvers.conjugate_gradient import ConjugateGradient, block_sizes
from slhmc.solvers.lanczos import Spectrum, extreme_eigenvalues
from slhmc.solvers.multi_shift import MultiShiftConjugateGradient
from slhmc.solvers.rational import RationalApproximation, rational_approximation

__all__ = ["BiCGStab", "ConjugateGradient", "MultiShiftConjugateGradient", "RationalApproximation", "Spectrum",
           "block_sizes", "extreme_eigenvalues", "rational_approximation"]
