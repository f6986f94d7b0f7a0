"""Bad input at the command line: one message that says what to do, exit code 2, nothing overwritten.

Every fault of a card has its case in test_card_faults.py, every damage of a file in test_io.py, wrong options in test_cli.py;
here the ways from the command to those checks are walked. What the machine may lack is in test_surroundings.py.
"""

import os
import re
import shutil

import numpy as np
import pytest
from running import CARD, card_file, card_of, contents, refusal, sets, slhmc_command

from slhmc import simulation
from slhmc.errors import InputError
from slhmc.io import EnsembleFile, save_checkpoint, save_links
from slhmc.runcard import card_text


@pytest.fixture
def card(tmp_path):
    return card_file(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that is done."""
    directory = tmp_path_factory.mktemp("finished") / "run"
    assert simulation.create(card_of("run.save_every=6"), directory).run()
    return directory


@pytest.fixture
def another_run(finished, tmp_path):
    """A copy of it, to be damaged."""
    return shutil.copytree(finished, tmp_path / "another")


# ---- cards
@pytest.mark.parametrize(("old", "new", "words"), [
    ("beta = 2.0", "betta = 2.0", r"card.toml:7: gauge.betta: unknown key; did you mean beta\?"),
    ("seed = 7", 'seed = "7"', r'card.toml:17: run.seed: expected an integer, found "7"'),
    ("steps = 6", "steps = 0", r"card.toml:13: hmc.steps: must be at least 1, found 0"),
    ("[8, 8]", "[8, 9]", r"card.toml:3: lattice.extent.1: must be even, found 9"),
    ("mass = 0.5", "mass = -0.5", r"card.toml:10: quarks.0.mass: must be greater than 0: a massless"),
    ("colors = 2", "colors = 2\nranks = [1, 3]", r"card.toml:5: lattice.ranks.1: 3 ranks cut extent 8 into 2.667"),
    ("colors = 2", "colors = 2\nlanes = 32", r"card.toml:5: lattice.lanes: 32 lanes need as many sub-blocks"),
])
def test_a_faulty_card_is_told_by_file_and_line(tmp_path, capsys, old, new, words):
    (tmp_path / "card.toml").write_text(CARD.replace(old, new))
    capsys.readouterr()
    assert slhmc_command("run", tmp_path / "card.toml", "-o", tmp_path / "run") == 2
    lines = capsys.readouterr().err.splitlines()
    assert any(re.search(words, line) for line in lines) and all(line.startswith("slhmc: ") for line in lines)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("override", "words"), [
    ("lattice.ranks=[4,4]", "ranks = [4, 4]: 16 ranks in 2 directions, but the job has 1"),
    ("lattice.extent=[65536,65536]", "4294967296 sites; site numbers have 31 bits"),
])
def test_what_only_the_lattice_can_know(tmp_path, capsys, card, override, words):
    assert words in refusal(capsys, "run", card, "-o", tmp_path / "run", *sets(override))
    assert not (tmp_path / "run").exists()


# ---- files
def test_a_missing_directory_or_card_is_named(tmp_path, capsys):
    assert "cannot read the run card: no such file" in refusal(capsys, "run", tmp_path / "none.toml")
    for command in ("resume", "status", "summary"):
        assert str(tmp_path / "none") in refusal(capsys, command, tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def start_from(path, *overrides):
    return sets("run.start=file", f"run.start_file={path}", *overrides)


def test_start_files_that_do_not_fit(tmp_path, capsys, card, finished):
    good = finished / "configs" / "cfg_000006.h5"
    bytes_of = good.read_bytes()
    (tmp_path / "short.h5").write_bytes(bytes_of[:len(bytes_of) // 2])
    (tmp_path / "flipped.h5").write_bytes(flipped(bytes_of))
    (tmp_path / "text.h5").write_text("no HDF5 here")
    save_links(tmp_path / "su3.h5", np.broadcast_to(np.eye(3, dtype=complex), (8, 8, 2, 3, 3)))
    for path, overrides, words in (
        (tmp_path / "none.h5", (), "none.h5: cannot be read: no such file or directory; check the path"),
        (good, ("lattice.extent=[8,16]",), "links of a lattice 8x8 found, 8x16 expected; change [lattice] extent or"),
        (tmp_path / "su3.h5", (), "links of SU(3) found, SU(2) expected; change [lattice] colors or give another file"),
        (tmp_path / "short.h5", (), "short.h5: truncated"),
        (tmp_path / "flipped.h5", (), "flipped.h5: damaged, or edited by another program"),
        (tmp_path / "text.h5", (), "text.h5: a file that begins with 6e 6f 20 48 44 46 35 20 found, links in"),
        (finished / "checkpoint.h5", (), "an slhmc checkpoint file found, a links file expected; check the path"),
    ):
        assert words in refusal(capsys, "run", card, "-o", tmp_path / "run", *start_from(path, *overrides))
        assert not (tmp_path / "run" / "chain.h5").exists()
    assert good.read_bytes() == bytes_of
    # nothing stands in the way of the corrected command
    assert slhmc_command("run", card, "-o", tmp_path / "run", *start_from(good, "run.trajectories=1")) == 0


def flipped(data):
    """`data` with one bit changed in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1:]


@pytest.mark.parametrize("name", ["checkpoint.h5", "chain.h5"])
@pytest.mark.parametrize(("damage", "words"), [
    (lambda data: data[:-100], "truncated"), (flipped, "damaged, or edited"), (lambda data: b"", "empty file found")])
def test_a_damaged_run_is_not_resumed_and_not_touched(capsys, another_run, name, damage, words):
    path = another_run / name
    path.write_bytes(damage(path.read_bytes()))
    before = contents(another_run)
    line = refusal(capsys, "resume", another_run)
    assert line.startswith(f"slhmc: {path}: {words}") and "copy" in line
    if name == "chain.h5":
        assert str(path) in refusal(capsys, "summary", another_run)
    assert contents(another_run) == before


def test_a_lost_chain_and_a_damaged_card_are_named(capsys, another_run):
    (another_run / "chain.h5").rename(another_run / "elsewhere.h5")
    assert "chain.h5: cannot be read: no such file" in refusal(capsys, "resume", another_run)
    (another_run / "elsewhere.h5").rename(another_run / "chain.h5")
    (another_run / "card.toml").write_text("[lattice")
    assert f"{another_run / 'card.toml'}:1:" in refusal(capsys, "resume", another_run)


@pytest.mark.parametrize(("overrides", "words"), [
    (("gauge.beta=2.5",), "gauge.beta = 2.5 (was 2.0)"),
    (("quarks.0.mass=0.4", "hmc.steps=7"), "quarks.0.mass = 0.4 (was 0.5), hmc.steps = 7 (was 6)"),
    (("lattice.extent=[16,4]",), "lattice.extent = [16, 4] (was [8, 8])"),
    (("run.thermalization=4", "run.seed=8"), "run.thermalization = 4 (was 3), run.seed = 8 (was 7)"),
    (("gauge.action=custom", "gauge.c1=0.1"), 'gauge.action = "custom" (was "wilson"), gauge.c1 = 0.1 (was nothing)'),
])
def test_a_card_edited_in_what_must_not_change_is_refused(capsys, another_run, overrides, words):
    path = another_run / "card.toml"
    path.write_text(card_text(card_of("run.save_every=6", *overrides)))
    before = contents(another_run)
    line = refusal(capsys, "resume", another_run, "--trajectories", 12)
    assert f"{path}: not the card that made this chain: {words}; restore the card, or start a new run" in line
    assert contents(another_run) == before


@pytest.mark.parametrize(("override", "words"), [
    ("gauge.beta=2.5", "--set gauge.beta=2.5: a run that goes on may not change this key; it may change run.trajectories, "),
    ("lattice={ranks=[1,1]}", "--set lattice={ranks=[1,1]}: a run that goes on may not change this key"),
    ("run.trajectories=4", "4 trajectories asked for, but 9 are done"),
    ("run.save_every=-1", "--set run.save_every=-1: must be at least 0, found -1"),
    ("measure.chiral_condensate.noise=3", "condensate: noise = 3 found, but chain.h5 holds measurements with 2; keep that"),
    ("run.trajectories", "--set run.trajectories: expected table.key=value"),
])
def test_a_change_that_cannot_be_is_refused(capsys, another_run, override, words):
    before = contents(another_run)
    assert words in refusal(capsys, "resume", another_run, *sets(override))
    assert contents(another_run) == before


def test_a_card_with_another_number_of_noise_vectors_is_refused(capsys, another_run):
    (another_run / "card.toml").write_text(card_text(card_of("measure.chiral_condensate.noise=3")))
    line = refusal(capsys, "resume", another_run)
    assert "measure.chiral_condensate: noise = 3 found, but chain.h5 holds measurements with 2; keep that" in line


@pytest.mark.parametrize(("extent", "colors", "words"), [
    ((4, 16), 2, "links of a lattice 16x4 found, 8x8 expected"),
    ((8, 8), 3, "links of SU(3) found, SU(2) expected"),
])
def test_the_checkpoint_of_another_lattice_is_refused(capsys, another_run, extent, colors, words):
    links = np.broadcast_to(np.eye(colors, dtype=complex), (*extent, 2, colors, colors))
    save_checkpoint(another_run / "checkpoint.h5", links, 12, {}, EnsembleFile.open(another_run / "chain.h5").owner)
    before = contents(another_run)
    line = refusal(capsys, "resume", another_run)
    assert f"{another_run / 'checkpoint.h5'}: {words}; put back the checkpoint of this run" in line
    assert contents(another_run) == before


@pytest.mark.parametrize("shape", [(16, 4, 2, 2, 2), (8, 8, 2, 3, 3), (8, 8, 4, 2, 2), (8, 8, 2, 2), ()], ids=str)
def test_links_of_another_shape_are_refused(tmp_path, shape):
    """Even with as many numbers as expected."""
    new = simulation.create(card_of(), tmp_path)
    expected = new.U.to_sites()
    with pytest.raises(InputError, match=re.escape(f"links of shape {shape} found, (8, 8, 2, 2, 2) expected")):
        new.U.from_sites(np.zeros(shape, complex))
    np.testing.assert_array_equal(new.U.to_sites(), expected)
    new.close()


def test_fewer_trajectories_than_are_done(capsys, another_run):
    """Asked for by the option, or by a card edited since."""
    before = contents(another_run)
    line = refusal(capsys, "resume", another_run, "--trajectories", 4)
    assert f"{another_run}: 4 trajectories asked for, but 9 are done; ask for 9 or more by --trajectories" in line
    assert contents(another_run) == before
    (another_run / "card.toml").write_text(card_text(card_of("run.trajectories=5")))
    assert "5 trajectories asked for, but 9 are done" in refusal(capsys, "resume", another_run)
    assert slhmc_command("resume", another_run, "--trajectories", 9) == 0


def test_a_directory_with_another_run_is_left_alone(capsys, card, another_run):
    before = contents(another_run)
    line = refusal(capsys, "run", card, "-o", another_run)
    assert "chain.h5 of another run found" in line and f"slhmc resume {another_run}" in line
    assert contents(another_run) == before
    assert slhmc_command("resume", another_run) == 0


def test_two_processes_cannot_share_a_directory(tmp_path, capsys, card):
    running = simulation.create(card_of(), tmp_path / "run")
    line = refusal(capsys, "resume", tmp_path / "run")
    assert f"a run is at work here (process {os.getpid()}" in line
    assert running.run()


@pytest.mark.parametrize(("command", "words"), [
    (("bench", "chain.h5", "--quick"), "an slhmc chain file is there, which would be lost"),
    (("bench", "card.toml", "--quick"), "a file of the run"),
    (("convert", "checkpoint.h5", "log.txt", "--format", "npy"), "a file of the run"),
    (("convert", "checkpoint.h5", "status.json", "--format", "npy"), "a file of the run"),
])
def test_files_of_a_run_are_not_replaced(capsys, another_run, monkeypatch, command, words):
    before = contents(another_run)
    monkeypatch.chdir(another_run)
    assert words in refusal(capsys, *command)
    assert contents(another_run) == before


def test_what_the_shell_had_nothing_for_is_no_directory(capsys, card, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    assert "'-o' / '--output': nothing found, a directory expected" in refusal(capsys, "run", card, "-o", "")
    assert contents(tmp_path) == before


def test_absurd_numbers_of_ranks_start_nothing(capsys, card, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert "-n 100000: at most " in refusal(capsys, "launch", "-n", 100000, "run", card)


def test_what_never_ends_is_no_card(capsys):
    assert "/dev/zero: more than 4 MiB found, which is no run card" in refusal(capsys, "card", "check", "/dev/zero")


def test_a_file_in_the_way_of_the_directory(tmp_path, capsys, card):
    (tmp_path / "run").write_text("mine")
    assert f"{tmp_path / 'run'}: cannot be made a directory" in refusal(capsys, "run", card, "-o", tmp_path / "run")
    assert (tmp_path / "run").read_text() == "mine"
