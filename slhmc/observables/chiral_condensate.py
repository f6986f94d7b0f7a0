"""Chiral condensates by noise vectors."""

from abc import abstractmethod
from collections.abc import Callable

import numpy as np

from slhmc.lattice.random import Purpose
from slhmc.observables.observable import Observable
from slhmc.observables.propagator import Propagator
from slhmc.solvers import ConjugateGradient


class ChiralCondensate(Observable):
    """(1/V) Tr D^-1, spins and colours summed, of one quark: one estimate per noise vector, whose spread is the noise error.

    Abstract; leaves: StaggeredCondensate, WilsonCondensate. make_operator(U) -> normal operator of the quark.
    """

    def __init__(self, make_operator: Callable, noise: int, name: str = "chiral_condensate"):
        self.name, self.make_operator, self.noise = name, make_operator, noise
        self._prepared_for = None

    def measure(self, U, draws):
        if self._prepared_for is not U:
            self._operator, self._prepared_for = self.make_operator(U), U
        vectors = [self._noise_vector() for _ in range(self.noise)]
        for xi in vectors:
            xi.draw_gaussian(draws.next(Purpose.NOISE), 0.5**0.5)
        return np.array([float(value) for value in self._estimates(U, vectors)])

    @abstractmethod
    def _noise_vector(self):
        """A zero field for a noise vector."""

    @abstractmethod
    def _estimates(self, U, vectors) -> list:
        """One estimate for each noise vector, <xi xi^+> = 1."""


class StaggeredCondensate(ChiralCondensate):
    """(1/V) Tr (D + m)^-1, one staggered field.

    Even and odd sites give the same trace, and (D^-1)_ee = m A^-1 with A = (D^+ D)_ee, so each Gaussian vector xi on even
    sites, <xi xi^+> = 1, gives the unbiased estimate (2 m / V) xi^+ A^-1 xi.
    """

    def __init__(self, make_operator: Callable, noise: int, solver: ConjugateGradient, name: str = "chiral_condensate"):
        super().__init__(make_operator, noise, name)
        self.solver = solver

    def _noise_vector(self):
        return self._operator.field("double")

    def _estimates(self, U, vectors):
        solutions = [self._noise_vector() for _ in vectors]
        self.solver.solve_blocks(self._operator, vectors, solutions)
        scale = 2 * self._operator.dirac.mass / U.lattice.sites
        return [scale * float(xi.inner(x)) for xi, x in zip(vectors, solutions, strict=True)]


class WilsonCondensate(ChiralCondensate):
    """(1/V) Tr D^-1 of a Wilson or clover quark; of domain-wall quarks, (1/V) Tr of the quark at the walls, contact term removed.

    Each Gaussian vector xi on all sites gives the unbiased estimate (1/V) Re xi^+ D^-1 xi: the trace is real, as
    D^+ = gamma_5 D gamma_5.
    """

    def __init__(self, make_operator: Callable, noise: int, propagator: Propagator, name: str = "chiral_condensate"):
        super().__init__(make_operator, noise, name)
        self.propagator = propagator

    def _noise_vector(self):
        return self._operator.factor.dirac.quark_field()

    def _estimates(self, U, vectors):
        operator = self._operator.factor
        solutions = self.propagator.solve_many(operator, [operator.dirac.source(xi) for xi in vectors])
        return [float(xi.inner(operator.dirac.quark(psi))) / U.lattice.sites for xi, psi in zip(vectors, solutions, strict=True)]
