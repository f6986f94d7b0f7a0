"""What trains a guide: derivatives against finite differences, losses, steps. Whole trainings: tests/test_training.py."""

import gc
import math

import numpy as np
import pytest
import reference
from cards import THIN, training_card

torch = pytest.importorskip("torch")

from slhmc.backend import HostDevice  # noqa: E402
from slhmc.errors import ComputationError  # noqa: E402
from slhmc.lattice import Draws, GaugeField, Purpose  # noqa: E402
from slhmc.lattice.fields import Field  # noqa: E402
from slhmc.learning.functions import SmearedLinks, difference, force_distance, trajectory_difference  # noqa: E402
from slhmc.learning.guide import STENCIL, TrainableGuide  # noqa: E402
from slhmc.learning.losses import LOSSES, predicted_acceptance  # noqa: E402
from slhmc.learning.optimizers import GaussNewton  # noqa: E402
from slhmc.learning.parameters import GuideParameters  # noqa: E402
from slhmc.learning.samples import Sample  # noqa: E402
from slhmc.networks import make_network  # noqa: E402
from slhmc.simulation.build import make_lattice, make_update  # noqa: E402

THETA = ["layer1.plaquette", "layer1.polyakov_t", "layer2.plaquette", "layer2.polyakov_t", "quarks.0.mass", "gauge.beta"]


def made(*overrides):
    """(guide, sample) of the card on rough links."""
    card = training_card(*overrides)
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
    "ape": ("network.kind=ape",),
    "attention": ("network.kind=attention", "network.layers=1",
                  "network.weights=[[0.03, -0.02], [0.02, 0.01], [-0.01, 0.02], [0.03, 0.01]]"),
    "flow": ("network.kind=flow", "network.time_degree=1", "network.layers=3"),
    "wilson": ("lattice.extent=[4,2,2,4]", "quarks.0.operator=wilson", "quarks.0.mass=0.2"),
    "rooted": ("quarks.0.flavors=2", "quarks.0.rational.force_accuracy=1e-13", "quarks.0.rational.accuracy=1e-14"),
    "smeared target": ("smearing.layers=1", "smearing.weights=[[0.05]]"),
    "smeared target and guide": (THIN, "smearing.layers=1", "smearing.weights=[[0.05]]"),
    "domain wall, shorter in the guide": (
        "lattice.extent=[4,2,2,4]", "quarks.0.operator=domain_wall", "quarks.0.Ls=4", "quarks.0.M5=1.5", "guide.quarks.0.Ls=2"),
    "clover, kappa": ("lattice.extent=[4,2,2,4]", "quarks.0.operator=clover", "quarks.0.c_sw=1.1"),
    "factors": ("train.train_factor=true", "guide.quarks.0.factor=1.2", "quarks.1.operator=staggered", "quarks.1.mass=0.9",
                "guide.quarks.1={}"),
    "factor of clover": ("lattice.extent=[4,2,2,4]", "quarks.0.operator=clover", "quarks.0.c_sw=1.1", "train.train_factor=true"),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_the_gradient_of_the_difference_is_its_derivative(name):
    guide, sample = made(*OPERATORS[name])
    values = guide.start
    found, gradient = value_and_gradient(difference, guide, sample, values)

    def value_at(moved):
        guide.set(moved)
        return guide.value_and_gradient(sample.U, sample.phi, False)[0]
    expected = by_differences(value_at, values, 5e-5 if name == "attention" else 2e-4)
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


def test_masses_that_were_leave_nothing_behind():
    """Clover terms are kept with the links, by mass; training goes through many masses."""
    guide, sample = made(*OPERATORS["clover, kappa"])
    kept = []
    for step in range(4):
        value_and_gradient(difference, guide, sample, guide.start * (1 + 0.01 * step))
        kept.append((len(sample.U.derived), len(guide.network.smear(sample.U).derived)))
    assert len(set(kept[1:])) == 1


@pytest.mark.parametrize("overrides", [(), ("smearing.weights=[[0.05]]", "guide.correction.every=2")], ids=["guided", "nested"])
def test_trajectories_along_guides_that_were_leave_nothing_behind(overrides):
    """Other masses are another guide; its fields are given back."""
    guide, sample = made("train.loss=trajectory", *overrides)
    kept = []
    for step in range(4):
        value_and_gradient(trajectory_difference, guide, sample, guide.start * (1 + 0.01 * step))
        gc.collect()
        kept.append(sum(issubclass(type(found), Field) for found in gc.get_objects()))
    assert len(set(kept[1:])) == 1


def test_the_force_loss_of_the_target_itself_is_nothing():
    guide, sample = made(THIN, "guide.quarks.0.mass=0.3", "guide.beta=2.0")
    value, gradient = value_and_gradient(force_distance, guide, sample, guide.start)
    assert value < 1e-20 and abs(gradient).max() < 1e-8


def test_the_trajectory_loss_is_the_difference_at_both_ends():
    """It is -dH of the guided trajectory but for the integrator, which keeps the guide's own energy at fine steps."""
    guide, sample = made("hmc.steps=60", "train.loss=trajectory", "train.trajectory_length=0.5")
    values = guide.start
    found, gradient = value_and_gradient(trajectory_difference, guide, sample, values)
    again, _ = value_and_gradient(trajectory_difference, guide, sample, values)
    U, target = sample.end, sample.target
    kinetic = float(sample.momenta.kinetic_energy()) + float(target.action(U, sample.phi))
    sample.momenta.draw_gaussian(sample._random)
    kinetic -= float(sample.momenta.kinetic_energy()) + float(target.action(sample.U, sample.phi))
    assert found == again and found == pytest.approx(-kinetic, abs=1e-3) and abs(found) > 0.05
    guide.set(values)
    ends = [guide.value_and_gradient(links, sample.phi) for links in (U, sample.U)]
    actions = float(target.action(U, sample.phi)) - sample.action
    assert found == pytest.approx(ends[0][0] - ends[1][0] - actions, abs=1e-9)
    np.testing.assert_allclose(gradient, ends[0][1] - ends[1][1], rtol=1e-10)
    shorter = guide.dynamics()
    assert (shorter.length, shorter.guide[0].steps) == (0.5, 30)


def test_the_trajectory_loss_is_of_the_guide_alone():
    """A nested correction keeps the target's energy, so that D_end - D_start would not be -dH; one by every step is plain HMC."""
    found = [value_and_gradient(trajectory_difference, *made("train.loss=trajectory", *correction), made()[0].start)[0]
             for correction in ((), ("guide.correction.every=2",), ("guide.correction.every=1",))]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(("colors", "extent"), [(2, (4, 4)), (3, (4, 2, 4))])
def test_smeared_links_have_the_derivatives_of_the_network(hot_links, gaussian_momenta, rng, colors, extent):
    """Of a random real function of all smeared links: along T_a U for the links, by finite differences for the weights."""
    U = hot_links(colors, *extent)
    network = make_network("stout", colors, len(extent), 2, ("plaquette", "polyakov"), [[0.05, -0.03], [0.02, 0.04]])
    links, P = U.to_sites(), gaussian_momenta(U, seed=4)
    weight = torch.tensor(rng.normal(size=links.shape) + 1j * rng.normal(size=links.shape))

    def function(links, rho):
        return (weight.conj() * SmearedLinks.apply(links, rho, network, GaugeField(U.lattice, colors))).real.sum()
    rho = torch.tensor(network.parameters, requires_grad=True)
    leaf = torch.tensor(links, requires_grad=True)
    function(leaf, rho).backward()

    moved, along = GaugeField(U.lattice, colors), 0.0
    for k, factor in STENCIL.items():
        moved.from_sites(links)
        moved.drift(P, k * 1e-3)
        along += factor * float(function(torch.tensor(moved.to_sites()), rho.detach())) / 1e-3
    coefficients = P.gather_reals().reshape(*links.shape[:-2], -1)
    tangent = reference.algebra_matrix(coefficients, colors) @ links
    assert (leaf.grad.numpy().conj() * tangent).real.sum() == pytest.approx(along, rel=1e-8)
    expected = by_differences(lambda values: float(function(torch.tensor(links), torch.tensor(values))), network.parameters, 2e-4)
    np.testing.assert_allclose(rho.grad.numpy(), expected, rtol=1e-8)


# ---- losses
def test_losses_of_a_batch():
    values = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64)
    found = {name: float(loss.of_batch(values)) for name, loss in LOSSES.items()}
    assert found == pytest.approx({"published": 41 / 6, "centred": 3.5, "force": 3.0, "trajectory": 41 / 6})
    known = {"centred": 0.2, "trajectory": float("nan")}
    assert predicted_acceptance(known) == pytest.approx(math.erfc(0.4**0.5 / 2))
    assert predicted_acceptance(known | {"trajectory": 0.3}) == pytest.approx(math.erfc(0.3**0.5 / 2))


@pytest.mark.parametrize("value", [0.02, 0.4, 3.0])
def test_masses_and_beta_stay_in_range_and_come_back(value):
    card = training_card("quarks.1.operator=domain_wall", "quarks.1.mass=0.1", "quarks.1.Ls=4", "quarks.1.M5=1.5",
                         "guide.quarks.1={}", "lattice.extent=[4,4,4,4]", "quarks.2.operator=wilson", "quarks.2.mass=0.1",
                         "guide.quarks.2={}")
    names = ["layer1.plaquette", "quarks.0.mass", "quarks.1.mass", "quarks.2.mass", "gauge.beta"]
    start = np.array([-0.1, value, min(value, 0.9), -value, value])
    parameters = GuideParameters(names, start, card)
    np.testing.assert_allclose(parameters.values(), start, rtol=1e-14)
    parameters.load(parameters.state() - 50)
    weight, staggered, wall, wilson, beta = parameters.values()
    assert weight == start[0] - 50 and staggered > 0 and 0 < wall < 1 and wilson == -value - 50 and beta > 0


@pytest.mark.parametrize("centred", [False, True])
def test_gauss_newton_comes_near_least_squares_of_all_samples(rng, centred):
    """Of a linear problem with noise, each sample seen once; two numbers with the same effect stay where they are."""
    J = torch.tensor(rng.normal(size=(40, 8, 3)) * [1, 10, 0.1])
    J = torch.cat([J, J[..., :1]], -1)
    noise = 0.1 * torch.tensor(rng.normal(size=(40, 8))) + 5 * centred
    b = (J[..., :3] @ torch.tensor([1.0, 0.2, -3.0], dtype=torch.float64)) + noise
    parameters = torch.nn.Module()
    parameters.first, parameters.second = (torch.nn.Parameter(torch.zeros(2, dtype=torch.float64)) for _ in range(2))
    optimizer = GaussNewton(parameters.parameters(), lr=1.0)
    loss = LOSSES["centred" if centred else "published"]
    for rows, target in zip(J, b, strict=True):
        optimizer.zero_grad()
        values = list(rows @ torch.cat([parameters.first, parameters.second]) - target)
        optimizer.observe(values, centred)
        loss.of_batch(torch.stack(values)).backward()
        optimizer.step()
    x, y, z, same = torch.cat([parameters.first, parameters.second]).detach().numpy()
    assert (x + same, y, z) == pytest.approx((1.0, 0.2, -3.0), abs=0.15) and x == pytest.approx(same, rel=1e-6)


def test_a_mass_that_passes_its_hasenbusch_mass_ends_the_training():
    guide, _ = made("quarks.0.hasenbusch=[0.6]")
    with pytest.raises(ComputationError, match=r"quarks.0.mass has become 0.7: hasenbusch.0 0.6 is not above the quark's mass"):
        guide.set(np.append(guide.start[:4], (0.7, 2.1)))
