"""Residual mass of domain-wall quarks: how far a finite fifth dimension is from chiral symmetry."""

import numpy as np

from slhmc.dirac import DomainWall, DomainWallDirac
from slhmc.errors import InputError
from slhmc.lattice.random import Purpose
from slhmc.observables.observable import Observable
from slhmc.solvers import ConjugateGradient


class ResidualMass(Observable):
    """m_res = sum_x <J5q(x) P(0)> / sum_x <P(x) P(0)>; two numbers a noise vector, numerator and denominator.

    For each Gaussian vector eta on all sites, <eta eta^+> = 1, psi = D^-1 source(eta): they are |midpoint(psi)|^2 / V and
    |quark(psi)|^2 / V, V the number of sites: estimates of tr D_ov^-+ (1 - eps^2) / 4 D_ov^-1 / V and of the pion correlator
    summed over all distances. `ratio` has their ratio and its error. parameters: DomainWall; InputError if Ls is odd, as the
    midpoint lies between two slices.
    """

    def __init__(self, lattice, parameters: DomainWall, boundary, noise: int, tolerance: float, max_iterations: int = 20000,
                 precision: str = "mixed", name: str = "residual_mass"):
        if parameters.Ls % 2:
            raise InputError(f"Ls = {parameters.Ls}: the residual mass is measured half-way between two slices; use an even Ls")
        self.name, self.parameters, self.boundary, self.noise = name, parameters, tuple(boundary), noise
        self.solver = ConjugateGradient(lattice, tolerance, max_iterations, precision)
        self._operator = None

    def measure(self, U, draws):
        """Array [noise, 2]: numerator and denominator. Collective."""
        if self._operator is None or self._operator.U is not U:
            self._operator = DomainWallDirac(U, self.parameters, self.boundary).even_odd()
        dirac, sums = self._operator.dirac, []
        eta = dirac.quark_field()
        for _ in range(self.noise):
            eta.draw_gaussian(draws.next(Purpose.NOISE), 0.5**0.5)
            psi = self._operator.solve(self.solver, dirac.source(eta))
            sums.append([float(q.inner(q)) / U.lattice.sites for q in (dirac.midpoint(psi), dirac.quark(psi))])
        return np.array(sums)


def ratio(sums: np.ndarray) -> tuple[float, float]:
    """(m_res, error) from independent [..., 2] numerators and denominators, by jackknife; error nan for one alone."""
    pairs = np.reshape(sums, (-1, 2))
    n, total = len(pairs), pairs.sum(0)
    value = total[0] / total[1]
    if n == 1:
        return float(value), float("nan")
    left_out = (total - pairs)[:, 0] / (total - pairs)[:, 1]
    return float(value), float(np.sqrt((n - 1) * np.mean((left_out - left_out.mean()) ** 2)))
