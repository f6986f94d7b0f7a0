"""Whole runs with a guide: weights files and their faults, frozen weights on record, resume, moved directories, summaries."""

import json
import shutil

import h5py
import numpy as np
import pytest
from running import CARD, assert_same_chain, card_file, contents, final_links, refusal, sets, slhmc_command
from test_bad_input import flipped

from slhmc import simulation
from slhmc.analysis import summarise
from slhmc.errors import InputError
from slhmc.io import EnsembleFile, Weights, load_weights, save_weights, write_weights
from slhmc.networks import make_network
from slhmc.report import compare
from slhmc.runcard import load_card

GUIDE = '[guide]\nnetwork = "weights.h5"\nquarks = [{ mass = 0.6 }]\n'
TABLE = make_network("stout", 2, 2, 1, ("plaquette", "polyakov_t")).table()
NUMBERS = {"layer1.plaquette": -0.01, "layer1.polyakov_t": 0.02}


@pytest.fixture
def card(tmp_path):
    """A card with a guide beside its weights."""
    save_weights(tmp_path / "weights.h5", TABLE, NUMBERS, "the card that trained them", 1)
    return card_file(tmp_path, CARD + GUIDE)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that is done."""
    folder = tmp_path_factory.mktemp("guided")
    save_weights(folder / "weights.h5", TABLE, NUMBERS, "", 1)
    assert slhmc_command("run", card_file(folder, CARD + GUIDE), "-o", folder / "run") == 0
    return folder / "run"


@pytest.fixture
def another_run(finished, tmp_path):
    """A copy of it, in another place."""
    return shutil.copytree(finished, tmp_path / "moved" / "another")


# ---- weights files
def test_weights_come_back_to_the_last_bit(tmp_path):
    numbers = {"layer1.plaquette": 1 / 3, "layer1.polyakov_t": -5e-324, "quarks.0.mass": 0.1, "gauge.beta": 2.7}
    history = {"loss": np.array([3.0, 1.0]), "step": np.array([0, 1])}
    path = tmp_path / "w.h5"
    saved = save_weights(path, TABLE, numbers, "# Maß\n", 2, history)
    loaded = load_weights(path)
    assert loaded == saved and loaded.parameters == numbers and loaded.card_text == "# Maß\n"
    assert list(loaded.parameters) == list(numbers) and loaded.trained == {"quarks.0.mass": 0.1, "gauge.beta": 2.7}
    np.testing.assert_array_equal(loaded.network_values, [1 / 3, -5e-324])
    np.testing.assert_array_equal(loaded.history["loss"], history["loss"])
    write_weights(tmp_path / "copy.h5", loaded)
    assert (tmp_path / "copy.h5").read_bytes() == path.read_bytes()


def test_the_hash_knows_every_bit_of_numbers_and_layers():
    digests = {Weights(TABLE, NUMBERS, 1).digest}
    for table, numbers, quarks in (
        (TABLE, NUMBERS | {"layer1.plaquette": np.nextafter(-0.01, 0)}, 1), (TABLE | {"layers": 2}, NUMBERS, 1),
        (TABLE, NUMBERS | {"gauge.beta": 2.0}, 1), (TABLE, NUMBERS, 2), (TABLE, dict(reversed(NUMBERS.items())), 1)):
        digests.add(Weights(table, numbers, quarks).digest)
    assert len(digests) == 6
    assert Weights(TABLE, NUMBERS, 1, "another card", {"loss": np.zeros(3)}).digest in digests


def test_numbers_that_are_not_finite_are_not_written(tmp_path):
    with pytest.raises(ValueError, match=r"weight layer1.plaquette = nan"):
        save_weights(tmp_path / "w.h5", TABLE, {"layer1.plaquette": float("nan")}, "", 1)
    assert list(tmp_path.iterdir()) == []


# ---- what a run keeps
def test_a_run_says_what_guides_it(finished, capsys):
    """The chain file, and the summary."""
    chain, digest = EnsembleFile.open(finished / "chain.h5"), Weights(TABLE, NUMBERS, 1).digest
    assert chain.guide == {"network": json.dumps(TABLE, sort_keys=True), "trained": "{}", "weights_sha256": digest}
    with h5py.File(finished / "chain.h5") as file:
        assert file.attrs["guide_weights_sha256"] == digest and json.loads(file.attrs["guide_network"]) == TABLE
    assert load_weights(finished / "weights.h5").digest == digest
    assert load_card(finished / "card.toml").guide.network == str(finished / "weights.h5")
    capsys.readouterr()
    assert slhmc_command("summary", finished) == 0
    out = capsys.readouterr().out
    assert "guide                         staggered m 0.6; stout network, 1 layer of plaquette, polyakov_t" in out
    assert f"frozen weights, sha256        {digest[:16]}" in out
    assert summarise(finished)["guide"] == chain.guide


def test_a_chain_without_a_network_says_nothing(uninterrupted, tmp_path):
    assert EnsembleFile.open(uninterrupted / "chain.h5").guide == {}
    assert slhmc_command("run", card_file(tmp_path, CARD + "[guide]\nquarks = [{ mass = 0.6 }]\n"), "-o", tmp_path / "run") == 0
    assert EnsembleFile.open(tmp_path / "run" / "chain.h5").guide == {}


def test_weights_in_a_card_are_on_record_too(tmp_path, finished, capsys):
    """And the chain is that of the same numbers in a file."""
    network = '[network]\nloops = ["plaquette", "polyakov_t"]\nweights = [[-0.01, 0.02]]\n'
    text = CARD + network + "[guide]\nquarks = [{ mass = 0.6 }]\n"
    assert slhmc_command("run", card_file(tmp_path, text), "-o", tmp_path / "run") == 0
    assert EnsembleFile.open(tmp_path / "run" / "chain.h5").guide == EnsembleFile.open(finished / "chain.h5").guide
    assert_same_chain(tmp_path / "run", finished)
    assert not (tmp_path / "run" / "weights.h5").exists()
    line = refusal(capsys, "resume", tmp_path / "run", *sets("network.weights=[[0.0,0.0]]"))
    assert "a run that goes on may not change this key" in line


def test_thermalization_is_by_the_target(finished, uninterrupted, tmp_path):
    """The first three trajectories are those of the same card without a guide."""
    chains = [EnsembleFile.open(run / "chain.h5").records for run in (finished, uninterrupted)]
    np.testing.assert_array_equal(chains[0]["delta_h"][:3], chains[1]["delta_h"][:3])
    assert (chains[0]["delta_h"][3:] != chains[1]["delta_h"][3:]).all()


@pytest.mark.parametrize("command", ["run", "train"])
def test_weights_in_the_way_are_not_replaced(card, tmp_path, capsys, command):
    """Those of somebody else; a run may begin beside its own."""
    pytest.importorskip("torch")
    card.write_text(card.read_text() + "[train]\n")
    other = tmp_path / "other"
    other.mkdir()
    save_weights(other / "weights.h5", TABLE, NUMBERS | {"layer1.plaquette": -0.02}, "", 1)
    before = contents(other)
    assert "weights.h5 of another run found" in refusal(capsys, command, card, "-o", other)
    assert contents(other) == before
    own = sets("run.trajectories=1", f"guide.network={other / 'weights.h5'}")
    assert slhmc_command("run", card, "-o", other, *own) == 0
    assert load_weights(other / "weights.h5").parameters["layer1.plaquette"] == -0.02


def test_a_comparison_tells_other_weights(card, finished, tmp_path):
    """Cards of both name their own copy; how weights were trained, a run does not read."""
    other = save_weights(tmp_path / "weights.h5", TABLE, NUMBERS | {"layer1.plaquette": -0.02}, "", 1)
    card.write_text(card.read_text() + '[train]\nloss = "force"\n')
    assert slhmc_command("run", card, "-o", tmp_path / "run") == 0
    differing = compare([finished, tmp_path / "run"]).result["what_differs"]
    assert differing == {"sha256 of the guide's weights": [Weights(TABLE, NUMBERS, 1).digest[:16], other.digest[:16]]}


# ---- going on
def test_a_moved_run_goes_on_as_if_nothing_had_happened(card, tmp_path, capsys, finished):
    """With the original weights gone, in one piece or two."""
    assert slhmc_command("run", card, "-o", tmp_path / "first", *sets("run.trajectories=4")) == 0
    (tmp_path / "weights.h5").unlink()
    (tmp_path / "first").rename(tmp_path / "second")
    assert slhmc_command("resume", tmp_path / "second", "--trajectories", 9) == 0
    assert_same_chain(tmp_path / "second", finished)


def test_changed_weights_are_refused(another_run, capsys):
    """Also those of the same shape; nothing is touched."""
    digest = Weights(TABLE, NUMBERS, 1).digest
    other = save_weights(another_run / "weights.h5", TABLE, NUMBERS | {"layer1.plaquette": -0.02}, "", 1)
    before = contents(another_run)
    line = refusal(capsys, "resume", another_run, "--trajectories", 12)
    assert f"{another_run / 'weights.h5'}: not the weights that made this chain: sha256 {other.digest} found" in line
    assert f"{digest} expected; restore a copy" in line
    assert contents(another_run) == before


@pytest.mark.parametrize(("damage", "words"), [
    (lambda data: data[:-100], "truncated"), (flipped, "damaged, or edited"), (lambda data: b"", "empty file found"),
    (None, "cannot be read: no such file or directory; check the path")])
def test_damaged_weights_stop_a_new_run_and_an_old_one(card, another_run, tmp_path, capsys, damage, words):
    for path, command in ((tmp_path / "weights.h5", ["run", card, "-o", tmp_path / "new"]),
                          (another_run / "weights.h5", ["resume", another_run])):
        data = path.read_bytes()
        path.unlink()
        if damage is not None:
            path.write_bytes(damage(data))
        assert refusal(capsys, *command).startswith(f"slhmc: {path}: {words}")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("table", "quarks", "numbers", "words"), [
    (make_network("stout", 3, 2, 1, ("plaquette", "polyakov_t")).table(), 1, NUMBERS, "colors = 3 (expected 2)"),
    (make_network("stout", 2, 4, 1, ("plaquette", "polyakov_t")).table(), 1, NUMBERS, "dimensions = 4 (expected 2)"),
    (TABLE, 2, NUMBERS, "2 quarks (expected 1)"),
    (TABLE, 1, {"layer1.plaquette": 0.1}, "its weights are not those of its own layers"),
    (TABLE, 1, NUMBERS | {"quarks.1.mass": 0.1}, "quarks.1.mass is no key of this card's guide"),
    (TABLE, 1, NUMBERS | {"quarks.0.factor": -1.1}, "quarks.0.factor = -1.1: a number above 0 expected"),
    (TABLE, 1, NUMBERS | {"quarks.0.mass": -0.1}, "trained quarks.0.mass: mass must be greater than 0: a massless staggered"),
])
def test_weights_of_another_card_are_refused(card, tmp_path, capsys, table, quarks, numbers, words):
    save_weights(tmp_path / "weights.h5", table, numbers, "", quarks)
    line = refusal(capsys, "run", card, "-o", tmp_path / "run")
    assert line.startswith(f"slhmc: {tmp_path / 'weights.h5'}: ") and words in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("network", "words"), [
    ('loops = ["plaquette"]', 'loops = ["plaquette", "polyakov_t"] (expected ["plaquette"])'),
    ('loops = ["plaquette", "polyakov_t"]\nlayers = 2', "layers = 1 (expected 2)"),
    ('loops = ["plaquette", "polyakov_t"]\nkind = "ape"', 'kind = "stout" (expected "ape")'),
])
def test_a_file_must_fit_the_network_of_the_card(card, tmp_path, capsys, network, words):
    card.write_text(card.read_text() + f"[network]\n{network}\n")
    assert words in refusal(capsys, "run", card, "-o", tmp_path / "run")
    card.write_text(CARD + GUIDE + '[network]\nloops = ["plaquette", "polyakov_t"]\n')
    assert slhmc_command("run", card, "-o", tmp_path / "run", *sets("run.trajectories=1")) == 0


def test_another_kind_of_file_is_refused(card, tmp_path, capsys, finished):
    shutil.copy(finished / "checkpoint.h5", tmp_path / "weights.h5")
    assert "an slhmc checkpoint file found, a weights file expected" in refusal(capsys, "run", card, "-o", tmp_path / "run")


def test_trained_masses_and_coupling_replace_those_of_the_card(card, tmp_path, capsys):
    """The chain is that of a card which has them as keys; the summary tells them."""
    save_weights(tmp_path / "weights.h5", TABLE, NUMBERS | {"quarks.0.mass": 0.55, "gauge.beta": 1.98}, "", 1)
    assert slhmc_command("run", card, "-o", tmp_path / "trained") == 0
    assert "trained quarks.0.mass 0.55; trained gauge.beta 1.98" in capsys.readouterr().out
    save_weights(tmp_path / "weights.h5", TABLE, NUMBERS, "", 1)
    assert slhmc_command("run", card, "-o", tmp_path / "told", *sets("guide.quarks.0.mass=0.55", "guide.beta=1.98")) == 0
    assert_same_chain(tmp_path / "trained", tmp_path / "told")


def test_measurements_are_told_their_links(tmp_path, capsys):
    """A file of measurements on thin links takes none of smeared ones."""
    text = CARD + '[smearing]\nweights = [[0.05]]\n'
    assert slhmc_command("run", card_file(tmp_path, text), "-o", tmp_path / "run", *sets("run.save_every=3")) == 0
    assert slhmc_command("measure", tmp_path / "run", "--observable", "chiral_condensate") == 0
    card = tmp_path / "run" / "card.toml"
    card.write_text(card.read_text().replace("weights = [[0.05]]", "weights = [[0.06]]"))
    line = refusal(capsys, "measure", tmp_path / "run", "--observable", "chiral_condensate")
    assert "holds chiral_condensate with smearing = " in line


def test_a_run_without_a_card_file_finds_weights_by_their_path(card, tmp_path):
    """Cards made in Python."""
    made = simulation.create(load_card(card), tmp_path / "run")
    assert made.run() and final_links(tmp_path / "run")[1] == 12
    with pytest.raises(InputError, match=r"nowhere\.h5: cannot be read"):
        wrong = load_card(card, [f"guide.network={tmp_path / 'nowhere.h5'}"])
        simulation.create(wrong, tmp_path / "other")
