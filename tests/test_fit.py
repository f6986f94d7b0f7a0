"""Fits: a training that falls, stops, goes on, tests and refuses. Their data sets are in tests/test_fit_data.py."""

import json
import shutil

import numpy as np
import pytest
from cards import FIT, fit_card
from running import CARDS, ROOT, card_file, contents, refusal, run_process, sets, slhmc_command

torch = pytest.importorskip("torch")

from fitting import fit, make_data, note_units, same_fit, stop_after_batches, stop_when  # noqa: E402

from slhmc.backend import HostDevice  # noqa: E402
from slhmc.errors import ComputationError, InputError  # noqa: E402
from slhmc.io import FitFile, load_model  # noqa: E402
from slhmc.lattice.communicator import SerialCommunicator  # noqa: E402
from slhmc.learning import datasets, regression, tasks  # noqa: E402
from slhmc.learning.evaluation import Labelled, evaluate  # noqa: E402
from slhmc.learning.models import trained_model  # noqa: E402
from slhmc.learning.optimizers import learning_rate  # noqa: E402
from slhmc.runcard import card_text, load_card  # noqa: E402
from slhmc.runcard import fit as fit_tables  # noqa: E402
from slhmc.simulation.build import fit_units  # noqa: E402

SETS = ["test_4x4.h5", "test_6x4.h5", "training_4x4.h5", "validation_4x4.h5"]
EPOCH_BATCHES = 5  # 48 samples, the last batch smaller


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A directory with the data sets of the card, for all fits that want no others."""
    return make_data(fit_card(), tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, data):
    """A whole fit of the card: its directory."""
    directory = tmp_path_factory.mktemp("fitted") / "run"
    assert fit(directory, f"data.directory={data}")[0]
    return directory


def test_a_fit_lowers_its_loss_and_keeps_the_best(fitted):
    epochs = FitFile.open(fitted / "fit.h5").epochs
    assert list(epochs["epoch"]) == list(range(7)) and np.isnan(epochs["loss"][0]) and np.isfinite(epochs["loss"][1:]).all()
    assert epochs["validation"].min() < 0.3 * epochs["validation"][0]
    np.testing.assert_array_equal(epochs["validation"], epochs["mse_site"])
    results, best = json.loads((fitted / "results.json").read_text()), epochs["validation"].argmin()
    assert (results["parameters"], results["epochs"], results["best_epoch"], results["seed"]) == (12, 6, best, 3)
    assert results["validation"] == epochs["validation"][best] and results["seconds"] == epochs["seconds"].sum()
    assert list(results["test"]) == ["4x4", "6x4"] and results["test"]["6x4"]["samples"] == 18
    assert load_model(fitted / "weights.h5")[2] == best
    assert "field rms at the start" in (fitted / "log.txt").read_text() and (fitted / "loss.png").exists()


def test_numbers_of_the_test_are_those_of_the_weights(data, fitted):
    """The trained network, read from its file, in double precision, sample by sample."""
    model, card = trained_model(fitted / "weights.h5")
    samples = Labelled(card, datasets.Part("test", (6, 4)), data, HostDevice(), "double")
    links, labels = samples.batch(slice(None))
    with torch.no_grad():
        predicted = model(links)[..., 0].numpy()
    assert predicted.dtype == np.float64
    expected = {"mse_site": ((predicted - labels.numpy())**2).mean(),
                "mse_average": ((predicted.mean(1) - labels.numpy().mean(1))**2).mean(),
                "label_variance_site": labels.numpy().var(), "label_variance_average": labels.numpy().mean(1).var(),
                "samples": 18}
    found = json.loads((fitted / "results.json").read_text())["test"]["6x4"]
    assert found == pytest.approx(expected, rel=1e-10)
    assert evaluate(model, samples, SerialCommunicator()) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("done", range(1, 6))
def test_a_stopped_and_resumed_fit_is_the_same_fit(tmp_path, data, fitted, done):
    """After an epoch, and within one: after its n-th batch."""
    run = tmp_path / "run"
    started = regression.create(fit_card(f"data.directory={data}"), run)
    stop_after_batches(started, EPOCH_BATCHES * 2 + done)
    assert not started.run()
    assert (started.epoch, started.batch) == ((2, done) if done < EPOCH_BATCHES else (3, 0))
    assert regression.resume(run).run()
    same_fit(run, fitted)


def test_a_finished_fit_restores_its_weights(tmp_path, fitted):
    run = shutil.copytree(fitted, tmp_path / "run")
    (run / "weights.h5").unlink()
    assert regression.resume(run).run()
    assert (run / "weights.h5").read_bytes() == (fitted / "weights.h5").read_bytes()


def test_a_fit_goes_on_with_the_threads_that_it_had(tmp_path, data, caplog):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert not fit(tmp_path / "run", f"data.directory={data}", observer=stop_when("training", 1))[0]
        torch.set_num_threads(1)
        assert regression.resume(tmp_path / "run").run()
        assert torch.get_num_threads() == 3
        assert "goes on with 3 threads of torch" in caplog.text and "1 here" in caplog.text
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("overrides", [
    ("fit.optimizer=adam", "fit.amsgrad=false", "fit.schedule=cosine"),
    ("model.precision=double", "fit.weight_decay=0.1", "fit.decay=0.8")], ids=lambda overrides: overrides[0])
def test_other_optimizers_go_on_as_they_were(tmp_path, data, overrides):
    overrides = (*overrides, f"data.directory={data}", "fit.epochs=3")
    assert fit(tmp_path / "whole", *overrides)[0]
    assert not fit(tmp_path / "run", *overrides, observer=stop_when("training", 2))[0]
    assert regression.resume(tmp_path / "run").run()
    same_fit(tmp_path / "run", tmp_path / "whole")


def test_a_fit_killed_after_its_history_is_cut_to_its_checkpoint(tmp_path, data, fitted):
    assert not fit(tmp_path / "run", f"data.directory={data}", observer=stop_when("training", 3))[0]
    history = FitFile.open(tmp_path / "run" / "fit.h5")
    history.append(dict.fromkeys(history.epochs.dtype.names, 1.0) | {"epoch": 4})
    history.flush()
    assert regression.resume(tmp_path / "run").run()
    same_fit(tmp_path / "run", fitted)


def test_more_epochs_may_be_asked_for(tmp_path, data, fitted, capsys):
    run = tmp_path / "run"
    assert fit(run, f"data.directory={data}", "fit.epochs=4")[0]
    assert json.loads((run / "results.json").read_text())["epochs"] == 4
    words = f"{run}: 3 epochs asked for, but 4 are done; ask for 4 or more by --set fit.epochs=N"
    assert words in refusal(capsys, "resume", run, *sets("fit.epochs=3"))
    assert slhmc_command("resume", run, *sets("fit.epochs=6")) == 0
    same_history = [FitFile.open(path / "fit.h5").epochs["validation"] for path in (run, fitted)]
    np.testing.assert_array_equal(*same_history)
    assert json.loads((run / "results.json").read_text())["test"] == json.loads((fitted / "results.json").read_text())["test"]
    assert fit(tmp_path / "cosine", f"data.directory={data}", "fit.epochs=2", "fit.schedule=cosine")[0]
    assert "fit.epochs = 3 (was 2)" in refusal(capsys, "resume", tmp_path / "cosine", *sets("fit.epochs=3"))


def test_data_of_the_current_folder_are_found_from_any_other(tmp_path, data, monkeypatch):
    run = tmp_path / "run"
    assert fit(run, f"data.directory={data}", "fit.epochs=1")[0]
    monkeypatch.chdir(data.parent)
    assert slhmc_command("resume", run, *sets(f"data.directory={data.name}", "fit.epochs=2")) == 0
    monkeypatch.chdir(tmp_path)
    assert slhmc_command("resume", run, *sets("fit.epochs=3")) == 0
    assert load_card(run / "card.toml").data.directory == str(data)
    assert not (tmp_path / data.name).exists()


def test_patience_ends_a_fit(tmp_path, data):
    """Epochs of a rate that is far too small change nothing in single precision."""
    done, history = fit(tmp_path / "run", f"data.directory={data}", "fit.learning_rate=1e-30", "fit.patience=2")
    assert done and list(history.epochs["epoch"]) == [0, 1, 2]
    assert json.loads((tmp_path / "run" / "results.json").read_text())["best_epoch"] == 0


def test_patience_counts_on_when_a_fit_goes_on(tmp_path, data):
    """Epochs without a lower loss before the stop count, and the best epoch before it stays the best."""
    overrides = (f"data.directory={data}", "fit.learning_rate=1e-30", "fit.patience=2")
    assert not fit(tmp_path / "run", *overrides, observer=stop_when("training", 1))[0]
    assert regression.resume(tmp_path / "run").run()
    assert list(FitFile.open(tmp_path / "run" / "fit.h5").epochs["epoch"]) == [0, 1, 2]
    assert json.loads((tmp_path / "run" / "results.json").read_text())["best_epoch"] == 0


def test_a_runaway_ends_with_advice(tmp_path, data):
    with pytest.raises(ComputationError, match=r"epoch 1.*lower fit.learning_rate"):
        fit(tmp_path / "run", f"data.directory={data}", "fit.learning_rate=1e30")
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "failed"


@pytest.mark.parametrize(("scale", "loss"), [("1e+30", "epoch 1, step 1: the loss"), ("1e+60", "epoch 0: the validation loss")])
def test_labels_beyond_the_precision_are_not_blamed_on_the_learning_rate(tmp_path, data, scale, loss):
    with pytest.raises(ComputationError) as caught:
        fit(tmp_path / "run", f"data.directory={data}", f"data.scale={scale}")
    assert str(caught.value).startswith(f"{loss} is inf before any step: it has run away by labels or first weights that are too")
    assert f"single precision; lower data.scale (now {scale})" in str(caught.value)


def test_learning_rates():
    table = fit_card("fit.learning_rate=1", "fit.epochs=4").fit
    assert [learning_rate(table, epochs) for epochs in (0, 0.5, 3.9)] == [1, 1, 1]
    falling = table.model_copy(update={"decay": 0.5})
    assert [learning_rate(falling, epochs) for epochs in (0, 0.9, 1, 3.5)] == [1, 1, 0.5, 0.125]
    cosine = table.model_copy(update={"schedule": "cosine"})
    assert [learning_rate(cosine, epochs) for epochs in (0, 2, 3)] == pytest.approx([1, 0.5, (1 - 0.5**0.5) / 2])


def test_kernels_wider_than_a_lattice_are_refused(tmp_path, capsys):
    """Also than one of the test; before any data are made."""
    card = card_file(tmp_path, FIT)
    wide = sets("model.layers=[{kernel = 5}]")
    assert "4" in refusal(capsys, "train", card, "-o", tmp_path / "run", *wide)
    assert not (tmp_path / "run").exists()
    tested = sets("model.layers=[{kernel = 3}]", "data.test_extents=[[4, 4], [4, 2]]")
    assert "2" in refusal(capsys, "train", card, "-o", tmp_path / "run", *tested)
    assert not (tmp_path / "run").exists()


def test_choices_of_a_card_are_those_of_the_layers():
    from slhmc.networks.lcnn import layers, network

    assert set(fit_tables.LayerTable.model_fields["kind"].annotation.__args__) == set(network.KINDS)
    assert set(fit_tables.ModelTable.model_fields["convention"].annotation.__args__) == set(layers.CONVENTIONS)
    assert set(fit_tables.Activation.__args__) == set(layers.ACTIVATIONS)


def test_a_network_with_one_number_a_configuration(tmp_path, data, monkeypatch):
    """It is fitted to lattice averages; mean squares at a site are not known."""
    class Mean(torch.nn.Module):
        parameter_count = 2

        def __init__(self):
            super().__init__()
            self.weights = torch.nn.Parameter(torch.zeros(2))

        def check(self, extent, colors):
            pass

        def forward(self, batch):
            size = batch.links_of_samples().to(self.weights)[:, :, 0].mean((1, 2))
            return (self.weights[0] + self.weights[1] * size)[:, None, None]
    monkeypatch.setattr(tasks, "model_of", lambda card, precision=None: Mean().to(
        torch.float64 if precision == "double" else torch.float32))
    assert fit(tmp_path / "run", f"data.directory={data}")[0]
    epochs = FitFile.open(tmp_path / "run" / "fit.h5").epochs
    np.testing.assert_array_equal(epochs["validation"], epochs["mse_average"])
    assert np.isnan(epochs["mse_site"]).all() and epochs["validation"].min() < epochs["validation"][0]
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["test"]["4x4"]["mse_site"] is None and results["test"]["4x4"]["mse_average"] > 0


# ---- command line
def test_the_command_line_fits_tells_and_goes_on(tmp_path, data, fitted, capsys):
    card, run = card_file(tmp_path, FIT), tmp_path / "run"
    here = sets(f"data.directory={data}")
    assert slhmc_command("train", card, "-o", run, *here, *sets("run.time_limit=1e-9")) == 75
    assert slhmc_command("resume", run, *sets("run.time_limit=1e9")) == 0
    told = capsys.readouterr()
    assert "stopped early" in told.err and "training 6/6  loss" in told.out and "mse_average" in told.out
    np.testing.assert_array_equal(*(FitFile.open(path / "fit.h5").epochs["validation"] for path in (run, fitted)))
    assert slhmc_command("status", run) == 0
    assert "done  training 6/6  loss" in capsys.readouterr().out
    before = contents(run)
    assert slhmc_command("resume", run) == 0
    after = contents(run)
    assert after.keys() == before.keys() and all(after[path] == before[path] for path in before if path.suffix == ".h5")
    assert slhmc_command("status", run) == 0
    assert "done  training 6/6  loss" in capsys.readouterr().out


def test_a_fit_is_no_run(tmp_path, fitted, capsys):
    before = contents(fitted)
    for command in ("summary", "compare", "measure"):
        assert f"{fitted}: a training found, the directory of a run expected" in refusal(capsys, command, fitted)
    card = card_file(tmp_path, FIT)
    assert "of another run found" in refusal(capsys, "train", card, "-o", fitted)
    assert "`slhmc train` it" in refusal(capsys, "run", card, "-o", tmp_path / "run")
    assert "fit.learning_rate" in refusal(capsys, "resume", fitted, *sets("fit.learning_rate=1.0"))
    assert "fit.epochs" in refusal(capsys, "resume", fitted, "--trajectories", 100)
    assert contents(fitted) == before


@pytest.mark.parametrize("written", [0, 1, 2, 3, 4])
def test_a_fit_whose_files_could_not_be_written_goes_on(tmp_path, data, fitted, monkeypatch, written):
    """A full disk at any write of a checkpoint, the first one too: history, weights, state."""
    card, writes = fit_card(f"data.directory={data}"), []

    def full(write):
        def writer(*arguments):
            writes.append(write)
            if len(writes) > written:
                raise InputError("no space left")
            return write(*arguments)
        return writer
    started = regression.create(card, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(FitFile, "flush", full(FitFile.flush))
        for name in ("save_model", "save_fit_state"):
            patch.setattr(regression, name, full(getattr(regression, name)))
        with pytest.raises(InputError, match="no space left"):
            started.run()
    assert regression.resume(tmp_path / "run").run()
    same_fit(tmp_path / "run", fitted)


def test_a_fit_without_its_checkpoint_does_not_begin_anew(tmp_path, fitted, capsys):
    run = shutil.copytree(fitted, tmp_path / "run")
    (run / "checkpoint.h5").unlink()
    before = contents(run)
    assert "checkpoint.h5: missing, but fit.h5 holds 6 epochs" in refusal(capsys, "resume", run)
    assert contents(run) == before


def test_a_fit_killed_with_nothing_but_its_card_begins_anew(tmp_path, data, fitted):
    run = tmp_path / "run"
    run.mkdir()
    (run / "card.toml").write_text(card_text(fit_card(f"data.directory={data}")))
    assert slhmc_command("resume", run) == 0
    same_fit(run, fitted)


def test_weights_of_a_fit_are_not_those_of_a_guide(fitted):
    from slhmc.io import load_weights

    with pytest.raises(InputError, match="an slhmc model file found, a weights file expected"):
        load_weights(fitted / "weights.h5")


@pytest.mark.parametrize("overrides", [(), ("model.weights=complex", "model.precision=double")], ids=str)
def test_kernels_of_a_fit_are_those_that_are_built(tmp_path, data, monkeypatch, overrides):
    used = note_units(monkeypatch)
    card = fit_card(*overrides, "data.training=3")
    assert regression.create(card, tmp_path / "run").run()
    assert {file for file, *_ in used} >= {"heat_bath.cc", "links.cc", "lcnn_quaternion.cc"}
    assert used <= set(fit_units(card, HostDevice()))


def test_fits_need_torch_and_say_so(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    refused = run_process("train", card_file(tmp_path, FIT), "-o", tmp_path / "fit", environment=environment)
    assert refused.returncode == 2 and "slhmc[learn]" in refused.stderr and not (tmp_path / "fit").exists()


@pytest.mark.mpi
def test_two_ranks_share_chains_and_batches(tmp_path, data):
    """The same data to the last bit, the same training to rounding."""
    pytest.importorskip("mpi4py", exc_type=ImportError)
    run = tmp_path / "run"
    done = run_process("launch", "-n", 2, "train", card_file(tmp_path, FIT), "-o", run, *sets("model.precision=double"),
                       timeout=120)
    assert done.returncode == 0, done.stderr
    for name in SETS:
        assert (run / "data" / name).read_bytes() == (data / name).read_bytes()
    assert fit(tmp_path / "alone", f"data.directory={data}", "model.precision=double")[0]
    found, expected = (FitFile.open(path / "fit.h5").epochs for path in (run, tmp_path / "alone"))
    np.testing.assert_allclose(found["validation"], expected["validation"], rtol=1e-9)
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-9)


# ---- shipped cards
SMALLER = ("data.betas=[2.0, 5.6]", "data.training=4", "data.validation=2", "data.test=2", "data.thermalization=2",
           "data.spacing=1", "fit.epochs=2", "fit.batch=4")
LATTICES = {2: ("lattice.extent=[6, 6]", "data.test_extents=[[6, 6], [8, 6]]"),
            4: ("lattice.extent=[4, 4, 4, 2]", "data.test_extents=[[4, 4, 4, 2], [4, 4, 4, 4]]")}


@pytest.mark.parametrize("path", sorted((CARDS / "lcnn").glob("*.toml")), ids=lambda path: path.stem)
def test_a_shipped_card_fits(tmp_path, path):
    dimensions = len(load_card(path).lattice.extent)
    assert slhmc_command("train", path, "-o", tmp_path / "run", *sets(*SMALLER, *LATTICES[dimensions])) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["epochs"] == 2 and len(results["test"]) == 2 and np.isfinite(results["validation"])
