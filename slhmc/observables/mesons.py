"""Meson correlators of two mass-degenerate quarks of different flavour, from point sources and from stochastic walls.

C(t) = sum_x <O(x, t) O^+(y, 0)>, O = psibar Gamma psi', at zero momentum; conventions as in docs/conventions.md, "Mesons".
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np

from slhmc.dirac import StaggeredNormal
from slhmc.dirac.wilson import SPINS
from slhmc.errors import ComputationError
from slhmc.lattice import Draws, FermionField, GaugeField
from slhmc.lattice.random import Purpose
from slhmc.observables.observable import Observable
from slhmc.observables.propagator import Propagator
from slhmc.solvers import ConjugateGradient, block_sizes

_SIGMA = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
_ZERO, _ONE = np.zeros((2, 2)), np.eye(2)
GAMMA = np.array([np.block([[_ZERO, -1j * s], [1j * s, _ZERO]]) for s in _SIGMA] + [np.block([[_ZERO, -_ONE], [-_ONE, _ZERO]])])
GAMMA_5 = np.diag([1.0, 1.0, -1.0, -1.0])

# Gamma of each channel; their correlators are averaged
CHANNELS = {
    "pion": [GAMMA_5],
    "rho": list(GAMMA[:3]),
    "scalar": [np.eye(SPINS)],
    "axial_vector": [GAMMA_5 @ gamma for gamma in GAMMA[:3]],
    "temporal_axial": [GAMMA[3] @ GAMMA_5],
}


class Mesons(Observable):
    """Correlators of one quark, real [channel, t], t = 0 ... T-1 the distance in time from the source. Abstract.

    Leaves: WilsonMesons, StaggeredMesons. make_operator(U) -> normal operator of the quark. source: "point", one site for each
    configuration, drawn at random; or "wall", `noise` vectors of (+-1 +- i)/sqrt(2) on one time slice each, drawn at random:
    both have the same expectation, a sum over sinks and a mean over sources, and both are gauge invariant, the wall on average
    over the noise (one-end trick). Raises what the solvers raise.
    """

    channels: tuple[str, ...]
    together = 1  # sources that are handed to the solver at once

    def __init__(self, make_operator: Callable, solver, source: str = "point", noise: int = 1, name: str = "mesons"):
        self.make_operator, self.solver, self.source, self.noise, self.name = make_operator, solver, source, noise, name
        self._prepared_for = None

    def measure(self, U, draws):
        """[channel, t]. Collective."""
        if self._prepared_for is not U:
            self._operator, self._prepared_for = self.make_operator(U), U
        sources = self._points(U, draws) if self.source == "point" else self._walls(U, draws)
        total = 0.0
        for size in block_sizes(U.colors if self.source == "point" else self.noise, self.together):
            times, vectors = zip(*islice(sources, size), strict=True)
            for time, slices in zip(times, self._slices(vectors), strict=True):
                total = total + np.roll(_gathered(U.lattice, slices), -time, axis=0)
        correlators = self._contract(total)
        if not np.isfinite(correlators).all():
            raise ComputationError(f"{self.name}: correlators are not finite; the links are damaged")
        return correlators

    def _points(self, U: GaugeField, draws: Draws) -> Iterator[tuple[int, np.ndarray]]:
        """(time of the source, this rank's colour vectors) for each colour at one site."""
        lattice = U.lattice
        number = int(lattice.uniform(draws.next(Purpose.NOISE)) * lattice.sites)
        site = np.unravel_index(number, lattice.extent[::-1])
        origin = [c * n for c, n in zip(lattice.rank_coordinates[::-1], lattice.local[::-1], strict=True)]
        here = tuple(int(x) - o for x, o in zip(site, origin, strict=True))
        inside = all(0 <= x < n for x, n in zip(here, lattice.local[::-1], strict=True))
        for color in range(U.colors):
            vector = np.zeros((*lattice.local[::-1], U.colors), complex)
            if inside:
                vector[(*here, color)] = 1
            yield int(site[0]), vector

    def _walls(self, U: GaugeField, draws: Draws) -> Iterator[tuple[int, np.ndarray]]:
        """The same for noise vectors, each on a time slice of its own, scaled to a mean over the slice and over the noise."""
        lattice, field = U.lattice, FermionField(U.lattice, U.colors)
        extent, first = lattice.extent[-1], lattice.rank_coordinates[-1] * lattice.local[-1]
        for _ in range(self.noise):
            time = int(lattice.uniform(draws.next(Purpose.NOISE)) * extent)
            field.draw_gaussian(draws.next(Purpose.NOISE))
            gaussian, vector = field.local_sites(), np.zeros((*lattice.local[::-1], U.colors), complex)
            if first <= time < first + lattice.local[-1]:
                part = gaussian[time - first]
                vector[time - first] = (np.where(part.real < 0, -1, 1) + 1j * np.where(part.imag < 0, -1, 1)) / 2**0.5
            yield time, vector / (self.noise * lattice.sites / extent)**0.5

    @abstractmethod
    def _slices(self, vectors: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What each of this rank's time slices has for the correlators of each source, [t, ...]; it is summed over ranks."""

    @abstractmethod
    def _contract(self, total: np.ndarray) -> np.ndarray:
        """[channel, t] from the sum of all sources."""


class WilsonMesons(Mesons):
    """Wilson and clover quarks, and domain-wall ones by the quark at the walls: each source at each of four spins.

    With S^+ = gamma_5 S gamma_5, the spins of sum_x S(x, y) S(x, y)^* for each time, colours summed, give every channel:
    C(t) = -tr Gamma S Gammabar gamma_5 S^+ gamma_5, Gammabar = gamma_t Gamma^+ gamma_t.
    """

    channels = tuple(CHANNELS)

    def __init__(self, make_operator: Callable, solver: Propagator, source: str = "point", noise: int = 1, name: str = "mesons"):
        super().__init__(make_operator, solver, source, noise, name)

    def _slices(self, vectors):
        return [self._slices_of(vector) for vector in vectors]

    def _slices_of(self, vector: np.ndarray) -> np.ndarray:
        """[t, sink spin, source spin, the same of the conjugate]."""
        operator = self._operator.factor
        dirac, sources = operator.dirac, []
        for spin in range(SPINS):
            eta = dirac.quark_field()
            spinor = np.zeros((*vector.shape[:-1], SPINS, vector.shape[-1]), complex)
            spinor[..., spin, :] = vector
            eta.assign_local_sites(spinor)
            sources.append(dirac.source(eta))
        solutions = [dirac.quark(psi).local_sites() for psi in self.solver.solve_many(operator, sources)]
        quarks = np.moveaxis(np.stack(solutions, -1), -2, -3)  # [t, z, y, x, colour, sink spin, source spin]
        quarks = quarks.reshape(len(quarks), -1, SPINS * SPINS)
        return (quarks.transpose(0, 2, 1) @ quarks.conj()).reshape(-1, *(SPINS,) * 4)

    def _contract(self, total):
        return np.array([np.mean([_contraction(gamma, total) for gamma in gammas], 0) for gammas in CHANNELS.values()])


def _contraction(gamma: np.ndarray, spins: np.ndarray) -> np.ndarray:
    """-(gamma_5 Gamma)_ab S_bc (Gammabar gamma_5)_cd S^*_ad for each time; it is real."""
    bar = GAMMA[3] @ gamma.conj().T @ GAMMA[3]
    return -np.einsum("ab,cd,tbcad->t", GAMMA_5 @ gamma, bar @ GAMMA_5, spins).real


class StaggeredMesons(Mesons):
    """The Goldstone pion of one staggered field: C(t) = sum_x |D^-1(x, y)|^2, colours summed; even and odd sites."""

    channels = ("pion",)
    together = StaggeredNormal.most_vectors

    def __init__(self, make_operator: Callable, solver: ConjugateGradient, source: str = "point", noise: int = 1,
                 name: str = "mesons"):
        super().__init__(make_operator, solver, source, noise, name)

    def _slices(self, vectors):
        """Sum of |psi|^2 over each slice, D psi = source: A psi_e = (D^+ b)_e, m psi_o = b_o - H_oe psi_e / 2."""
        dirac, fields = self._operator.dirac, []
        for vector in vectors:
            fields.append(FermionField(dirac.U.lattice, dirac.U.colors))
            fields[-1].assign_local_sites(vector)
        rights, solutions = ([self._operator.field("double") for _ in fields] for _ in range(2))
        for b, right in zip(fields, rights, strict=True):
            dirac.hop(b, right, "even", other=-0.5, same=dirac.mass, psi_same=b)
        self.solver.solve_blocks(self._operator, rights, solutions)
        return [self._slices_of(b, x) for b, x in zip(fields, solutions, strict=True)]

    def _slices_of(self, b: FermionField, x: FermionField) -> np.ndarray:
        dirac, psi = self._operator.dirac, b.like()
        psi.assign_parity(x)
        dirac.hop(psi, psi, "odd", other=-0.5 / dirac.mass, same=1 / dirac.mass, psi_same=b)
        return (abs(psi.local_sites())**2).reshape(b.lattice.local[-1], -1).sum(1)

    def _contract(self, total):
        return total.real[None]


def _gathered(lattice, slices: np.ndarray) -> np.ndarray:
    """Sums over ranks of what their time slices have: [t, ...] of the whole lattice, complex, on all of them. Collective."""
    result = np.zeros((lattice.extent[-1], *slices.shape[1:]), complex)
    first = lattice.rank_coordinates[-1] * lattice.local[-1]
    result[first:first + len(slices)] = slices
    sums = lattice.device.from_host(result.ravel().view(np.float64))
    lattice.global_sum(sums)
    lattice.device.synchronize()
    return lattice.device.to_host(sums).view(np.complex128).reshape(result.shape)
