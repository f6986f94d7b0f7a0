"""The launch geometry of CUDA (blocks, threads, a lane a thread, block sums) as host loops, against lane vectors."""

import numpy as np
import pytest
from monte_carlo import staggered_action

from slhmc.actions import CompositeAction, GaugeAction
from slhmc.backend import HostDevice
from slhmc.dirac import StaggeredDirac, StaggeredNormal
from slhmc.lattice import AlgebraField, Draws, FermionField, GaugeField, Lattice, Purpose, plaquette_sum, rectangle_sum
from slhmc.networks import make_network
from slhmc.solvers import ConjugateGradient
from slhmc.updates import HMC, TimeScale

BOUNDARY = (1, 1, 1, -1)
EXTENT = (4, 4, 4, 4)
LANES = 8  # 2 x 2 x 2 lanes on 4^4: every neighbour in three directions is read through a permutation

pytestmark = pytest.mark.parametrize("colors", [2, 3])


@pytest.fixture(scope="module")
def devices():
    """(lane vectors, threads)."""
    return HostDevice(), HostDevice(threads_geometry=True)


@pytest.fixture
def links(devices, colors):
    """The same hot links on both devices."""
    result = [GaugeField(Lattice(EXTENT, device, lanes=LANES), colors) for device in devices]
    for U in result:
        U.randomize(Draws(1, 0).next(Purpose.START))
    return result


def source(U):
    phi = FermionField(U.lattice, U.colors, "even")
    phi.draw_gaussian(Draws(3, 0).next(Purpose.NOISE))
    return phi


def momenta(U):
    P = AlgebraField(U.lattice, U.colors)
    P.draw_gaussian(Draws(2, 0).next(Purpose.MOMENTA))
    return P


def test_random_fields_are_the_same_to_the_last_bit(links):
    vectors, threads = (U.to_sites() for U in links)
    np.testing.assert_allclose(threads, vectors, rtol=0, atol=1e-13)  # hot links are Gaussian, made unitary
    for draw in (source, momenta):
        vectors, threads = (draw(U).gather_reals() for U in links)
        np.testing.assert_array_equal(threads, vectors)


def test_loops(links):
    for loop in (plaquette_sum, rectangle_sum):
        vectors, threads = (float(loop(U)) for U in links)
        assert threads == pytest.approx(vectors, rel=1e-13, abs=1e-10)


def test_forces(links, colors):
    for action in (GaugeAction(5.5), GaugeAction(5.5, -1 / 12)):
        vectors, threads = (action.force(U, None).gather_reals() for U in links)
        np.testing.assert_allclose(threads, vectors, rtol=0, atol=1e-13 * np.abs(vectors).max())


@pytest.mark.parametrize("kind", ["stout", "ape", "attention"])
def test_networks(links, colors, kind):
    rows = 8 if kind == "attention" else 2
    network = make_network(kind, colors, 4, 2, ["plaquette", "rectangle", "chair", "polyakov"], [[0.05, 0.01, 0.002, 0.1]] * rows)
    results = []
    for U in links:
        force, smeared_force = AlgebraField(U.lattice, colors), momenta(U)
        network.pull_back(U, smeared_force, force)
        results.append((network.smear(U).to_sites(), force.gather_reals(), network.parameter_gradient(U, smeared_force)))
    for vectors, threads in zip(*results, strict=True):
        np.testing.assert_allclose(threads, vectors, rtol=0, atol=1e-12 * np.abs(vectors).max())


def solve(U, precision):
    solver = ConjugateGradient(U.lattice, 1e-12, precision=precision)
    operator = StaggeredNormal(StaggeredDirac(U, 0.1, BOUNDARY))
    solution = operator.field("double")
    solver.solve(operator, source(U), solution)
    return solution.gather_reals()


@pytest.mark.parametrize("precision", ["mixed", "double"])
def test_solutions(links, precision):
    vectors, threads = (solve(U, precision) for U in links)
    np.testing.assert_allclose(threads, vectors, rtol=0, atol=1e-10 * np.abs(vectors).max())


def trajectory(U):
    solvers = ConjugateGradient(U.lattice, 1e-10), ConjugateGradient(U.lattice, 1e-12)
    target = CompositeAction({"gauge": GaugeAction(5.5), "quarks": staggered_action(0.3, BOUNDARY, *solvers)})
    return HMC(target, [TimeScale(target, "omelyan2", 4)], 0.2).step(U, 1, 0)


def test_a_trajectory(links):
    vectors, threads = (trajectory(U) for U in links)
    assert threads.delta_h == pytest.approx(vectors.delta_h, abs=1e-9)
    assert threads.accepted == vectors.accepted
    np.testing.assert_allclose(links[1].to_sites(), links[0].to_sites(), rtol=0, atol=1e-9)
