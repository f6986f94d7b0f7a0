"""Numbers found by hand, where other tests compare the code with itself or have inputs that are too alike."""

from types import SimpleNamespace

import numpy as np
import pytest
import reference
import reference_quarks as plain
from link_files import nersc, plaquette, put, random_links
from monte_carlo import staggered_target
from running import CARD, assert_same_chain, card_of, final_links, run_card
from test_gradient_flow_runs import made_up

from slhmc import simulation
from slhmc.actions import RECTANGLE_COEFFICIENTS, GaugeAction
from slhmc.analysis import gamma_method
from slhmc.analysis.effective_mass import effective_masses, plateau
from slhmc.analysis.flow import flow_curves, flow_entries, scales
from slhmc.analysis.potential import static_potential
from slhmc.analysis.scalar import replica_entry
from slhmc.dirac import CloverDirac, StaggeredDirac, StaggeredNormal
from slhmc.errors import InputError
from slhmc.io import EnsembleFile, load_links
from slhmc.io.formats import examine
from slhmc.lattice import Draws, FermionField, GaugeField, Lattice, Purpose
from slhmc.observables.gradient_flow import GradientFlow
from slhmc.report.comparison import _flow
from slhmc.report.physics import foreign_keys
from slhmc.runcard import parse_card
from slhmc.simulation.build import make_observables
from slhmc.solvers import MultiShiftConjugateGradient
from slhmc.updates import SCHEMES, HeatBath


def test_every_quantity_of_a_flow_is_its_own(rng):
    values = made_up(rng, spread=0.01)
    values[:, 1] *= 1.3  # E from plaquettes, charges from five loops: other numbers than those from clovers
    values[:, 4] = 2 * values[:, 3] + 1
    found = scales(values)
    assert found["t0"].value == pytest.approx((0.3 / 0.11) ** (1 / 1.2), rel=5e-3)
    assert found["t0_plaquette"].value == pytest.approx((0.3 / 0.143) ** (1 / 1.2), rel=5e-3)
    entries, rows = flow_entries("gradient_flow", values), flow_curves(values, 16**4)
    for name, key, quantity in (("charge", "susceptibility", 3), ("charge_improved", "susceptibility_improved", 4)):
        charges = values[:, quantity, -1]
        assert entries[f"gradient_flow_{name}"]["mean"] == pytest.approx(charges.mean())
        assert entries[f"gradient_flow_{name}_squared"]["mean"] == pytest.approx((charges**2).mean())
        assert rows[-1][key].value == pytest.approx((charges**2).mean() / 16**4)
    for row in rows[5:]:
        assert row["t2E_plaquette"].value == pytest.approx(1.3 * row["t2E"].value)
        assert row["W"].value == pytest.approx(1.2 * row["t2E"].value, rel=1e-4)


def test_chi_squared_is_per_degree_of_freedom(rng):
    t, r = np.arange(7), np.arange(1, 6)
    V = 0.6 - 0.3 / r + 0.1 * r
    loops = np.exp(-V[:, None] * t) * (1 + 0.01 * rng.standard_normal((50, 5, 7)))
    found = static_potential(loops[:, None, None], 1, (1, 4), (1, 5))
    for energies, value, chi in zip(found.energies, found.values, found.chi_squared, strict=True):
        assert chi == pytest.approx(sum(((E.value - value.value) / E.error) ** 2 for E in energies[1:5]) / 3)
    fit = found.fit
    model = fit.constant.value - fit.coulomb.value / r + fit.tension.value * r
    pulls = [(m - value.value) / value.error for m, value in zip(model, found.values, strict=True)]
    assert fit.chi_squared == pytest.approx(np.square(pulls).sum() / 2)
    times = np.arange(16)
    correlators = (np.exp(-0.4 * times) + np.exp(-0.4 * (16 - times))) * (1 + 0.01 * rng.standard_normal((50, 16)))
    masses, mean = effective_masses(correlators), plateau(correlators, 2, 5)
    assert mean.chi_squared == pytest.approx(sum(((m.value - mean.mass.value) / m.error) ** 2 for m in masses[2:6]) / 3)


def test_chains_of_a_pair_are_replica(rng):
    values = np.cumsum(rng.standard_normal((30, 8)), axis=0) + rng.standard_normal(8)
    estimate = gamma_method(list(values.T))
    found = replica_entry(values)
    assert (found["error"], found["tau_int"]) == (estimate.error, estimate.tau_int)


@pytest.mark.parametrize(("real", "off", "good"), [
    (">d", 3e-8, True), (">d", 1e-6, False), (">f", 5e-7, True), (">f", 1e-5, False)])
def test_a_plaquette_must_agree_as_far_as_its_precision_goes(tmp_path, real, off, good):
    links = random_links()
    stored = links.astype(np.complex64) if real == ">f" else links
    path = put(tmp_path, nersc(links, real=real, PLAQUETTE=f"{plaquette(stored) + off:.12f}"))
    assert (not any(fault.startswith("plaquette") for fault in examine(path).faults)) == good


@pytest.mark.parametrize(("override", "key"), [
    ("smearing.weights=[[0.05]]", "smearing"),
    ("lattice.fermion_boundary=['antiperiodic', 'antiperiodic']", "lattice.fermion_boundary"),
    ("measure.quarks=[{operator='staggered', mass=0.7}]", "measure.quarks"), ("gauge.beta=2.1", "gauge.beta")])
def test_other_physics_is_named(override, key):
    words = foreign_keys(parse_card(CARD, "card", [override]), parse_card(CARD, "card"))
    assert words and all(word.startswith(key) for word in words)


def test_flows_of_other_weights_are_other_flows():
    runs = [SimpleNamespace(settings={"learned_flow": {"weights": word}, "gradient_flow": {"action": word}}) for word in "ab"]
    for name in ("learned_flow_energy", "gradient_flow_t0"):
        assert _flow(runs[0], name) != _flow(runs[1], name)
    assert _flow(runs[0], "plaquette") == _flow(runs[1], "plaquette")


def test_the_minimum_norm_scheme_has_its_published_weight():
    root = (2 * 326**0.5 + 36) ** (1 / 3)
    assert SCHEMES["omelyan2"][0] == ("P", pytest.approx(1 / 2 - root / 12 + 1 / (6 * root), rel=1e-14))


def test_rectangles_have_their_published_coefficients():
    assert RECTANGLE_COEFFICIENTS == {"wilson": 0, "symanzik": -1 / 12, "iwasaki": -0.331, "dbw2": -1.4088}
    assert [GaugeAction(1, c1).c0 for c1 in RECTANGLE_COEFFICIENTS.values()] == pytest.approx([1, 5 / 3, 3.648, 12.2704])


def test_clover_quarks_of_two_coefficients_share_nothing(hot_links):
    U, boundary = hot_links(2, 4, 4, 2, 4), (1, 1, 1, -1)
    psi = FermionField(U.lattice, 2, spins=4)
    psi.draw_gaussian(Draws(3, 0).next(Purpose.NOISE))
    determinants = []
    for c_sw in (1.0, 1.6):
        dirac = CloverDirac(U, 0.3, c_sw, boundary)
        expected = plain.clover(U.to_sites(), psi.to_sites(), 0.3, c_sw, boundary)
        np.testing.assert_allclose(dirac(psi).to_sites(), expected, rtol=0, atol=1e-12 * abs(expected).max())
        determinants.append(float(dirac.even_odd().determinant.value()))
    assert abs(determinants[0] - determinants[1]) > 1e-3


def test_a_heat_bath_brings_links_back_to_the_group(hot_links):
    for colors in (2, 3):
        U = hot_links(colors, 8, 8)
        U.from_sites(U.to_sites() * (1 + 1e-9))
        HeatBath(2.0, 1).step(U, 1, 0)
        assert reference.group_deviation(U.to_sites()) < 1e-14


def test_a_chronological_start_is_the_line_through_two_solutions(hot_links, gaussian_momenta, monkeypatch):
    U = hot_links(2, 4, 4)
    quarks = staggered_target(U.lattice, start="chronological").parts["quarks"]
    solver, told = quarks.force_solver, []
    solve = solver.solve

    def watched(operator, b, x, guess=False):
        begin = x.to_sites() if guess else None
        solve(operator, b, x, guess)
        told.append((begin, x.to_sites()))
    monkeypatch.setattr(solver, "solve", watched)
    phi, P = quarks.refresh(U, Draws(4, 1)), gaussian_momenta(U)
    quarks.begin_trajectory()
    for _ in range(3):
        quarks.force(U, phi)
        U.drift(P, 0.05)
    assert told[0][0] is None
    np.testing.assert_array_equal(told[1][0], told[0][1])
    np.testing.assert_allclose(told[2][0], 2 * told[1][1] - told[0][1], atol=1e-14)


def test_iterations_that_refine_are_counted(hot_links, gaussian_vector):
    U = hot_links(3, 4, 4, 4, 4)
    b, operator = gaussian_vector(U, "even"), StaggeredNormal(StaggeredDirac(U, 0.1, (1, 1, 1, -1)))
    solver, x = MultiShiftConjugateGradient(U.lattice, 1e-12), [b.like(), b.like()]
    solver.solve(operator, (0.0, 0.5), b, x)
    both = solver.take_iterations()
    solver.solve(operator, (0.0, 0.5), b, x)
    refining = solver.polish.take_iterations()
    assert refining > 0 and solver.take_iterations() == both - refining


def test_a_step_above_its_tolerance_is_taken_back(hot_links):
    U = hot_links(2, 4, 4, 4, 4)
    V = U.copy()
    loose = GradientFlow(U, step=0.02, tolerance=0.9)
    loose.advance(0.02)
    assert (loose.steps, loose.rejected) == (1, 0)
    strict = GradientFlow(V, step=0.02, tolerance=loose.distance / 1.5)
    strict.advance(0.02)
    assert strict.rejected > 0 and strict.distance <= strict.tolerance


def test_what_is_made_of_flowed_links_is_made_anew(hot_links, gaussian_vector):
    """Also where a flow ends in the field that it began in, by steps that were recorded before."""
    U = hot_links(2, 4, 4)
    flow, psi, dirac = GradientFlow(U, step=0.02), gaussian_vector(U), StaggeredDirac(U, 0.3, (1, 1))
    for time in (0.04, 0.08, 0.12):
        flow.advance(time)
        expected = StaggeredDirac(U.copy(), 0.3, (1, 1))(psi).to_sites()
        np.testing.assert_array_equal(dirac(psi).to_sites(), expected)


def test_a_run_draws_the_noise_of_its_trajectory(tmp_path):
    """Seed and number of the trajectory, so that `slhmc measure` finds the same."""
    run_card(tmp_path, "run.save_every=3")
    trajectories, values = EnsembleFile.open(tmp_path / "chain.h5").observables["chiral_condensate"]
    assert trajectories.tolist() == [3, 6, 9, 12]
    U = GaugeField(Lattice((8, 8)), 2)
    (condensate,) = (o for o, _ in make_observables(card_of(), U.lattice) if o.name == "chiral_condensate")
    for number in (6, 9, 12):
        U.from_sites(load_links(tmp_path / "configs" / f"cfg_{number:06d}.h5")[0])
        np.testing.assert_allclose(values[trajectories == number][0], condensate.measure(U, Draws(7, number)), rtol=1e-8)
    # nothing of thermalization is kept
    assert sorted(path.name for path in (tmp_path / "configs").iterdir()) == [f"cfg_{n:06d}.h5" for n in (6, 9, 12)]


def test_a_chain_that_cannot_be_written_has_no_later_checkpoint(tmp_path, uninterrupted, monkeypatch):
    run = tmp_path / "run"
    created = simulation.create(card_of(), run)
    with monkeypatch.context() as patch:
        patch.setattr(EnsembleFile, "flush", lambda self: (_ for _ in ()).throw(InputError("disk full")))
        with pytest.raises(InputError, match="disk full"):
            created.run()
    assert final_links(run)[1] == 0
    assert simulation.resume(run).run()
    assert_same_chain(run, uninterrupted)


def test_fluxes_of_thermalization_are_not_kept(tmp_path):
    from test_scalar_runs import card_of

    assert simulation.create_scalar(card_of("run.save_every=4"), tmp_path).run()
    assert sorted(path.name for path in (tmp_path / "configs").iterdir()) == [f"cfg_{n:06d}.h5" for n in (8, 12, 16)]
