"""Meson correlators: against dense matrices and free quarks, gauge invariance, stochastic walls, ranks; effective masses."""

from functools import partial

import numpy as np
import pytest
import reference

from slhmc.dirac import CloverDirac, DomainWall, DomainWallDirac, StaggeredDirac, StaggeredNormal, WilsonDirac
from slhmc.lattice import Draws, GaugeField, Purpose
from slhmc.observables import CHANNELS, Propagator, StaggeredMesons, WilsonMesons
from slhmc.solvers import ConjugateGradient

pytestmark = pytest.mark.device
BOUNDARY = (1, 1, 1, -1)
MASS, C_SW, DOMAIN_WALL = 0.2, 1.3, DomainWall(0.1, 4, M5=1.6, b5=1.5, c5=0.5)
TINY = (2, 2, 2, 4)
GAMMAS = {"pion": [reference.GAMMA_5], "rho": reference.GAMMA[:3], "scalar": [np.eye(4)],
          "axial_vector": reference.GAMMA_5 @ reference.GAMMA[:3], "temporal_axial": [reference.GAMMA[3] @ reference.GAMMA_5]}
OPERATORS = {
    "wilson": lambda U: WilsonDirac(U, MASS, BOUNDARY),
    "clover": lambda U: CloverDirac(U, MASS, C_SW, BOUNDARY),
    "domain_wall": lambda U: DomainWallDirac(U, DOMAIN_WALL, BOUNDARY),
}


def wilson_mesons(U, kind, source="point", noise=1):
    propagator = Propagator(U.lattice, 1e-12, 2000, "mixed", "cg" if kind == "domain_wall" else "bicgstab")
    return WilsonMesons(lambda U: OPERATORS[kind](U).even_odd().normal, propagator, source, noise)


def staggered_mesons(U, mass=0.3, boundary=BOUNDARY, source="point", noise=1):
    solver = ConjugateGradient(U.lattice, 1e-12)
    return StaggeredMesons(lambda U: StaggeredNormal(StaggeredDirac(U, mass, boundary)), solver, source, noise)


@pytest.fixture(scope="module")
def smooth_links(make_lattice, gaussian_momenta):
    """Factory of links near unity, where the clover term is positive."""
    def make(colors, *extent):
        U = GaugeField(make_lattice(*extent), colors)
        U.drift(gaussian_momenta(U, seed=9), 0.4)
        return U
    return make


def dense_propagator(kind, links):
    """S[x, spin, colour; y, spin, colour] of the quark, all sites x and y; from the dense matrix."""
    sites, colors = int(np.prod(links.shape[:4])), links.shape[-1]
    if kind == "wilson":
        S = np.linalg.inv(reference.wilson_matrix(links, MASS, BOUNDARY))
    elif kind == "clover":
        S = np.linalg.inv(reference.clover_matrix(links, MASS, C_SW, BOUNDARY))
    else:
        wilson = reference.wilson_matrix(links, -DOMAIN_WALL.M5, BOUNDARY)
        gamma_5 = np.kron(np.eye(sites), np.kron(reference.GAMMA_5, np.eye(colors)))
        overlap = reference.overlap_inverse(wilson, gamma_5, DOMAIN_WALL)
        S = (overlap - np.eye(len(overlap))) / (1 - DOMAIN_WALL.mass)
    return S.reshape(sites, 4, colors, sites, 4, colors)


def dense_correlators(S, extent):
    """C(y, t) = -sum_x tr Gamma S(x, y) Gammabar S(y, x), for each channel and each source y: [channel, y, t]."""
    result, times = np.zeros((len(GAMMAS), S.shape[0], extent[3])), reference.coordinates(extent)[3].ravel()
    for k, gammas in enumerate(GAMMAS.values()):
        for gamma in gammas:
            bar = reference.GAMMA[3] @ gamma.conj().T @ reference.GAMMA[3]
            products = np.einsum("ab,xbiyck,cd,ydkxai->xy", gamma, S, bar, S, optimize=True)
            assert abs(products.imag).max() < 1e-10
            for y, t in enumerate(times):
                np.add.at(result[k, y], (times - t) % extent[3], -products.real[:, y] / len(gammas))
    return result


@pytest.mark.parametrize("kind", OPERATORS)
def test_a_point_source_is_the_contraction_of_the_dense_propagator(smooth_links, kind):
    """All channels; S(y, x) taken as it is, without gamma_5. One of the source points of that configuration must fit."""
    U = smooth_links(2, *TINY)
    expected = dense_correlators(dense_propagator(kind, U.to_sites()), TINY)
    observable, seen = wilson_mesons(U, kind), set()
    for trajectory in range(3):
        found = observable.measure(U, Draws(5, trajectory))
        y = int(U.lattice.uniform(Draws(5, trajectory).next(Purpose.NOISE)) * U.lattice.sites)
        np.testing.assert_allclose(found, expected[:, y], rtol=0, atol=1e-9 * abs(expected).max())
        seen.add(y)
    assert len(seen) > 1
    assert tuple(GAMMAS) == tuple(CHANNELS) == observable.channels
