"""RHMC: the action of a root of the determinant, its draw and force; what must agree with plain HMC; narrow ranges."""

import numpy as np
import pytest
import reference_quarks
from monte_carlo import assert_reversible, boundary_of, sample, staggered_target, time_scales
from running import assert_same_chain, card_of, sets, slhmc_command
from test_forces import assert_force_is_minus_derivative, public

from slhmc import simulation
from slhmc.actions import CompositeAction, GaugeAction, PseudofermionAction, RationalAction, RationalSettings
from slhmc.analysis import gamma_method
from slhmc.dirac import StaggeredDirac, StaggeredNormal
from slhmc.errors import ComputationError, InputError, SolverNotConverged
from slhmc.lattice import Draws, FermionField, Purpose
from slhmc.simulation.build import make_update
from slhmc.solvers import ConjugateGradient, MultiShiftConjugateGradient
from slhmc.updates import HMC

pytestmark = pytest.mark.device
CASES = [(2, (8, 4)), (3, (4, 4, 2, 6)), (3, (8, 4, 4))]


def rational(lattice, power, mass=0.3, accuracy=1e-13, force_accuracy=1e-13, tolerance=1e-13, precision="mixed", **settings):
    """A rational action of staggered quarks on the bounds of their spectrum."""
    boundary = boundary_of(lattice.dimensions)
    limits = {"lowest": mass**2, "highest": mass**2 + lattice.dimensions**2} | settings
    solvers = (MultiShiftConjugateGradient(lattice, tolerance, precision=precision) for _ in range(2))
    return RationalAction(lambda U: StaggeredNormal(StaggeredDirac(U, mass, boundary)), power,
                          RationalSettings(accuracy=accuracy, force_accuracy=force_accuracy, **limits), *solvers)


def rhmc(lattice, flavors, steps, beta=2.7, mass=0.3, length=1.0, **keys):
    """HMC of a gauge action and one rational action for each number of flavours."""
    keys = {"accuracy": 1e-12, "force_accuracy": 1e-7, "tolerance": 1e-12} | keys
    quarks = {f"quarks.{k}": rational(lattice, n / 4, mass, **keys) for k, n in enumerate(flavors)}
    target = CompositeAction({"gauge": GaugeAction(beta)} | quarks)
    return HMC(target, time_scales(target, ("omelyan2", steps)), length, max_delta_h=1e9)


# ---- values
@pytest.mark.parametrize("power", [0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize(("colors", "extent"), [(2, (4, 4)), (3, (4, 2, 4))])
def test_action_and_draw_are_powers_of_the_matrix(hot_links, colors, extent, power):
    """phi = A^(p/2) eta; S = phi^+ A^-p phi = eta^+ eta."""
    U = hot_links(colors, *extent)
    action = rational(U.lattice, power)
    phi, eta = action.refresh(U, Draws(4, 1)), FermionField(U.lattice, colors, "even")
    eta.draw_gaussian(Draws(4, 1).next(Purpose.PSEUDOFERMION), 0.5**0.5)
    of_matrix = U.to_sites(), phi.to_sites(), lambda x: x**-power, 0.3, boundary_of(len(extent))
    expected = np.vdot(phi.to_sites(), reference_quarks.function_of_normal(*of_matrix)).real
    assert float(action.action(U, phi)) == pytest.approx(expected, rel=1e-11)
    assert float(action.action(U, phi)) == pytest.approx(float(eta.inner(eta)), rel=1e-11)
    expected = reference_quarks.function_of_normal(U.to_sites(), eta.to_sites(), lambda x: x**(power / 2), 0.3, of_matrix[-1])
    np.testing.assert_allclose(phi.to_sites(), expected, rtol=0, atol=1e-11 * abs(expected).max())


def test_draws_have_the_covariance_of_the_action(hot_links):
    """<phi^+ A^-p phi> is the number of complex components, over many draws."""
    U = hot_links(2, 4, 4)
    action, draws, phi = rational(U.lattice, 0.25), Draws(4, 1), None
    values = []
    for _ in range(400):
        phi = action.refresh(U, draws, phi)
        values.append(float(action.action(U, phi)))
    assert np.mean(values) == pytest.approx(16, abs=4 * 16**0.5 / 20)  # 8 even sites, 2 colours; variance equals mean
    assert np.std(values) == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize(("colors", "extent"), CASES)
def test_two_halves_are_the_whole(hot_links, gaussian_vector, colors, extent):
    """r(A) r(A) = A^-1 with r close to x^-1/2, and four quarters."""
    U = hot_links(colors, *extent)
    b = gaussian_vector(U, "even")
    x, exact = b.like(), b.like()
    operator = StaggeredNormal(StaggeredDirac(U, 0.3, boundary_of(len(extent))))
    ConjugateGradient(U.lattice, 1e-14, precision="double").solve(operator, b, exact)
    expected = exact.to_sites()
    for power, times in ((0.5, 2), (0.25, 4)):
        action = rational(U.lattice, power, tolerance=1e-14, precision="double")
        x.assign(b)
        solutions = [b.like() for _ in range(action.of_action.order)]
        for _ in range(times):
            action.action_solver.apply(operator, action.of_action, x, exact, solutions)
            x.assign(exact)
        np.testing.assert_allclose(x.to_sites(), expected, rtol=0, atol=1e-11 * abs(expected).max())


# ---- forces
@pytest.mark.parametrize("power", [0.25, 0.5, 0.75])
@pytest.mark.parametrize(("colors", "extent"), CASES)
def test_force_is_minus_the_derivative(hot_links, gaussian_momenta, colors, extent, power):
    U = hot_links(colors, *extent)
    action = rational(U.lattice, power)
    assert_force_is_minus_derivative(action, U, action.refresh(U, Draws(4, 1)), gaussian_momenta(U))


def test_a_coarse_force_is_minus_the_derivative_of_its_own_approximation(hot_links, gaussian_momenta):
    """Then molecular dynamics keeps an energy, if not that of the target; the two forces differ by about the accuracy."""
    U = hot_links(3, 4, 4, 2, 6)
    fine, coarse = (rational(U.lattice, 0.5, accuracy=accuracy, force_accuracy=1e-3) for accuracy in (1e-13, 1e-3))
    phi = fine.refresh(U, Draws(4, 1))
    assert coarse.of_action.order == coarse.of_force.order < fine.of_action.order
    assert_force_is_minus_derivative(coarse, U, phi, gaussian_momenta(U))
    forces = [public(action.force(U, phi)) for action in (fine, rational(U.lattice, 0.5))]
    assert 1e-5 < abs(forces[0] - forces[1]).max() / abs(forces[1]).max() < 1e-2


@pytest.mark.parametrize("parity", ["even", "odd"])
def test_normal_operator_has_draw_and_force_on_either_parity(hot_links, gaussian_vector, gaussian_momenta, parity):
    """d/ds X^+ A X at fixed X; <phi^+ A^-1 phi> of many draws is the number of components."""
    U = hot_links(2, 4, 2, 8, 4)
    operator = StaggeredNormal(StaggeredDirac(U, 0.3, (1, 1, 1, -1)), parity)
    X, product, P, force = gaussian_vector(U, parity), operator.field("double"), gaussian_momenta(U), gaussian_momenta(U)
    before = public(force)
    operator.add_force(X, force, -0.7)
    added = public(force) - before

    def value(step):
        moved = U.copy()
        moved.drift(P, step)
        StaggeredNormal(StaggeredDirac(moved, 0.3, (1, 1, 1, -1)), parity).apply(X, product)
        return float(X.inner(product))
    slope = sum(weight * value(k * 1e-3) for k, weight in {1: 2 / 3, -1: -2 / 3, 2: -1 / 12, -2: 1 / 12}.items()) / 1e-3
    assert (added * public(P)).sum() == pytest.approx(0.7 * slope, rel=1e-8)
    draws, solver, values = Draws(4, 1), ConjugateGradient(U.lattice, 1e-10), []
    for _ in range(20):
        operator.draw(X, draws)
        solver.solve(operator, X, product)
        values.append(float(X.inner(product)))
    components = 2 * U.lattice.sites // 2
    assert np.mean(values) == pytest.approx(components, abs=4 * (components / 20)**0.5)


@pytest.mark.parametrize("lanes", [1, 2])
def test_force_does_not_depend_on_lanes(hot_links, lanes):
    forces = []
    for n in (None, lanes):
        U = hot_links(3, 4, 4, 2, 8, lanes=n)
        action = rational(U.lattice, 0.25)
        forces.append(public(action.force(U, action.refresh(U, Draws(4, 1)))))
    np.testing.assert_allclose(forces[1], forces[0], rtol=0, atol=1e-11 * abs(forces[0]).max())


# ---- against plain HMC
@pytest.mark.parametrize(("colors", "extent"), CASES)
def test_power_one_is_the_plain_action(hot_links, colors, extent):
    """Values and forces of the same phi, and dH of the same trajectory."""
    U = hot_links(colors, *extent)
    plain = staggered_target(U.lattice, mass=0.3, force_tolerance=1e-13).parts["quarks"]
    power_one = rational(U.lattice, 1.0)
    phi = plain.refresh(U, Draws(4, 1))
    assert float(power_one.action(U, phi)) == pytest.approx(float(plain.action(U, phi)), rel=1e-11)
    expected = public(plain.force(U, phi))
    np.testing.assert_allclose(public(power_one.force(U, phi)), expected, rtol=0, atol=1e-10 * abs(expected).max())


class SameField(PseudofermionAction):
    """Plain action that takes its phi from another one."""

    def refresh(self, U, draws, phi=None):
        return self.origin.refresh(U, draws, phi)


def test_power_one_has_the_energy_change_of_plain_hmc(hot_links):
    """To the tolerance of the solves: the same phi, momenta and links."""
    U = hot_links(3, 4, 4, 2, 4)
    quarks = rational(U.lattice, 1.0)
    plain = SameField(lambda U: StaggeredNormal(StaggeredDirac(U, 0.3, boundary_of(4))),
                      *(ConjugateGradient(U.lattice, 1e-13) for _ in range(2)))
    plain.origin = quarks
    changes = []
    for part in (quarks, plain):
        target = CompositeAction({"gauge": GaugeAction(5.5), "quarks": part})
        changes.append(HMC(target, time_scales(target, ("omelyan2", 4)), 0.5).step(U.copy(), 3, 1).delta_h)
    assert abs(changes[0]) > 0.01 and changes[0] == pytest.approx(changes[1], abs=1e-8)


def test_two_and_two_flavours_are_four(hot_links):
    """Plaquette of 2 + 2 by RHMC against four flavours by HMC, and two alone, which differ."""
    found = {}
    for flavors in ((2, 2), (4,), (2,)):
        U = hot_links(2, 4, 4)
        if flavors == (4,):
            target = staggered_target(U.lattice, 1.0, mass=0.1)
            hmc = HMC(target, time_scales(target, ("omelyan2", 4)), 1.0)
        else:
            hmc = rhmc(U.lattice, flavors, 4, beta=1.0, mass=0.1, tolerance=1e-8, accuracy=1e-10)
        values, _ = sample(hmc, U, 1000, 100, seed=len(found))
        found[flavors] = gamma_method(values)
    both, four, two = found.values()
    assert abs(both.mean - four.mean) < 4 * np.hypot(both.error, four.error)
    assert abs(two.mean - four.mean) > 5 * np.hypot(two.error, four.error)


# ---- chains
@pytest.mark.parametrize(("flavors", "extent", "steps"), [((1,), (8, 4), 1), ((2,), (8, 4), 1), ((2, 1), (4, 4, 2), 2),
                                                          ((3,), (8, 4), 2)])
def test_exp_minus_delta_h_is_one(hot_links, flavors, extent, steps):
    """Within 4 sigma, on steps so coarse that the test has a grip; even with a force as coarse as 1e-3."""
    U = hot_links(2, *extent)
    hmc = rhmc(U.lattice, flavors, steps, beta=2.0, force_accuracy=1e-3, tolerance=1e-10)
    _, delta_h = sample(hmc, U, 1000, 60)
    estimate = gamma_method(np.exp(-delta_h))
    assert abs(estimate.mean - 1) < 4 * estimate.error and estimate.error < 0.06
    assert 0.5 < np.minimum(1, np.exp(-delta_h)).mean() < 0.97


@pytest.mark.parametrize("precision", ["mixed", "double"])
def test_molecular_dynamics_is_reversible(hot_links, gaussian_momenta, precision):
    U = hot_links(3, 4, 4, 2, 4)
    hmc = rhmc(U.lattice, (2, 1), 4, beta=5.5, precision=precision)
    phi, P = hmc.target.refresh(U, Draws(6, 0)), gaussian_momenta(U)
    assert_reversible(hmc, U, P, phi)


def test_energy_is_conserved_to_the_order_of_the_integrator(hot_links):
    """dH falls by 4 for half the step (omelyan2): force and action fit together."""
    U, changes = hot_links(2, 8, 4), []
    for steps in (8, 16):
        changes.append(rhmc(U.lattice, (1,), steps, force_accuracy=1e-12).step(U.copy(), 3, 1).delta_h)
    assert 3.5 < changes[0] / changes[1] < 4.5


# ---- the range
@pytest.mark.parametrize(("limits", "holds"), [({"lowest": 0.5}, "from 0.5 to 16.09"), ({"highest": 2.0}, "from 0.09 to 2")])
def test_eigenvalues_outside_the_range_end_the_chain(hot_links, limits, holds):
    U = hot_links(3, 4, 4, 4, 4)
    hmc, before = rhmc(U.lattice, (2,), 4, beta=5.5, check_every=3, **limits), U.to_sites()
    words = (r"trajectory 4: eigenvalues of the quark operator from 0\.09\d+ to 6\.\d+ found, but its rational approximation "
             rf"holds {holds}: the chain would be biased; begin it anew with rational.lowest = 4.5e-02 and rational.highest = "
             r"8.4e\+00, or a wider range")
    with pytest.raises(ComputationError, match=words):
        hmc.step(U, 3, 4)
    np.testing.assert_array_equal(U.to_sites(), before)
    with pytest.raises(ComputationError):
        hmc.step(U, 3, 1)
    hmc.step(U, 3, 2)  # not a trajectory that is checked


def test_a_range_that_holds_is_checked_and_bounds_need_no_check(hot_links, monkeypatch):
    U = hot_links(2, 8, 4)
    calls = []

    def watched(operator, random):
        calls.append((random.purpose, random.trajectory))
        return extreme_eigenvalues(operator, random)
    from slhmc.actions.rational import extreme_eigenvalues
    monkeypatch.setattr("slhmc.actions.rational.extreme_eigenvalues", watched)
    rational(U.lattice, 0.5).inspect(U, Draws(1, 1))
    assert calls == []
    narrow = rational(U.lattice, 0.5, highest=4.08, check_every=2)
    for trajectory in range(1, 6):
        narrow.inspect(U, Draws(1, trajectory))
    assert calls == [(Purpose.SPECTRUM, 1), (Purpose.SPECTRUM, 3), (Purpose.SPECTRUM, 5)]


def test_a_solve_that_fails_in_the_draw_names_the_trajectory(hot_links):
    U = hot_links(2, 8, 4)
    hmc = rhmc(U.lattice, (2,), 4)
    hmc.target.parts["quarks.0"].action_solver.max_iterations = 3
    hmc.target.parts["quarks.0"].action_solver.polish.max_iterations = 3
    with pytest.raises(SolverNotConverged, match="trajectory 7: conjugate gradient"):
        hmc.step(U, 1, 7)


# ---- cards
def test_card_chooses_the_action(make_lattice):
    lattice = make_lattice(8, 8)
    kinds = {(): PseudofermionAction, ("quarks.0.flavors=4",): PseudofermionAction, ("quarks.0.flavors=2",): RationalAction,
             ("quarks.0.rational.accuracy=1e-9",): RationalAction}
    for overrides, kind in kinds.items():
        assert type(make_update(card_of(*overrides), lattice).target.parts["quarks.0"]) is kind
    keys = ("flavors=3", "rational.lowest=0.2", "rational.order=17", "rational.force_accuracy=1e-3", "rational.check_every=7")
    action = make_update(card_of(*(f"quarks.0.{key}" for key in keys)), lattice).target.parts["quarks.0"]
    assert action.power == 0.75 and action.settings == RationalSettings(0.2, 0.25 + 4, 1e-12, 1e-3, 17, 7)
    assert action.of_action.order == action.of_heat_bath.order == 17 > action.of_force.order


def test_an_order_too_low_is_told_with_the_one_that_is_needed(tmp_path, capsys, make_lattice):
    with pytest.raises(InputError, match=r"order = 3 is too low for x\^-0.5 on \[0.25, 4.25\]: .* order = \d+ is needed"):
        make_update(card_of("quarks.0.flavors=2", "quarks.0.rational.order=3"), make_lattice(8, 8))
    (tmp_path / "card.toml").write_text(card_text_of("flavors = 2\nrational = { order = 3 }"))
    assert slhmc_command("run", tmp_path / "card.toml", "-o", tmp_path / "run") == 2
    assert "quarks.0: order = 3 is too low" in capsys.readouterr().err and not (tmp_path / "run").exists()


def card_text_of(words):
    from running import CARD
    return CARD.replace("mass = 0.5", f"mass = 0.5\n{words}")


def test_a_range_too_narrow_ends_the_run_with_exit_code_3(tmp_path, capsys):
    (tmp_path / "card.toml").write_text(card_text_of("flavors = 2\nrational = { highest = 0.5 }"))
    assert slhmc_command("run", tmp_path / "card.toml", "-o", tmp_path / "run") == 3
    assert "trajectory 1: eigenvalues of the quark operator from 0.2" in capsys.readouterr().err


def test_a_run_with_roots_resumes_bit_for_bit(tmp_path):
    """With checks of the range on both sides of the break."""
    overrides = ("quarks.0.flavors=3", "quarks.0.rational.highest=4.24", "quarks.0.rational.check_every=2")
    assert simulation.create(card_of(*overrides), tmp_path / "whole").run()
    assert simulation.create(card_of(*overrides, "run.trajectories=2"), tmp_path / "parts").run()
    assert slhmc_command("resume", tmp_path / "parts", "--trajectories", "9") == 0
    assert_same_chain(tmp_path / "parts", tmp_path / "whole")
    assert slhmc_command("run", tmp_path / "whole" / "card.toml", "-o", tmp_path / "again", *sets("run.trajectories=9")) == 0
    assert_same_chain(tmp_path / "again", tmp_path / "whole")
