"""Actions on smeared links: forces against finite differences for every base action; combinations; slices at the walls."""

import numpy as np
import pytest
import reference_quarks as plain
from monte_carlo import boundary_of
from test_forces import assert_force_is_minus_derivative, determinant, pseudofermions, public, staggered
from test_quark_ratios import KINDS, ratio
from test_rhmc import rational

from slhmc.actions import CompositeAction, GaugeAction, LinearCombination, SmearedAction, WallSlicesAction
from slhmc.dirac import CloverDirac, WilsonDirac, take_wall_slices
from slhmc.lattice import Draws, FermionField, Purpose
from slhmc.networks import make_network

pytestmark = pytest.mark.device
BOUNDARY = boundary_of(4)
BASES = {
    "staggered": lambda lattice: staggered(lattice, 0.3),
    "rooted": lambda lattice: rational(lattice, 0.25),
    "wilson": lambda lattice: pseudofermions(lattice, lambda U: WilsonDirac(U, 0.3, BOUNDARY)),
    "clover": lambda lattice: pseudofermions(lattice, lambda U: CloverDirac(U, 0.3, 1.2, BOUNDARY)),
    "determinant": lambda lattice: determinant(0.3, 1.2),
    **{f"{kind} ratio": lambda lattice, kind=kind: ratio(lattice, kind) for kind in KINDS},
}
LOOPS = ("plaquette", "rectangle_s", "polyakov_t")


def network_of(colors, kind="stout", layers=2, dimensions=4, loops=LOOPS):
    """A network with weights that are neither small nor alike."""
    rows = 4 * layers if kind == "attention" else layers
    weights = np.random.default_rng(3).uniform(-0.06, 0.08, (rows, len(loops))) / (rows // layers)
    return make_network(kind, colors, dimensions, layers, loops, weights)


@pytest.mark.parametrize(("colors", "extent", "kind", "base"), [
    *((2, (4, 2, 4, 4), "stout", base) for base in BASES), *((3, (4, 4, 2, 4), "stout", base) for base in BASES),
    *((3, (4, 4, 2, 4), "ape", base) for base in ("rooted", "clover", "determinant")),
    *((colors, (4, 4, 2, 4), "attention", base) for colors in (2, 3) for base in ("rooted", "clover", "determinant"))])
def test_force_is_minus_the_derivative(smooth_links, gaussian_momenta, colors, extent, kind, base):
    U = smooth_links(colors, *extent)
    action = SmearedAction(network_of(colors, kind), BASES[base](U.lattice))
    phi = action.refresh(U, Draws(4, 1))
    assert_force_is_minus_derivative(action, U, phi, gaussian_momenta(U), step=5e-4)


def test_value_and_draw_are_those_of_the_base_on_smeared_links(hot_links):
    U, network = hot_links(3, 4, 4, 2, 4), network_of(3)
    V = network.smear(U).copy()
    action, base = (SmearedAction(network, staggered(U.lattice, 0.3)), staggered(U.lattice, 0.3))
    phi, expected = action.refresh(U, Draws(4, 1)), base.refresh(V, Draws(4, 1))
    np.testing.assert_array_equal(phi.to_sites(), expected.to_sites())
    assert float(action.action(U, phi)) == pytest.approx(float(base.action(V, phi)), rel=1e-12)
    assert abs(float(action.action(U, phi)) - float(base.action(U, phi))) > 1e-3


def test_no_layers_leave_the_action_as_it_is(hot_links):
    U = hot_links(2, 4, 4, 4, 4)
    base = staggered(U.lattice, 0.3)
    action = SmearedAction(make_network("stout", 2, 4, 0, ()), base)
    phi = action.refresh(U, Draws(4, 1))
    assert float(action.action(U, phi)) == float(base.action(U, phi))
    np.testing.assert_allclose(public(action.force(U, phi)), public(base.force(U, phi)), rtol=0, atol=1e-13)


def test_one_way_back_serves_several_actions(hot_links, gaussian_momenta):
    """A smeared composite has the force of the smeared parts together, and calls pull_back once."""
    U, network = hot_links(2, 4, 4, 4, 4), network_of(2)
    parts = {"light": staggered(U.lattice, 0.3), "heavy": staggered(U.lattice, 1.0)}
    whole = SmearedAction(network, CompositeAction(parts))
    phi = whole.refresh(U, Draws(4, 1))
    separate = sum(public(SmearedAction(network, part).force(U, phi[name])) for name, part in parts.items())
    calls, pull_back = [], network.pull_back

    def counted(*arguments):
        calls.append(1)
        pull_back(*arguments)
    network.pull_back = counted
    force = gaussian_momenta(U)
    before = public(force)
    whole.add_force(U, phi, force, -0.3)
    np.testing.assert_allclose(public(force), before - 0.3 * separate, atol=1e-11)
    assert len(calls) == 1


def test_smeared_links_follow_the_links_and_the_weights(hot_links):
    """An action that was asked before sees what has changed since."""
    U, other = hot_links(2, 4, 4, 4, 4), hot_links(2, 4, 4, 4, 4, seed=5)
    network = network_of(2)
    action = SmearedAction(network, staggered(U.lattice, 0.3))
    phi = action.refresh(U, Draws(4, 1))
    first = float(action.action(U, phi))
    network.set_parameters(network.parameters + 0.02)
    second = float(action.action(U, phi))
    fresh = SmearedAction(make_network("stout", 2, 4, 2, LOOPS, network.parameters.reshape(2, 3)), staggered(U.lattice, 0.3))
    assert second == pytest.approx(float(fresh.action(U, phi)), rel=1e-11) and abs(second - first) > 1e-2
    U.assign(other)
    assert float(action.action(U, phi)) == pytest.approx(float(fresh.action(other, phi)), rel=1e-11)


# ---- combinations
def test_a_difference_has_the_difference_of_values_and_forces(hot_links, gaussian_momenta):
    """Target minus guide: thin gauge actions and smeared quarks, one phi by name for all."""
    U, network = hot_links(3, 4, 4, 2, 4), network_of(3)
    target = CompositeAction({"gauge": GaugeAction(5.5), "quarks.0": staggered(U.lattice, 0.3)})
    guide = LinearCombination([(1.0, CompositeAction({"gauge": GaugeAction(5.3)})),
                               (1.0, SmearedAction(network, CompositeAction({"quarks.0": staggered(U.lattice, 0.5)})))])
    phi = target.refresh(U, Draws(4, 1))
    difference = LinearCombination([(1.0, target), (-1.0, guide)])
    values = [float(action.action(U, phi)) for action in (target, guide, difference)]
    assert values[2] == pytest.approx(values[0] - values[1], abs=1e-9) and abs(values[2]) > 1
    forces = [public(action.force(U, phi)) for action in (target, guide, difference)]
    np.testing.assert_allclose(forces[2], forces[0] - forces[1], atol=1e-10)
    assert_force_is_minus_derivative(difference, U, phi, gaussian_momenta(U))
    with pytest.raises(ValueError, match=r"weight -1\.0 cannot be drawn"):
        difference.refresh(U, Draws(4, 1))
    drawn = guide.refresh(U, Draws(4, 1))
    assert drawn.keys() == {"gauge", "quarks.0"} and drawn["gauge"] is None


# ---- slices at the walls
@pytest.mark.parametrize(("colors", "Ls", "taken"), [(2, 8, 4), (3, 5, 2), (2, 4, 4)])
@pytest.mark.parametrize("parity", ["even", "both"])
def test_slices_at_the_walls(make_lattice, colors, Ls, taken, parity):
    lattice = make_lattice(4, 2, 4, 4)
    psi = FermionField(lattice, colors, parity, spins=4, Ls=Ls)
    psi.draw_gaussian(Draws(3, 0).next(Purpose.NOISE))
    out = FermionField(lattice, colors, parity, spins=4, Ls=taken)
    take_wall_slices(psi, out)
    np.testing.assert_array_equal(out.to_sites(), plain.wall_slices(psi.to_sites(), taken))


def test_force_of_fewer_slices_is_minus_the_derivative(smooth_links, gaussian_momenta):
    """The base action has Ls = 4, phi 8 slices."""
    U = smooth_links(2, 4, 2, 4, 4)
    action = WallSlicesAction(SmearedAction(network_of(2), ratio(U.lattice, "domain wall")), 4)
    phi = FermionField(U.lattice, 2, "even", spins=4, Ls=8)
    phi.draw_gaussian(Draws(3, 0).next(Purpose.NOISE))
    assert_force_is_minus_derivative(action, U, phi, gaussian_momenta(U))


def test_slices_are_taken_anew_from_the_same_field(make_lattice):
    lattice = make_lattice(4, 4, 4, 4)
    phi = FermionField(lattice, 2, "even", spins=4, Ls=8)
    action = WallSlicesAction(GaugeAction(1.0), 4)
    for seed in (3, 4):
        phi.draw_gaussian(Draws(seed, 0).next(Purpose.NOISE))
        np.testing.assert_array_equal(action.slices(phi).to_sites()[..., :2, :, :], phi.to_sites()[..., :2, :, :])
