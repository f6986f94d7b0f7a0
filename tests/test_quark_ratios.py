"""Ratios of determinants: forces, exact pseudofermions, what the factors multiply to, chains with Hasenbusch masses."""

import itertools

import numpy as np
import pytest
import reference
import reference_quarks as plain
from dense import dense_even, even_values
from monte_carlo import boundary_of, plaquette, sample
from test_forces import assert_force_is_minus_derivative

from slhmc.actions import (
    CompositeAction,
    GaugeAction,
    LogDeterminantAction,
    PseudofermionAction,
    RatioAction,
    StaggeredRatioAction,
)
from slhmc.dirac import CloverDirac, DomainWall, DomainWallDirac, StaggeredDirac, StaggeredNormal, WilsonDirac
from slhmc.lattice import AlgebraField, Draws, FermionField, GaugeField
from slhmc.lattice.random import Purpose
from slhmc.solvers import ConjugateGradient
from slhmc.updates import HMC, TimeScale

pytestmark = pytest.mark.device
BOUNDARY = boundary_of(4)


def staggered(mass):
    return lambda U: StaggeredNormal(StaggeredDirac(U, mass, BOUNDARY))


def wilson(mass):
    return lambda U: WilsonDirac(U, mass, BOUNDARY).even_odd().normal


def clover(mass):
    return lambda U: CloverDirac(U, mass, 1.2, BOUNDARY).even_odd().normal


def domain_wall(mass):
    return lambda U: DomainWallDirac(U, DomainWall(mass, 4, b5=1.5, c5=0.5), BOUNDARY).even_odd().normal


KINDS = {"staggered": (StaggeredRatioAction, staggered, (0.2, 0.7)), "wilson": (RatioAction, wilson, (-0.1, 0.4)),
         "clover": (RatioAction, clover, (-0.1, 0.4)), "domain wall": (RatioAction, domain_wall, (0.1, 1.0))}


def ratio(lattice, kind, start="zero", tolerance=1e-13):
    """The ratio action of a kind, its solves exact to rounding."""
    action, maker, masses = KINDS[kind]
    solvers = (ConjugateGradient(lattice, tolerance) for _ in range(2))
    return action(*map(maker, masses), *solvers, start)


# ---- forces
@pytest.mark.parametrize("start", ["zero", "chronological"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("colors", "extent"), [(2, (4, 2, 8, 4)), (3, (4, 4, 2, 6))])
def test_force_is_minus_the_derivative(smooth_links, gaussian_momenta, colors, extent, kind, start):
    U = smooth_links(colors, *extent)
    action = ratio(U.lattice, kind, start)
    phi = action.refresh(U, Draws(4, 1))
    assert_force_is_minus_derivative(action, U, phi, gaussian_momenta(U))


@pytest.mark.parametrize("kind", KINDS)
def test_force_is_added_with_its_weight(smooth_links, gaussian_momenta, kind):
    U = smooth_links(2, 4, 4, 4, 4)
    action = ratio(U.lattice, kind)
    phi, P = action.refresh(U, Draws(4, 1)), gaussian_momenta(U)
    before, force = P.gather_reals(), action.force(U, phi).gather_reals()
    action.add_force(U, phi, P, -0.3)
    np.testing.assert_allclose(P.gather_reals(), before - 0.3 * force, atol=1e-11)


# ---- pseudofermions
def noise_norm(U, draws, spins):
    """|eta|^2 of the noise that a refresh of even-odd quarks draws."""
    eta = FermionField(U.lattice, U.colors, "even", spins=spins)
    eta.draw_gaussian(draws.next(Purpose.PSEUDOFERMION), 0.5**0.5)
    return float(eta.inner(eta))


@pytest.mark.parametrize("kind", ["wilson", "clover"])
def test_pseudofermions_of_a_ratio_have_the_action_of_their_noise(smooth_links, kind):
    """phi = M_b^-+ M_a^+ eta, so S = |eta|^2 whatever the links."""
    U = smooth_links(3, 4, 4, 2, 6)
    action = ratio(U.lattice, kind)
    phi = action.refresh(U, Draws(4, 1))
    assert float(action.action(U, phi)) == pytest.approx(noise_norm(U, Draws(4, 1), 4), rel=1e-10)
    other = action.refresh(U, Draws(4, 2), phi)
    assert other is phi
    assert float(action.action(U, phi)) == pytest.approx(noise_norm(U, Draws(4, 2), 4), rel=1e-10)


def test_staggered_pseudofermions_of_a_ratio_have_its_covariance(hot_links):
    """Element by element A_m / A_m' on even sites, within 5 sigma; and S has the mean of its distribution, within 4."""
    extent, draws, boundary = (4, 4), 4000, (1, -1)
    U = hot_links(2, *extent)
    solvers = [ConjugateGradient(U.lattice, 1e-12) for _ in range(2)]
    action = StaggeredRatioAction(*(lambda U, m=m: StaggeredNormal(StaggeredDirac(U, m, boundary)) for m in (0.3, 0.9)), *solvers)
    even, phi, samples, values = np.repeat(reference.even_sites(extent).ravel(), 2), None, [], []
    for trajectory in range(draws):
        phi = action.refresh(U, Draws(8, trajectory), phi)
        samples.append(phi.to_sites().ravel()[even])
        values.append(float(action.action(U, phi)))
    light, heavy = (normal_matrix(U, m, boundary)[np.ix_(even, even)] for m in (0.3, 0.9))
    expected, samples = light @ np.linalg.inv(heavy), np.array(samples).T
    sigma = np.sqrt(np.outer(np.diag(expected).real, np.diag(expected).real) / draws)
    assert (abs((samples @ reference.dagger(samples) / draws - expected) / sigma)).max() < 5
    assert (abs(samples @ samples.T / draws / sigma)).max() < 5
    assert abs(np.mean(values) - len(expected)) < 4 * np.sqrt(len(expected) / draws)


def normal_matrix(U, mass, boundary):
    D = plain.staggered_matrix(U.to_sites(), mass, boundary)
    return reference.dagger(D) @ D


# ---- determinants
def quadratic_form(action, U, phi):
    """K of S = phi^+ K phi on the even sites, from values of the action at unit vectors and their sums."""
    even = np.flatnonzero(np.repeat(reference.even_sites(U.lattice.extent).ravel(), phi.component_count // 2))
    shape = (*reversed(U.lattice.extent), phi.component_count // 2)

    def value(*entries):
        vector = np.zeros(int(np.prod(shape)), complex)
        for index, entry in entries:
            vector[even[index]] += entry
        phi.from_sites(vector.reshape(*shape[:-1], *phi.site_shape))
        return float(action.action(U, phi))
    n = len(even)
    K = np.diag([value((i, 1.0)) for i in range(n)]).astype(complex)
    for i in range(n):
        for j in range(i):
            both, turned = value((i, 1.0), (j, 1.0)), value((i, 1.0), (j, 1j))
            K[i, j] = ((both - K[i, i] - K[j, j]) - 1j * (turned - K[i, i] - K[j, j])).conj() / 2
            K[j, i] = K[i, j].conj()
    return K


def log_determinant(matrix):
    sign, value = np.linalg.slogdet(matrix)
    assert abs(sign - 1) < 1e-8
    return value


@pytest.mark.parametrize("masses", [(0.2, 0.6), (0.2, 0.5, 1.0, 2.0)])
def test_staggered_factors_multiply_to_the_determinant(hot_links, masses):
    """-log det K summed over all factors is log det (D^+ D)_ee: with no Hasenbusch mass, with one, with three."""
    extent, boundary = (4, 2), (1, -1)
    U = hot_links(2, *extent)
    solvers = [ConjugateGradient(U.lattice, 1e-13) for _ in range(2)]
    makers = [lambda U, m=m: StaggeredNormal(StaggeredDirac(U, m, boundary)) for m in masses]
    phi = FermionField(U.lattice, 2, "even")
    factors = [StaggeredRatioAction(a, b, *solvers) for a, b in itertools.pairwise(makers)]
    found = -sum(log_determinant(quadratic_form(f, U, phi)) for f in (*factors, PseudofermionAction(makers[-1], *solvers)))
    even = np.repeat(reference.even_sites(extent).ravel(), 2)
    expected = log_determinant(normal_matrix(U, masses[0], boundary)[np.ix_(even, even)])
    assert found == pytest.approx(expected, rel=1e-9)
    whole = -log_determinant(quadratic_form(PseudofermionAction(makers[0], *solvers), U, phi))
    assert whole == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", ["wilson", "clover"])
def test_wilson_factors_multiply_to_the_determinant(smooth_links, kind):
    """Each S is phi^+ K phi with the dense K of M_a and M_b; -log det K and log det A_oo add up to log det D^+ D."""
    masses, extent, colors = (0.1, 0.4, 1.0), (2, 2, 2, 2), 2
    U = smooth_links(colors, *extent)
    solvers = [ConjugateGradient(U.lattice, 1e-13) for _ in range(2)]
    maker = {"wilson": wilson, "clover": clover}[kind]
    dense = [dense_even(maker(m)(U).factor) for m in masses]
    makers, total = [maker(m) for m in masses], 0.0
    factors = [RatioAction(a, b, *solvers) for a, b in itertools.pairwise(makers)]
    for factor, a, b in zip((*factors, PseudofermionAction(makers[-1], *solvers)), dense, (*dense[1:], None), strict=True):
        K = np.linalg.inv(reference.dagger(a) @ a)
        K = K if b is None else b @ K @ reference.dagger(b)
        phi = factor.refresh(U, Draws(5, 3))
        values = even_values(phi)
        assert float(factor.action(U, phi)) == pytest.approx(np.vdot(values, K @ values).real, rel=1e-9)
        total -= log_determinant(K)
    if kind == "wilson":
        total += 2 * np.log(4 + masses[0]) * colors * 4 * (U.lattice.sites // 2)
        D = plain.wilson_matrix(U.to_sites(), masses[0], BOUNDARY)
    else:
        total -= float(LogDeterminantAction(lambda U: maker(masses[0])(U).factor).action(U, None))
        D = plain.clover_matrix(U.to_sites(), masses[0], 1.2, BOUNDARY)
    assert total == pytest.approx(2 * np.linalg.slogdet(D)[1], rel=1e-8)


# ---- chains
def hasenbusch_target(lattice, maker, masses, tolerance=1e-10, beta=5.2):
    """Gauge action and all factors of a quark."""
    solvers = [ConjugateGradient(lattice, t) for t in (tolerance, 1e-12)]
    kind = StaggeredRatioAction if maker is staggered else RatioAction
    makers = [maker(m) for m in masses]
    parts = {f"ratio {k}": kind(a, b, *solvers) for k, (a, b) in enumerate(itertools.pairwise(makers))}
    return CompositeAction({"gauge": GaugeAction(beta), **parts, "heavy": PseudofermionAction(makers[-1], *solvers)})


def time_scales(target):
    """The lightest ratio on the outer time scale, all else on an inner one."""
    outer = CompositeAction({"ratio 0": target.parts["ratio 0"]})
    inner = CompositeAction({name: part for name, part in target.parts.items() if name != "ratio 0"})
    return [TimeScale(outer, "omelyan2", 3), TimeScale(inner, "omelyan2", 2)]


def two_flavours(lattice, kind, tolerance=1e-8):
    """Gauge action and all that two flavours have: Wilson quarks a Hasenbusch mass, clover quarks their local determinant, domain
    walls a Pauli-Villars field."""
    solvers = [ConjugateGradient(lattice, t) for t in (tolerance, 1e-12)]
    if kind == "wilson":
        return hasenbusch_target(lattice, wilson, (-0.2, 0.3), tolerance)
    if kind == "domain wall":
        return CompositeAction({"gauge": GaugeAction(2.0), "ratio 0": RatioAction(domain_wall(0.1), domain_wall(1.0), *solvers)})
    return CompositeAction({"gauge": GaugeAction(5.2), "ratio 0": PseudofermionAction(clover(0.2), *solvers),
                            "determinant": LogDeterminantAction(lambda U: clover(0.2)(U).factor)})


@pytest.mark.parametrize(("kind", "colors", "length"), [("wilson", 3, 1.0), ("clover", 3, 1.0), ("domain wall", 2, 1.5)])
def test_exp_minus_dh_averages_to_one(make_lattice, kind, colors, length):
    """Quarks on the slow one of two time scales, steps so coarse that dH is not small: 3.5 sigma."""
    U = GaugeField(make_lattice(4, 4, 4, 4), colors)
    target = two_flavours(U.lattice, kind)
    _, delta_h = sample(HMC(target, time_scales(target), length), U, 80, 20)
    weights = np.exp(-delta_h)
    error = weights.std(ddof=1) / np.sqrt(len(weights))
    assert delta_h.std() > 0.05 and error < 0.2
    assert abs(weights.mean() - 1) < 3.5 * error


@pytest.mark.parametrize("maker, masses", [(wilson, (-0.2, 0.3)), (staggered, (0.2, 0.6))])
def test_molecular_dynamics_is_reversible(hot_links, gaussian_momenta, maker, masses):
    """The recurrence is in single precision: its rounding, times the tolerance of the force, is what a way back may miss."""
    U = hot_links(3, 4, 4, 4, 4)
    target = hasenbusch_target(U.lattice, maker, masses, 1e-10)
    phi, P, start = target.refresh(U, Draws(4, 1)), gaussian_momenta(U), U.to_sites()
    hmc = HMC(target, time_scales(target), 0.3)
    hmc.integrate(U, P, phi)
    assert abs(U.to_sites() - start).max() > 0.1
    P.assign_combination(-1.0, P)
    hmc.integrate(U, P, phi)
    np.testing.assert_allclose(U.to_sites(), start, rtol=0, atol=1e-9)


def test_a_ratio_of_a_quark_to_itself_changes_nothing(hot_links):
    """M_b = M_a: phi is the noise, S is |phi|^2, the force vanishes."""
    U = hot_links(2, 4, 4, 4, 4)
    solvers = [ConjugateGradient(U.lattice, 1e-13) for _ in range(2)]
    action = RatioAction(wilson(0.5), wilson(0.5), *solvers)
    phi = action.refresh(U, Draws(4, 1))
    assert float(action.action(U, phi)) == pytest.approx(float(phi.inner(phi)), rel=1e-10)
    force = action.force(U, phi)
    assert isinstance(force, AlgebraField) and float(force.inner(force)) < 1e-16


def test_hasenbusch_masses_leave_the_ensemble_alone(make_lattice):
    """Mean plaquettes of a chain with one and one without, on the same lattice: 4 sigma of naive errors times 2."""
    found = []
    for masses in ((0.0, 0.6), (0.0,)):
        U = GaugeField(make_lattice(4, 4, 4, 4), 2)
        target = hasenbusch_target(U.lattice, wilson, masses, 1e-8, beta=2.0)
        values, _ = sample(HMC(target, [TimeScale(target, "omelyan2", 5)], 1.0), U, 150, 30, measure=plaquette)
        found.append((values.mean(), 2 * values.std() / np.sqrt(len(values))))
    (a, da), (b, db) = found
    assert abs(a - b) < 4 * np.hypot(da, db)
