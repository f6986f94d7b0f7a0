"""Run cards: every fault is found, at its line, in words; a resolved card written out is the same card."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from slhmc.errors import RunCardError
from slhmc.runcard import RunCard, card_text, json_schema, load_card, parse_card
from slhmc.runcard.positions import key_lines

CARD = """\
[lattice]
extent = [4, 4, 4, 8]
colors = 2
[gauge]
action = "wilson"
beta = 2.7
[[quarks]]
operator = "staggered"
mass = 0.3
[hmc]
scheme = "omelyan2"
steps = 10
[run]
trajectories = 100
seed = 1
"""


def faults(text: str, *overrides: str) -> list[str]:
    with pytest.raises(RunCardError) as caught:
        parse_card(text, "card.toml", overrides)
    return str(caught.value).splitlines()


def edited(old: str, new: str) -> str:
    assert CARD.count(old) == 1
    return CARD.replace(old, new)


def test_defaults_are_those_of_the_documentation():
    card = parse_card(CARD, "card.toml")
    assert card.lattice.extent == (4, 4, 4, 8)
    assert card.lattice.fermion_boundary == ("periodic", "periodic", "periodic", "antiperiodic")
    assert card.quarks[0].mass == 0.3 and card.quarks[0].level == 0
    assert card.solver.precision == "mixed" and card.solver.action_tolerance == 1e-12
    assert card.hmc.length == 1.0 and card.hmc.inner == () and card.heat_bath is None
    assert (card.run.start, card.run.thermalization, card.run.checkpoint_every) == ("hot", 0, 50)
    assert card.measure.plaquette.every == card.measure.polyakov_loop.every == 1
    assert card.measure.rectangle is None and card.measure.chiral_condensate is None
    pure = parse_card(CARD.replace('[[quarks]]\noperator = "staggered"\nmass = 0.3\n', ""), "card.toml")
    assert pure.quarks == () and pure.lattice.colors == 2


def test_an_integer_is_a_number_and_a_bool_is_not():
    assert parse_card(edited("beta = 2.7", "beta = 6"), "card.toml").gauge.beta == 6.0
    assert faults(edited("beta = 2.7", "beta = true")) == ["card.toml:6: gauge.beta: expected a number, found true"]
    assert faults(edited("colors = 2", "colors = 2\nlanes = true")) == [
        "card.toml:4: lattice.lanes: expected an integer, found true"
    ]


STAGGERED = 'operator = "staggered"\nmass = 0.3'
SINGLE_FAULTS = [
    (STAGGERED, 'operator = "wilson"\nmass = 0.3\nkappa = 0.1',
     "10: quarks.0.kappa: mass and kappa = 1 / (2 (4 + mass)) are both"),
    (STAGGERED, 'operator = "wilson"', "7: quarks.0.mass: missing: bare quark mass in lattice units, or kappa"),
    (STAGGERED, 'operator = "wilson"\nmass = -4.0', "9: quarks.0.mass: must be greater than -4, where the diagonal 4 + mass"),
    (STAGGERED, 'operator = "wilson"\nkappa = 1e300', "9: quarks.0.kappa: mass = 1 / (2 kappa) - 4 must be greater than -4"),
    (STAGGERED, 'operator = "wilson"\nmass = 0\nc_sw = 1.0', '10: quarks.0.c_sw: "wilson" has no key c_sw; it has mass, kappa, '
     'flavors, rational, hasenbusch, level, and c_sw belongs to "clover"'),
    (STAGGERED, 'operator = "wilson"\nmass = 0\nflavors = 3', "10: quarks.0.flavors: must be at most 2, the flavours of one "
     "field, found 3; add another [[quarks]] for the others"),
    (STAGGERED, 'operator = "wilson"\nmass = 0\nflavors = 1\nrational = { highest = 30 }',
     "11: quarks.0.rational.lowest: missing: lower end of the spectrum of M^+ M, for which no bound is known"),
    (STAGGERED, 'operator = "clover"\nmass = 0\nc_sw = 1\n[quarks.rational]\nlowest = 1e-3',
     "11: quarks.0.rational.highest: missing: upper end of the spectrum of M^+ M, for which no bound is known"),
    (STAGGERED, 'operator = "wilson"\nmass = 0\nflavors = 1\nrational = { lowest = 0.0, highest = 30 }',
     "11: quarks.0.rational.lowest: must be greater than 0, found 0"),
    (STAGGERED, 'operator = "wilson"\nmass = 0\nflavors = 1\nhasenbusch = [1]\nrational = { lowest = 0.1, highest = 30 }',
     "11: quarks.0.hasenbusch: a rational approximation is of the whole"),
    (STAGGERED, 'operator = "domain_wall"\nmass = 0.1\nLs = 4\nM5 = 1.8\nflavors = 1',
     '12: quarks.0.flavors: "domain_wall" has no key flavors; it has mass, Ls, M5, hasenbusch, level, and flavors belongs to '
     '"staggered" or "wilson" or "clover"'),
    (STAGGERED, 'operator = "clover"\nmass = 0', "7: quarks.0.c_sw: missing: Sheikholeslami-Wohlert coefficient"),
    (STAGGERED, 'operator = "domain_wall"\nmass = 0.1\nLs = 4', "7: quarks.0.M5: missing: domain-wall height"),
    (STAGGERED, 'operator = "domain_wall"\nmass = 1.5\nLs = 4\nM5 = 1.8', "9: quarks.0.mass: must be between 0 and 1, the mass"),
    (STAGGERED, 'operator = "domain_wall"\nmass = 0.1\nLs = 4\nM5 = 1.8\nb5 = 1.0',
     '12: quarks.0.b5: "domain_wall" has no key b5'),
    (STAGGERED, 'operator = "domain_wall"\nmass = 0.1\nLs = 4\nM5 = 1.8\nhasenbusch = [0.5, 1.0]',
     "12: quarks.0.hasenbusch.1: must be between 0 and 1"),
    (STAGGERED, 'operator = "moebius"\nmass = 0.1\nLs = 4\nM5 = 1.8\nb5 = 1.0\nc5 = 3.0',
     "13: quarks.0.c5: (c5 - b5) (4 - M5) must"),
    (STAGGERED, 'operator = "moebius"\nmass = 0.1\nLs = 1\nM5 = 1.8\nb5 = 1.0\nc5 = 0', "10: quarks.0.Ls: must be at least 2"),
    (STAGGERED, 'operator = "overlap"\nmass = 0.1', '8: quarks.0.operator: expected "staggered", "wilson", "clover", '),
    ("mass = 0.3", "mass = 0.3\nkappa = 0.1", '10: quarks.0.kappa: "staggered" has no key kappa; it has mass, '),
    ("mass = 0.3", "mass = 0.3\nhasenbusch = [0.5, 0.4]", "10: quarks.0.hasenbusch.1: 0.4 is not above the one before, 0.5"),
    ("mass = 0.3", "mass = 0.3\nhasenbusch = [0.2]", "10: quarks.0.hasenbusch.0: 0.2 is not above the quark's mass, 0.3"),
    ("mass = 0.3", 'mass = 0.3\nhasenbusch = ["heavy"]', '10: quarks.0.hasenbusch.0: expected a number, found "heavy"'),
    ("mass = 0.3", "mass = 0.3\nhasenbusch = [0.5]\nflavors = 2",
     "10: quarks.0.hasenbusch: a rational approximation is of the whole"),
    ("mass = 0.3", "mass = 0.3\nhasenbusch = [0.5]\nlevel = [0]", "11: quarks.0.level: 1 entry for 2 factors of the determinant"),
    ("mass = 0.3", "mass = 0.3\nlevel = [0, 0]", "10: quarks.0.level: 2 entries for 1 factor of the determinant"),
    ("mass = 0.3", "mass = 0.3\nhasenbusch = [0.5]\nlevel = [0, 1]", "11: quarks.0.level.1: level 1 has no scheme"),
    ("mass = 0.3", "mass = 0.3\nlevel = -1", "10: quarks.0.level: expected a level (0, 1, 2 ...) or a list of them, found -1"),
    ("beta = 2.7", "beta = 2.7\nbetta = 2", "7: gauge.betta: unknown key; did you mean beta?"),
    ("colors = 2", "colors = 2\nbeta = 2", "4: lattice.beta: unknown key; beta belongs to [gauge]"),
    ("steps = 10", "steps = 10\nzzz = 1", "13: hmc.zzz: unknown key; [hmc] has scheme, length, steps, inner"),
    ("[run]", "[rnu]\n[run]", "13: rnu: unknown table; did you mean run?"),
    ("beta = 2.7", "", "4: gauge.beta: missing: inverse coupling beta"),
    ("beta = 2.7", "beta = -1", "6: gauge.beta: must be greater than 0, found -1"),
    ("beta = 2.7", "beta = inf", "6: gauge.beta: expected a finite number, found Infinity"),
    ("beta = 2.7", 'beta = "2.7"', '6: gauge.beta: expected a number, found "2.7"'),
    ("mass = 0.3", "mass = 0.0", "9: quarks.0.mass: must be greater than 0: a massless staggered operator"),
    ("mass = 0.3", "mass = -0.1", "9: quarks.0.mass: must be greater than 0: a massless staggered operator"),
    ("colors = 2", "colors = 7", "3: lattice.colors: must be at most 6, found 7"),
    ("colors = 2", "colors = 5", "3: lattice.colors: quarks need 2 or 3 colors, f"),
    ("colors = 2", "colors = 2.0", "3: lattice.colors: expected an integer, found 2.0"),
    ("[4, 4, 4, 8]", "[4, 4, 3, 8]", "2: lattice.extent.2: must be even, found 3"),
    ("[4, 4, 4, 8]", "[4,\n4,\n0]", "4: lattice.extent.2: must be at least 2, found 0"),
    ("[4, 4, 4, 8]", "[4]", "2: lattice.extent: expected at least 2 entries, found 1"),
    ("[4, 4, 4, 8]", "[4, 4, 4, 4, 4]", "2: lattice.extent: expected at most 4 entries, found 5"),
    ("[4, 4, 4, 8]", "4", "2: lattice.extent: expected a list, found 4"),
    ("colors = 2", "ranks = [1, 2]", "3: lattice.ranks: 2 entries for 4 directions of lattice.extent"),
    ("colors = 2", "ranks = [1, 1, 1, 3]", "3: lattice.ranks.3: 3 ranks cut extent 8 into 2.667 sites each"),
    ("colors = 2", "ranks = [4, 1, 1, 1]", "3: lattice.ranks.0: 4 ranks cut extent 4 into 1 sites each"),
    ("colors = 2", "ranks = [2, 1, 1, 2]\nlanes = 8", "4: lattice.lanes: 8 lanes need as many sub-blocks of even"),
    ("colors = 2", "lanes = 3", "3: lattice.lanes: expected 1, 2, 4, 8, 16 or 32, found 3"),
    ("colors = 2", 'fermion_boundary = ["periodic"]', "3: lattice.fermion_boundary: 1 entry for 4 directions"),
    ("colors = 2", 'fermion_boundary = ["open"]', '3: lattice.fermion_boundary.0: expected "periodic" or '),
    ('"wilson"', '"wilsn"', '5: gauge.action: expected "wilson", "symanzik", "iwasaki", "dbw2" or "custom", found'),
    ('"wilson"', '"custom"', '5: gauge.action: "custom" needs the rectangle coefficient gauge.c1'),
    ('"wilson"', '"dbw2"\nc1 = -1.4', '6: gauge.c1: "dbw2" fixes c1; use action = "custom" to choose it'),
    ('"wilson"', '"wilson"\nlevel = 1', "6: gauge.level: level 1 has no scheme: [hmc] is level 0 and hmc.inner has 0"),
    (
        "steps = 10",
        'steps = 10\ninner = [{scheme = "omf4", steps = 2}]',
        "13: hmc.inner.0: no action has level 1, so its steps would do nothing",
    ),
    (
        "mass = 0.3\n[hmc]",
        'mass = 0.3\nlevel = 1\n[[quarks]]\noperator = "staggered"\nmass = 1\nlevel = 2\n[hmc]\n'
        'inner = [{scheme = "omf4", steps = 2}]',
        "14: quarks.1.level: level 2 has no scheme: [hmc] is level 0 and hmc.inner has 1 entry",
    ),
    ("[hmc]", "[heat_bath]\n[hmc]", "10: heat_bath: the card has [hmc] and [heat_bath]; keep one"),
    (
        '[hmc]\nscheme = "omelyan2"\nsteps = 10',
        "[heat_bath]",
        "10: heat_bath: a heat bath cannot update links with [[quarks]]; use [hmc]",
    ),
    ("steps = 10", "steps = 0", "12: hmc.steps: must be at least 1, found 0"),
    ("seed = 1", "seed = 4294967296", "15: run.seed: must be at most 4294967295, found 4294967296"),
    ("seed = 1", 'seed = 1\nstart = "file"', '16: run.start: "file" needs run.start_file'),
    ("seed = 1", 'seed = 1\nstart_file = "a.h5"', '16: run.start_file: has a meaning only with start = "file", found'),
    (
        "mass = 0.3",
        'mass = 0.3\nflavors = 2\n[solver]\nstart = "chronological"\nforce_tolerance = 1e-11',
        "12: solver.start: the solves of rational approximations begin at zero",
    ),
    ("[hmc]", '[solver]\nstart = "chronological"\nforce_tolerance = 1e-8\n[hmc]', "11: solver.start: a chronological"),
    ("[hmc]", "[measure]\nplaquete.every = 2\n[hmc]", "11: measure.plaquete: unknown key; did you mean plaquette?"),
    ("mass = 0.3", "mass = 0.3\nflavors = 5", "10: quarks.0.flavors: must be at most 4, found 5"),
    ("mass = 0.3", "mass = 0.3\nrational.order = 0", "10: quarks.0.rational.order: must be at least 1, found 0"),
    ("mass = 0.3", "mass = 0.3\nrational.accuracy = 1e-16", "10: quarks.0.rational.accuracy: must be at least 1e-15, found"),
    ("mass = 0.3", "mass = 0.3\n[quarks.rational]\nhigh = 5", "11: quarks.0.rational.high: unknown key; did you mean highest?"),
    (
        "mass = 0.3",
        "mass = 0.3\nrational = { lowest = 2, highest = 1.5 }",
        "10: quarks.0.rational.lowest: must be less than highest = 1.5, found 2",
    ),
    ("[[quarks]]", "[quarks]", "7: quarks: expected a list of tables, written [[quarks]], found a table"),
    ("[hmc]", "[reference]\nsource = 'x'\nplaquette = 3\n[hmc]", "12: reference.plaquette: expected a table, found 3"),
]


G = "[guide]\n"  # at line 13
WALL = 'operator = "domain_wall"\nmass = 0.1\nLs = 8\nM5 = 1.8'
GUIDE_FAULTS = [
    (STAGGERED, G + "quarks = [{ mass = 0.4 }, {}]", "14: guide.quarks: 2 entries for 1 [[quarks]]; give one for each"),
    (STAGGERED, G + "quarks = [{ mass = -0.4 }]", "14: guide.quarks.0.mass: must be greater than 0: a massless staggered"),
    (STAGGERED, G + "quarks = [{ kappa = 0.1 }]", '14: guide.quarks.0.kappa: the target\'s quark is "staggered", which has no'),
    (STAGGERED, G + "quarks = [{ Ls = 4 }]", '14: guide.quarks.0.Ls: the target\'s quark is "staggered", which has no key Ls'),
    (STAGGERED, G + "quarks = [{ level = 1 }]", "14: guide.quarks.0.level: unknown key; level belongs to [gauge]"),
    (STAGGERED, G + 'quarks = [{ operator = "wilson" }]', "14: guide.quarks.0.operator: unknown key; "),
    (STAGGERED, G + "quarks = [{ hasenbusch = [1.0] }]", "14: guide.quarks.0.hasenbusch: 1 entry for 0 of the target"),
    (STAGGERED, G + "quarks = [{ rational = { order = 9 } }]", "14: guide.quarks.0.rational: the target takes the whole"),
    (STAGGERED + "\nflavors = 2", G + "quarks = [{ rational = { lowest = 3, highest = 2 } }]",
     "15: guide.quarks.0.rational.lowest: must be less than highest = 2, found 3"),
    (STAGGERED + "\nhasenbusch = [0.5]", G + "quarks = [{ mass = 0.6 }]",
     "15: guide.quarks.0.hasenbusch.0: 0.5 is not above the quark's mass, 0.6"),
    ('operator = "wilson"\nmass = 0.3', G + "quarks = [{ mass = 0.4, kappa = 0.1 }]", "14: guide.quarks.0.kappa: mass and kap"),
    (WALL, G + "quarks = [{ Ls = 10 }]", "16: guide.quarks.0.Ls: must be at most the target's, 8, whose pseudofermions it takes"),
    (WALL, G + "quarks = [{ Ls = 5 }]", "16: guide.quarks.0.Ls: must be even, so that both walls lend as many slices, found 5"),
    (WALL, G + "quarks = [{ mass = 1.5 }]", "16: guide.quarks.0.mass: must be between 0 and 1, the mass of the Pauli-Villars"),
    (STAGGERED, G + "beta = -1", "14: guide.beta: must be greater than 0, found -1"),
    (STAGGERED, G + 'network = ""', "14: guide.network: expected a string that is not empty"),
    (STAGGERED, G + "mass = 0.4", "14: guide.mass: unknown key; mass belongs to [quarks]"),
    (STAGGERED, G + "solver.action_tolerance = 1e-8", "14: guide.solver.action_tolerance: unknown key; "),
    (STAGGERED, G + 'solver = { start = "chronological", force_tolerance = 1e-8 }', "14: guide.solver.start: a chronologica"),
    (STAGGERED, '[solver]\nstart = "chronological"\n' + G + "solver.force_tolerance = 1e-8",
     "16: guide.solver.start: a chronological guess is reversible only with force_tolerance <= 1e-10, found 1e-08"),
    (STAGGERED, G + 'solver = { start = "warm" }', '14: guide.solver.start: expected "zero" or "chronological", found "warm"'),
    (STAGGERED, G + "correction = {}", "14: guide.correction.every: missing: steps of [hmc] for each drift"),
    (STAGGERED, G + "correction = { every = 0 }", "14: guide.correction.every: must be at least 1, found 0"),
    (STAGGERED, G + "correction = { every = 3 }", "14: guide.correction.every: 3 does not divide hmc.steps = 10"),
    (STAGGERED, G + 'correction = { every = 2, scheme = "omelyan2" }',
     "14: guide.correction.every: 2 times 2 drifts a step of omelyan2 does not divide hmc.steps = 10"),
    (STAGGERED, G + 'correction = { every = 2, scheme = "rk4" }', '14: guide.correction.scheme: expected "leapfrog", '),
    (STAGGERED, "[network]", "13: network: belongs to a guide, but the card has no [guide]"),
    (STAGGERED, G + '[network]\nloops = ["square"]', '15: network.loops.0: expected "plaquette", "plaquette_ss"'),
    (STAGGERED, G + '[network]\nloops = ["chair", "chair"]', '15: network.loops.1: "chair" is there twice'),
    (STAGGERED, G + "[network]\nloops = []", "15: network.loops: a layer needs at least one loop"),
    (STAGGERED, G + "[network]\nlayers = 2\nweights = [[0.1]]", "16: network.weights: 1 row found, 2 expected, one for each l"),
    (STAGGERED, G + "[network]\nweights = [[0.1, 0.2]]", "15: network.weights.0: 2 numbers found, 1 expected, one for each loop"),
    (STAGGERED, G + "[network]\nweights = [[inf]]", "15: network.weights.0.0: expected a finite number, found Infinity"),
    (STAGGERED, G + '[network]\nkind = "flow"\nlayers = 8\ntime_degree = 2\nweights = [[0.1]]',
     "18: network.weights: 1 row found, 3 expected, one for each power of time"),
    (STAGGERED, G + "[network]\ntime_degree = 1", '15: network.time_degree: has a meaning only with kind = "flow", found'),
    (STAGGERED, G + '[network]\nkind = "cask"', '15: network.kind: expected "stout", "ape" or "flow", found "cask"'),
    (STAGGERED, "[smearing]\nlayers = -1", "14: smearing.layers: must be at least 0, found -1"),
    (STAGGERED, '[smearing]\nloops = ["plaquete"]', '14: smearing.loops.0: expected "plaquette", '),
]


@pytest.mark.parametrize(("quark", "new", "expected"), GUIDE_FAULTS, ids=[fault[2] for fault in GUIDE_FAULTS])
def test_one_fault_of_a_guide_gives_one_line(quark, new, expected):
    text = edited(STAGGERED, quark)
    (line,) = faults(text.replace("[run]", f"{new}\n[run]"))
    assert line.startswith(f"card.toml:{expected}")


def test_what_a_guide_needs_around_it():
    """Molecular dynamics, quarks, two or three colours, directions enough for its loops."""
    bare = CARD.replace(f"[[quarks]]\n{STAGGERED}\n", "")
    for text, expected in (
        (bare.replace('[hmc]\nscheme = "omelyan2"\nsteps = 10', "[heat_bath]\n[guide]\nbeta = 2.0"),
         "8: guide: a heat bath has no molecular dynamics to guide; use [hmc], or leave it out"),
        (bare + "[smearing]\n", "13: smearing: no [[quarks]] are there to see smeared links; leave it out"),
        (bare + "[guide]\n[network]\n", "14: network: no [[quarks]] are there to see the network's links; leave it out"),
        (bare + "[guide]\nnetwork = 'w.h5'\n", "14: guide.network: no [[quarks]] are there to see the network's links; leave"),
        (CARD.replace("colors = 2", "colors = 5") + "[guide]\n[network]\n", "3: lattice.colors: quarks need 2 or 3 colors, f"),
        (CARD.replace("[4, 4, 4, 8]", "[4, 8]") + '[guide]\n[network]\nloops = ["plaquette", "chair_s"]\n',
         '18: network.loops.1: "chair_s" needs three directions, lattice.extent has 2'),
    ):
        (line,) = faults(text)
        assert line.startswith(f"card.toml:{expected}"), line
    assert parse_card(bare + "[guide]\nbeta = 2.0\n", "card.toml").guide.beta == 2.0
    valence = '[[measure.quarks]]\noperator = "staggered"\nmass = 0.1\n[measure.chiral_condensate]\n'
    assert parse_card(bare + "[smearing]\n" + valence, "card.toml").smearing.layers == 1


def test_a_guide_has_the_targets_keys_but_for_its_own():
    text = edited(STAGGERED, 'operator = "clover"\nkappa = 0.125\nc_sw = 1.1\nflavors = 1\nlevel = 0\n'
                             "rational = { lowest = 0.01, highest = 60, order = 20 }")
    own = "quarks = [{ mass = 0.2, rational = { highest = 80 } }]\nsolver.force_tolerance = 1e-6\n"
    card = parse_card(f"{text}[guide]\n{own}", "card.toml")
    (quark,), (target,) = card.guide_quarks, card.quarks
    assert (quark.operator, quark.bare_mass, quark.kappa, quark.c_sw, quark.power) == ("clover", 0.2, None, 1.1, 0.5)
    assert (quark.rational.lowest, quark.rational.highest, quark.rational.order) == (0.01, 80, 20)
    assert target.bare_mass == 0.0 and target.rational.highest == 60
    assert (card.guide_solver.force_tolerance, card.guide_solver.action_tolerance) == (1e-6, 1e-12)
    assert parse_card(card_text(card), "resolved") == card
    assert parse_card(CARD, "card.toml").guide_quarks == parse_card(CARD, "card.toml").quarks
    assert parse_card(text + "[guide]\nquarks = [{ kappa = 0.12 }]\n", "x").guide_quarks[0].bare_mass == 0.5 / 0.12 - 4


def test_weights_are_found_beside_the_card(tmp_path):
    (tmp_path / "card.toml").write_text(CARD + '[guide]\nnetwork = "trained/weights.h5"\n')
    assert load_card(tmp_path / "card.toml").guide.network == str(tmp_path / "trained" / "weights.h5")


def test_choices_of_a_card_are_those_of_the_engine():
    """Loops and kinds of networks, drifts of each scheme."""
    from slhmc.networks import KINDS, LOOPS
    from slhmc.runcard import guide
    from slhmc.runcard.checks import DRIFTS
    from slhmc.updates import SCHEMES
    assert set(guide.Loop.__args__) == set(LOOPS)
    assert set(guide.NetworkTable.model_fields["kind"].annotation.__args__) == set(KINDS)
    assert {name: sum(kind == "U" for kind, _ in scheme) for name, scheme in SCHEMES.items()} == DRIFTS


@pytest.mark.parametrize(("old", "new", "expected"), SINGLE_FAULTS, ids=[fault[2] for fault in SINGLE_FAULTS])
def test_one_fault_gives_one_line(old, new, expected):
    (line,) = faults(edited(old, new))
    assert line.startswith(f"card.toml:{expected}")


def test_wilson_quarks_need_four_directions():
    (line,) = faults(CARD.replace("[4, 4, 4, 8]", "[4, 8]").replace("staggered", "wilson"))
    assert line.startswith('card.toml:8: quarks.0.operator: "wilson" needs four directions, lattice.extent has 2; use "stag')


def test_one_wilson_flavour_needs_the_ends_of_its_spectrum():
    found = faults(edited(STAGGERED, 'operator = "wilson"\nmass = 0\nflavors = 1'))
    assert [line.partition(": missing: ")[0] for line in found] == [
        "card.toml:7: quarks.0.rational.lowest", "card.toml:7: quarks.0.rational.highest"]


def test_quarks_know_their_masses_and_levels():
    text = edited(STAGGERED, 'operator = "wilson"\nkappa = 0.125\nhasenbusch = [0.5, 1]\nlevel = [0, 1, 1]')
    card = parse_card(text, "card.toml", ["hmc.inner=[{scheme='omf4', steps=2}]"])
    assert card.quarks[0].bare_mass == 0.0 and card.quarks[0].levels == (0, 1, 1)
    assert parse_card(card_text(card), "resolved") == card
    assert parse_card(edited("mass = 0.3", "mass = 0.3\nhasenbusch = [1]"), "card.toml").quarks[0].levels == (0, 0)


def test_missing_tables_are_named_without_a_line():
    assert faults("") == [
        "card.toml: lattice: the card needs a table [lattice]: extents, gauge group, boundaries",
        "card.toml: gauge: the card needs a table [gauge]: gauge action",
        "card.toml: run: the card needs a table [run]: start, length and bookkeeping of the chain",
        "card.toml: hmc: no update: the card needs [hmc] or [heat_bath]",
    ]


def test_condensate_needs_quarks_and_heat_bath_the_wilson_action():
    text = '[lattice]\nextent = [4, 4]\n[gauge]\naction = "dbw2"\nbeta = 1\nlevel = 1\n[heat_bath]\n[run]\n'
    text += "trajectories = 1\nseed = 0\n[measure.chiral_condensate]\n"
    assert [line.partition(": ")[2] for line in faults(text)] == [
        'gauge.action: [heat_bath] knows only "wilson", found "dbw2"; use [hmc]',
        "gauge.level: levels belong to [hmc]; leave it out",
        "measure.chiral_condensate: needs at least one [[quarks]], whose condensate it is",
    ]


def test_all_faults_come_at_once_in_the_order_of_the_card():
    text = edited("colors = 2", "colors = 5").replace("beta", "betta").replace("[run]", "[heat_bath]\n[run]")
    found = faults(text.replace("mass = 0.3", 'mass = "light"\nlevel = 2'), "run.seed=-1", "quarks.7.mass=1")
    assert [line.split(": ")[0] for line in found] == [f"card.toml:{n}" for n in (3, 4, 6, 9, 10, 14)] + [
        "--set run.seed=-1",
        "--set quarks.7.mass=1",
    ]


@pytest.mark.parametrize(
    ("text", "where"),
    [("a = \n", "1:5"), ("[a\n", "1:3"), ("a = 1\na = 2\n", "2:6"), ("x = [1,\n\n2", "3:2"), ('a = "\\q"', "1:8")],
)
def test_toml_syntax_errors_have_line_and_column(text, where):
    (line,) = faults(text)
    assert line.startswith(f"card.toml:{where}: not valid TOML: ")


def test_a_level_without_action_is_refused():
    inner = "hmc.inner=[{scheme='omf4', steps=2}]"
    (line,) = faults(CARD, inner, "gauge.level=1", "quarks.0.level=1")
    assert line.startswith("card.toml:10: hmc: no action has level 0, so its steps would do nothing")
    assert len(parse_card(CARD, "card.toml", [inner, "gauge.level=1"]).hmc.inner) == 1


def test_overrides_set_values_as_toml_or_words():
    card = parse_card(
        CARD, "card.toml", ["run.start=cold", "quarks.0.mass=0.4", "lattice.extent=[8, 8]", "measure.rectangle.every=3",
                            "quarks.1.operator='staggered'", "quarks.1.mass=1", "gauge.beta=1", "gauge.beta=2"],
    )
    assert card.run.start == "cold" and [quark.mass for quark in card.quarks] == [0.4, 1.0]
    assert card.lattice.extent == (8, 8) and card.measure.rectangle.every == 3 and card.gauge.beta == 2.0


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("gauge.betta=2", "unknown key; did you mean beta?"),
        ("gauge.beta=strong", 'expected a number, found "strong"'),
        ("guage.x=1", "guage: unknown table; did you mean gauge?"),
        ("lattice.extent=[4, 5]", "lattice.extent.1: must be even, found 5"),
        ("lattice.colors=5", "quarks need 2 or 3 colors, found 5"),
        ("gauge", "expected table.key=value, such as gauge.beta=5.7 or quarks.0.mass=0.1"),
        ("gauge..beta=1", "expected table.key=value, such as gauge.beta=5.7 or quarks.0.mass=0.1"),
        ("gauge.beta=[1", "[1 is not a TOML value"),
        ("gauge.beta=", "nothing is not a TOML value"),
        ("gauge.beta.x=1", "gauge.beta is not a table, so it has no key x"),
        ("gauge.0=1", "gauge is not a list, so it has no entry 0"),
        ("quarks.mass=1", "quarks is not a table, so it has no key mass"),
        ("quarks.2.mass=1", "quarks has 1 entry, counted from 0"),
    ],
)
def test_a_fault_of_an_override_names_the_override(override, words):
    assert faults(CARD, override) == [f"--set {override}: {words}"]


def test_an_override_cannot_smuggle_in_another_key():
    assert faults(CARD, "gauge.beta=1\nx = 2")[0].startswith("--set gauge.beta=1")


def test_files_that_cannot_be_read_are_refused_in_words(tmp_path):
    (tmp_path / "binary.toml").write_bytes(b"a = '\xff'")
    for name, words in (("none.toml", "no such file"), (".", "is a directory"), ("binary.toml", "byte 5 is not UTF-8")):
        with pytest.raises(RunCardError, match=words):
            load_card(tmp_path / name)
    (tmp_path / "marked.toml").write_bytes(b"\xef\xbb\xbf" + CARD.replace("\n", "\r\n").encode())
    assert load_card(tmp_path / "marked.toml") == parse_card(CARD, "card.toml")
    with pytest.raises(RunCardError, match="nested too deeply"):
        parse_card("a = " + "[" * 100000, "card.toml")


def test_files_in_overrides_are_found_in_the_current_folder(tmp_path, monkeypatch):
    """As a shell completes their names; those in the card stay relative to it."""
    (tmp_path / "cards").mkdir()
    path = tmp_path / "cards" / "card.toml"
    path.write_text(edited("seed = 1", 'seed = 1\nstart = "file"\nstart_file = "cfg.h5"'))
    monkeypatch.chdir(tmp_path)
    assert load_card(path).run.start_file == str(tmp_path / "cards" / "cfg.h5")
    guided = load_card(path, ["guide.network=runs/weights.h5"])
    assert guided.guide.network == str(tmp_path / "runs" / "weights.h5") and guided.run == load_card(path).run
    assert load_card(path, ["run.start_file=other.h5"]).run.start_file == str(tmp_path / "other.h5")


def test_start_file_is_found_beside_the_card(tmp_path):
    text = edited("seed = 1", 'seed = 1\nstart = "file"\nstart_file = "links/cfg.h5"')
    (tmp_path / "card.toml").write_text(text)
    card = load_card(tmp_path / "card.toml")
    assert card.run.start_file == str(tmp_path / "links" / "cfg.h5")
    assert parse_card(card_text(card), "resolved") == card


EVERYTHING = """\
[lattice]
extent = [4, 4, 8]
colors = 3
fermion_boundary = ["antiperiodic", "periodic", "periodic"]
ranks = [1, 1, 2]
lanes = 4
[gauge]
action = "custom"
beta = 1e16
c1 = -0.331
level = 2
[[quarks]]
operator = "staggered"
mass = 1e-3
[[quarks]]
operator = "staggered"
mass = 0.1
level = 1
[solver]
precision = "double"
start = "chronological"
force_tolerance = 1e-11
[hmc]
scheme = "omf4"
length = 0.5
steps = 3
[[hmc.inner]]
scheme = "omelyan2"
steps = 2
[[hmc.inner]]
scheme = "leapfrog"
steps = 1
[smearing]
weights = [[0.1]]
[network]
kind = "flow"
layers = 20
loops = ["plaquette_ss", "polyakov"]
time_degree = 1
weights = [[0.1, -0.001], [2, 0.0]]
[guide]
beta = 3
network = 'w "1".h5'
quarks = [{}, { mass = 0.2 }]
solver = { precision = "mixed", start = "zero" }
correction = { every = 3 }
[run]
start = "file"
start_file = 'odd \\ "name".h5'
thermalization = 3
trajectories = 4
seed = 4294967295
time_limit = 3600
[measure.rectangle]
[measure.chiral_condensate]
noise = 1
[reference]
source = "a\\tb"
["reference"."odd name."]
value = -1
error = 0
note = "exact"
"""


def test_a_written_card_is_the_same_card():
    card = parse_card(EVERYTHING, "card.toml")
    text = card_text(card)
    assert parse_card(text, "resolved") == card
    assert card_text(parse_card(text, "resolved")) == text
    assert list(tomllib.loads(text)) == [
        "lattice", "gauge", "smearing", "quarks", "solver", "hmc", "network", "guide", "run", "measure", "reference"]


@pytest.mark.parametrize("word", ['"', "\\", "\n", "\t", "\x01", "\x7f", "é", "\U0001f600", "#", "'''"])
def test_any_text_survives_writing(word):
    card = parse_card(CARD, "card.toml", ["reference.source=x"])
    odd = card.model_copy(update={"reference": card.reference.model_copy(update={"source": f"a{word}b"})})
    assert parse_card(card_text(odd), "resolved") == odd


TOML_TEXTS = [
    CARD,
    EVERYTHING,
    "a.b.c = 1 # [x]\n'lit' = '#]'\n\"k e\" = [[1, 2], [3, # ]\n 4]]\n",
    'a = """x\n[b]\n"""\nb = \'\'\'\n[c]\'\'\'\nc = "\\""\nd = """a\\"""b"""\n',
    "[ a . b ]\nx = {y = [1, {z = 2}], 'w' = 3}\n[[a.c]]\nq = 1\n[[a.c]]\nq = 2\n[a.c.d]\nr = 1979-05-27 07:32:00\n",
    "[[a]]\n[[a.b]]\nx = 1\n[[a.b]]\nx = 2\n[[a]]\n[[a.b]]\nx = 3\n",
]


def leaves(value, path=()):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    yield path, value
    for key, entry in items:
        yield from leaves(entry, (*path, key))


@pytest.mark.parametrize("text", TOML_TEXTS, ids=range(len(TOML_TEXTS)))
def test_every_key_of_toml_has_its_line(text):
    found = key_lines(text)
    paths = {path: value for path, value in leaves(tomllib.loads(text)) if path}
    assert found.keys() == paths.keys()
    lines = text.split("\n")
    for path, value in paths.items():
        line = lines[found[path] - 1]
        assert path[-1] in line if isinstance(path[-1], str) else str(value) in line or isinstance(value, (list, dict))


def test_a_card_built_in_python_is_checked_too():
    card = parse_card(CARD, "card.toml")
    with pytest.raises(ValidationError, match="quarks need 2 or 3 colors"):
        RunCard(**dict(card) | {"lattice": card.lattice.model_copy(update={"colors": 4})})
    with pytest.raises(ValidationError, match="frozen"):
        card.gauge.beta = 1.0


def test_schema_describes_every_key():
    schema = json_schema()
    assert json.loads(json.dumps(schema)) == schema
    assert schema["required"] == ["lattice", "gauge", "run"] and schema["additionalProperties"] is False
    for table in schema["$defs"].values():
        assert table["description"] and all("description" in key for key in table["properties"].values())
    assert schema["$defs"]["LatticeTable"]["properties"]["extent"]["items"] == {
        "minimum": 2, "multipleOf": 2, "type": "integer"
    }


def test_cards_need_no_numerics():
    code = "import slhmc.runcard, sys; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], timeout=60).returncode == 0
