"""Dirac operators.

What solvers and actions ask of a normal operator A (Hermitian, positive, on one parity): `U`, `field(real)`,
`in_precision(real)`, `prepare()`, `apply(psi, out, dot=None)`, `draw(phi, draws)` with <phi phi^+> = A, and
`add_force(X, force, weight)`: force += weight (-d_a)(X^+ A X). If it has them for any links: `bounds` of its spectrum.
"""

from slhmc.dirac.staggered import StaggeredDirac, StaggeredNormal

__all__ = ["StaggeredDirac", "StaggeredNormal"]
