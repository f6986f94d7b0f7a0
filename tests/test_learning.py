"""Training: derivatives against finite differences, losses, and a training that falls, stops, goes on and refuses."""

import os
import signal

import numpy as np
import pytest
from running import CARDS, card_file, contents, refusal, run_process, sets, slhmc_command

torch = pytest.importorskip("torch")

from slhmc import simulation  # noqa: E402
from slhmc.backend import HostDevice  # noqa: E402
from slhmc.errors import ComputationError  # noqa: E402
from slhmc.io import TrainingFile, load_weights  # noqa: E402
from slhmc.lattice import AlgebraField, Draws, GaugeField, Purpose  # noqa: E402
from slhmc.learning import training  # noqa: E402
from slhmc.learning.functions import SmearedLinks, difference, force_distance, trajectory_difference  # noqa: E402
from slhmc.learning.guide import STENCIL, TrainableGuide  # noqa: E402
from slhmc.learning.losses import predicted_acceptance  # noqa: E402
from slhmc.learning.parameters import GuideParameters  # noqa: E402
from slhmc.learning.samples import Sample  # noqa: E402
from slhmc.networks import make_network  # noqa: E402
from slhmc.runcard import parse_card  # noqa: E402
from slhmc.simulation.build import make_lattice, make_update  # noqa: E402

CARD = """
[lattice]
extent = [4, 4]
colors = 2
[gauge]
action = "wilson"
beta = 2.0
[[quarks]]
operator = "staggered"
mass = 0.3
[solver]
force_tolerance = 1e-13
action_tolerance = 1e-14
precision = "double"
[hmc]
scheme = "omelyan2"
steps = 6
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
[run]
thermalization = 3
trajectories = 4
seed = 3
"""
THIN = "no network"
THETA = ["layer1.plaquette", "layer1.polyakov_t", "layer2.plaquette", "layer2.polyakov_t", "quarks.0.mass", "gauge.beta"]


def card_of(*overrides):
    """CARD with overrides as of --set; THIN: without its network."""
    text = CARD[:CARD.index("[network]")] + CARD[CARD.index("[guide]"):] if THIN in overrides else CARD
    return parse_card(text, "card.toml", [override for override in overrides if override != THIN])


def made(*overrides):
    """(guide, sample) of the card on rough links."""
    card = card_of(*overrides)
    lattice = make_lattice(card, HostDevice())
    sample = Sample(lattice, card.lattice.colors, make_update(card.model_copy(update={"guide": None}), lattice).target, seed=3)
    U = GaugeField(lattice, card.lattice.colors)
    U.randomize(Draws(2, 0).next(Purpose.START))
    sample.draw(U, 1)
    return TrainableGuide(card, lattice), sample


def value_and_gradient(function, guide, sample, values):
    theta = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    result = function(theta, guide, sample)
    result.backward()
    return float(result.detach()), theta.grad.numpy()


def by_differences(value_at, values, step):
    """The gradient of value_at by the fourth-order stencil."""
    gradient = np.zeros_like(values)
    for index in range(len(values)):
        for k, weight in STENCIL.items():
            moved = values.copy()
            moved[index] += k * step
            gradient[index] += weight * value_at(moved) / step
    return gradient


# ---- derivatives
OPERATORS = {
    "staggered": (),
    "three dimensions": ("lattice.extent=[4,2,4]", 'network.loops=["plaquette_ss", "chair_t"]'),
    "SU(3)": ("lattice.colors=3", "gauge.beta=5.0"),
    "thin links, two quarks": (THIN, "quarks.1.operator=staggered", "quarks.1.mass=0.9", "guide.quarks.1={}"),
    "Hasenbusch": ("quarks.0.hasenbusch=[0.8]",),
    "flow": ("network.kind=flow", "network.time_degree=1", "network.layers=3"),
    "wilson": ("lattice.extent=[4,2,2,4]", "quarks.0.operator=wilson", "quarks.0.mass=0.2"),
    "clover, kappa": ("lattice.extent=[4,2,2,4]", "quarks.0.operator=clover", "quarks.0.c_sw=1.1"),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_the_gradient_of_the_difference_is_its_derivative(name):
    guide, sample = made(*OPERATORS[name])
    values = guide.start
    found, gradient = value_and_gradient(difference, guide, sample, values)

    def value_at(moved):
        guide.set(moved)
        return guide.value_and_gradient(sample.U, sample.phi, False)[0]
    expected = by_differences(value_at, values, 2e-4)
    assert found == pytest.approx(value_at(values) - sample.action, rel=1e-12)
    np.testing.assert_allclose(gradient, expected, rtol=1e-8, atol=1e-9 * abs(expected).max())


def test_names_and_start_are_those_of_the_card():
    guide, _ = made()
    assert guide.names == THETA
    np.testing.assert_array_equal(guide.start, [0.03, -0.02, -0.05, 0.04, 0.5, 2.1])


def test_the_gradient_of_the_force_loss_is_its_derivative():
    guide, sample = made()
    found, gradient = value_and_gradient(force_distance, guide, sample, guide.start)

    def value_at(moved):
        with torch.no_grad():
            return float(force_distance(torch.tensor(moved), guide, sample))
    expected = by_differences(value_at, guide.start, 1e-3)
    assert found == value_at(guide.start) > 0
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-7 * abs(expected).max())
