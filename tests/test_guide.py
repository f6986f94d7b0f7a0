"""Self-learning HMC from a card: exact whatever the guide is, reversible, nested corrections, the guide's own quarks."""

from math import erfc

import numpy as np
import pytest
from cards import gauge, hmc, quark, run_table
from monte_carlo import assert_reversible, plaquette, sample
from test_hmc import assert_exact
from test_rhmc import public

from slhmc.actions import CompositeAction, LinearCombination, LogDeterminantAction, SmearedAction, WallSlicesAction
from slhmc.analysis import gamma_method
from slhmc.errors import ComputationError
from slhmc.io import Weights
from slhmc.lattice import AlgebraField, Draws, GaugeField, Purpose
from slhmc.runcard import parse_card
from slhmc.simulation.build import kernel_units, make_observables, make_update
from slhmc.simulation.guide import guide_network, guide_parts, target_parts

pytestmark = pytest.mark.device
CARD = gauge((4, 4), 1.0) + quark(0.2) + hmc(6) + run_table(trajectories=1, seed=1)
FOUR = CARD.replace("[4, 4]", "[4, 4, 4, 4]").replace("beta = 1.0", "beta = 2.7").replace("mass = 0.2", "mass = 0.3")
GUIDE = "[guide]\nquarks = [{ mass = 0.3 }]\n"
SMEARING = '[smearing]\nweights = [[0.05]]\n'
ATTENTION = '[network]\nkind = "attention"\nweights = [[-0.03], [0.003], [0.002], [0.05]]\n'


def network(plaquettes, lines, name="network"):
    """A layer of plaquettes and Polyakov loops in time."""
    return f'[{name}]\nloops = ["plaquette", "polyakov_t"]\nweights = [[{plaquettes}, {lines}]]\n'


def card_of(text, *overrides):
    return parse_card(text, "card.toml", list(overrides))


@pytest.fixture
def updates(make_lattice):
    """Factory of (update, hot links, card) of a text."""
    def make(text, *overrides, weights=None):
        card = card_of(text, *overrides)
        lattice = make_lattice(*card.lattice.extent)
        U = GaugeField(lattice, card.lattice.colors)
        U.randomize(Draws(5, 0).next(Purpose.START))
        return make_update(card, lattice, weights=weights), U, card
    return make


@pytest.fixture
def thermalized(updates):
    """The same after plain HMC by the target."""
    def make(text, *overrides, trajectories=40, **keys):
        update, U, card = updates(text, *overrides, **keys)
        sample(make_update(card.model_copy(update={"guide": None}), U.lattice), U, 0, trajectories)
        return update, U, card
    return make


# ---- exactness
@pytest.fixture(scope="module")
def plain(make_lattice):
    """Plaquettes of plain HMC by the target, and by a guide as if it were one."""
    found = {}
    for name, text in (("target", CARD), ("guide", CARD.replace("mass = 0.2", "mass = 0.3"))):
        lattice = make_lattice(4, 4)
        update = make_update(card_of(text), lattice)
        values, delta_h = sample(update, GaugeField(lattice, 2), 8000, 50, seed=3)
        assert np.minimum(1, np.exp(-delta_h)).mean() > 0.98
        found[name] = gamma_method(values)
    return found


@pytest.mark.parametrize(("text", "acceptance"), [
    (GUIDE, (0.5, 0.7)),
    (GUIDE + network(0, 0), (0.5, 0.7)),
    (GUIDE + network(-0.02, 0), (0.6, 0.8)),
    (GUIDE + network(0.03, 0.02), (0.2, 0.5)),
    (GUIDE + ATTENTION, (0.4, 0.8)),
    (GUIDE + network(0.03, 0.02) + "[guide.correction]\nevery = 2\n", (0.8, 0.97)),
    (GUIDE + network(0.03, 0.02) + "[guide.correction]\nevery = 1\n", (0.98, 1.0)),
], ids=["thin", "untrained", "good", "bad", "attention", "nested", "every step"])
def test_any_guide_samples_the_target(thermalized, plain, text, acceptance):
    """<exp(-dH)> = 1 and the target's plaquette, within 4 sigma; what the thin guide itself would sample is far from it."""
    update, U, _ = thermalized(CARD + text)
    values, delta_h = sample(update, U, 6000, 0, seed=2)
    probability = np.minimum(1, np.exp(-delta_h)).mean()
    assert acceptance[0] < probability < acceptance[1]
    weights, found, target = gamma_method(np.exp(-delta_h)), gamma_method(values), plain["target"]
    assert abs(weights.mean - 1) < 4 * weights.error and weights.error < 0.15
    assert abs(found.mean - target.mean) < 4 * np.hypot(found.error, target.error)
    assert abs(target.mean - plain["guide"].mean) > 4 * np.hypot(target.error, plain["guide"].error)
    assert erfc(np.sqrt(max(delta_h.mean(), 0)) / 2) == pytest.approx(probability, abs=0.08)


def test_thin_guide_of_the_published_point(thermalized):
    """SU(2), 4^4, beta 2.7, m 0.3 by 0.4: about 55 % are accepted, erfc(sqrt(<dH>) / 2) of them by the sum rule."""
    update, U, _ = thermalized(FOUR.replace("steps = 6", "steps = 10") + GUIDE.replace("0.3", "0.4"), trajectories=100)
    values, delta_h = sample(update, U, 2000, 0)
    probability = np.minimum(1, np.exp(-delta_h)).mean()
    assert probability == pytest.approx(0.545, abs=0.04)
    assert erfc(np.sqrt(delta_h.mean()) / 2) == pytest.approx(probability, abs=0.03)
    found = gamma_method(values)
    assert abs(found.mean - 0.7025) < 4 * np.hypot(found.error, 1e-4)


def test_smeared_target_is_sampled_with_a_thin_guide(thermalized):
    """The target has stout quarks, the guide's network none."""
    update, U, _ = thermalized(CARD + SMEARING + "[network]\nlayers = 0\n[guide]\n")
    _, delta_h = sample(update, U, 4000, 0)
    assert_exact(delta_h, (0.3, 0.85))


WALLS = gauge((4, 4, 2, 2), 2.7) + quark(0.2, "domain_wall") + "Ls = 6\nM5 = 1.8\n" + hmc(6) + run_table(trajectories=1, seed=1)


def test_a_shorter_fifth_dimension_guides(thermalized):
    """Ls = 4 for a target with 6."""
    update, U, _ = thermalized(WALLS + "[guide]\nquarks = [{ Ls = 4, mass = 0.2 }]\n", trajectories=20)
    _, delta_h = sample(update, U, 400, 0)
    estimate = gamma_method(np.exp(-delta_h))
    assert abs(estimate.mean - 1) < 4 * estimate.error and estimate.error < 0.15
    assert 0.1 < np.minimum(1, np.exp(-delta_h)).mean() < 0.95


# ---- reversibility
@pytest.mark.parametrize("text", [
    FOUR + network(-0.01, 0.02) + GUIDE.replace("0.3", "0.4"),
    FOUR + ATTENTION + GUIDE.replace("0.3", "0.4"),
    FOUR + SMEARING + network(-0.01, 0.02) + GUIDE.replace("0.3", "0.4") + "[guide.correction]\nevery = 2\n",
    FOUR + network(0.02, 0.02) + GUIDE.replace("0.3", "0.4") + 'correction = { every = 1, scheme = "omf4" }\n',
    WALLS + '[network]\nkind = "ape"\nweights = [[0.02]]\n[guide]\nquarks = [{ Ls = 4 }]\ncorrection = { every = 3 }\n',
], ids=["guided", "attention", "nested", "every step", "walls"])
def test_trajectories_are_reversible(thermalized, text):
    update, U, _ = thermalized(text, "solver.precision=double", "solver.force_tolerance=1e-12", trajectories=6)
    phi = update.target.refresh(U, Draws(6, 1))
    P = AlgebraField(U.lattice, 2)
    P.draw_gaussian(Draws(6, 1).next(Purpose.MOMENTA))
    assert_reversible(update, U, P, phi, 1e-8, 1e-7)


@pytest.mark.parametrize("correction", ["", "[guide.correction]\nevery = 2\n"], ids=["guided", "nested"])
def test_a_chronological_start_knows_nothing_of_earlier_trajectories(updates, correction):
    """The same quarks on thin and on smeared links, whose start vectors are not each other's: a later trajectory is the same, to
    the last bit, if it is the first of an update."""
    overrides = "solver.start=chronological", "solver.force_tolerance=1e-10"
    text = FOUR + network(0.03, 0.02) + "[guide]\n" + correction
    (update, U, _), (fresh, V, _) = updates(text, *overrides), updates(text, *overrides)
    for number in (1, 2):
        update.step(U, 3, number)
    V.assign(U)
    assert update.step(U, 3, 3) == fresh.step(V, 3, 3)


# ---- what a card means
def test_every_step_is_plain_hmc(updates):
    """Bit for bit, also with the correction's scheme and the guide's solver set to something else."""
    text = network(0.02, 0.02) + GUIDE + 'solver.force_tolerance = 1e-3\n[guide.correction]\nevery = 1\nscheme = "omf4"\n'
    chains = [[update.step(U, 3, number) for number in (1, 2, 3)]
              for update, U, _ in (updates(FOUR + text), updates(FOUR))]
    assert chains[0] == chains[1]


def test_a_guide_without_keys_is_the_target(updates):
    chains = [[update.step(U, 3, number) for number in (1, 2)]
              for update, U, _ in (updates(FOUR + SMEARING + text) for text in ("[guide]\n", ""))]
    assert chains[0] == chains[1]


@pytest.mark.parametrize(("every", "scheme", "outer"), [(2, "leapfrog", 6), (3, "omelyan2", 2), (12, "leapfrog", 1)])
def test_levels_of_a_nested_correction(updates, every, scheme, outer):
    """The drifts are those of [hmc] alone; between them the kicks of the correction, as often as the card says."""
    overrides = ("hmc.steps=12", f"guide.correction.every={every}", f"guide.correction.scheme={scheme}")
    update, _, _ = updates(FOUR + GUIDE, "guide.quarks.0.mass=0.4", *overrides, "gauge.level=1",
                           "hmc.inner=[{scheme='leapfrog', steps=2}]")
    assert [(level.scheme, level.steps) for level in update.guide] == [(scheme, outer), ("omelyan2", every), ("leapfrog", 2)]
    assert sum(kind == "U" for kind, _ in update.moves) == 12 * 2 * 2
    assert sum(kind == 0 for kind, _ in update.moves) == outer * {"leapfrog": 1, "omelyan2": 2}[scheme] + 1
    assert {type(level.action) for level in update.guide[1:]} == {CompositeAction}
    assert isinstance(update.guide[0].action, LinearCombination)


def test_force_of_the_correction_is_target_minus_guide(updates):
    """And the gauge force is left out where both have the same; with another beta it is not."""
    for beta in (None, 2.5):
        overrides = () if beta is None else (f"guide.beta={beta}",)
        update, U, card = updates(FOUR + SMEARING + network(0.03, 0.02) + GUIDE + "[guide.correction]\nevery = 2\n", *overrides)
        phi = update.target.refresh(U, Draws(4, 1))
        guide = sum(public(part.force(U, phi[name])) for name, (part, _) in guide_parts(card, U.lattice).items())
        expected = public(update.target.force(U, phi)) - guide
        found = public(update.guide[0].action.force(U, phi))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8 * abs(expected).max())
        names = {name for _, action in update.guide[0].action.terms for name in named_parts(action)}
        assert ("gauge" in names) == (beta is not None)


def test_a_factor_multiplies_pseudofermions_alone(updates):
    """Action and force of the guide's quark, but not its gauge action or the log det of clover blocks."""
    for overrides in ((), ("quarks.0.operator=clover", "quarks.0.c_sw=1.1")):
        update, U, card = updates(FOUR + GUIDE, "guide.quarks.0.factor=1.3", *overrides)
        plain = card_of(FOUR + GUIDE, *overrides)
        phi = update.target.refresh(U, Draws(4, 1))
        for name, (part, _) in guide_parts(card, U.lattice).items():
            once = guide_parts(plain, U.lattice)[name][0]
            factor = 1.3 if name.startswith("quarks") and not isinstance(part, LogDeterminantAction) else 1.0
            assert float(part.action(U, phi[name])) == pytest.approx(factor * float(once.action(U, phi[name])), rel=1e-10)
            expected = factor * public(once.force(U, phi[name]))
            np.testing.assert_allclose(public(part.force(U, phi[name])), expected, rtol=0, atol=1e-8 * abs(expected).max())


def named_parts(action):
    """Names of the parts of a composite, smeared or not, or of a combination of these."""
    if isinstance(action, LinearCombination):
        return {name for _, part in action.terms for name in named_parts(part)}
    return set(action.base.parts if isinstance(action, SmearedAction) else action.parts)


def test_guide_parts_are_the_targets_but_for_their_keys(updates):
    """Names and levels of the target; own masses, smeared each by itself, slices at the walls, masses that were trained."""
    text = WALLS.replace("mass = 0.2", "mass = 0.2\nhasenbusch = [0.5]\nlevel = [0, 1]").replace(
        "steps = 6", "steps = 6\ninner = [{ scheme = 'leapfrog', steps = 1 }]") + network(0.03, 0.02)
    _, U, card = updates(text + "[guide]\nquarks = [{ mass = 0.3, Ls = 4, hasenbusch = [0.6] }]\n")
    target, guide = target_parts(card, U.lattice), guide_parts(card, U.lattice)
    assert [(name, level) for name, (_, level) in guide.items()] == [("gauge", 0), ("quarks.0.0", 0), ("quarks.0.1", 1)]
    assert target.keys() == guide.keys()
    actions = [guide[name][0] for name in ("quarks.0.0", "quarks.0.1")]
    assert all(isinstance(action, SmearedAction) and isinstance(action.base, WallSlicesAction) for action in actions)
    assert len({id(action.network) for action in actions}) == 1
    made = [[operator.factor.parameters for operator in action.base.base.operators(U)] for action in actions]
    assert [(p.mass, p.Ls) for pair in made for p in pair] == [(0.3, 4), (0.6, 4), (0.6, 4), (1.0, 4)]
    weights = Weights(guide_network(card, U.lattice).table(), {"layer1.plaquette": 0.5, "layer1.polyakov_t": -0.25,
                                                             "quarks.0.mass": 0.35, "gauge.beta": 2.5}, 1)
    trained = guide_parts(card, U.lattice, weights=weights)
    assert trained["quarks.0.0"][0].base.base.operators(U)[0].factor.parameters.mass == 0.35
    assert trained["gauge"][0].beta == 2.5
    np.testing.assert_array_equal(trained["quarks.0.0"][0].network.parameters, [0.5, -0.25])


def test_a_guide_has_its_own_smearing_only(updates):
    """With a network it sees network(U), without one what the target sees."""
    _, U, card = updates(FOUR + SMEARING + GUIDE)
    assert guide_network(card, U.lattice).table()["loops"] == ["plaquette"]
    np.testing.assert_array_equal(guide_network(card, U.lattice).parameters, [0.05])
    _, U, card = updates(FOUR + SMEARING + network(0.3, 0.4) + GUIDE)
    np.testing.assert_array_equal(guide_network(card, U.lattice).parameters, [0.3, 0.4])
    _, U, card = updates(FOUR + GUIDE)
    assert guide_network(card, U.lattice) is None


# ---- ranges of rational approximations
def test_a_guide_outside_its_range_is_told_apart(updates):
    """One flavour of Wilson quarks; the target's range holds."""
    text = FOUR.replace('operator = "staggered"\nmass = 0.3',
                        'operator = "wilson"\nmass = 0.3\nflavors = 1\nrational = { lowest = 0.01, highest = 60 }')
    guided = text + "[guide]\nquarks = [{ mass = 0.4, rational = { highest = 2.0 } }]\n"
    update, U, _ = updates(guided)
    with pytest.raises(ComputationError, match=r"trajectory 1: eigenvalues of the guide's quark operator from .* holds from "
                                               r"0\.01 to 2: its forces would be worthless; .* guide\.quarks\.N\.rational\.low"):
        update.step(U, 1, 1)
    updates(text + "[guide]\nquarks = [{ mass = 0.4 }]\n")[0].step(U, 1, 1)


def test_each_spectrum_is_looked_at_once_a_trajectory(updates, monkeypatch):
    """Of plain HMC the target's, of a guided one the guide's, too."""
    from slhmc.actions.rational import extreme_eigenvalues
    calls = []

    def watched(operator, random):
        calls.append(random.draw)
        return extreme_eigenvalues(operator, random)
    monkeypatch.setattr("slhmc.actions.rational.extreme_eigenvalues", watched)
    text = FOUR.replace("mass = 0.3", "mass = 0.3\nflavors = 2\nrational = { highest = 15 }")
    for guide, expected in (("", [0]), ("[guide]\nquarks = [{ mass = 0.4 }]\n", [0, 1]), ("[guide]\nbeta = 2.6\n", [0])):
        calls.clear()
        update, U, _ = updates(text + guide)
        update.step(U, 1, 1)
        assert calls == expected


# ---- observables, kernels
def test_condensate_is_that_of_smeared_links(updates):
    """Quark observables see [smearing], loops do not."""
    measured = "[measure.chiral_condensate]\nnoise = 2\n"
    _, U, card = updates(FOUR + SMEARING + measured)
    smeared, thin = ({o.name: o for o, _ in make_observables(c, U.lattice)} for c in (card, card_of(FOUR + measured)))
    V = guide_network(card_of(FOUR + SMEARING + GUIDE), U.lattice).smear(U).copy()
    values = [smeared["chiral_condensate"].measure(U, Draws(1, 1)), thin["chiral_condensate"].measure(V, Draws(1, 1))]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-9)
    assert abs(values[0] - thin["chiral_condensate"].measure(U, Draws(1, 1))).max() > 1e-4
    assert smeared["plaquette"].measure(U, None) == plaquette(U)


@pytest.mark.parametrize("text", [
    FOUR + network(0.02, 0.02) + GUIDE + 'solver.precision = "double"\n', FOUR + ATTENTION + GUIDE,
    FOUR + SMEARING + "[measure.chiral_condensate]\n",
    WALLS + "[guide]\nquarks = [{ Ls = 4 }]\nsolver.precision = 'mixed'\n[solver]\nprecision = 'double'\n"])
def test_all_kernels_are_compiled_before_the_run(updates, monkeypatch, text):
    update, U, card = updates(text)
    asked, device = set(), U.lattice.device
    unit = device.unit

    def watched(*key):
        asked.add(key)
        return unit(*key)
    monkeypatch.setattr(device, "unit", watched)
    update.step(U, 1, 1)
    for observable, _ in make_observables(card, U.lattice):
        observable.measure(U, Draws(1, 1))
    assert {key for key in asked if key[0] not in ("tape.cc", "messages.cc")} <= set(kernel_units(card, U.lattice))
