"""HMC samples the target: exactness, published and exact plaquettes, the same chain on any layout, failures."""

import numpy as np
import pytest
import reference
from monte_carlo import plaquette, pure_gauge, sample, staggered_target, time_scales

from slhmc.actions import CompositeAction, GaugeAction
from slhmc.analysis import gamma_method
from slhmc.backend import HostDevice
from slhmc.errors import ComputationError, SolverNotConverged
from slhmc.lattice import AlgebraField, Draws, GaugeField, Lattice, Purpose, line_trace
from slhmc.updates import HMC

pytestmark = pytest.mark.device


def assert_exact(delta_h, acceptance=(0.5, 0.85)):
    """<exp(-dH)> = 1 within 4 sigma, on steps so coarse that the test has a grip."""
    estimate = gamma_method(np.exp(-delta_h))
    assert abs(estimate.mean - 1) < 4 * estimate.error
    assert estimate.error < 0.06
    assert acceptance[0] < np.minimum(1, np.exp(-delta_h)).mean() < acceptance[1]


# ---- exactness
@pytest.mark.parametrize(("colors", "extent", "beta", "scheme", "c1"), [
    (2, (8, 8), 2.0, ("leapfrog", 3), 0.0), (3, (4, 4, 4, 4), 5.7, ("leapfrog", 11), 0.0),
    (3, (4, 4, 2, 4), 2.6, ("omelyan2", 3), -0.331), (4, (4, 6, 4), 20.0, ("omf4", 2), 0.0)])
def test_exp_minus_delta_h_is_one_in_pure_gauge(hot_links, colors, extent, beta, scheme, c1):
    U = hot_links(colors, *extent)
    hmc = HMC(*pure_gauge(beta, scheme, c1), 1.0, max_delta_h=1e9)
    _, delta_h = sample(hmc, U, 1000, 60)
    assert_exact(delta_h)


@pytest.mark.parametrize(("colors", "extent", "beta", "steps"), [(2, (4, 4, 4, 4), 2.7, 2), (3, (4, 4, 2, 4), 5.0, 3)])
def test_exp_minus_delta_h_is_one_with_quarks(hot_links, colors, extent, beta, steps):
    U = hot_links(colors, *extent)
    target = staggered_target(U.lattice, beta)
    hmc = HMC(target, time_scales(target, ("omelyan2", steps)), 1.0, max_delta_h=1e9)
    _, delta_h = sample(hmc, U, 1000, 60)
    assert_exact(delta_h)


def test_chronological_start_samples_the_same(hot_links):
    U = hot_links(2, 8, 4)
    target = staggered_target(U.lattice, 2.0, start="chronological")
    hmc = HMC(target, time_scales(target, ("omelyan2", 2)), 1.0)
    _, delta_h = sample(hmc, U, 1000, 50)
    assert_exact(delta_h, (0.5, 0.95))


# ---- known plaquettes
@pytest.mark.parametrize("beta", [1.0, 2.2, 6.0])
def test_plaquette_of_two_dimensional_su2(hot_links, beta):
    """I_2(beta) / I_1(beta) within 4 sigma, sigma below 1e-3; finite volume is (I_2 / I_1)^sites, nothing."""
    U = hot_links(2, 16, 8)
    values, _ = sample(HMC(*pure_gauge(beta, ("omelyan2", 5)), 1.0), U, 4000, 100)
    estimate = gamma_method(values)
    assert abs(estimate.mean - reference.plaquette_2d_su2(beta)) < 4 * estimate.error
    assert estimate.error < 1e-3


def test_guide_with_another_coupling_is_exact(hot_links):
    """Momenta follow beta = 2.35, Metropolis knows 2.2: the plaquette is that of 2.2, far from that of 2.35."""
    U = hot_links(2, 8, 8)
    hmc = HMC(GaugeAction(2.2), time_scales(GaugeAction(2.35), ("omelyan2", 5)), 1.0)
    values, delta_h = sample(hmc, U, 8000, 100)
    estimate, wrong = gamma_method(values), reference.plaquette_2d_su2(2.35)
    assert abs(estimate.mean - reference.plaquette_2d_su2(2.2)) < 4 * estimate.error
    assert abs(estimate.mean - wrong) > 6 * estimate.error
    assert_exact(delta_h, (0.3, 0.9))


def test_guide_with_another_mass_is_exact(hot_links):
    """Target mass 0.2, guide mass 0.3, sharing pseudofermions: the plaquette is that of 0.2, far from that of 0.3."""
    chains = {}
    for target_mass, guide_mass in ((0.2, 0.2), (0.2, 0.3), (0.3, 0.3)):
        U = hot_links(2, 4, 4)
        target, guide = (staggered_target(U.lattice, 1.0, mass=mass) for mass in (target_mass, guide_mass))
        hmc = HMC(target, time_scales(guide, ("omelyan2", 6)), 1.0)
        values, delta_h = sample(hmc, U, 6000, 100, seed=len(chains))
        chains[target_mass, guide_mass] = gamma_method(values), delta_h
    (plain, _), (guided, delta_h), (wrong, _) = chains.values()
    assert abs(guided.mean - plain.mean) < 4 * np.hypot(guided.error, plain.error)
    assert abs(guided.mean - wrong.mean) > 4 * np.hypot(guided.error, wrong.error)
    assert_exact(delta_h)


def test_published_su2_with_four_staggered_flavours(hot_links):
    """arXiv:2103.11965: 4^4, beta 2.7, m 0.3: plaquette 0.7025(1), trace of the Polyakov line 0.82(1); 3 sigma."""
    U = hot_links(2, 4, 4, 4, 4)
    target = staggered_target(U.lattice)
    hmc = HMC(target, time_scales(target, ("omelyan2", 10)), 1.0)

    def measure(U):
        return plaquette(U), U.lattice.device.to_host(line_trace(U, 3))[0] / U.lattice.sites
    values, delta_h = sample(hmc, U, 5000, 200, measure=measure)
    found, line = gamma_method(values[:, 0]), gamma_method(values[:, 1])
    assert found.error <= 3e-4
    assert abs(found.mean - 0.7025) < 3 * np.hypot(found.error, 1e-4)
    assert abs(line.mean - 0.82) < 3 * np.hypot(line.error, 0.01)
    assert_exact(delta_h, (0.9, 1.0))


# ---- Metropolis
def test_rejected_trajectories_leave_the_links_bitwise(hot_links):
    """And accepted ones change them; both happen."""
    U = hot_links(2, 4, 4, 4, 4)
    hmc = HMC(*pure_gauge(2.7, ("leapfrog", 6)), 1.0, max_delta_h=1e9)
    sample(hmc, U, 0, 20)
    outcomes, before = [], U.to_sites()
    for trajectory in range(20, 60):
        accepted, after = hmc.step(U, 1, trajectory).accepted, U.to_sites()
        assert np.array_equal(before, after) != accepted
        outcomes.append(accepted)
        before = after
    assert 5 < sum(outcomes) < 35


def test_metropolis_compares_with_its_own_random_number(hot_links):
    """accepted = log r < -dH with r of the draw for accepting; so any layout decides alike."""
    U = hot_links(2, 8, 8)
    hmc = HMC(*pure_gauge(2.0, ("leapfrog", 3)), 1.0)
    for trajectory in range(50):
        transition = hmc.step(U, 9, trajectory)
        r = U.lattice.uniform(Draws(9, trajectory).next(Purpose.ACCEPT))
        assert transition.accepted == (np.log(r) < -transition.delta_h)


@pytest.mark.parametrize("start", ["zero", "chronological"])
def test_a_step_is_its_parts_one_after_the_other(hot_links, start):
    """The recorded trajectory against refresh, energy, integrate, energy called by hand, twice in a row."""
    U = hot_links(2, 4, 4, 4, 4)
    V, P = U.copy(), AlgebraField(U.lattice, 2)
    target, by_hand = (staggered_target(U.lattice, start=start) for _ in range(2))
    hmc = HMC(target, time_scales(target, ("omelyan2", 12)), 1.0, max_delta_h=1e9)
    parts = HMC(by_hand, time_scales(by_hand, ("omelyan2", 12)), 1.0)
    for trajectory in range(2):
        draws = Draws(6, trajectory)
        P.draw_gaussian(draws.next(Purpose.MOMENTA))
        phi = by_hand.refresh(V, draws)
        before = float(P.kinetic_energy()) + float(by_hand.action(V, phi))
        parts.integrate(V, P, phi)
        V.reunitarize()
        transition = hmc.step(U, 6, trajectory)
        assert transition.accepted
        after = float(P.kinetic_energy()) + float(by_hand.action(V, phi))
        assert transition.delta_h == pytest.approx(after - before, abs=1e-10)
        np.testing.assert_array_equal(U.to_sites(), V.to_sites())


def test_links_stay_in_the_group(hot_links):
    """A trajectory ends on the group to rounding of one link, not of all its drifts."""
    U = hot_links(3, 4, 4, 4, 4)
    sample(HMC(*pure_gauge(5.7, ("leapfrog", 12)), 1.0, max_delta_h=1e9), U, 0, 50)
    assert reference.group_deviation(U.to_sites()) < 3e-15


# ---- the same chain anywhere
def chain_of_two(lattice, colors, quarks):
    U = GaugeField(lattice, colors)
    U.randomize(Draws(5, 0).next(Purpose.START))
    target = staggered_target(lattice, mass=0.5, precision="double") if quarks else GaugeAction(2.0 * colors, -1 / 12)
    hmc = HMC(target, time_scales(target, ("omelyan2", 12)), 0.5, max_delta_h=1e9)
    transitions = [hmc.step(U, 5, trajectory) for trajectory in range(2)]
    return U.to_sites(), [t.delta_h for t in transitions], [t.accepted for t in transitions]


@pytest.mark.parametrize(("colors", "extent", "quarks"), [(2, (4, 4, 4, 4), True), (3, (4, 2, 4, 8), True),
                                                         (4, (4, 4, 8), False)])
def test_same_chain_for_any_layout(make_lattice, colors, extent, quarks):
    """One lane and the widest; for SU(2) also the launch geometry of a GPU as host loops."""
    expected = chain_of_two(make_lattice(*extent), colors, quarks)
    assert any(expected[2])
    others = [make_lattice(*extent, lanes=1)]
    others += [Lattice(extent, HostDevice(threads_geometry=True))] if colors == 2 else []
    for lattice in others:
        links, delta_h, accepted = chain_of_two(lattice, colors, quarks)
        assert accepted == expected[2]
        np.testing.assert_allclose(delta_h, expected[1], rtol=0, atol=1e-7)
        np.testing.assert_allclose(links, expected[0], rtol=0, atol=1e-10)


def test_a_chain_repeats_its_bits(make_lattice):
    first, second = (chain_of_two(make_lattice(4, 4, 4, 4), 2, True) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    assert first[1:] == second[1:]


def test_chain_does_not_depend_on_what_was_run_before(hot_links):
    """Trajectory 1 from given links is the same after trajectory 0 and in a fresh HMC: nothing hides in buffers."""
    U = hot_links(2, 4, 4, 4, 4)
    target = staggered_target(U.lattice, start="chronological")
    hmc = HMC(target, time_scales(target, ("omelyan2", 12)), 1.0, max_delta_h=1e9)
    hmc.step(U, 5, 0)
    fresh = U.copy()
    target = staggered_target(fresh.lattice, start="chronological")
    other = HMC(target, time_scales(target, ("omelyan2", 12)), 1.0, max_delta_h=1e9)
    transitions = hmc.step(U, 5, 1), other.step(fresh, 5, 1)
    np.testing.assert_array_equal(U.to_sites(), fresh.to_sites())
    assert transitions[0] == transitions[1]


# ---- failures
@pytest.mark.parametrize("quarks", [False, True])
def test_links_that_are_not_finite_stop_the_run(hot_links, quarks):
    U = hot_links(2, 4, 4, 4, 4)
    links = U.to_sites()
    links[0, 1, 2, 3, 1, 0, 0] = np.nan
    U.from_sites(links)
    target = staggered_target(U.lattice) if quarks else CompositeAction({"gauge": GaugeAction(2.7)})
    hmc = HMC(target, time_scales(target, ("leapfrog", 5)), 1.0)
    with pytest.raises(ComputationError, match=r"trajectory 17: .*(not a number|not finite)"):
        hmc.step(U, 1, 17)


def test_runaway_energy_stops_the_run_and_keeps_the_links(hot_links):
    U = hot_links(3, 4, 4, 4, 4)
    before = U.to_sites()
    hmc = HMC(*pure_gauge(6.0, ("leapfrog", 2)), 3.0, max_delta_h=10)
    with pytest.raises(ComputationError, match=r"trajectory 23: dH = .* is beyond \[run\] max_delta_h = 10; raise"):
        hmc.step(U, 1, 23)
    np.testing.assert_array_equal(U.to_sites(), before)


def test_a_guide_that_leads_nowhere_is_named(hot_links):
    U = hot_links(3, 4, 4, 4, 4)
    target, guide = (CompositeAction({"gauge": GaugeAction(beta)}) for beta in (6.0, 60.0))
    hmc = HMC(target, time_scales(guide, ("leapfrog", 10)), 1.0, max_delta_h=10, guided=True)
    with pytest.raises(ComputationError, match=r"trajectory 2: dH = .* = 10; the guide leads .*: use other weights .* rejected$"):
        hmc.step(U, 1, 2)
    target = staggered_target(U.lattice)
    for solver in target.solvers():
        solver.max_iterations = 4
    with pytest.raises(SolverNotConverged, match=r"trajectory 5: .*; in a trajectory of the guide, .*: see \[guide\]$"):
        HMC(target, time_scales(target, ("omelyan2", 10)), 1.0, guided=True).step(hot_links(2, 4, 4, 4, 4), 1, 5)


def test_solver_failure_stops_the_run_and_keeps_the_links(hot_links):
    U = hot_links(2, 4, 4, 4, 4)
    before, target = U.to_sites(), staggered_target(U.lattice)
    for solver in target.solvers():
        solver.max_iterations = 4
    with pytest.raises(SolverNotConverged, match=r"trajectory 5: .* stopped after \d+ iterations .* \(now 4\)"):
        HMC(target, time_scales(target, ("omelyan2", 10)), 1.0).step(U, 1, 5)
    np.testing.assert_array_equal(U.to_sites(), before)
