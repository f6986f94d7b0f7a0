"""Targets, guides and chains that several test modules run."""

import numpy as np

from slhmc.actions import CompositeAction, GaugeAction, PseudofermionAction
from slhmc.dirac import StaggeredDirac, StaggeredNormal
from slhmc.lattice import plaquette_sum
from slhmc.solvers import ConjugateGradient
from slhmc.updates import HMC, TimeScale


def boundary_of(dimensions):
    """Periodic, antiperiodic in time."""
    return (1,) * (dimensions - 1) + (-1,)


def staggered_action(mass, boundary, force_solver, action_solver, start="zero"):
    """Pseudofermions of four staggered flavours."""
    return PseudofermionAction(lambda U: StaggeredNormal(StaggeredDirac(U, mass, boundary)), force_solver, action_solver, start)


def staggered_target(lattice, beta=2.7, mass=0.3, force_tolerance=1e-10, start="zero", precision="mixed"):
    """Wilson gauge action and one staggered field."""
    solvers = [ConjugateGradient(lattice, tolerance, precision=precision) for tolerance in (force_tolerance, 1e-12)]
    quarks = staggered_action(mass, boundary_of(lattice.dimensions), *solvers, start)
    return CompositeAction({"gauge": GaugeAction(beta), "quarks": quarks})


def time_scales(action, *schemes):
    """A guide that integrates `action` by (scheme, steps)."""
    return [TimeScale(action, scheme, steps) for scheme, steps in schemes]


def pure_gauge(beta, scheme, c1=0.0):
    """Target and guide of plain pure-gauge HMC."""
    target = GaugeAction(beta, c1)
    return target, time_scales(target, scheme)


def plaquette(U):
    """Mean of Re tr of the plaquette / Nc."""
    return float(plaquette_sum(U)) / (U.colors * U.lattice.planes * U.lattice.sites)


def assert_reversible(hmc, U, P, phi, links=1e-9, momenta=1e-8):
    """A trajectory of `hmc` that moves, then the same with momenta turned round, ends where it began to these accuracies."""
    before, start = U.to_sites(), P.gather_reals()
    hmc.integrate(U, P, phi)
    assert np.abs(U.to_sites() - before).max() > 0.1
    P.assign_combination(-1.0, P)
    hmc.integrate(U, P, phi)
    np.testing.assert_allclose(U.to_sites(), before, rtol=0, atol=links)
    np.testing.assert_allclose(-P.gather_reals(), start, rtol=0, atol=momenta)


def sample(hmc: HMC, U, trajectories, thermalization, seed=1, measure=plaquette):
    """Run a chain; per trajectory after thermalization: measurements and dH, as two arrays."""
    values, delta_h = [], []
    for trajectory in range(thermalization + trajectories):
        transition = hmc.step(U, seed, trajectory)
        if trajectory >= thermalization:
            values.append(measure(U))
            delta_h.append(transition.delta_h)
    return np.array(values), np.array(delta_h)
