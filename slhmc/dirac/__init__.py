"""Dirac operators.

What solvers and actions ask of a normal operator A (Hermitian, positive, on one parity): `U`, `field(real)`,
`in_precision(real)`, `prepare()`, `apply(psi, out, dot=None)`, `draw(phi, draws)` with <phi phi^+> = A,
`add_force(X, force, weight)`: force += weight (-d_a)(X^+ A X), and `add_forces(solutions, force, weights)`: a sum
of these. If it has them for any links: `bounds` of its spectrum.
"""

from slhmc.dirac.clover import CloverDirac, CloverEvenOdd
from slhmc.dirac.clover_term import forget_clover_terms
from slhmc.dirac.domain_wall import DomainWall, DomainWallDirac, DomainWallEvenOdd, take_wall_slices
from slhmc.dirac.even_odd import EvenOddOperator, NormalOperator
from slhmc.dirac.staggered import StaggeredDirac, StaggeredNormal
from slhmc.dirac.wilson import WilsonDirac, WilsonEvenOdd

__all__ = ["CloverDirac", "CloverEvenOdd", "DomainWall", "DomainWallDirac", "DomainWallEvenOdd", "EvenOddOperator",
           "NormalOperator", "StaggeredDirac", "StaggeredNormal", "WilsonDirac", "WilsonEvenOdd", "forget_clover_terms",
           "take_wall_slices"]
