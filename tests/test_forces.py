"""Forces: minus the derivative of their action, and the formula; symmetries."""

from functools import partial
from math import prod

import numpy as np
import pytest
import reference
from monte_carlo import staggered_action

from slhmc.actions import RECTANGLE_COEFFICIENTS, CompositeAction, GaugeAction, LogDeterminantAction, PseudofermionAction
from slhmc.dirac import CloverDirac, WilsonDirac
from slhmc.lattice import Draws, GaugeField, Purpose
from slhmc.solvers import ConjugateGradient
from slhmc.updates import HeatBath

pytestmark = pytest.mark.device
GAUGE_ACTIONS = {**RECTANGLE_COEFFICIENTS, "custom": 0.217}
GAUGE_CASES = [(2, (4, 6)), (2, (4, 2, 8, 4)), (3, (4, 4, 2, 6)), (4, (4, 2, 6)), (3, (2, 2, 2, 2))]
# fourth-order stencil of the first derivative: error h^4 / 30 times the fifth derivative
STENCIL = {1: 2 / 3, -1: -2 / 3, 2: -1 / 12, -2: 1 / 12}


def public(force):
    values = force.gather_reals()
    return values.reshape(*values.shape[:-1], force.lattice.dimensions, force.colors**2 - 1)


def derivative_along(action, U, phi, P, step):
    """d/ds S(exp(s P) U) at s = 0 by finite differences."""
    moved, total = GaugeField(U.lattice, U.colors), 0.0
    for k, weight in STENCIL.items():
        moved.assign(U)
        moved.drift(P, k * step)
        total += weight * float(action.action(moved, phi))
    return total / step


def assert_force_is_minus_derivative(action, U, phi, P, step=1e-3, relative=1e-8):
    """sum_a F_a P_a against the derivative along random P; the force first, so that it sees no other links."""
    force = action.force(U, phi)
    found, size = float(force.inner(P)), float(force.inner(force)) ** 0.5 * float(P.inner(P)) ** 0.5
    expected = -derivative_along(action, U, phi, P, step)
    assert abs(found - expected) < relative * max(abs(expected), 1e-2 * size)


def staggered(lattice, mass, start="zero", boundary=None, precision="mixed"):
    """A staggered action whose solves are exact to rounding."""
    boundary = boundary or [1] * (lattice.dimensions - 1) + [-1]
    force, value = (ConjugateGradient(lattice, 1e-13, precision=precision) for _ in range(2))
    return staggered_action(mass, boundary, force, value, start)


# ---- gauge actions
@pytest.mark.parametrize("name", GAUGE_ACTIONS)
@pytest.mark.parametrize(("colors", "extent"), GAUGE_CASES)
def test_gauge_force_is_minus_the_derivative(hot_links, gaussian_momenta, colors, extent, name):
    U = hot_links(colors, *extent)
    assert_force_is_minus_derivative(GaugeAction(5.5, GAUGE_ACTIONS[name]), U, None, gaussian_momenta(U))


@pytest.mark.parametrize("name", GAUGE_ACTIONS)
@pytest.mark.parametrize(("colors", "extent"), GAUGE_CASES)
def test_gauge_action_and_force_are_the_formula(hot_links, colors, extent, name):
    U, action = hot_links(colors, *extent), GaugeAction(5.5, GAUGE_ACTIONS[name])
    links, c1 = U.to_sites(), GAUGE_ACTIONS[name]
    assert float(action.action(U, None)) == pytest.approx(reference.gauge_action(links, 5.5, c1), rel=1e-12)
    expected = reference.gauge_force(links, 5.5, c1)
    np.testing.assert_allclose(public(action.force(U, None)), expected, rtol=0, atol=1e-12 * abs(expected).max())


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_gauge_force_does_not_depend_on_lanes(hot_links, lanes):
    action = GaugeAction(5.5, -1 / 12)
    wide, narrow = (public(action.force(hot_links(3, 4, 4, 2, 8, lanes=n), None)) for n in (None, lanes))
    np.testing.assert_allclose(narrow, wide, rtol=0, atol=1e-13 * abs(wide).max())


@pytest.mark.parametrize(("extent", "parts"), [((4, 4, 2, 6), 1), ((4, 2, 4, 4), 1), ((2, 4, 6, 2), 1), ((4, 6, 4), 1),
                                               ((4, 4, 6, 4), 2), ((4, 2, 6, 4), 3), ((2, 4, 10, 2), 5), ((4, 6, 4), 3)])
@pytest.mark.parametrize("piece_bytes", [0, 1])
def test_gauge_force_tile_by_tile_is_the_formula(hot_links, monkeypatch, extent, parts, piece_bytes):
    monkeypatch.setattr("slhmc.lattice.lattice.PREFETCH_SITES", 0)
    U = hot_links(3, *extent, lanes=1)
    planes = len(extent) * (len(extent) - 1) // 2
    touched = 8 * 2 * prod(extent[:-1]) * (18 * len(extent) + 8 * planes)  # bytes of two slices: links and coefficients
    monkeypatch.setattr(type(U.lattice.device), "tile_bytes", touched // parts)
    monkeypatch.setattr(type(U.lattice.device), "piece_bytes", piece_bytes)
    rows = piece_bytes and extent[-2] > parts > 1  # one at a time
    assert U.layout.tiles(18 * len(extent) + 8 * planes)[0].count == (extent[-2] if rows else parts) * extent[-1]
    expected = reference.gauge_force(U.to_sites(), 5.5, 0.0)
    for _ in range(2):  # the second time the window holds what the first left
        np.testing.assert_allclose(public(GaugeAction(5.5).force(U, None)), expected, rtol=0, atol=1e-12 * abs(expected).max())


@pytest.mark.parametrize("name", ["wilson", "symanzik"])
@pytest.mark.parametrize("colors", [2, 3, 4])
def test_gauge_force_has_the_same_bits_on_large_lattices(hot_links, monkeypatch, colors, name):
    """Where what comes next is fetched ahead."""
    action, found = GaugeAction(5.5, GAUGE_ACTIONS[name]), []
    for limit in (1 << 40, 0):
        monkeypatch.setattr("slhmc.lattice.lattice.PREFETCH_SITES", limit)
        U = hot_links(colors, 4, 4, 4, 8)
        assert U.layout.geometry.prefetch == (0 if limit else 1)
        found.append((public(action.force(U, None)), float(action.action(U, None))))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize("colors", [2, 3])
def test_steps_of_trajectories_and_sweeps_have_the_same_bits_on_large_lattices(hot_links, monkeypatch, colors):
    """Quark forces, link update, heat bath, over-relaxation: what comes next is fetched ahead, links go past the caches."""
    found = []
    for limit in (1 << 40, 0):
        monkeypatch.setattr("slhmc.lattice.lattice.PREFETCH_SITES", limit)
        monkeypatch.setattr("slhmc.lattice.lattice.MEMORY_BYTES", limit)
        U = hot_links(colors, 4, 4, 4, 8)
        assert U.layout.geometry.prefetch == (0 if limit else 2)
        solver = ConjugateGradient(U.lattice, 1e-10)
        quarks = staggered_action(0.5, [1, 1, 1, -1], solver, solver, "zero")
        force = quarks.force(U, quarks.refresh(U, Draws(3, 1)))
        wilson = WilsonDirac(U, 0.5, [1, 1, 1, -1])
        X, Y = wilson.field(), wilson.field()
        for draw, psi in enumerate((X, Y)):
            psi.draw_gaussian(Draws(3, draw).next(Purpose.NOISE))
        wilson.hopping.add_outer_force(Y, X, force, 0.1)
        U.drift(force, 0.1)
        HeatBath(5.5, 2).step(U, 1, 1)
        found.append((public(force), U.to_sites()))
    for small, large in zip(*found, strict=True):
        np.testing.assert_array_equal(large, small)


def test_force_vanishes_on_unit_links(make_lattice):
    U = GaugeField(make_lattice(4, 4, 2, 6), 3)
    assert float(GaugeAction(5.5, -0.331).action(U, None)) == pytest.approx(0, abs=1e-9)
    assert abs(public(GaugeAction(5.5, -0.331).force(U, None))).max() < 1e-12


def test_force_is_added_with_its_weight(hot_links, gaussian_momenta):
    U, action = hot_links(2, 4, 2, 8, 4), GaugeAction(2.3)
    P = gaussian_momenta(U)
    before, force = public(P), public(action.force(U, None))
    action.add_force(U, None, P, -0.3)
    np.testing.assert_allclose(public(P), before - 0.3 * force, atol=1e-12)


# ---- staggered quarks
@pytest.mark.parametrize("mass", [0.05, 0.3, 1.5])
@pytest.mark.parametrize(("colors", "extent"), [(2, (8, 4)), (2, (4, 2, 8, 4)), (3, (4, 4, 2, 6)), (3, (8, 4, 4))])
def test_staggered_force_is_minus_the_derivative(hot_links, gaussian_momenta, colors, extent, mass):
    U = hot_links(colors, *extent)
    action = staggered(U.lattice, mass)
    phi = action.refresh(U, Draws(4, 1))
    assert_force_is_minus_derivative(action, U, phi, gaussian_momenta(U), relative=1e-7 if mass < 0.1 else 1e-8)


@pytest.mark.parametrize("boundary", [(1, 1, 1, 1), (-1, 1, -1, -1)])
def test_staggered_force_with_other_boundaries(hot_links, gaussian_momenta, boundary):
    U = hot_links(2, 4, 2, 8, 4)
    action = staggered(U.lattice, 0.3, boundary=boundary)
    phi = action.refresh(U, Draws(4, 1))
    assert_force_is_minus_derivative(action, U, phi, gaussian_momenta(U))


def test_force_of_a_composite_of_several_fields(hot_links, gaussian_momenta):
    U = hot_links(3, 4, 4, 2, 6)
    parts = {"gauge": GaugeAction(5.5, -1 / 12), "light": staggered(U.lattice, 0.2), "heavy": staggered(U.lattice, 1.0)}
    action = CompositeAction(parts)
    phi = action.refresh(U, Draws(4, 1))
    assert_force_is_minus_derivative(action, U, phi, gaussian_momenta(U))
    total = sum(float(part.action(U, phi[name])) for name, part in parts.items())
    assert float(action.action(U, phi)) == pytest.approx(total, rel=1e-12)
    force = sum(public(part.force(U, phi[name])) for name, part in parts.items())
    np.testing.assert_allclose(public(action.force(U, phi)), force, atol=1e-9)


# ---- Wilson quarks
def pseudofermions(lattice, make_dirac):
    """Two flavours of even-odd preconditioned quarks, solves exact to rounding."""
    solvers = [ConjugateGradient(lattice, 1e-13) for _ in range(2)]
    return PseudofermionAction(lambda U: make_dirac(U).even_odd().normal, *solvers)


# of SU(2) matrices one row is stored, whatever `rows` says
WILSON_CASES = [(2, (4, 2, 8, 4), 3), (3, (4, 4, 2, 6), 2), (3, (4, 4, 2, 6), 3)]


@pytest.mark.parametrize(("mass", "boundary"), [(0.1, (1, 1, 1, -1)), (1.0, (-1, 1, -1, -1)), (0.3, (1, 1, 1, 1))])
@pytest.mark.parametrize(("colors", "extent", "rows"), WILSON_CASES)
def test_wilson_force_is_minus_the_derivative(hot_links, gaussian_momenta, colors, extent, rows, mass, boundary):
    U = hot_links(colors, *extent)
    action = pseudofermions(U.lattice, lambda V: WilsonDirac(V, mass, boundary, rows=rows))
    phi = action.refresh(U, Draws(4, 1))
    assert_force_is_minus_derivative(action, U, phi, gaussian_momenta(U))


@pytest.mark.parametrize(("mass", "c_sw", "boundary"), [(0.1, 1.0, (1, 1, 1, -1)), (0.8, 1.9, (-1, 1, -1, -1))])
@pytest.mark.parametrize(("colors", "extent", "rows"), WILSON_CASES)
def test_clover_force_is_minus_the_derivative(hot_links, gaussian_momenta, colors, extent, rows, mass, c_sw, boundary):
    """Of the pseudofermions, whose even and odd clover terms both depend on the links."""
    U = hot_links(colors, *extent)
    action = pseudofermions(U.lattice, lambda V: CloverDirac(V, mass, c_sw, boundary, rows=rows))
    phi = action.refresh(U, Draws(4, 1))
    assert_force_is_minus_derivative(action, U, phi, gaussian_momenta(U))


def determinant(mass, c_sw, flavors=2):
    return LogDeterminantAction(lambda V: CloverDirac(V, mass, c_sw, (1, 1, 1, -1)).even_odd(), flavors)


@pytest.mark.parametrize("flavors", [1, 2])
@pytest.mark.parametrize(("colors", "extent"), [(2, (4, 2, 8, 4)), (3, (4, 4, 2, 6)), (3, (2, 2, 2, 2))])
def test_determinant_force_is_minus_the_derivative(hot_links, gaussian_momenta, colors, extent, flavors):
    U = hot_links(colors, *extent)
    assert_force_is_minus_derivative(determinant(0.1, 1.9, flavors), U, None, gaussian_momenta(U))


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_determinant_force_does_not_depend_on_lanes(hot_links, lanes):
    wide, narrow = (public(determinant(0.1, 1.9).force(hot_links(3, 4, 4, 2, 8, lanes=n), None)) for n in (None, lanes))
    np.testing.assert_allclose(narrow, wide, rtol=0, atol=1e-13 * abs(wide).max())


# ---- covariance
def assert_covariant(force_of, links, g):
    """F(x, mu) -> g(x) F(x, mu) g(x)^+ under a gauge transformation g."""
    colors = links.shape[-1]
    before = reference.algebra_matrix(force_of(links), colors)
    after = reference.algebra_matrix(force_of(reference.gauge_transform(links, g)), colors)
    g = g[..., None, :, :]
    np.testing.assert_allclose(after, g @ before @ reference.dagger(g), rtol=0, atol=1e-10 * abs(before).max())


def gauge_force_of(action, U, links):
    U.from_sites(links)
    return public(action.force(U, None))


@pytest.mark.parametrize(("colors", "extent"), [(2, (4, 6)), (3, (4, 4, 2, 6)), (4, (4, 2, 6))])
def test_gauge_force_is_covariant(hot_links, rng, colors, extent):
    U = hot_links(colors, *extent)
    g = reference.random_group(tuple(reversed(extent)), colors, rng)
    assert_covariant(partial(gauge_force_of, GaugeAction(5.5, -1 / 12), U), U.to_sites(), g)


QUARKS = {"staggered": lambda lattice: staggered(lattice, 0.5),
          "wilson": lambda lattice: pseudofermions(lattice, lambda V: WilsonDirac(V, 0.3, (1, 1, 1, -1))),
          "clover": lambda lattice: pseudofermions(lattice, lambda V: CloverDirac(V, 0.3, 1.5, (1, 1, 1, -1)))}


@pytest.mark.parametrize(("colors", "extent"), [(2, (4, 2, 8, 4)), (3, (4, 4, 2, 6))])
def test_determinant_force_is_covariant(hot_links, rng, colors, extent):
    U = hot_links(colors, *extent)
    g = reference.random_group(tuple(reversed(extent)), colors, rng)
    assert_covariant(partial(gauge_force_of, determinant(0.3, 1.5), U), U.to_sites(), g)


@pytest.mark.parametrize("quarks", QUARKS)
@pytest.mark.parametrize(("colors", "extent"), [(2, (4, 2, 8, 4)), (3, (4, 4, 2, 6))])
def test_quark_force_is_covariant(hot_links, rng, colors, extent, quarks):
    """With phi(x) -> g(x) phi(x); the action does not change."""
    U = hot_links(colors, *extent)
    action = QUARKS[quarks](U.lattice)
    phi = action.refresh(U, Draws(4, 1))
    links, vectors, values = U.to_sites(), phi.to_sites(), []
    g = reference.random_group(tuple(reversed(extent)), colors, rng)
    spin = "...j" if phi.spins == 1 else "...sj"

    def force_of(new_links):
        rotated = new_links is not links
        U.from_sites(new_links)
        phi.from_sites(np.einsum(f"...ij,{spin}->{spin.replace('j', 'i')}", g, vectors) if rotated else vectors)
        values.append(float(action.action(U, phi)))
        return public(action.force(U, phi))
    assert_covariant(force_of, links, g)
    assert values[0] == pytest.approx(values[1], rel=1e-12)
