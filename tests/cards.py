"""Texts of cards that several tests run or parse, and the tables that most cards begin with."""

import pytest

from slhmc.errors import RunCardError
from slhmc.runcard import Card, FitCard, parse_card


def gauge(extent, beta=None, colors=2):
    """[lattice] and [gauge] of a Wilson action; without beta where [data] has them."""
    coupling = "" if beta is None else f"beta = {beta}\n"
    return f'[lattice]\nextent = {list(extent)}\ncolors = {colors}\n[gauge]\naction = "wilson"\n{coupling}'


def quark(mass, operator="staggered"):
    return f'[[quarks]]\noperator = "{operator}"\nmass = {mass}\n'


def hmc(steps):
    return f'[hmc]\nscheme = "omelyan2"\nsteps = {steps}\n'


def run_table(**keys):
    """[run]; numbers and words."""
    return "[run]\n" + "".join(f'{key} = "{value}"\n' if isinstance(value, str) else f"{key} = {value}\n"
                               for key, value in keys.items())


def faults(text, *overrides):
    """Lines of the message that refuses a card."""
    with pytest.raises(RunCardError) as caught:
        parse_card(text, "card.toml", overrides, Card)
    return str(caught.value).splitlines()


# ---- a card of molecular dynamics to parse; lines of faults are counted in it
PLAIN = gauge((4, 4, 4, 8), 2.7) + quark(0.3) + hmc(10) + run_table(trajectories=100, seed=1)
STAGGERED = 'operator = "staggered"\nmass = 0.3'


def edited(old, new):
    """PLAIN with one place changed."""
    assert PLAIN.count(old) == 1
    return PLAIN.replace(old, new)


# ---- fits
FIT = gauge((4, 4)) + """\
[heat_bath]
[data]
label = "wilson_loop"
loop = [1, 1]
betas = [0.5, 2, 5]
training = 16
validation = 8
test = 6
test_extents = [[4, 4], [6, 4]]
thermalization = 20
spacing = 2
[model]
layers = [{ kernel = 1, channels = 1 }]
[fit]
learning_rate = 0.03
batch = 10
epochs = 6
""" + run_table(seed=3)


def fit_card(*overrides):
    """FIT with overrides as of --set."""
    return parse_card(FIT, "card.toml", list(overrides))


FLOW = gauge((4, 4)) + """\
[heat_bath]
[data]
label = "flowed_links"
flow_time = 0.5
betas = [2, 5]
training = 8
validation = 4
test = 3
test_extents = [[4, 4], [6, 4]]
later_times = [0.75]
thermalization = 5
spacing = 2
[model]
kind = "flow"
generator = "loops"
scheme = "euler"
steps = 2
[fit]
learning_rate = 0.03
batch = 6
epochs = 3
""" + run_table(seed=3)
FLOW_OF_CHARGE = FLOW.replace('"flowed_links"', '"flowed_charge"').replace("4, 4]", "4, 4, 4, 2]").replace(
    "6, 4]", "4, 4, 4, 4]").replace("later_times = [0.75]\n", "")
# one link after the other along its exact flow, by a perceptron
FLOW_OF_LINKS = FLOW.replace("[heat_bath]\n", "").replace("betas = [2, 5]\n", "").replace("thermalization = 5\nspacing = 2\n", "")
TOY = ["lattice.extent=[2, 2]", "data.label=square_trace_flow", "data.ensemble=haar", "data.test_extents=[[2, 2]]",
       "model.generator=mlp", "model.nodes=[8, 8]", "data.training=40", "data.test=20", "data.later_times=[1.0, 2.0]",
       "fit.learning_rate=0.01", "fit.epochs=10"]


def flow_card(*overrides, label="links"):
    """A card of a learned flow, fitted to flowed links, their charge, or (toy) the exact flow of one link."""
    text = {"links": FLOW, "charge": FLOW_OF_CHARGE, "toy": FLOW_OF_LINKS}[label]
    return parse_card(text, "card.toml", [*overrides, *(TOY if label == "toy" else [])])


LED_BY_ITSELF = gauge((6, 4), 2.0) + quark(0.5) + hmc(3) + run_table(trajectories=2, seed=1, save_every=1)
GUIDED_BY_A_FLOW = LED_BY_ITSELF + "[guide]\n"


# ---- trainings of guides
TRAINING = gauge((4, 4), 2.0) + quark(0.3) + """\
[solver]
force_tolerance = 1e-13
action_tolerance = 1e-14
precision = "double"
""" + hmc(6) + """\
[network]
layers = 2
loops = ["plaquette", "polyakov_t"]
weights = [[0.03, -0.02], [-0.05, 0.04]]
[guide]
quarks = [{ mass = 0.5 }]
beta = 2.1
[train]
steps = 12
batch = 4
held_out = 6
report_every = 3
learning_rate = 0.01
checkpoint_every = 4
train_mass = true
train_beta = true
""" + run_table(thermalization=3, trajectories=4, seed=3)
THIN = "no network"


def training_card(*overrides):
    """TRAINING with overrides as of --set; THIN: without its network."""
    text = TRAINING[:TRAINING.index("[network]")] + TRAINING[TRAINING.index("[guide]"):] if THIN in overrides else TRAINING
    return parse_card(text, "card.toml", [override for override in overrides if override != THIN])


FLUXES = """\
[lattice]
extent = [4, 6]
[data]
kind = "fluxes"
label = "open_worms"
couplings = [[4.25, 1.0], [4.01, 1.5]]
open_worms = [0, 2]
training = 12
validation = 4
test = 3
test_couplings = [[4.04, 1.25], [4.01, 1.0]]
test_open_worms = [0, 1, 3]
test_extents = [[4, 6], [5, 6]]
mu_ranges = [[1.2, 1.3]]
thermalization = 10
spacing = 2
chains = 5
[model]
published = "counting_eq2"
[fit]
learning_rate = 0.01
batch = 10
epochs = 4
""" + run_table(seed=3)


def flux_card(*overrides):
    """FLUXES with overrides as of --set."""
    return parse_card(FLUXES, "card.toml", list(overrides), FitCard)
