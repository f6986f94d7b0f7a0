"""Trainings of guides: the loss falls; stopped, killed, gone on with; other data; the command line; ranks."""

import shutil

import numpy as np
import pytest
from cards import THIN, TRAINING, gauge, hmc, run_table, training_card
from running import CARDS, ROOT, card_file, contents, refusal, run_process, sets, slhmc_command

torch = pytest.importorskip("torch")

from fitting import stop_when  # noqa: E402

from slhmc import simulation  # noqa: E402
from slhmc.errors import ComputationError  # noqa: E402
from slhmc.io import TrainingFile, load_weights, save_weights  # noqa: E402
from slhmc.learning import training  # noqa: E402
from slhmc.networks import make_network  # noqa: E402
from slhmc.runcard import load_card  # noqa: E402

FAST = ("solver.force_tolerance=1e-10", "solver.action_tolerance=1e-12", "solver.precision=mixed")


def train(directory, *overrides, observer=None):
    done = training.create(training_card(*FAST, *overrides), directory).run(observer)
    return done, TrainingFile.open(directory / "train.h5")


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
    card = training_card(*FAST, "run.save_every=1", "run.trajectories=54")
    plain = card.model_copy(update={"guide": None, "network": None, "train": None})
    assert simulation.create(plain, run).run()
    _, history = train(tmp_path / "run", "train.source=offline", f"train.directory={run}")
    same_history(history, TrainingFile.open(trained / "train.h5"))
    assert not list((tmp_path / "run" / "configs").iterdir())
    longer = ("train.steps=15", "train.report_every=15")
    _, again = train(tmp_path / "more", "train.source=offline", f"train.directory={run}", *longer)
    assert np.isfinite(again.steps["loss"][1:]).all() and len(set(again.steps["loss"][1:])) == 15


def test_a_resumed_training_keeps_to_its_samples(tmp_path, capsys):
    """Whatever the run has kept since; one that is gone or another is refused."""
    run, offline = tmp_path / "kept", ["train.source=offline", f"train.directory={tmp_path / 'kept'}", "train.held_out=4"]
    card = training_card(*FAST, "run.save_every=2", "run.trajectories=30")
    plain = card.model_copy(update={"guide": None, "network": None, "train": None})
    assert simulation.create(plain, run).run()
    _, whole = train(tmp_path / "whole", *offline, "train.steps=6")
    assert train(tmp_path / "run", *offline, "train.steps=3")[0]
    assert slhmc_command("resume", run, "--trajectories", 40) == 0
    assert slhmc_command("resume", tmp_path / "run", *sets("train.steps=6")) == 0
    same_history(TrainingFile.open(tmp_path / "run" / "train.h5"), whole)
    gone, other = sorted((run / "configs").iterdir())[:2]
    for words, change in (("another file", lambda: shutil.copy(other, gone)), ("nothing", gone.unlink)):
        change()
        assert f"{gone}: {words} found where a sample of this training was" in refusal(
            capsys, "resume", tmp_path / "run", *sets("train.steps=9"))


def test_a_mass_that_runs_away_is_told(tmp_path):
    with pytest.raises(ComputationError, match="the guide's quarks.0.mass has become .*: mass beyond 1e[+]06"):
        train(tmp_path / "run", "train.learning_rate=0.5", "train.optimizer=sgd", "train.loss=force", "train.steps=9")


def test_patience_counts_reports_alone(tmp_path):
    """Not the last steps of a training that is asked for more."""
    rates = "train.learning_rate=1e-4", "train.optimizer=sgd", "train.patience=1", "train.report_every=50"
    train(tmp_path / "run", *rates, "train.steps=1")
    for steps in (2, 3, 4):
        assert slhmc_command("resume", tmp_path / "run", *sets(f"train.steps={steps}")) == 0
        assert TrainingFile.open(tmp_path / "run" / "train.h5").steps["step"][-1] == steps


def test_what_was_trained_before_stays_in_the_weights(tmp_path):
    """A training from a file of weights has its mass and beta, in one piece or two."""
    first = train(tmp_path / "first", "train.train_mass=true", "train.train_beta=true", "train.steps=2")[0]
    found = load_weights(tmp_path / "first" / "weights.h5").trained
    assert first and set(found) == {"quarks.0.mass", "gauge.beta"}
    frozen = "train.train_mass=false", "train.train_beta=false"
    assert train(tmp_path / "second", f"guide.network={tmp_path / 'first' / 'weights.h5'}", "train.steps=2", *frozen)[0]
    assert slhmc_command("resume", tmp_path / "second", *sets("train.steps=4")) == 0
    for name in ("weights.h5", "last_weights.h5"):
        assert load_weights(tmp_path / "second" / name).trained == found


def test_a_guide_of_links_alone_is_trained_and_used(tmp_path, capsys):
    """Its coupling, to a target without quarks; weights of a network have nothing to act on there."""
    text = gauge((4, 4), 2.0) + hmc(6) + "[guide]\nbeta = 2.5\n" + run_table(thermalization=3, trajectories=4, seed=3)
    table = TRAINING[TRAINING.index("[train]"):TRAINING.index("train_mass")] + "train_beta = true\n"
    card = card_file(tmp_path, text + table)
    assert slhmc_command("train", card, "-o", tmp_path / "train", *sets("train.steps=6", "train.learning_rate=0.1")) == 0
    weights = load_weights(tmp_path / "train" / "weights.h5")
    assert list(weights.trained) == ["gauge.beta"] and abs(weights.trained["gauge.beta"] - 2) < 0.4
    card = card_file(tmp_path, text.replace("beta = 2.5", "network = 'train/weights.h5'"))
    run, none = simulation.create(load_card(card, ["run.start=hot"]), tmp_path / "run"), {"gauge": None}
    values = [float(action.action(run.U, none)) for action in (run.update.guide[0].action, run.update.target)]
    assert values[0] / values[1] == pytest.approx(weights.trained["gauge.beta"] / 2, rel=1e-12)
    assert run.run()
    assert slhmc_command("summary", tmp_path / "run") == 0
    stout = make_network("stout", 2, 2, 1, ("plaquette",))
    save_weights(tmp_path / "train" / "weights.h5", stout.table(), dict.fromkeys(stout.parameter_names, 0.1), "", 0)
    capsys.readouterr()
    assert "a network of 1 layers found, but the card has no [[quarks]]" in refusal(capsys, "run", card, "-o", tmp_path / "no")


def test_configurations_of_another_target_are_refused(tmp_path, trained, capsys):
    """What differs is named; the guide is free."""
    offline = sets("train.source=offline", f"train.directory={trained}", "train.held_out=2", "train.steps=1", *FAST)
    card = card_file(tmp_path, TRAINING)
    words = refusal(capsys, "train", card, "-o", tmp_path / "no", *offline, *sets("gauge.beta=2.2", "quarks.0.mass=0.2"))
    assert f"{trained}: samples of another target" in words
    assert "gauge.beta = 2.0 (in the card of the training 2.2), quarks.0.mass = 0.3 (in the card of the training 0.2)" in words
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
    card = training_card(*FAST, "train.steps=3", f"guide.network={trained / 'weights.h5'}")
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


# ---- command line
@pytest.mark.parametrize("name", [path.stem for path in CARDS.rglob("*.toml") if "\n[train]" in path.read_text()])
def test_a_shipped_card_trains(tmp_path, name):
    shorter = sets("run.thermalization=1", "train.steps=2", "train.batch=2", "train.held_out=2", "train.report_every=1")
    (card,) = CARDS.rglob(f"{name}.toml")
    assert slhmc_command("train", card, "-o", tmp_path / "run", *shorter) == 0
    history = TrainingFile.open(tmp_path / "run" / "train.h5")
    assert len(history.evaluations) == 3 and (history.parameters[2] != history.parameters[0]).any()


def test_the_command_line_trains_tells_and_goes_on(tmp_path, trained, capsys):
    card, run = card_file(tmp_path, TRAINING), tmp_path / "run"
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
    assert words in refusal(capsys, "train", card_file(tmp_path, TRAINING), "-o", tmp_path / "run", *sets(*overrides))
    assert not (tmp_path / "run" / "train.h5").exists()


def test_tables_that_are_missing_are_named(tmp_path, capsys):
    def without(begin, end):
        return TRAINING[:TRAINING.index(begin)] + TRAINING[TRAINING.index(end):]
    run = tmp_path / "run"
    assert "no [train]" in refusal(capsys, "train", card_file(tmp_path, without("[train]", "[run]")), "-o", run)
    no_guide = card_file(tmp_path, without("[network]", "[train]"))
    assert "needs a [guide]" in refusal(capsys, "train", no_guide, "-o", run)
    nothing = card_file(tmp_path, without("[network]", "[guide]"))
    frozen = sets("train.train_mass=false", "train.train_beta=false")
    assert "nothing to train" in refusal(capsys, "train", nothing, "-o", run, *frozen)


def test_a_training_is_not_overwritten_or_changed(tmp_path, trained, capsys):
    before = contents(trained)
    card = card_file(tmp_path, TRAINING)
    assert "of another run found" in refusal(capsys, "train", card, "-o", trained)
    assert "of another run found" in refusal(capsys, "run", card, "-o", trained)
    assert "train.learning_rate" in refusal(capsys, "resume", trained, *sets("train.learning_rate=1.0"))
    assert "train.steps" in refusal(capsys, "resume", trained, "--trajectories", 100)
    words = f"{trained}: 2 steps asked for, but 12 are done; ask for 12 or more by --set train.steps=N"
    assert words in refusal(capsys, "resume", trained, *sets("train.steps=2"))
    assert contents(trained) == before


def test_a_card_of_a_training_alone_is_not_resumed_as_a_run(tmp_path, capsys):
    card_file(tmp_path, TRAINING)
    before = contents(tmp_path)
    assert "begin anew: slhmc train" in refusal(capsys, "resume", tmp_path)
    assert contents(tmp_path) == before


def test_sampling_does_not_need_torch(tmp_path):
    """Neither does a card with [train]; training says what is missing."""
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
    card, environment = card_file(tmp_path, TRAINING), {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    run = run_process("run", card, "-o", tmp_path / "run", *sets("run.trajectories=1"), environment=environment)
    assert run.returncode == 0, run.stderr
    refused = run_process("train", card, "-o", tmp_path / "train", environment=environment)
    assert refused.returncode == 2 and "slhmc[learn]" in refused.stderr and not (tmp_path / "train").exists()


@pytest.mark.mpi
def test_two_ranks_train_the_same(tmp_path, trained):
    pytest.importorskip("mpi4py", exc_type=ImportError)
    run = tmp_path / "run"
    done = run_process("launch", "-n", 2, "train", card_file(tmp_path, TRAINING), "-o", run, *sets(*FAST), timeout=120)
    assert done.returncode == 0, done.stderr
    found, expected = (TrainingFile.open(directory / "train.h5") for directory in (run, trained))
    np.testing.assert_allclose(found.parameters, expected.parameters, atol=1e-8)
    np.testing.assert_allclose(found.steps["loss"], expected.steps["loss"], rtol=1e-6)
