"""Fits on fluxes: data sets of the worm algorithm, labels, losses, tests by combination, stops; faults of their cards."""

import json
from itertools import pairwise

import numpy as np
import pytest
from cards import FLUXES, faults, flux_card
from running import CARDS, card_file, refusal, run_process, sets, slhmc_command

torch = pytest.importorskip("torch")

from fitting import make_flux_data, same_fit, stop_after_batches, stop_when  # noqa: E402

from slhmc.backend import HostDevice  # noqa: E402
from slhmc.errors import InputError  # noqa: E402
from slhmc.io import FitFile, load_flux_set, save_flux_set  # noqa: E402
from slhmc.lattice.communicator import SerialCommunicator  # noqa: E402
from slhmc.learning import regression  # noqa: E402
from slhmc.learning.flux_data import FluxMaker, FluxPart, flux_parts  # noqa: E402
from slhmc.learning.flux_task import FluxSamples, FluxTask  # noqa: E402
from slhmc.learning.models import trained_model  # noqa: E402
from slhmc.learning.optimizers import LevenbergMarquardt  # noqa: E402
from slhmc.networks.convolutional import PUBLISHED  # noqa: E402
from slhmc.runcard import Card, FitCard, FluxCard, card_text, load_card, parse_card  # noqa: E402
from slhmc.scalar import divergence  # noqa: E402

BATCHES = 5  # of an epoch: 2 couplings x 2 numbers x 12 samples, 10 at a time
OBSERVABLES = ("data.label=observables", "data.open_worms=[0]", "data.test_open_worms=[0]", "model.published=regression_eq")
VIOLATION = ("data.label=violation", "data.test_open_worms=[0, 1]", "model.published=detection_eq")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_flux_data(flux_card(), tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, data):
    directory = tmp_path_factory.mktemp("fitted") / "run"
    assert regression.create(flux_card(f"data.directory={data}"), directory).run()
    return directory


# ---- data
def test_configurations_have_the_open_worms_that_they_are_said_to_have(data):
    found = load_flux_set(data / "fluxes_test_5x6.h5")
    assert found.fluxes.shape == (2 * 3 * 3, 4, 5, 6) and found.fluxes.dtype == np.int8
    k = found.fluxes[:, :2].transpose(0, 3, 2, 1).astype(int)
    np.testing.assert_array_equal(abs(divergence(k)).sum((1, 2)), 2 * found.open_worms)
    assert found.fluxes[:, 2:].min() == 0 < found.fluxes[:, 2:].max()
    np.testing.assert_array_equal(found.open_worms, np.tile(np.repeat([0, 1, 3], 3), 2))
    np.testing.assert_array_equal(found.couplings, np.repeat([[4.04, 1.25], [4.01, 1.0]], 9, 0))
    assert np.isnan(found.observables).all() and len(np.unique(found.fluxes, axis=0)) > 15


def test_observables_of_closed_configurations(tmp_path):
    make_flux_data(flux_card(*OBSERVABLES), tmp_path)
    found = load_flux_set(tmp_path / "fluxes_training_4x6.h5")
    k = found.fluxes[:, :2]
    np.testing.assert_allclose(found.observables[:, 0], k[:, 1].mean((1, 2)), rtol=1e-12, atol=1e-15)
    assert (found.observables[:, 1] > 0).all() and not divergence(k.transpose(0, 3, 2, 1).astype(int)).any()
    dense, empty = (found.observables[found.couplings[:, 1] == mu].mean(0) for mu in (1.5, 1.0))
    assert dense[0] > empty[0] + 0.1 and dense[1] > empty[1] + 0.1


def test_data_sets_are_found_again_and_those_of_others_refused(data, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in data.glob("*.h5")}
    assert len(before) == 4
    make_flux_data(flux_card("model.published=counting_st2"), data)
    assert before == {path: path.stat().st_mtime_ns for path in data.glob("*.h5")}
    for override, words in (("data.spacing=3", "spacing = 2 (3 expected)"), ("data.seed=2", "seed = 1 (2 expected)")):
        with pytest.raises(InputError, match="a data set made by another card") as caught:
            make_flux_data(flux_card(override), data)
        assert words in str(caught.value)
    part = FluxPart("test", (4, 6))
    (tmp_path / part.path(data).name).write_bytes(part.path(data).read_bytes()[:-1])
    with pytest.raises(InputError, match="truncated"):
        FluxSamples(flux_card(), part, tmp_path, HostDevice(), "double")


def test_making_data_stops_when_asked_and_goes_on(tmp_path):
    card, told = flux_card(), []
    maker = FluxMaker(card, tmp_path, HostDevice(), SerialCommunicator())
    assert not maker.make(lambda: len(told) == 2, lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4)] and len(list(tmp_path.glob("*.h5"))) == 2
    assert maker.make(lambda: False, lambda *_: None) and len(list(tmp_path.glob("*.h5"))) == 4


def test_large_fluxes_are_kept(tmp_path, data):
    found = load_flux_set(data / "fluxes_test_4x6.h5")
    for largest in (-129, 128, 40000):
        fluxes = found.fluxes.astype(np.int32)
        fluxes[0, 0, 0, 0] = largest
        save_flux_set(tmp_path / "a.h5", type(found)(fluxes, found.couplings, found.open_worms, found.observables, {}), "0")
        np.testing.assert_array_equal(load_flux_set(tmp_path / "a.h5").fluxes, fluxes)


def test_a_subset_is_the_first_of_each_combination(data):
    card = flux_card("data.subset=6", f"data.directory={data}")
    task = FluxTask(card, HostDevice(), data, SerialCommunicator())
    train, hold, whole = task.samples("training"), task.samples("validation"), load_flux_set(data / "fluxes_training_4x6.h5")
    assert len(train) == 24 and len(hold) == 8 and set(train.open_worms) == {0, 2}
    np.testing.assert_array_equal(train.fluxes[6:12], whole.fluxes[12:18])


# ---- training
def test_a_fit_falls_and_its_test_is_told_by_combination(data, fitted):
    epochs = FitFile.open(fitted / "fit.h5").epochs
    assert len(epochs) == 5 and epochs["validation"].min() < epochs["validation"][0]
    results = json.loads((fitted / "results.json").read_text())
    assert results["parameters"] == 456 and list(results["test"]) == [
        "4x6", "5x6", "up to 5x6", "4x6 mu 1.2 to 1.3", "5x6 mu 1.2 to 1.3", "up to 5x6 mu 1.2 to 1.3", "validation 4x6"]
    assert len(results["combinations"]) == 2 * 6 + 4
    model, card = trained_model(fitted / "weights.h5")
    samples = FluxSamples(card, FluxPart("test", (5, 6)), data, HostDevice(), "double")
    fluxes, labels = samples.batch(slice(3, 6))
    with torch.no_grad():
        expected = (model(fluxes) - labels).square().mean()
    found = results["combinations"]["5x6 eta 4.04 mu 1.25 open worms 1"]
    assert found["loss"] == pytest.approx(float(expected), rel=1e-10) == found["count_mse"]
    assert (found["samples"], found["count_label"], found["open_worms"]) == (3, 1.0, 1)
    losses = [entry["loss"] for entry in results["combinations"].values() if not entry["extent"].startswith("validation")]
    assert results["test"]["up to 5x6"] == {"loss_mean": pytest.approx(np.mean(losses)), "combinations": 12, "samples": 36,
                                            "loss_median": pytest.approx(np.median(losses))}
    at_best = epochs["validation"].min()
    assert results["test"]["validation 4x6"]["loss_mean"] == pytest.approx(at_best, rel=1e-4)


@pytest.mark.parametrize("done", [1, BATCHES])
def test_a_stopped_and_resumed_fit_is_the_same_fit(tmp_path, data, fitted, done):
    run = tmp_path / "run"
    started = regression.create(flux_card(f"data.directory={data}"), run)
    stop_after_batches(started, BATCHES + done)
    assert not started.run()
    assert regression.resume(run).run()
    same_fit(run, fitted)


def test_a_fit_stopped_in_its_tests_goes_on(tmp_path, data, fitted):
    run = tmp_path / "run"
    assert not regression.create(flux_card(f"data.directory={data}"), run).run(stop_when("testing", 1))
    assert not (run / "results.json").exists() and regression.resume(run).run()
    same_fit(run, fitted)


def test_violations_are_classified(tmp_path, data):
    """The loss is the cross entropy of logits, and accuracies count signs."""
    run = tmp_path / "run"
    assert regression.create(flux_card(*VIOLATION, "data.test_extents=[[4, 6]]"), run).run()
    results = json.loads((run / "results.json").read_text())
    model, card = trained_model(run / "weights.h5")
    samples = FluxSamples(card, FluxPart("test", (4, 6)), run / "data", HostDevice(), "double")
    fluxes, labels = samples.batch(slice(9, 12))
    assert labels.tolist() == [[float(n > 0)] for n in samples.open_worms[9:12]]
    with torch.no_grad():
        logits = model(fluxes)
    chance = 1 / (1 + np.exp(-logits.numpy()))
    expected = -np.where(labels.numpy() > 0.5, np.log(chance), np.log(1 - chance)).mean()
    eta, mu, count = *samples.couplings[9], samples.open_worms[9]
    found = results["combinations"][f"4x6 eta {eta:g} mu {mu:g} open worms {count}"]
    assert found["loss"] == pytest.approx(expected, rel=1e-10)
    assert found["accuracy"] == pytest.approx(((logits.numpy() > 0) == (labels.numpy() > 0.5)).mean())
    test = results["test"]["4x6"]
    assert test["accuracy"] == pytest.approx((test["accuracy_violated"] + test["accuracy_closed"]) / 2)
    assert np.isnan(FitFile.open(run / "fit.h5").epochs["mse_average"]).all()


def test_observables_are_learned_by_two_outputs(tmp_path):
    run = tmp_path / "run"
    assert regression.create(flux_card(*OBSERVABLES, "fit.epochs=2"), run).run()
    found = json.loads((run / "results.json").read_text())["combinations"]["4x6 eta 4.01 mu 1 open worms 0"]
    assert found["loss"] == pytest.approx((found["density_mse"] + found["phi_squared_mse"]) / 2)
    whole = load_flux_set(run / "data" / "fluxes_test_4x6.h5")
    values = whole.observables[whole.couplings[:, 0] == 4.01]
    assert [found["density_label"], found["phi_squared_label"]] == pytest.approx(values.mean(0), rel=1e-12)
    assert found["density_label_error"] == pytest.approx(values[:, 0].std() / 3**0.5)


# ---- least squares
LEAST_SQUARES = ("fit.optimizer=levenberg_marquardt", "model={layers = [{kind = 'convolution', kernel = 2, channels = 2, "
                 "bias = false}, {kind = 'global_sum'}, {kind = 'linear', channels = 1, bias = false}], precision = 'double'}")


def least_squares_card(data, *overrides):
    """The card with its rate left out, which has no meaning."""
    text = FLUXES.replace("learning_rate = 0.01\n", "")
    return parse_card(text, "card.toml", [*LEAST_SQUARES, f"data.directory={data}", *overrides], FitCard)


def test_derivatives_of_deviations(data):
    """As autograd has them sample by sample."""
    card = least_squares_card(data)
    task = FluxTask(card, HostDevice(), data, SerialCommunicator())
    model, (fluxes, labels) = task.model(), task.samples("training").batch(slice(0, 7))
    problem = task.least_squares(model, fluxes, labels)
    for row, (sample, label) in enumerate(zip(fluxes, labels, strict=True)):
        deviation = (model(sample[None]) - label).squeeze()
        expected = torch.cat([part.flatten() for part in torch.autograd.grad(deviation, list(model.weights))])
        torch.testing.assert_close(problem.jacobian()[row], expected, rtol=1e-12, atol=1e-13)
        assert float(problem.deviations()[row]) == pytest.approx(deviation.item(), rel=1e-12)


def test_weights_that_fit_exactly_are_found_to_rounding(data):
    """sum_x |div k| / 2 is sum_x [f(div k) + f(-div k)] / 1.98: from near such weights a few steps lead to them."""
    card = least_squares_card(data)
    task = FluxTask(card, HostDevice(), data, SerialCommunicator())
    model, samples = task.model(), task.samples("training")
    with torch.no_grad():
        for weight in model.weights:
            weight.mul_(0.01)
        for sign, channel in ((1, 0), (-1, 1)):
            model.weights[0][channel, :2, 1, 1] += sign
            model.weights[0][channel, 0, 0, 1] -= sign
            model.weights[0][channel, 1, 1, 0] -= sign
        model.weights[1][0, :2] += 1 / 1.98
    optimizer, losses = LevenbergMarquardt(model.parameters()), []
    problem = task.least_squares(model, *samples.batch(slice(None)))
    for _ in range(60):
        losses.append(optimizer.fit(problem, len(samples), lambda arrays: arrays))
    assert losses[0] > 1e-4 and losses[-1] < 1e-20
    assert all(later <= before for before, later in pairwise(losses))


def test_a_fit_by_least_squares_stops_and_goes_on(tmp_path, data):
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert regression.create(least_squares_card(data), whole).run()
    history = FitFile.open(whole / "fit.h5").epochs
    assert history["loss"][-1] < 0.5 * history["validation"][0]
    started = regression.create(least_squares_card(data), run)
    stop_after_batches(started, BATCHES + 2)
    assert not started.run() and regression.resume(run).run()
    same_fit(run, whole)


@pytest.mark.mpi
def test_two_ranks_fit_the_same(tmp_path, data):
    """Sums over ranks have another order, nothing else."""
    pytest.importorskip("mpi4py", exc_type=ImportError)
    text = FLUXES.replace("learning_rate = 0.01\n", "")
    keys = sets(*LEAST_SQUARES, f"data.directory={data}", "fit.epochs=1")
    assert regression.create(least_squares_card(data, "fit.epochs=1"), tmp_path / "one").run()
    done = run_process("launch", "-n", 2, "train", card_file(tmp_path, text), "-o", tmp_path / "two", *keys, timeout=120)
    assert done.returncode == 0, done.stderr
    losses = [FitFile.open(tmp_path / run / "fit.h5").epochs["validation"] for run in ("one", "two")]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-6)


@pytest.mark.parametrize(("override", "expected"), [
    ("fit.decay=0.5", 'fit.decay=0.5: has no meaning with optimizer = "levenberg_marquardt"'),
    ("data.label=violation", '"levenberg_marquardt" is for mean squares, not for the cross entropy')])
def test_keys_that_least_squares_have_not(override, expected):
    found = faults(FLUXES.replace("learning_rate = 0.01\n", ""), *LEAST_SQUARES, override)
    assert any(expected in line for line in found), found


# ---- cards, command line
def test_the_command_line_fits_and_tells(tmp_path, data, capsys):
    card = card_file(tmp_path, FLUXES)
    assert slhmc_command("train", card, "-o", tmp_path / "run", *sets(f"data.directory={data}", "fit.epochs=1")) == 0
    told = capsys.readouterr().out
    assert "loss_median" in told and "up to 5x6" in told and "456 parameters" in told
    assert slhmc_command("resume", tmp_path / "run", *sets("fit.epochs=2")) == 0
    assert len(FitFile.open(tmp_path / "run" / "fit.h5").epochs) == 3
    assert "spacing" in refusal(capsys, "resume", tmp_path / "run", *sets("data.spacing=9"))
    assert "`slhmc train` it" in refusal(capsys, "run", card, "-o", tmp_path / "other")


@pytest.mark.parametrize(("overrides", "expected"), [
    (("model.published=counting_fl1",), "tied to its extents: 4x6 expected, 5x6 found"),
    (("model.published=counting_eq9",), "no published network 'counting_eq9'; known are"),
    (("model.published=regression_eq",), 'the network has 2 outputs, label = "open_worms" 1: change its last stage'),
    (('model={layers = [{kind = "convolution", channels = 2}]}',), "0 ends of the lattice found")], ids=lambda word: word[-1])
def test_networks_that_do_not_fit_are_refused_before_data_are_made(tmp_path, capsys, overrides, expected):
    card = card_file(tmp_path, FLUXES)
    assert expected in refusal(capsys, "train", card, "-o", tmp_path / "run", *sets(*overrides))
    assert not (tmp_path / "run").exists()


def test_data_beyond_the_memory_are_refused_before_chains_are_made(tmp_path, capsys):
    card = card_file(tmp_path, FLUXES)
    line = refusal(capsys, "train", card, "-o", tmp_path / "run", *sets("data.training=2147483647"))
    assert "data.training: 8589934588 configurations of 4x6 take 3.3e+12 bytes, more than the memory has; lower it" in line


@pytest.mark.parametrize(("override", "expected"), [
    ("data.label=worms", 'expected "observables", "violation" or "open_worms", found "worms"'),
    ("data.kind=flux", 'expected "fluxes", found "flux"; did you mean fluxes?'),
    ("data.open_worms=[1]", 'label = "open_worms" is learned from 0 open worms beside other numbers, found [1]'),
    ("data.open_worms=[0, 2147483647]", ": 2147483647 open worms found; 24 sites have room for the ends of 12"),
    ("data.test_open_worms=[0, 40]", ": 40 open worms found; 24 sites have room for the ends of 12"),
    ("data.label=observables", "data.open_worms: n and |phi|^2 are of configurations without open worms"),
    ("data.subset=13", "13 configurations found, training has 12 of each"),
    ("data.couplings=[[4.0]]", "data.couplings.0: expected at least 2 entries, found 1"),
    ("data.couplings=[[4.01, 1], [-4, 1]]", "data.couplings.1: eta must be greater than 0, found -4"),
    ("data.test_couplings=[[4.01, 701]]", "data.test_couplings.0: mu must lie between -700 and 700, found 701"),
    ("data.mu_ranges=[[1.0, 1.1], [1.3, 1.2]]", "data.mu_ranges.1: no coupling of the test has 1.3 <= mu <= 1.2"),
    ("lattice.extent=[4, 100000000]", ": at most 268435456 sites of all chains together, found 4000000000"),
    ("data.test_extents=[[4, 6], [3, 100000000]]", "extents.1: at most 268435456 sites of all chains together, found 3"),
    ("data.worms=1000000", ": at most 8388608 worms of all chains together in a sweep, found 10000000"),
    ("data.test_extents=[[1, 4]]", "data.test_extents.0.0: must be at least 2, found 1"),
    ('model.layers=[{kind = "linear"}]', ": the stages, or in their place model.published"),
    ('model.layers=[{kind = "linear"}]', "model.layers.0.channels: missing: channels that leave a stage of kind"),
    ('model.layers=[{kind = "flatten", channels = 2}]', 'model.layers.0.channels: kind = "flatten" keeps the channels'),
    ("lattice.colors=2", "unknown key; [lattice] has extent"),
    ("gauge.beta=2", "gauge: unknown table; a card has lattice, data, model"),
    ("run.thermalization=2", "unknown key; thermalization belongs to [data]")])
def test_a_fault_of_a_card_is_told(override, expected):
    assert any(expected in line for line in faults(FLUXES, override)), faults(FLUXES, override)


def test_cards_survive_writing():
    stages = 'model={layers = [{kind = "convolution", channels = 2, kernel = 3}, {kind = "global_sum"}]}'
    for overrides in ((), OBSERVABLES, (stages,)):
        card = flux_card(*overrides)
        assert parse_card(card_text(card), "resolved", kinds=FitCard) == card
    assert card.data.directory is None and card.data.worms is None and card.train is None


def test_shipped_cards_have_networks_that_fit_their_lattices():
    found = {}
    for path in sorted((CARDS / "scalar").glob("*.toml")):
        card = load_card(path, kinds=Card)
        if isinstance(card, FluxCard):
            task = FluxTask(card, HostDevice(), path, SerialCommunicator())
            task.check(task.model())
            assert card.model.published in PUBLISHED and len(flux_parts(card)) > 3
            found[card.data.label] = path.stem
    assert set(found) == {"observables", "violation", "open_worms"}
