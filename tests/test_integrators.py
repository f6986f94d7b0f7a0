"""Molecular dynamics: schedules, order of each scheme, reversibility, nested time scales."""

from itertools import groupby

import numpy as np
import pytest
from monte_carlo import pure_gauge, staggered_target, time_scales

from slhmc.actions import CompositeAction, GaugeAction
from slhmc.lattice import AlgebraField, Draws, Purpose
from slhmc.updates import HMC, SCHEMES, TimeScale, schedule

pytestmark = pytest.mark.device
KICKS = {"leapfrog": 1, "omelyan2": 2, "omf4": 5}  # of one step, merged with those of the next
ORDERS = {"leapfrog": 2, "omelyan2": 2, "omf4": 4}


# ---- schedules
@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_schedule_of_one_level(scheme, steps):
    """Kicks that meet are one; kicks and drifts alternate, read the same backwards and add up to the length."""
    moves = schedule([(scheme, steps)], 1.7)
    kinds, times = zip(*moves, strict=True)
    assert kinds.count(0) == KICKS[scheme] * steps + 1
    assert set(kinds[::2]) == {0} and set(kinds[1::2]) == {"U"}
    np.testing.assert_allclose(times, times[::-1], atol=1e-15)
    assert sum(times[::2]) == pytest.approx(1.7, rel=1e-14)
    assert sum(times[1::2]) == pytest.approx(1.7, rel=1e-14)


@pytest.mark.parametrize("levels", [[("leapfrog", 3), ("omelyan2", 2)],
                                    [("omelyan2", 2), ("omf4", 1), ("leapfrog", 3)]])
def test_schedule_of_nested_levels(levels):
    """Each level's kicks add up to the length, and so do the drifts; inner levels fill each drift of the outer one."""
    moves = schedule(levels, 0.9)
    for kind in (*range(len(levels)), "U"):
        assert sum(time for k, time in moves if k == kind) == pytest.approx(0.9, rel=1e-13)
    assert_reads_the_same_backwards(moves)
    assert sum(k == 0 for k, _ in moves) == KICKS[levels[0][0]] * levels[0][1] + 1
    assert sum(k == "U" for k, _ in moves) == np.prod([KICKS[scheme] * steps for scheme, steps in levels])
    for _, together in groupby(moves, key=lambda move: move[0] == "U"):
        kinds = [kind for kind, _ in together]
        assert len(kinds) == len(set(kinds)), "between two drifts a force is needed once"


def assert_reads_the_same_backwards(moves):
    """Kicks between two drifts commute, so their order does not count."""
    blocks = [sorted(run) for _, run in groupby(moves, key=lambda move: move[0] == "U")]
    for block, opposite in zip(blocks, reversed(blocks), strict=True):
        assert [kind for kind, _ in block] == [kind for kind, _ in opposite]
        np.testing.assert_allclose([time for _, time in block], [time for _, time in opposite], atol=1e-15)


# ---- order
@pytest.fixture(scope="module")
def equilibrium(hot_links):
    """SU(2) links near equilibrium with quarks, to start trajectories from."""
    U = hot_links(2, 4, 4, 4, 4)
    target = staggered_target(U.lattice)
    warm = HMC(target, time_scales(target, ("omelyan2", 20)), 1.0, max_delta_h=1e9)
    for trajectory in range(25):
        warm.step(U, 1, trajectory)
    return U


def energy_errors(hmc, start):
    """dH of a few trajectories, each from the same links."""
    U, errors = start.copy(), []
    for trajectory in range(100, 104):
        U.assign(start)
        errors.append(hmc.step(U, 1, trajectory).delta_h)
    return np.array(errors)


@pytest.mark.parametrize("with_quarks", [False, True])
@pytest.mark.parametrize(("scheme", "steps"), [("leapfrog", 24), ("omelyan2", 12), ("omf4", 6)])
def test_energy_error_shrinks_with_the_order_of_the_scheme(equilibrium, scheme, steps, with_quarks):
    """dH(dt) / dH(dt / 2) = 2^order (1 + O(dt^2))."""
    target = staggered_target(equilibrium.lattice) if with_quarks else GaugeAction(2.7)
    errors = [energy_errors(HMC(target, time_scales(target, (scheme, n)), 0.5), equilibrium)
              for n in (steps, 2 * steps)]
    size = [np.linalg.norm(e) for e in errors]
    assert np.log2(size[0] / size[1]) == pytest.approx(ORDERS[scheme], abs=0.1)
    np.testing.assert_allclose(errors[0], 2 ** ORDERS[scheme] * errors[1], rtol=0, atol=0.1 * size[0])


# ---- reversibility
def there_and_back(U, P, phi, hmc):
    """Largest change of links and momenta after integrating, flipping P, integrating and flipping again."""
    links, momenta = U.to_sites(), P.gather_reals()
    hmc.integrate(U, P, phi)
    moved = abs(U.to_sites() - links).max()
    P.assign_combination(-1.0, P)
    hmc.integrate(U, P, phi)
    assert moved > 0.1
    return max(abs(U.to_sites() - links).max(), abs(P.gather_reals() + momenta).max())


def violation(links, scheme, **solver):
    """Of reversibility, for a target with quarks."""
    U, P = links.copy(), AlgebraField(links.lattice, links.colors)
    P.draw_gaussian(Draws(3, 0).next(Purpose.MOMENTA))
    target = staggered_target(U.lattice, **solver)
    phi = target.refresh(U, Draws(3, 0))
    return there_and_back(U, P, phi, HMC(target, time_scales(target, (scheme, 8)), 1.0))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_molecular_dynamics_is_reversible(equilibrium, scheme):
    """To rounding, even where the solver stops early: from zero, it stops at the same place both ways."""
    assert violation(equilibrium, scheme) < 1e-10
    assert violation(equilibrium, scheme, force_tolerance=1e-4, precision="double") < 1e-10


def test_chronological_start_violates_reversibility_to_the_force_tolerance(equilibrium):
    """The start vector knows the past, so what the solver leaves differs on the way back."""
    loose, tight = (violation(equilibrium, "omelyan2", force_tolerance=tolerance, start="chronological")
                    for tolerance in (1e-5, 1e-10))
    assert 1e-8 < loose < 1e-3
    assert tight < 1e-8
    assert tight < 1e-3 * loose


@pytest.mark.parametrize(("colors", "extent"), [(3, (4, 4, 2, 6)), (4, (4, 2, 6)), (2, (4, 6))])
def test_pure_gauge_dynamics_is_reversible(hot_links, gaussian_momenta, colors, extent):
    U = hot_links(colors, *extent)
    hmc = HMC(*pure_gauge(5.5, ("omf4", 10), c1=-1 / 12), 1.0)
    assert there_and_back(U, gaussian_momenta(U), None, hmc) < 1e-10


# ---- time scales, chronological start
def test_nested_time_scales_follow_the_same_equations(equilibrium, gaussian_momenta):
    """Gauge and quark forces on two time scales, finely integrated, end where one time scale ends."""
    target = staggered_target(equilibrium.lattice)
    phi = target.refresh(equilibrium, Draws(3, 0))
    quarks, gauge = (CompositeAction({name: target.parts[name]}) for name in ("quarks", "gauge"))
    guides = [time_scales(target, ("omf4", 30)),
              [TimeScale(quarks, "omf4", 16), TimeScale(gauge, "omf4", 2)],
              [TimeScale(quarks, "omelyan2", 50), TimeScale(gauge, "omelyan2", 4)]]
    ends = []
    for guide in guides:
        U = equilibrium.copy()
        HMC(target, guide, 0.5).integrate(U, gaussian_momenta(U), phi)
        ends.append(U.to_sites())
    assert abs(ends[0] - equilibrium.to_sites()).max() > 0.1
    np.testing.assert_allclose(ends[1], ends[0], rtol=0, atol=1e-7)
    np.testing.assert_allclose(ends[2], ends[0], rtol=0, atol=1e-4)


def test_chronological_start_gives_the_same_trajectory(equilibrium):
    """Same dH to the solver's tolerance, with fewer iterations."""
    transitions = {}
    for start in ("zero", "chronological"):
        target = staggered_target(equilibrium.lattice, start=start)
        hmc, U = HMC(target, time_scales(target, ("omelyan2", 20)), 1.0), equilibrium.copy()
        transitions[start] = [hmc.step(U, 7, n) for n in range(2)]
    for zero, chronological in zip(*transitions.values(), strict=True):
        assert chronological.delta_h == pytest.approx(zero.delta_h, abs=1e-7)
        assert chronological.accepted == zero.accepted
        assert chronological.iterations < 0.9 * zero.iterations
