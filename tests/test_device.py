"""What any device must do, in short; scripts/gpu_check runs it on a GPU. Needs NumPy only."""

import numpy as np
import pytest
from monte_carlo import assert_reversible, staggered_action

from slhmc.actions import CompositeAction, GaugeAction
from slhmc.backend import HostDevice
from slhmc.dirac import StaggeredDirac, StaggeredNormal
from slhmc.lattice import AlgebraField, Draws, FermionField, GaugeField, Lattice, Purpose, plaquette_sum
from slhmc.solvers import ConjugateGradient
from slhmc.updates import HMC, TimeScale

CASES = [(2, (4, 4, 4, 4)), (3, (4, 4, 4, 8)), (3, (8, 4))]
pytestmark = pytest.mark.device


def boundary(lattice):
    return (1,) * (lattice.dimensions - 1) + (-1,)


def staggered(lattice, mass, precision="mixed"):
    solvers = (ConjugateGradient(lattice, tolerance, precision=precision) for tolerance in (1e-10, 1e-12))
    return staggered_action(mass, boundary(lattice), *solvers)


def numpy_plaquette_sum(links):
    dimensions = links.ndim - 3
    u = [links[..., mu, :, :] for mu in range(dimensions)]
    ahead = [[np.roll(x, -1, dimensions - 1 - mu) for mu in range(dimensions)] for x in u]  # public order: t first

    def plaquettes(mu, nu):
        corners = u[mu], ahead[nu][mu], ahead[mu][nu].conj(), u[nu].conj()
        return np.einsum("...ij,...jk,...lk,...il->...", *corners).real
    return sum(plaquettes(mu, nu).sum() for mu in range(dimensions) for nu in range(mu + 1, dimensions))


@pytest.mark.parametrize(("colors", "extent"), CASES)
def test_plaquette_is_the_formula(hot_links, colors, extent):
    U = hot_links(colors, *extent)
    assert float(plaquette_sum(U)) == pytest.approx(numpy_plaquette_sum(U.to_sites()), rel=1e-11, abs=1e-9)


@pytest.mark.parametrize(("colors", "extent"), CASES)
def test_random_numbers_are_those_of_the_cpu_to_the_last_bit(hot_links, gaussian_momenta, colors, extent):
    P = gaussian_momenta(hot_links(colors, *extent))
    expected = AlgebraField(Lattice(extent, HostDevice()), colors)
    expected.draw_gaussian(Draws(2, 0).next(Purpose.MOMENTA))
    np.testing.assert_array_equal(P.gather_reals(), expected.gather_reals())
    random = Draws(5, 3).next(Purpose.ACCEPT)
    assert P.lattice.uniform(random) == expected.lattice.uniform(random)


def value(action, U, phi, P, time):
    moved = U.copy()
    moved.drift(P, time)
    return float(action.action(moved, phi))


@pytest.mark.parametrize("kind", ["wilson", "symanzik", "staggered"])
@pytest.mark.parametrize(("colors", "extent"), CASES)
def test_force_is_minus_the_derivative(hot_links, gaussian_momenta, kind, colors, extent):
    U = hot_links(colors, *extent)
    action = staggered(U.lattice, 0.3) if kind == "staggered" else GaugeAction(5.5, {"wilson": 0.0}.get(kind, -1 / 12))
    phi, P, step = action.refresh(U, Draws(4, 0)), gaussian_momenta(U), 2e-3
    near, far = (value(action, U, phi, P, k * step) - value(action, U, phi, P, -k * step) for k in (1, 2))
    derivative = (8 * near - far) / (12 * step)
    assert float(action.force(U, phi).inner(P)) == pytest.approx(-derivative, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("precision", ["mixed", "double"])
@pytest.mark.parametrize(("colors", "extent"), CASES)
def test_solution_has_the_residual_asked_for(hot_links, gaussian_vector, colors, extent, precision):
    U = hot_links(colors, *extent)
    operator = StaggeredNormal(StaggeredDirac(U, 0.05, boundary(U.lattice)))
    b = gaussian_vector(U, "even")
    x, product = operator.field("double"), operator.field("double")
    ConjugateGradient(U.lattice, 1e-10, precision=precision).solve(operator, b, x)
    operator.apply(x, product)
    residual = b.gather_reals() - product.gather_reals()
    assert np.linalg.norm(residual) < 1.01e-10 * np.linalg.norm(b.gather_reals())


@pytest.mark.parametrize(("colors", "extent"), CASES)
def test_molecular_dynamics_is_reversible(hot_links, gaussian_momenta, colors, extent):
    U = hot_links(colors, *extent)
    action = CompositeAction({"gauge": GaugeAction(5.5, -1 / 12), "quarks": staggered(U.lattice, 0.5, "double")})
    phi, P = action.refresh(U, Draws(6, 0)), gaussian_momenta(U)
    assert_reversible(HMC(action, [TimeScale(action, "omelyan2", 4)], 0.3), U, P, phi)


def free_solution(lattice, colors):
    U = GaugeField(lattice, colors)
    operator = StaggeredNormal(StaggeredDirac(U, 0.1, boundary(lattice)))
    b = FermionField(lattice, colors, "even")
    b.draw_gaussian(Draws(8, 0).next(Purpose.NOISE))
    x = operator.field("double")
    ConjugateGradient(lattice, 1e-12).solve(operator, b, x)
    return x.gather_reals()


@pytest.mark.parametrize(("colors", "extent"), CASES)
def test_free_field_is_that_of_the_cpu(make_lattice, colors, extent):
    expected = free_solution(Lattice(extent, HostDevice()), colors)
    found = free_solution(make_lattice(*extent), colors)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def chain(lattice, colors):
    """Energy changes of a short chain, long enough that its tape is run anew."""
    U = GaugeField(lattice, colors)
    U.randomize(Draws(1, 0).next(Purpose.START))
    target = CompositeAction({"gauge": GaugeAction(5.5), "quarks": staggered(lattice, 0.5)})
    hmc = HMC(target, [TimeScale(target, "omelyan2", 3)], 0.1)
    return [hmc.step(U, 9, k).delta_h for k in range(4)]


@pytest.mark.parametrize(("colors", "extent"), CASES)
def test_a_chain_is_that_of_the_cpu(make_lattice, colors, extent):
    expected = chain(Lattice(extent, HostDevice()), colors)
    np.testing.assert_allclose(chain(make_lattice(*extent), colors), expected, rtol=0, atol=1e-7)
