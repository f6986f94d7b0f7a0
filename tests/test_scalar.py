"""The sampler of the complex scalar field: site weights, exact distributions, conservation, reproducible chains."""

import numpy as np
import pytest
from fluxes import same_chains
from reference_scalar import enumerated, free_field, metropolis_phi, two_by_two, weight

from slhmc.backend import HostDevice
from slhmc.errors import ComputationError, InputError
from slhmc.scalar import WormSampler, divergence, log_weights, site_powers, weight_ratios, worm

pytestmark = pytest.mark.device

POINTS = [(4.01, 1.0, 0.0), (4.25, 0.5, 0.6), (4.04, 1.5, 1.2)]


def agree(samples, expected):
    """Means over chains [chain, ...], which are independent, within 4 standard errors of exact numbers."""
    error = samples.std(0, ddof=1) / len(samples)**0.5
    deviation = abs(samples.mean(0) - expected)
    assert (deviation <= 4 * error).all(), f"{samples.mean(0)} +- {error}, expected {expected}"


def averages(sampler, sweeps, skip, **options):
    """[chain, quantity] of the five quantities of `two_by_two`, means over sweeps."""
    sampler.update(skip, **options)
    total = 0
    for _ in range(sweeps):
        sampler.update(1, **options)
        k, ell = sampler.k, sampler.l
        axes = (1, 2, 3)
        total = total + np.stack([*sampler.observables(), abs(k).mean(axes), ell.mean(axes), ~k.any(axes)], 1)
    return total / sweeps


@pytest.fixture
def make(device):
    def sampler(extent=(4, 6), eta=4.01, coupling=1.0, mu=0.9, chains=6, seed=1, worms=None):
        return WormSampler(device, extent, eta, coupling, mu, chains, seed, worms)
    return sampler


# ------------------------------------------------------------------------------------------------ weights
@pytest.mark.parametrize(("eta", "coupling"), [(4.01, 1.0), (4.25, 0.01), (0.5, 3.0), (4.0, 0.0), (50.0, 1e-3)])
def test_weights_are_integrals(eta, coupling):
    values, ratios = log_weights(eta, coupling, 40), weight_ratios(eta, coupling, 40)
    expected = np.array([weight(2 * p, eta, coupling) for p in range(41)])
    np.testing.assert_allclose(np.exp(values), expected[:40], rtol=1e-10)
    np.testing.assert_allclose(ratios, expected[1:] / expected[:-1], rtol=1e-10)


def test_weights_of_a_mass_whose_square_is_beyond_doubles():
    np.testing.assert_allclose(weight_ratios(1e200, 1.0, 40), np.arange(1, 41) / 1e200, rtol=1e-12)


@pytest.mark.parametrize(("eta", "coupling"), [(4.01, 1.0), (4.25, 1e-4)])
def test_ratios_do_not_depend_on_where_the_recursion_begins_and_have_the_right_limit(eta, coupling):
    long = weight_ratios(eta, coupling, 1 << 16)
    np.testing.assert_allclose(weight_ratios(eta, coupling, 50), long[:50], rtol=1e-12)
    p = np.arange(1 << 16) + 1
    residual = p[:-1] - long[:-1] * (eta + 2 * coupling * long[1:])
    assert abs(residual / p[:-1]).max() < 1e-14
    # for large p the maximum of u^p exp(-eta u - lambda u^2) dominates
    peak = 2 * p / (eta + np.sqrt(eta**2 + 8 * coupling * p))
    assert abs(long / peak - 1)[-1] < 1e-5
    assert (np.diff(long) > 0).all()  # what makes every opening of a worm accepted


@pytest.mark.parametrize(("eta", "coupling"), [(0.0, 1.0), (-1.0, 1.0), (4.0, -0.1), (np.nan, 1.0), (4.0, np.inf)])
def test_weights_that_do_not_exist_are_refused(eta, coupling):
    with pytest.raises(InputError, match="site weights need"):
        weight_ratios(eta, coupling, 8)


# ------------------------------------------------------------------------------------------------ distributions
@pytest.mark.parametrize("mu", [0.0, 0.7])
def test_the_exact_sum_is_an_enumeration(mu):
    np.testing.assert_allclose(two_by_two(4.01, 1.0, mu, 1, 1), enumerated(4.01, 1.0, mu, 1, 1), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("point", POINTS)
def test_averages_on_2x2_are_those_of_an_enumeration(make, point):
    expected = two_by_two(*point, 12, 8)
    np.testing.assert_allclose(two_by_two(*point, 10, 7), expected, rtol=1e-3, atol=1e-12)  # larger k, l no longer matter
    agree(averages(make((2, 2), *point, chains=400, worms=2), 120, 30), expected)


@pytest.mark.parametrize("point", POINTS)
def test_local_updates_alone_have_the_distribution_of_l(make, point):
    agree(averages(make((2, 2), *point, chains=400), 60, 20, worms=0)[:, [1, 3]], two_by_two(*point, 0, 12)[[1, 3]])


@pytest.mark.parametrize("point", POINTS)
def test_worms_alone_have_the_distribution_of_k(make, point):
    agree(averages(make((2, 2), *point, chains=400), 120, 30, worms=2, local=False)[:, [0, 1, 2, 4]],
          two_by_two(*point, 14, 0)[[0, 1, 2, 4]])


@pytest.mark.parametrize(("extent", "eta", "mu"), [((3, 5), 5.0, 0.6), ((1, 4), 6.0, 0.8), ((5, 1), 4.5, 0.3),
                                                   ((4, 6), 4.5, 0.0)])
def test_without_interaction_averages_are_sums_over_momenta(make, extent, eta, mu):
    sampler = make(extent, eta, 0.0, mu, chains=400, worms=3)
    sampler.update(30)
    found = 0
    for _ in range(60):
        sampler.update(1)
        found = found + np.stack(sampler.observables(), 1) / 60
    agree(found, np.array(free_field(extent, eta, mu)))


def test_phi_itself_by_metropolis_agrees_at_mu_0(make):
    direct = metropolis_phi((4, 4), 4.01, 1.0, 100, 200, 20, 1)
    sampler = make((4, 4), mu=0.0, chains=100, worms=2)
    sampler.update(30)
    dual = 0
    for _ in range(200):
        sampler.update(1)
        dual = dual + sampler.observables()[1] / 200
    error = np.hypot(direct.std(ddof=1), dual.std(ddof=1)) / 10
    assert abs(direct.mean() - dual.mean()) < 4 * error
    assert error < 0.01 * dual.mean()


def test_density_vanishes_below_the_threshold(make):
    mus = np.repeat([0.5, 1.3], 8)
    sampler = make((4, 60), mu=mus, chains=16)
    sampler.update(60)
    n, square = sampler.observables()
    assert not n[:8].any() and (n[8:] > 1.5).all()
    assert square[:8].max() < 0.4 < 0.6 < square[8:].min()


# ------------------------------------------------------------------------------------------------ chains
@pytest.mark.parametrize("extent", [(4, 6), (1, 3), (5, 2)])
def test_flux_is_conserved_after_every_sweep(make, extent):
    sampler = make(extent, mu=1.2, chains=5)
    for _ in range(20):
        sampler.update(1)
        k, ell = sampler.k, sampler.l
        assert not divergence(k).any() and ell.min() >= 0
        powers, n = site_powers(k, ell), sampler.observables()[0]
        np.testing.assert_allclose(sampler.observables()[1], weight_ratios(4.01, 1.0, 1000)[powers].mean((1, 2)), rtol=1e-13)
        np.testing.assert_allclose(n, k[..., 1].mean((1, 2)), atol=1e-15)
    assert k.any() and ell.any()


def test_divergence_is_what_flows_out():
    k = np.zeros((1, 3, 4, 2), np.int8)
    k[0, 1, 2, 0], k[0, 1, 2, 1] = 2, -128  # t = 1, x = 2
    expected = np.zeros((3, 4), int)
    expected[1, 2], expected[1, 3], expected[2, 2] = -126, -2, 128
    np.testing.assert_array_equal(divergence(k)[0], expected)
    most = site_powers(np.full((2, 2, 2), -128, np.int8), np.full((2, 2, 2), 127, np.int8))
    assert (most == 2 * 128 + 4 * 127).all()


def test_chains_do_not_depend_on_threads_launches_or_their_number(make, device):
    def fields(sampler, sweeps, threads=None):
        if threads is not None:
            device.use_threads(threads)
        for count in sweeps:
            sampler.update(count)
        return sampler.k, sampler.l
    try:
        expected = fields(make(chains=7), [6], 1)
        for found in (fields(make(chains=7), [6], 2), fields(make(chains=7), [1, 2, 3]), fields(make(chains=9), [6])):
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one[:7], other)
    finally:
        device.use_threads(device.thread_counts()[-1])
    assert (fields(make(chains=7, seed=2), [6])[0] != expected[0]).any()


def test_the_geometry_of_gpus_gives_the_same_chains():
    same_chains(HostDevice(), HostDevice(threads_geometry=True), chains=150)


def test_restored_chains_go_on_bit_for_bit(make):
    sampler, other = make(), make()
    sampler.update(5)
    kept = sampler.k, sampler.l, sampler.sweep
    sampler.update(4)
    other.restore(*kept)
    other.update(4)
    for one, again in ((sampler.k, other.k), (sampler.l, other.l), (sampler.open_worms(1)[0], other.open_worms(1)[0])):
        np.testing.assert_array_equal(one, again)


def test_fields_that_are_no_configuration_are_not_restored(make):
    sampler = make()
    k, ell = sampler.k, sampler.l
    broken = k.copy()
    broken[0, 0, 0, 0] = 1
    with pytest.raises(InputError, match="no configuration"):
        sampler.restore(broken, ell, 0)
    with pytest.raises(InputError, match="no configuration"):
        sampler.restore(k, ell - 1, 0)
    with pytest.raises(InputError, match="shape"):
        sampler.restore(k[:1], ell, 0)


def test_a_table_that_is_too_short_is_a_loud_error(make, monkeypatch):
    monkeypatch.setattr(worm, "TABLE_LENGTH", 6)
    sampler = make(mu=1.5)
    with pytest.raises(ComputationError, match=r"mu = 1.5: f at a site exceeds 10, .* nothing is cut off"):
        sampler.update(50)


@pytest.mark.parametrize(("change", "words"), [
    ({"extent": (4,)}, "two numbers of sites"), ({"extent": (0, 4)}, "two numbers"), ({"chains": 0}, "at least 1"),
    ({"worms": 0}, "at least 1"), ({"mu": [1.0, 2.0]}, "one for each of the 6 chains"), ({"mu": np.nan}, "finite"),
    ({"eta": -1.0}, "site weights"), ({"coupling": 0.0}, "without interaction")])
def test_numbers_without_a_meaning_are_refused(make, change, words):
    with pytest.raises(InputError, match=words):
        make(**change)


# ------------------------------------------------------------------------------------------------ open worms
def test_open_worms_violate_flux_at_their_ends_alone(make):
    counts = np.array([0, 1, 2, 5, 10, 12])
    sampler = make((4, 6))
    sampler.update(20)
    before = sampler.k, sampler.l, *sampler.observables()
    k, ell = sampler.open_worms(counts)
    violations = abs(divergence(k)).reshape(6, -1)
    np.testing.assert_array_equal(violations.sum(1), 2 * counts)
    assert violations.max() == 1 and not divergence(k).sum((1, 2)).any()
    np.testing.assert_array_equal(ell, before[1])
    assert (k[0] == before[0][0]).all()
    again = sampler.open_worms(counts)[0]
    assert (again[1:] != k[1:]).any()
    for now, then in zip((sampler.k, sampler.l, *sampler.observables()), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("count", [13, -1, [0, 0, 0, 0, 0, 13]])
def test_more_open_worms_than_there_is_room_for_are_refused(make, count):
    with pytest.raises(InputError, match="24 sites have room for the ends of 0 to 12"):
        make((4, 6)).open_worms(count)


def test_a_head_that_may_not_move_is_refused(make):
    with pytest.raises(InputError, match="at least 1 proposal"):
        make((4, 6)).open_worms(1, moves=0)


def test_heads_of_open_worms_follow_the_weights(make):
    """One open worm after many moves on 1 x 2 at l = 0: its ends are the two sites, all k are summed by hand."""
    eta, coupling, mu, chains = 4.01, 1.0, 0.4, 3000
    sampler = make((1, 2), eta, coupling, mu, chains=chains)
    k = sampler.open_worms(1, moves=1000)[0]
    # from k = 0: site 0 and site 1 with one end each; two links in time, k_space of any size adds 2 |k| to a site
    exact, total = np.zeros(2), 0.0
    reach = range(-4, 5)
    table = np.array([weight(f, eta, coupling) for f in range(0, 40, 2)])
    fact = np.array([1.0, 1, 2, 6, 24])
    for up in reach:
        for down in (up - 1, up + 1):  # k from site 0 to 1 and from 1 to 0: a difference of 1 is the violation
            if down not in reach:
                continue
            w = np.exp(mu * (up + down)) / fact[abs(up)] / fact[abs(down)]
            power = (abs(up) + abs(down) + 1) // 2
            space = [np.sum([table[power + abs(s)] / fact[abs(s)] for s in reach])] * 2
            w *= space[0] * space[1]
            total += w
            exact += w * np.array([up + down, abs(up) + abs(down)])
    found = np.stack([k[..., 1].sum((1, 2)), abs(k[..., 1]).sum((1, 2))], 1)
    agree(found, exact / total)
