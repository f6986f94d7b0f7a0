"""Checkpoints that are sound, but of other work: of another kind, or of the same kind with another card."""

import shutil

import numpy as np
import pytest
from cards import fit_card, training_card
from running import card_of, contents, refusal
from test_scalar_runs import card_of as scalar_card_of

torch = pytest.importorskip("torch")

from fitting import stop_when  # noqa: E402

from slhmc import simulation  # noqa: E402
from slhmc.io import EnsembleFile, load_checkpoint, save_checkpoint  # noqa: E402
from slhmc.learning import regression, training  # noqa: E402

SEEDS = {"": 7, "other ": 8}


def make_run(directory, seed):
    simulation.create(card_of("run.thermalization=0", "run.trajectories=2", f"run.seed={seed}"), directory).run()


def make_training(directory, seed):
    assert not training.create(training_card(f"run.seed={seed}"), directory).run(stop_when("thermalizing", 1))


def make_fit(directory, seed):
    assert not regression.create(fit_card(f"run.seed={seed}"), directory).run(stop_when("training", 1))


def make_scalar_run(directory, seed):
    simulation.create_scalar(scalar_card_of(f"run.seed={seed}"), directory).run()


MAKE = {"run": make_run, "training": make_training, "fit": make_fit, "scalar run": make_scalar_run}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Directories by kind of work, each also with another seed, under "other " and the kind."""
    folder = tmp_path_factory.mktemp("made")
    for which, seed in SEEDS.items():
        for kind, make in MAKE.items():
            make(folder / (which + kind), seed)
    return folder


@pytest.mark.parametrize(("kind", "found"), [(kind, which + found) for kind in MAKE for which in SEEDS for found in MAKE
                                             if kind != which + found])
def test_a_checkpoint_of_other_work_is_refused(capsys, tmp_path, made, kind, found):
    directory = shutil.copytree(made / kind, tmp_path / "run")
    shutil.copy(made / found / "checkpoint.h5", directory)
    before = contents(directory)
    what = f"another {kind}" if found == f"other {kind}" else f"a {found.removeprefix('other ')}"
    line = refusal(capsys, "resume", directory)
    assert f"{directory / 'checkpoint.h5'}: the checkpoint of {what} found, that of this {kind} expected; put it back" in line
    assert contents(directory) == before


def test_a_checkpoint_that_does_not_say_whose_it_is_still_serves(tmp_path, made):
    """As of earlier versions."""
    directory = shutil.copytree(made / "run", tmp_path / "run")
    links, trajectory, state = load_checkpoint(directory / "checkpoint.h5")
    owner = EnsembleFile.open(directory / "chain.h5").owner
    save_checkpoint(directory / "checkpoint.h5", links, trajectory, state, None)
    assert simulation.resume(directory, overrides=["run.trajectories=3"]).run()
    assert load_checkpoint(directory / "checkpoint.h5", owner)[1] == 3


def test_a_changed_card_keeps_its_checkpoints(tmp_path, made):
    directory = shutil.copytree(made / "run", tmp_path / "run")
    for trajectories in (3, 4):
        assert simulation.resume(directory, overrides=[f"run.trajectories={trajectories}"]).run()
    assert np.array_equal(EnsembleFile.open(directory / "chain.h5").records["trajectory"], [1, 2, 3, 4])
