"""Every fault of a card is found, at its line, in words; those of [data], [model], [fit] are in test_fit_card.py."""

import pytest
from cards import PLAIN, STAGGERED, edited, faults

from slhmc.runcard import parse_card

SINGLE_FAULTS = [
    (STAGGERED, 'operator = "wilson"\nmass = 0.3\nkappa = 0.1',
     "10: quarks.0.kappa: mass and kappa = 1 / (2 (4 + mass)) are both"),
    (STAGGERED, 'operator = "wilson"', "7: quarks.0.mass: missing: bare quark mass in lattice units, or kappa"),
    (STAGGERED, 'operator = "wilson"\nmass = -4.0', "9: quarks.0.mass: must be greater than -4, where the diagonal 4 + mass"),
    (STAGGERED, 'operator = "wilson"\nkappa = 1e-320', "9: quarks.0.kappa: mass = 1 / (2 kappa) - 4 must be at most 1e+06"),
    ("mass = 0.3", "mass = 0.3\nflavors = 2\nrational.highest = 1e-9",
     "11: quarks.0.rational.highest: must be greater than lowest = 0.09, m^2 for this quark, found 1e-09"),
    ("mass = 0.3", "mass = 0.3\nflavors = 2\nrational.lowest = 17",
     "11: quarks.0.rational.lowest: must be less than highest = 16.09, m^2 + D^2 for this quark, found 17"),
    ("mass = 0.3", "mass = 1e-300\nflavors = 2", "9: quarks.0.mass: its square, the lower end of the spectrum, is 0 in double"),
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
     "11: quarks.0.rational.lowest: must be at least 1e-20, found 0"),
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
    ("mass = 0.3", "mass = 1e200", "9: quarks.0.mass: must be at most 1000000, found 1e+200"),
    ("mass = 0.3", "mass = 0.3\nflavors = 1\nrational = { lowest = 1e-31 }",
     "11: quarks.0.rational.lowest: must be at least 1e-20, found 1e-31"),
    ("beta = 2.7", "beta = 2.7\nbetta = 2", "7: gauge.betta: unknown key; did you mean beta?"),
    ("colors = 2", "colors = 2\nbeta = 2", "4: lattice.beta: unknown key; beta belongs to [gauge]"),
    ("colors = 2", "colors = 2\nstart = 1", "4: lattice.start: unknown key; start belongs to [solver] or [run]"),
    ("steps = 10", "steps = 10\nzzz = 1", "13: hmc.zzz: unknown key; [hmc] has scheme, length, steps, inner"),
    ("[run]", "[rnu]\n[run]", "13: rnu: unknown table; did you mean run?"),
    ("beta = 2.7", "", "4: gauge.beta: missing: inverse coupling beta"),
    ("beta = 2.7", "beta = -1", "6: gauge.beta: must be greater than 0, found -1"),
    ("beta = 2.7", "beta = inf", "6: gauge.beta: expected a finite number, found inf"),
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
    ("steps = 10", "steps = 10001", "12: hmc.steps: must be at most 10000, found 10001"),
    ("trajectories = 100", "trajectories = 2147483648", "14: run.trajectories: must be at most 2147483647, found 2147483648"),
    ("seed = 1", "seed = 1\nsave_every = 2147483648", "16: run.save_every: must be at most 2147483647, found 2147483648"),
    ("[4, 4, 4, 8]", "[4, 4, 4, 4294967296]", "2: lattice.extent.3: must be at most 2147483647, found 4294967296"),
    ("[hmc]", "[measure.gradient_flow]\nt_max = 1e300\n[hmc]",
     "11: measure.gradient_flow.t_max: must be at most 1000000, found 1e+300"),
    ("[hmc]", "[measure.gradient_flow]\npoints = 1000000000\n[hmc]",
     "11: measure.gradient_flow.points: must be at most 100000, found 1000000000"),
    ("[hmc]", "[measure.gradient_flow]\nstep = 1e-30\nt_max = 1.0\n[hmc]",
     "11: measure.gradient_flow.step: 1e+30 steps to t_max = 1 found, at most 10000000 expected; take longer steps"),
    ("[hmc]", "[measure.gradient_flow]\nstep = 1e-8\n[hmc]",
     "11: measure.gradient_flow.step: 5e+07 steps to t_max = 0.5 found, at most 10000000 expected"),
    ("[hmc]", "[measure.chiral_condensate]\nnoise = 10001\n[hmc]",
     "11: measure.chiral_condensate.noise: must be at most 10000, found 10001"),
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
    (WALL.replace("Ls = 8", "Ls = -8"), G + "quarks = [{ Ls = 4 }]", "10: quarks.0.Ls: must be at least 2, found -8"),
    (WALL.replace("Ls = 8", "Ls = 1"), G + "quarks = [{ mass = 0.2 }]", "10: quarks.0.Ls: must be at least 2, found 1"),
    (WALL.replace("Ls = 8", 'Ls = "8"'), G + "quarks = [{ Ls = 4 }]", '10: quarks.0.Ls: expected an integer, found "8"'),
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
    (STAGGERED, G + "[network]\nweights = [[inf]]", "15: network.weights.0.0: expected a finite number, found inf"),
    (STAGGERED, G + '[network]\nkind = "flow"\nlayers = 8\ntime_degree = 2\nweights = [[0.1]]',
     "18: network.weights: 1 row found, 3 expected, one for each power of time"),
    (STAGGERED, G + "[network]\ntime_degree = 1", '15: network.time_degree: has a meaning only with kind = "flow", found'),
    (STAGGERED, G + '[network]\nkind = "cask"', '15: network.kind: expected "stout", "ape", "flow" or "attention", found "cask"'),
    (STAGGERED, G + '[network]\n[train]\nloss = "trajectory"\ntrajectory_length = 2e3',
     "17: train.trajectory_length: 2e+04 steps like those of [hmc] found, at most 10000 expected; give less than 2000"),
    (STAGGERED, G + "[network]\n[train]\ntrain_beta = 0", "16: train.train_beta: expected true or false, found 0"),
    (STAGGERED, "[smearing]\nlayers = -1", "14: smearing.layers: must be at least 0, found -1"),
    (STAGGERED, '[smearing]\nloops = ["plaquete"]', '14: smearing.loops.0: expected "plaquette", '),
]


def test_an_integer_is_a_number_and_a_bool_is_not():
    assert parse_card(edited("beta = 2.7", "beta = 6"), "card.toml").gauge.beta == 6.0
    assert faults(edited("beta = 2.7", "beta = true")) == ["card.toml:6: gauge.beta: expected a number, found true"]
    for value in ("true", "8.0"):
        assert faults(edited("colors = 2", f"colors = 2\nlanes = {value}")) == [
            f"card.toml:4: lattice.lanes: expected an integer, found {value}"]


@pytest.mark.parametrize(("old", "new", "expected"), SINGLE_FAULTS, ids=[fault[2] for fault in SINGLE_FAULTS])
def test_one_fault_gives_one_line(old, new, expected):
    (line,) = faults(edited(old, new))
    assert line.startswith(f"card.toml:{expected}")


def test_wilson_quarks_need_four_directions():
    (line,) = faults(PLAIN.replace("[4, 4, 4, 8]", "[4, 8]").replace("staggered", "wilson"))
    assert line.startswith('card.toml:8: quarks.0.operator: "wilson" needs four directions, lattice.extent has 2; use "stag')


def test_one_wilson_flavour_needs_the_ends_of_its_spectrum():
    found = faults(edited(STAGGERED, 'operator = "wilson"\nmass = 0\nflavors = 1'))
    assert [line.partition(": missing: ")[0] for line in found] == [
        "card.toml:7: quarks.0.rational.lowest", "card.toml:7: quarks.0.rational.highest"]


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


def test_a_level_without_action_is_refused():
    inner = "hmc.inner=[{scheme='omf4', steps=2}]"
    (line,) = faults(PLAIN, inner, "gauge.level=1", "quarks.0.level=1")
    assert line.startswith("card.toml:10: hmc: no action has level 0, so its steps would do nothing")
    assert len(parse_card(PLAIN, "card.toml", [inner, "gauge.level=1"]).hmc.inner) == 1


@pytest.mark.parametrize(("quark", "new", "expected"), GUIDE_FAULTS, ids=[fault[2] for fault in GUIDE_FAULTS])
def test_one_fault_of_a_guide_gives_one_line(quark, new, expected):
    text = edited(STAGGERED, quark)
    (line,) = faults(text.replace("[run]", f"{new}\n[run]"))
    assert line.startswith(f"card.toml:{expected}")


def test_what_a_guide_needs_around_it():
    """Molecular dynamics, quarks, two or three colours, directions enough for its loops."""
    bare = PLAIN.replace(f"[[quarks]]\n{STAGGERED}\n", "")
    for text, expected in (
        (bare.replace('[hmc]\nscheme = "omelyan2"\nsteps = 10', "[heat_bath]\n[guide]\nbeta = 2.0"),
         "8: guide: a heat bath has no molecular dynamics to guide; use [hmc], or leave it out"),
        (bare + "[smearing]\n", "13: smearing: no [[quarks]] are there to see smeared links; leave it out"),
        (bare + "[guide]\n[network]\n", "14: network: no [[quarks]] are there to see the network's links; leave it out"),
        (PLAIN.replace("colors = 2", "colors = 5") + "[guide]\n[network]\n", "3: lattice.colors: quarks need 2 or 3 colors, f"),
        (PLAIN.replace("[4, 4, 4, 8]", "[4, 8]") + '[guide]\n[network]\nloops = ["plaquette", "chair_s"]\n',
         '18: network.loops.1: "chair_s" needs three directions, lattice.extent has 2'),
    ):
        (line,) = faults(text)
        assert line.startswith(f"card.toml:{expected}"), line
    assert parse_card(bare + "[guide]\nbeta = 2.0\n", "card.toml").guide.beta == 2.0
    valence = '[[measure.quarks]]\noperator = "staggered"\nmass = 0.1\n[measure.chiral_condensate]\n'
    assert parse_card(bare + "[smearing]\n" + valence, "card.toml").smearing.layers == 1
