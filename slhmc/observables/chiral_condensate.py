"""Chiral condensate of a staggered quark, by noise vectors."""

import numpy as np

from slhmc.dirac import StaggeredDirac, StaggeredNormal
from slhmc.lattice.random import Purpose
from slhmc.observables.observable import Observable
from slhmc.solvers import ConjugateGradient


class ChiralCondensate(Observable):
    """(1/V) Tr (D + m)^-1, colours summed, one staggered field; one estimate per noise vector.

    Even and odd sites give the same trace, and (D^-1)_ee = m A^-1 with A = (D^+ D)_ee, so each Gaussian vector xi on even
    sites, <xi xi^+> = 1, gives the unbiased estimate (2 m / V) xi^+ A^-1 xi. The spread of the estimates is the noise error.
    """

    def __init__(self, lattice, mass: float, boundary, noise: int, tolerance: float, max_iterations: int, precision: str,
                 name: str = "chiral_condensate"):
        self.name, self.mass, self.boundary, self.noise = name, mass, tuple(boundary), noise
        self.solver = ConjugateGradient(lattice, tolerance, max_iterations, precision)
        self._prepared_for = None

    def _prepare(self, U) -> None:
        self._operator = StaggeredNormal(StaggeredDirac(U, self.mass, self.boundary), "even")
        self._xi, self._x = (self._operator.field("double") for _ in range(2))
        self._prepared_for = U

    def measure(self, U, draws):
        if self._prepared_for is not U:
            self._prepare(U)
        estimates = []
        for _ in range(self.noise):
            self._xi.draw_gaussian(draws.next(Purpose.NOISE), 0.5**0.5)
            self.solver.solve(self._operator, self._xi, self._x)
            estimates.append(2 * self.mass / U.lattice.sites * float(self._xi.inner(self._x)))
        return np.array(estimates)
