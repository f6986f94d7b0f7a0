"""Meson correlators: against dense matrices and free quarks, gauge invariance, stochastic walls, ranks; effective masses."""

import numpy as np
import pytest
import reference
import reference_quarks as plain

from slhmc.dirac import CloverDirac, DomainWall, DomainWallDirac, StaggeredDirac, StaggeredNormal, WilsonDirac
from slhmc.lattice import Draws, GaugeField, Purpose
from slhmc.observables import CHANNELS, Propagator, StaggeredMesons, WilsonMesons
from slhmc.solvers import ConjugateGradient

pytestmark = pytest.mark.device
BOUNDARY = (1, 1, 1, -1)
MASS, C_SW, DOMAIN_WALL = 0.2, 1.3, DomainWall(0.1, 4, M5=1.6, b5=1.5, c5=0.5)
TINY = (2, 2, 2, 4)
GAMMAS = {"pion": [plain.GAMMA_5], "rho": plain.GAMMA[:3], "scalar": [np.eye(4)],
          "axial_vector": plain.GAMMA_5 @ plain.GAMMA[:3], "temporal_axial": [plain.GAMMA[3] @ plain.GAMMA_5]}
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


def dense_propagator(kind, links):
    """S[x, spin, colour; y, spin, colour] of the quark, all sites x and y; from the dense matrix."""
    sites, colors = int(np.prod(links.shape[:4])), links.shape[-1]
    if kind == "wilson":
        S = np.linalg.inv(plain.wilson_matrix(links, MASS, BOUNDARY))
    elif kind == "clover":
        S = np.linalg.inv(plain.clover_matrix(links, MASS, C_SW, BOUNDARY))
    else:
        wilson = plain.wilson_matrix(links, -DOMAIN_WALL.M5, BOUNDARY)
        gamma_5 = np.kron(np.eye(sites), np.kron(plain.GAMMA_5, np.eye(colors)))
        overlap = plain.overlap_inverse(wilson, gamma_5, DOMAIN_WALL)
        S = (overlap - np.eye(len(overlap))) / (1 - DOMAIN_WALL.mass)
    return S.reshape(sites, 4, colors, sites, 4, colors)


def dense_correlators(S, extent):
    """C(y, t) = -sum_x tr Gamma S(x, y) Gammabar S(y, x), for each channel and each source y: [channel, y, t]."""
    result, times = np.zeros((len(GAMMAS), S.shape[0], extent[3])), reference.coordinates(extent)[3].ravel()
    for k, gammas in enumerate(GAMMAS.values()):
        for gamma in gammas:
            bar = plain.GAMMA[3] @ gamma.conj().T @ plain.GAMMA[3]
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


@pytest.mark.parametrize("kind", ["wilson", "clover"])
def test_walls_estimate_the_mean_over_points_of_a_slice(smooth_links, kind):
    """Each noise vector is unbiased for the slice that it is on; 4 sigma of 120 vectors, all channels and times."""
    U, noise = smooth_links(2, *TINY), 120
    every_point = dense_correlators(dense_propagator(kind, U.to_sites()), TINY)
    slices = np.stack([every_point[:, reference.coordinates(TINY)[3].ravel() == t].mean(1) for t in range(TINY[3])])
    observable, deviations = wilson_mesons(U, kind, "wall"), []
    for trajectory in range(noise):
        found = observable.measure(U, Draws(5, trajectory))
        time = int(U.lattice.uniform(Draws(5, trajectory).next(Purpose.NOISE)) * TINY[3])
        deviations.append(found - slices[time])
    deviations = np.array(deviations)
    sigma = deviations.std(0, ddof=1) / np.sqrt(noise)
    assert (abs(deviations.mean(0)) < 4 * sigma).all() and sigma.min() > 0
    assert sigma[0].max() < 0.05 * slices[:, 0].max()  # the test has power


def test_more_noise_is_the_mean_of_its_vectors(smooth_links):
    """Two vectors in one measurement: a mean, not a sum; the second one continues the draws of the first."""
    U = smooth_links(2, *TINY)
    one, two = (wilson_mesons(U, "wilson", "wall", noise) for noise in (1, 2))
    draws = Draws(5, 1)
    expected = np.mean([one.measure(U, draws) for _ in range(2)], 0)
    np.testing.assert_allclose(two.measure(U, Draws(5, 1)), expected, rtol=0, atol=1e-10 * abs(expected).max())


@pytest.mark.parametrize(("colors", "extent"), [(3, (4, 4)), (2, (4, 2, 2, 4))])
def test_the_staggered_pion_is_that_of_the_dense_matrix(hot_links, colors, extent):
    """From points on even and odd sites; from walls within 4 sigma of the mean over the slice."""
    U, boundary = hot_links(colors, *extent), (1,) * (len(extent) - 1) + (-1,)
    sites, T = U.lattice.sites, extent[-1]
    S = np.linalg.inv(plain.staggered_matrix(U.to_sites(), 0.3, boundary)).reshape(sites, colors, sites, colors)
    times, squares = reference.coordinates(extent)[-1].ravel(), (abs(S)**2).sum((1, 3))
    expected = np.zeros((sites, T))
    for y in range(sites):
        np.add.at(expected[y], (times - times[y]) % T, squares[:, y])
    observable, parities = staggered_mesons(U, boundary=boundary), set()
    for trajectory in range(6):
        found = observable.measure(U, Draws(5, trajectory))
        y = int(U.lattice.uniform(Draws(5, trajectory).next(Purpose.NOISE)) * sites)
        np.testing.assert_allclose(found, expected[y][None], rtol=0, atol=1e-9 * expected.max())
        parities.add(reference.coordinates(extent).sum(0).ravel()[y] % 2)
    assert parities == {0, 1} and observable.channels == ("pion",)
    walls, deviations = staggered_mesons(U, boundary=boundary, source="wall"), []
    for trajectory in range(100):
        time = int(U.lattice.uniform(Draws(5, trajectory).next(Purpose.NOISE)) * T)
        deviations.append(walls.measure(U, Draws(5, trajectory))[0] - expected[times == time].mean(0))
    deviations = np.array(deviations)
    assert (abs(deviations.mean(0)) < 4 * deviations.std(0, ddof=1) / 10).all()


def test_free_wilson_quarks_have_the_pion_of_their_momentum_sum(make_lattice):
    """C(t) = (4 Nc / L^3) sum_p (|a|^2 + s^2 |b|^2 + |c|^2), S(p, t) = a - i gamma s b - i gamma_t c; and C(t) = C(T - t)."""
    extent, colors = (4, 4, 2, 12), 3
    U, T = GaugeField(make_lattice(*extent), colors), extent[3]
    p4 = (2 * np.arange(T) + 1) * np.pi / T
    waves = np.exp(1j * np.outer(np.arange(T), p4)) / T
    expected = np.zeros(T)
    for k in np.ndindex(extent[:3]):
        p = 2 * np.pi * np.array(k) / extent[:3]
        s2, W = (np.sin(p)**2).sum(), MASS + (1 - np.cos(p)).sum() + 1 - np.cos(p4)
        D2 = W**2 + s2 + np.sin(p4)**2
        a, b, c = waves @ (W / D2), waves @ (1 / D2), waves @ (np.sin(p4) / D2)
        expected += 4 * colors / np.prod(extent[:3]) * (abs(a)**2 + s2 * abs(b)**2 + abs(c)**2)
    observable = wilson_mesons(U, "wilson")
    for trajectory in (1, 2):
        found = observable.measure(U, Draws(3, trajectory))
        np.testing.assert_allclose(found[0], expected, rtol=1e-9)
        np.testing.assert_allclose(found[:, 1:], found[:, :0:-1], rtol=0, atol=1e-9 * expected.max())


def test_point_sources_are_gauge_invariant(make_lattice, hot_links, rng):
    """Wilson and staggered quarks after a random gauge transformation."""
    U, other = hot_links(3, 4, 4, 2, 4), GaugeField(make_lattice(4, 4, 2, 4), 3)
    other.from_sites(reference.gauge_transform(U.to_sites(), reference.random_group((4, 2, 4, 4), 3, rng)))
    assert abs(U.to_sites() - other.to_sites()).max() > 0.5
    for observable in (wilson_mesons(U, "wilson"), staggered_mesons(U)):
        found, expected = (observable.measure(links, Draws(5, 1)) for links in (other, U))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * abs(expected).max())


def test_the_pion_is_the_heaviest_of_correlators(hot_links):
    """sum |S|^2 bounds every other channel, configuration by configuration (Weingarten), and is symmetric under no boundary."""
    found = wilson_mesons(hot_links(3, 4, 4, 2, 4), "wilson").measure(hot_links(3, 4, 4, 2, 4), Draws(5, 1))
    assert (found[0] > 0).all() and (abs(found[1:]) <= found[0] * (1 + 1e-9)).all()
