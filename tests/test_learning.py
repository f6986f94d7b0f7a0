"""Training: derivatives against finite differences, losses, and a training that falls, stops, goes on and refuses."""

import gc
import math
import os
import shutil
import signal

import numpy as np
import pytest
import reference
from running import CARDS, ROOT, card_file, contents, refusal, run_process, sets, slhmc_command

torch = pytest.importorskip("torch")

from slhmc import simulation  # noqa: E402
from slhmc.backend import HostDevice  # noqa: E402
from slhmc.errors import ComputationError  # noqa: E402
from slhmc.io import TrainingFile, load_weights  # noqa: E402
from slhmc.lattice import Draws, GaugeField, Purpose  # noqa: E402
from slhmc.lattice.fields import Field  # noqa: E402
from slhmc.learning import training  # noqa: E402
from slhmc.learning.functions import SmearedLinks, difference, force_distance, trajectory_difference  # noqa: E402
from slhmc.learning.guide import STENCIL, TrainableGuide  # noqa: E402
from slhmc.learning.losses import LOSSES, predicted_acceptance  # noqa: E402
from slhmc.learning.optimizers import GaussNewton  # noqa: E402
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
FAST = ("solver.force_tolerance=1e-10", "solver.action_tolerance=1e-12", "solver.precision=mixed")
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
    "ape": ("network.kind=ape",),
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
    card = card_of("quarks.1.operator=domain_wall", "quarks.1.mass=0.1", "quarks.1.Ls=4", "quarks.1.M5=1.5", "guide.quarks.1={}",
                   "lattice.extent=[4,4,4,4]", "quarks.2.operator=wilson", "quarks.2.mass=0.1", "guide.quarks.2={}")
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


# ---- trainings
def train(directory, *overrides, observer=None):
    done = training.create(card_of(*FAST, *overrides), directory).run(observer)
    return done, TrainingFile.open(directory / "train.h5")


def stop_when(phase, done):
    return lambda report: (report.phase, report.done) == (phase, done) and os.kill(os.getpid(), signal.SIGUSR1)


def same_history(found, expected):
    for name in ("steps", "evaluations"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        for key in set(ours.dtype.names) - {"seconds"}:
            np.testing.assert_array_equal(ours[key], theirs[key], err_msg=f"{name}: {key}")
    np.testing.assert_array_equal(found.parameters, expected.parameters)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A whole training of the card: its directory."""
    directory = tmp_path_factory.mktemp("trained") / "run"
    assert train(directory)[0]
    return directory


@pytest.mark.parametrize("loss", ["published", "centred", "force", "trajectory"])
def test_training_lowers_its_loss(tmp_path, loss):
    """On held-out samples, and the weights of the best step are kept."""
    rate = {"published": 3e-3, "centred": 3e-2, "force": 1e-2, "trajectory": 1e-2}[loss]
    done, history = train(tmp_path / "run", f"train.loss={loss}", f"train.learning_rate={rate}", "train.steps=9", THIN)
    held_out = history.evaluations
    assert done and list(held_out["step"]) == [0, 3, 6, 9]
    assert held_out[loss].min() < 0.8 * held_out[loss][0]
    best = held_out["step"][held_out[loss].argmin()]
    weights = load_weights(tmp_path / "run" / "weights.h5")
    assert weights.history["step"] == best
    assert list(weights.parameters.values()) == list(history.parameters[best])
    assert np.isfinite(held_out["trajectory"]).all() == (loss == "trajectory")


@pytest.mark.parametrize("moment", [("thermalizing", 2), ("held-out samples", 5), ("training", 5)], ids=str)
def test_a_stopped_and_resumed_training_is_the_same_training(tmp_path, trained, moment):
    assert not train(tmp_path / "run", observer=stop_when(*moment))[0]
    assert training.resume(tmp_path / "run").run()
    same_history(TrainingFile.open(tmp_path / "run" / "train.h5"), TrainingFile.open(trained / "train.h5"))
    for name in ("weights.h5", "last_weights.h5"):
        assert (tmp_path / "run" / name).read_bytes() == (trained / name).read_bytes()


@pytest.mark.parametrize("overrides", [("train.optimizer=sgd", "train.loss=force"),
                                       ("train.optimizer=gauss_newton", "train.loss=trajectory", "train.decay=0.9")],
                         ids=lambda overrides: overrides[0])
def test_other_optimizers_and_losses_go_on_as_they_were(tmp_path, overrides):
    overrides = (*overrides, "train.learning_rate=0.1", "train.steps=5")
    _, expected = train(tmp_path / "whole", *overrides)
    assert not train(tmp_path / "run", *overrides, observer=stop_when("training", 3))[0]
    assert training.resume(tmp_path / "run").run()
    same_history(TrainingFile.open(tmp_path / "run" / "train.h5"), expected)


def test_a_training_killed_after_its_checkpoint_is_cut_to_it(tmp_path, trained):
    """History is written before the checkpoint; what is later than the checkpoint is made again."""
    assert not train(tmp_path / "run", observer=stop_when("training", 6))[0]
    history = TrainingFile.open(tmp_path / "run" / "train.h5")
    history.append(7, 1.0, 1.0, 1.0, history.parameters[-1])
    history.flush()
    assert training.resume(tmp_path / "run").run()
    same_history(TrainingFile.open(tmp_path / "run" / "train.h5"), TrainingFile.open(trained / "train.h5"))


def test_more_steps_may_be_asked_for_on_the_way(tmp_path, trained):
    assert train(tmp_path / "run", "train.steps=9")[0]
    assert slhmc_command("resume", tmp_path / "run", *sets("train.steps=12")) == 0
    same_history(TrainingFile.open(tmp_path / "run" / "train.h5"), TrainingFile.open(trained / "train.h5"))


def test_kept_configurations_train_as_the_chain_that_they_are_of(tmp_path, trained):
    """The same samples, the same training; a second epoch draws other pseudofermions."""
    run = tmp_path / "kept"
    card = card_of(*FAST, "run.save_every=1", "run.trajectories=54")
    plain = card.model_copy(update={"guide": None, "network": None, "train": None})
    assert simulation.create(plain, run).run()
    _, history = train(tmp_path / "run", "train.source=offline", f"train.directory={run}")
    same_history(history, TrainingFile.open(trained / "train.h5"))
    assert not list((tmp_path / "run" / "configs").iterdir())
    longer = ("train.steps=15", "train.report_every=15")
    _, again = train(tmp_path / "more", "train.source=offline", f"train.directory={run}", *longer)
    assert np.isfinite(again.steps["loss"][1:]).all() and len(set(again.steps["loss"][1:])) == 15


def test_configurations_of_another_target_are_refused(tmp_path, trained, capsys):
    """What differs is named; the guide is free."""
    offline = sets("train.source=offline", f"train.directory={trained}", "train.held_out=2", "train.steps=1", *FAST)
    card = card_file(tmp_path, CARD)
    words = refusal(capsys, "train", card, "-o", tmp_path / "no", *offline, *sets("gauge.beta=2.2", "quarks.0.mass=0.2"))
    assert f"{trained}: samples of another target" in words
    assert "gauge.beta = 2.0 (there 2.2)" in words and "quarks.0.mass = 0.3 (there 0.2)" in words
    assert slhmc_command("train", card, "-o", tmp_path / "yes", *offline, *sets("guide.quarks.0.mass=0.7")) == 0


def test_a_training_is_no_run(trained, capsys):
    for command in ("summary", "compare", "measure"):
        assert f"{trained}: a training found, the directory of a run expected" in refusal(capsys, command, trained)


def test_status_of_a_finished_training_stays(tmp_path, trained, capsys):
    run = shutil.copytree(trained, tmp_path / "run")
    assert slhmc_command("resume", run) == 0
    capsys.readouterr()
    assert slhmc_command("status", run) == 0
    assert "done  training 12/12  loss" in capsys.readouterr().out


def test_a_training_without_its_checkpoint_does_not_begin_anew(tmp_path, trained, capsys):
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "checkpoint.h5").unlink()
    before = contents(run)
    assert "checkpoint.h5: missing, but train.h5 holds 12 steps" in refusal(capsys, "resume", run)
    assert contents(run) == before


def test_training_goes_on_from_a_weights_file(tmp_path, trained):
    """Masses and beta of the file, too; the directory of the new training needs no other file."""
    card = card_of(*FAST, "train.steps=3", f"guide.network={trained / 'weights.h5'}")
    started = training.create(card, tmp_path / "run")
    weights = load_weights(trained / "weights.h5")
    np.testing.assert_allclose(started.parameters.values(), list(weights.parameters.values()), rtol=1e-15)
    assert started.card.guide.network is None
    assert started.run()


def test_patience_ends_a_training(tmp_path):
    done, history = train(tmp_path / "run", "train.learning_rate=3.0", "train.report_every=1", "train.patience=2", THIN)
    losses = history.evaluations["centred"]
    assert done and len(losses) == losses.argmin() + 3 < 13


def test_a_runaway_ends_with_advice(tmp_path):
    with pytest.raises(ComputationError, match=r"step \d+: .*learning_rate"):
        train(tmp_path / "run", "train.learning_rate=1e300", "train.optimizer=sgd")


def test_a_mass_that_passes_its_hasenbusch_mass_ends_the_training():
    guide, _ = made("quarks.0.hasenbusch=[0.6]")
    with pytest.raises(ComputationError, match=r"quarks.0.mass has become 0.7: hasenbusch.0 0.6 is not above the quark's mass"):
        guide.set(np.append(guide.start[:4], (0.7, 2.1)))


# ---- command line
@pytest.mark.parametrize("name", [path.stem for path in CARDS.rglob("*.toml") if "\n[train]" in path.read_text()])
def test_a_shipped_card_trains(tmp_path, name):
    shorter = sets("run.thermalization=1", "train.steps=2", "train.batch=2", "train.held_out=2", "train.report_every=1")
    (card,) = CARDS.rglob(f"{name}.toml")
    assert slhmc_command("train", card, "-o", tmp_path / "run", *shorter) == 0
    history = TrainingFile.open(tmp_path / "run" / "train.h5")
    assert len(history.evaluations) == 3 and (history.parameters[2] != history.parameters[0]).any()


def test_the_command_line_trains_tells_and_goes_on(tmp_path, trained, capsys):
    card, run = card_file(tmp_path, CARD), tmp_path / "run"
    assert slhmc_command("train", card, "-o", run, *sets(*FAST, "run.time_limit=1e-9")) == 75
    assert slhmc_command("resume", run, *sets("run.time_limit=1e9")) == 0
    told = capsys.readouterr()
    assert "stopped early" in told.err and "weights of the best step" in told.out and "predicted acceptance" in told.out
    same_history(TrainingFile.open(run / "train.h5"), TrainingFile.open(trained / "train.h5"))
    assert slhmc_command("status", run) == 0
    assert "done  training 12/12  loss" in capsys.readouterr().out
    assert {"loss.png", "weights.png", "weights.h5", "log.txt"} <= {path.name for path in run.iterdir()}
    guided = sets("run.trajectories=3", f"guide.network={run / 'weights.h5'}")
    assert slhmc_command("run", card, "-o", tmp_path / "guided", *guided) == 0


@pytest.mark.parametrize(("overrides", "words"), [
    (("train.loss=best",), "loss"),
    (("train.held_out=0",), "held_out"),
    (("train.source=offline",), "train.directory"),
    (("train.directory=here",), "offline"),
    (("train.batch=1",), "variance"),
    (("train.loss=force", "train.optimizer=gauss_newton"), "adam"),
    (("train.trajectory_length=0.5",), "trajectory"),
    (("train.source=offline", "train.directory=nowhere"), "0 configurations found"),
    (("network.layers=0", "network.weights=[]", "train.train_mass=false", "train.train_beta=false"), "nothing to train"),
], ids=lambda value: value if isinstance(value, str) else None)
def test_what_cannot_be_trained_is_refused(tmp_path, capsys, overrides, words):
    assert words in refusal(capsys, "train", card_file(tmp_path, CARD), "-o", tmp_path / "run", *sets(*overrides))
    assert not (tmp_path / "run" / "train.h5").exists()


def test_tables_that_are_missing_are_named(tmp_path, capsys):
    def without(begin, end):
        return CARD[:CARD.index(begin)] + CARD[CARD.index(end):]
    run = tmp_path / "run"
    assert "no [train]" in refusal(capsys, "train", card_file(tmp_path, without("[train]", "[run]")), "-o", run)
    no_guide = card_file(tmp_path, without("[network]", "[train]"))
    assert "needs a [guide]" in refusal(capsys, "train", no_guide, "-o", run)
    nothing = card_file(tmp_path, without("[network]", "[guide]"))
    frozen = sets("train.train_mass=false", "train.train_beta=false")
    assert "nothing to train" in refusal(capsys, "train", nothing, "-o", run, *frozen)


def test_a_training_is_not_overwritten_or_changed(tmp_path, trained, capsys):
    before = contents(trained)
    card = card_file(tmp_path, CARD)
    assert "of another run found" in refusal(capsys, "train", card, "-o", trained)
    assert "of another run found" in refusal(capsys, "run", card, "-o", trained)
    assert "train.learning_rate" in refusal(capsys, "resume", trained, *sets("train.learning_rate=1.0"))
    assert "train.steps" in refusal(capsys, "resume", trained, "--trajectories", 100)
    assert contents(trained) == before


def test_sampling_does_not_need_torch(tmp_path):
    """Neither does a card with [train]; training says what is missing."""
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
    card, environment = card_file(tmp_path, CARD), {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    run = run_process("run", card, "-o", tmp_path / "run", *sets("run.trajectories=1"), environment=environment)
    assert run.returncode == 0, run.stderr
    refused = run_process("train", card, "-o", tmp_path / "train", environment=environment)
    assert refused.returncode == 2 and "slhmc[learn]" in refused.stderr and not (tmp_path / "train").exists()


@pytest.mark.mpi
def test_two_ranks_train_the_same(tmp_path, trained):
    pytest.importorskip("mpi4py", exc_type=ImportError)
    run = tmp_path / "run"
    done = run_process("launch", "-n", 2, "train", card_file(tmp_path, CARD), "-o", run, *sets(*FAST), timeout=120)
    assert done.returncode == 0, done.stderr
    found, expected = (TrainingFile.open(directory / "train.h5") for directory in (run, trained))
    np.testing.assert_allclose(found.parameters, expected.parameters, atol=1e-8)
    np.testing.assert_allclose(found.steps["loss"], expected.steps["loss"], rtol=1e-6)
