"""RHMC of Wilson and clover quarks: powers of M^+ M, forces, two flavours as 1 + 1, chains, the range of the spectrum, cards."""

import numpy as np
import pytest
import reference
from dense import dense_even, even_values
from monte_carlo import boundary_of, sample, time_scales
from running import CARD
from test_forces import assert_force_is_minus_derivative, public

from slhmc.actions import (
    CompositeAction,
    GaugeAction,
    LogDeterminantAction,
    PseudofermionAction,
    RationalAction,
    RationalSettings,
)
from slhmc.analysis import gamma_method
from slhmc.dirac import CloverDirac, WilsonDirac
from slhmc.errors import ComputationError
from slhmc.lattice import Draws, FermionField, GaugeField, Purpose
from slhmc.runcard import parse_card
from slhmc.simulation.build import make_update
from slhmc.solvers import ConjugateGradient, MultiShiftConjugateGradient, extreme_eigenvalues
from slhmc.updates import HMC

pytestmark = pytest.mark.device
MASS, C_SW, BOUNDARY = -0.3, 1.2, boundary_of(4)
OPERATORS = {"wilson": lambda U: WilsonDirac(U, MASS, BOUNDARY).even_odd(),
             "clover": lambda U: CloverDirac(U, MASS, C_SW, BOUNDARY).even_odd()}
CASES = [("wilson", 2, (4, 2, 4, 4)), ("clover", 2, (4, 2, 4, 4)), ("wilson", 3, (4, 2, 2, 6)), ("clover", 3, (4, 2, 2, 6))]
every_case = pytest.mark.parametrize(("kind", "colors", "extent"), CASES)


@pytest.fixture(scope="module")
def links(make_lattice, gaussian_momenta):
    """Factory of links not far from unity, whose clover blocks are positive."""
    def make(colors, extent):
        U = GaugeField(make_lattice(*extent), colors)
        U.drift(gaussian_momenta(U), 0.3)
        return U
    return make


def normal(kind):
    """U -> M^+ M."""
    return lambda U: OPERATORS[kind](U).normal


def rational(lattice, kind, power, limits=(0.3, 60.0), accuracy=1e-13, force_accuracy=1e-13, tolerance=1e-13, precision="mixed",
             **settings):
    """A rational action whose range holds the spectra of `links`."""
    solvers = (MultiShiftConjugateGradient(lattice, tolerance, precision=precision) for _ in range(2))
    return RationalAction(normal(kind), power, RationalSettings(*limits, accuracy, force_accuracy, **settings), *solvers)


def one_flavor(lattice, kind, **keys):
    """All of one flavour's determinant: M, and A_oo where it depends on the links."""
    parts = {"quarks": rational(lattice, kind, 0.5, **keys)}
    return parts | ({"determinant": LogDeterminantAction(OPERATORS["clover"], 1)} if kind == "clover" else {})


def rhmc(lattice, kind, scheme, length, beta=2.0, **keys):
    """HMC of a gauge action and one flavour."""
    keys = {"accuracy": 1e-12, "force_accuracy": 1e-7, "tolerance": 1e-10} | keys
    target = CompositeAction({"gauge": GaugeAction(beta), **one_flavor(lattice, kind, **keys)})
    return HMC(target, time_scales(target, scheme), length, max_delta_h=1e9)


# ---- values
@pytest.mark.parametrize("kind", OPERATORS)
def test_action_and_draw_are_powers_of_the_dense_matrix(links, kind):
    """phi = A^(1/4) eta; S = phi^+ A^-1/2 phi = |eta|^2."""
    U = links(2, (2, 2, 2, 4))
    action, eta = rational(U.lattice, kind, 0.5), FermionField(U.lattice, 2, "even", spins=4)
    phi = action.refresh(U, Draws(4, 1))
    eta.draw_gaussian(Draws(4, 1).next(Purpose.PSEUDOFERMION), 0.5**0.5)
    values, vectors = np.linalg.eigh(dense_even(action.operator(U)))
    assert values[0] > 0.3 and values[-1] < 60 and values[-1] / values[0] > 10
    for power, given, expected in ((-0.5, even_values(phi), None), (0.25, even_values(eta), even_values(phi))):
        found = vectors @ (values**power * (reference.dagger(vectors) @ given))
        if expected is None:
            assert float(action.action(U, phi)) == pytest.approx(np.vdot(given, found).real, rel=1e-11)
        else:
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11 * abs(expected).max())
    assert float(action.action(U, phi)) == pytest.approx(float(eta.inner(eta)), rel=1e-11)


@every_case
def test_one_and_one_flavour_are_two(links, gaussian_spinor, kind, colors, extent):
    """r(A) r(A) = A^-1 with r close to x^-1/2."""
    U = links(colors, extent)
    action, b = rational(U.lattice, kind, 0.5, tolerance=1e-14, precision="double"), gaussian_spinor(U, "even")
    x, exact, operator = b.like(), b.like(), action.operator(U)
    ConjugateGradient(U.lattice, 1e-14, precision="double").solve(operator, b, exact)
    expected, solutions = exact.to_sites(), [b.like() for _ in range(action.of_action.order)]
    action.action_solver.apply(operator, action.of_action, b, x, solutions)
    action.action_solver.apply(operator, action.of_action, x, exact, solutions)
    np.testing.assert_allclose(exact.to_sites(), expected, rtol=0, atol=1e-11 * abs(expected).max())


@every_case
def test_power_one_is_the_plain_action(links, kind, colors, extent):
    """Value and force of the same phi."""
    U = links(colors, extent)
    plain, power_one = PseudofermionAction(normal(kind), *(ConjugateGradient(U.lattice, 1e-13) for _ in range(2))), rational(
        U.lattice, kind, 1.0)
    phi = plain.refresh(U, Draws(4, 1))
    assert float(power_one.action(U, phi)) == pytest.approx(float(plain.action(U, phi)), rel=1e-11)
    expected = public(plain.force(U, phi))
    np.testing.assert_allclose(public(power_one.force(U, phi)), expected, rtol=0, atol=1e-10 * abs(expected).max())


# ---- dynamics
@pytest.mark.parametrize("power", [0.5, 0.25])
@every_case
def test_force_is_minus_the_derivative(links, gaussian_momenta, kind, colors, extent, power):
    U = links(colors, extent)
    action = CompositeAction(one_flavor(U.lattice, kind) | {"quarks": rational(U.lattice, kind, power)})
    assert_force_is_minus_derivative(action, U, action.refresh(U, Draws(4, 1)), gaussian_momenta(U, seed=3))


@pytest.mark.parametrize("kind", OPERATORS)
def test_energy_is_conserved_to_second_order(links, kind):
    """dH falls by 4 for half the step, and a tape that is replayed gives what it gave: its clover blocks follow the links."""
    U, energies = links(3, (4, 2, 2, 4)), []
    for steps in (4, 8):
        hmc = rhmc(U.lattice, kind, ("omelyan2", steps), 0.5, beta=5.0, force_accuracy=1e-12, tolerance=1e-12)
        energies.append(hmc.step(U.copy(), 3, 1).delta_h)
    assert abs(energies[0]) > 1e-3 and energies[0] / energies[1] == pytest.approx(4, rel=0.1)
    moving = U.copy()
    hmc.step(moving, 3, 0)
    moving.assign(U)
    assert hmc.step(moving, 3, 1).delta_h == pytest.approx(energies[1], abs=1e-9)


@pytest.mark.parametrize("kind", OPERATORS)
def test_exp_minus_delta_h_is_one(links, kind):
    """Within 4 sigma, on steps so coarse that the test has a grip, with a force as coarse as 1e-3."""
    U = links(2, (2, 2, 2, 4))
    hmc = rhmc(U.lattice, kind, ("omelyan2", 1), 0.5, force_accuracy=1e-3, limits=(0.01, 60.0), check_every=20,
               accuracy=1e-9, tolerance=1e-8)
    _, delta_h = sample(hmc, U, 300, 20)
    estimate = gamma_method(np.exp(-delta_h))
    assert abs(estimate.mean - 1) < 4 * estimate.error and estimate.error < 0.06
    assert delta_h.std() > 0.1


# ---- the range
@pytest.mark.parametrize("kind", OPERATORS)
def test_a_range_too_narrow_ends_the_chain(links, kind):
    U = links(3, (4, 2, 2, 4))
    found = extreme_eigenvalues(normal(kind)(U), Draws(3, 3).next(Purpose.SPECTRUM))
    for limits in ((2 * found.lowest, 60.0), (0.3, found.highest / 2)):
        hmc, before = rhmc(U.lattice, kind, ("omelyan2", 1), 0.1, limits=limits, check_every=2), U.to_sites()
        words = (rf"trajectory 3: eigenvalues of the quark operator from {found.lowest:.4g} to {found.highest:.4g} found, but "
                 rf"its rational approximation holds from {limits[0]:.4g} to {limits[1]:.4g}: the chain would be biased; begin "
                 "it anew with rational.lowest = ")
        with pytest.raises(ComputationError, match=words):
            hmc.step(U, 3, 3)
        np.testing.assert_array_equal(U.to_sites(), before)
    rational(U.lattice, kind, 0.5, (found.lowest / 2, 1.2 * found.highest)).inspect(U, Draws(1, 1))


# ---- cards
def card_with(operator, *overrides):
    """A card of quarks in four dimensions."""
    text = CARD.replace("[8, 8]", "[4, 4, 4, 4]").replace('"staggered"', operator)
    return parse_card(text, "card.toml", list(overrides))


def test_card_chooses_the_actions(make_lattice):
    lattice, limits = make_lattice(4, 4, 4, 4), ("quarks.0.rational.lowest=0.1", "quarks.0.rational.highest=80")
    clover = '"clover"\nc_sw = 1.0'

    def parts(operator, *overrides):
        return {name: part for name, part in make_update(card_with(operator, *overrides), lattice).target.parts.items()
                if name != "gauge"}
    for overrides, power in ((("quarks.0.flavors=1", *limits), 0.5), (limits, 1.0), (("quarks.0.flavors=2", *limits), 1.0)):
        (quark,) = parts('"wilson"', *overrides).values()
        assert type(quark) is RationalAction and quark.power == power
        assert (quark.settings.lowest, quark.settings.highest) == (0.1, 80.0)
        quark, determinant = parts(clover, *overrides).values()
        assert type(quark) is RationalAction and quark.power == power and determinant.flavors == 2 * power
    quark, determinant = parts(clover, "quarks.0.flavors=2").values()
    assert type(quark) is PseudofermionAction and determinant.flavors == 2
