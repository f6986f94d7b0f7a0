"""Solutions of D psi = b for several sources: what measurements of quarks are made of."""

import logging

from slhmc.errors import SolverNotConverged
from slhmc.solvers import BiCGStab, ConjugateGradient

logger = logging.getLogger(__name__)


class Propagator:
    """psi = D^-1 b by the even-odd operator M: |prepare_source(b) - M x| is what the tolerance is of.

    method: "bicgstab" solves M x = source; where that fails, and with "cg", conjugate gradient solves M^+ M x = M^+ source, its
    tolerance that of this equation. Domain-wall quarks need "cg": the spectrum of their M surrounds zero. Raises what
    ConjugateGradient raises.
    """

    def __init__(self, lattice, tolerance: float, max_iterations: int, precision: str, method: str = "bicgstab"):
        self.method = method
        self.bicgstab, self.conjugate_gradient = (kind(lattice, tolerance, max_iterations, precision)
                                                  for kind in (BiCGStab, ConjugateGradient))

    def solve_many(self, operator, sources) -> list:
        """D^-1 b for each b of `sources`, fields on both parities; operator: EvenOddOperator. Collective; not on a tape."""
        right = [operator.prepare_source(b) for b in sources]
        solutions = [operator.field("double") for _ in sources]
        try:
            if self.method == "bicgstab":
                self.bicgstab.solve_many(operator, right, solutions)
        except SolverNotConverged as error:
            logger.info("%s; conjugate gradient on M^+ M takes its place", error)
            self._by_conjugate_gradient(operator, right, solutions)
        if self.method == "cg":
            self._by_conjugate_gradient(operator, right, solutions)
        return [operator.reconstruct(x, b) for x, b in zip(solutions, sources, strict=True)]

    def _by_conjugate_gradient(self, operator, right, solutions) -> None:
        adjoint = []
        for source in right:
            adjoint.append(source.like())
            operator.apply(source, adjoint[-1], adjoint=True)
        self.conjugate_gradient.solve_many(operator.normal, adjoint, solutions)
