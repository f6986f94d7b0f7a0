"""Bad input at the command line: one message that says what to do, exit code 2, nothing overwritten.

Every fault of a card has its case in test_runcard.py, every damage of a file in test_io.py, wrong options in test_cli.py;
here the ways from the command to those checks are walked, and what only a whole run can meet.
"""

import os
import pickle
import re
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest
from running import (
    CARD,
    assert_same_chain,
    card_file,
    card_of,
    contents,
    run_process,
    sets,
    slhmc_command,
)

from slhmc import simulation
from slhmc.errors import InputError
from slhmc.io import save_checkpoint, save_links
from slhmc.lattice.communicator import SerialCommunicator
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


def refusal(capsys, *arguments):
    """The message of a command that must refuse; a single one, without a traceback, in exit code 2."""
    capsys.readouterr()
    assert slhmc_command(*arguments) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    (line,) = captured.err.splitlines()
    assert line.startswith("slhmc: ")
    return line


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
        (tmp_path / "text.h5", (), "text.h5: truncated or damaged in its header"),
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
    (("gauge.action=custom", "gauge.c1=0.1"), "gauge.action = custom (was wilson), gauge.c1 = 0.1 (was nothing)"),
])
def test_a_card_edited_in_what_must_not_change_is_refused(capsys, another_run, overrides, words):
    path = another_run / "card.toml"
    path.write_text(card_text(card_of("run.save_every=6", *overrides)))
    before = contents(another_run)
    line = refusal(capsys, "resume", another_run, "--trajectories", 12)
    assert f"{path}: not the card that made this chain: {words}; restore the card, or start a new run" in line
    assert contents(another_run) == before


def test_a_card_with_another_number_of_noise_vectors_is_refused(capsys, another_run):
    (another_run / "card.toml").write_text(card_text(card_of("measure.chiral_condensate.noise=3")))
    line = refusal(capsys, "resume", another_run)
    assert "noise = 3 found, but chain.h5 holds measurements with 2; restore the card" in line


@pytest.mark.parametrize(("extent", "colors", "words"), [
    ((4, 16), 2, "links of a lattice 16x4 found, 8x8 expected"),
    ((8, 8), 3, "links of SU(3) found, SU(2) expected"),
])
def test_the_checkpoint_of_another_lattice_is_refused(capsys, another_run, extent, colors, words):
    links = np.broadcast_to(np.eye(colors, dtype=complex), (*extent, 2, colors, colors))
    save_checkpoint(another_run / "checkpoint.h5", links, 12, {"trajectories": 9})
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


def test_a_file_in_the_way_of_the_directory(tmp_path, capsys, card):
    (tmp_path / "run").write_text("mine")
    assert f"{tmp_path / 'run'}: cannot be made a directory" in refusal(capsys, "run", card, "-o", tmp_path / "run")
    assert (tmp_path / "run").read_text() == "mine"


# ---- disks
@pytest.fixture(scope="module")
def long_run(tmp_path_factory):
    """Long enough for its chain to outgrow its checkpoint."""
    directory = tmp_path_factory.mktemp("long") / "run"
    assert simulation.create(card_of(*LONG), directory).run()
    return directory


LONG = ("run.trajectories=300", "run.checkpoint_every=10")


def own_lines(result):
    assert "Traceback" not in result.stderr and "Exception ignored" not in result.stderr, result.stderr
    return result.stderr.splitlines()


def test_a_limit_on_file_sizes_stops_the_run_with_its_last_checkpoint(tmp_path, card, long_run):
    """The limit stands for a full disk where no disk can be filled; here the chain meets it, or the log."""
    size = (long_run / "chain.h5").stat().st_size
    for limit in (size - 1000, (long_run / "log.txt").stat().st_size - 1000):
        run = tmp_path / f"run{limit}"
        result = run_process("run", card, "-o", run, *sets(*LONG),
                             preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))  # noqa: B023
        assert result.returncode == 2
        (line,) = own_lines(result)
        assert line.startswith(f"slhmc: {run}") and "cannot be written: file too large; raise the limit" in line
        assert simulation.resume(run).run()
        assert_same_chain(run, long_run)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 96 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(disk)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk; the limit on file sizes is tested in its place")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_stops_the_run_with_its_last_checkpoint(tmp_path, card, small_disk, long_run):
    run = small_disk / "run"
    result = run_process("run", card, "-o", run, *sets(*LONG))
    assert result.returncode == 2
    (line,) = own_lines(result)
    assert line.startswith(f"slhmc: {run}") and "no space left on device; free some space or write elsewhere" in line
    shutil.copytree(run, tmp_path / "run")
    assert simulation.resume(tmp_path / "run").run()
    assert_same_chain(tmp_path / "run", long_run)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_lines_that_find_no_room_do_not_end_the_run(tmp_path, card):
    """stdout on a full disk: the chain is finished, then the loss is told."""
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "slhmc", "run", str(card), "-o", str(tmp_path / "run")]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    (line,) = own_lines(result)
    assert result.returncode == 2 and "no space left on device" in line.lower()
    assert simulation.resume(tmp_path / "run").trajectory == 12


# ---- ranks
class Unpicklable(Exception):
    """Pickle would call it with one argument."""

    def __init__(self, one, two):
        super().__init__(one + two)


class Rank:
    """One of two ranks, as pickled messages: rank 0 leaves what the other gets."""

    def __init__(self, rank, message=b""):
        self.rank, self.message = rank, message

    def bcast(self, value):
        if self.rank == 0:
            self.message = pickle.dumps(value)
        return pickle.loads(self.message)


@pytest.mark.parametrize("error", [InputError("no space"), MemoryError("words"), ZeroDivisionError("oops"),
                                   UnicodeDecodeError("utf-8", b"?", 0, 1, "words"), Unpicklable("first", "second")])
def test_any_error_of_rank_0_reaches_all_ranks(error):
    def fail():
        raise error

    root = Rank(0)
    with pytest.raises(type(error)) as caught:
        simulation.simulation.on_root(root, fail)
    assert caught.value is error
    with pytest.raises(InputError if isinstance(error, InputError) else RuntimeError, match=re.escape(str(error))):
        simulation.simulation.on_root(Rank(1, root.message), fail)


def test_an_error_of_log_or_observer_reaches_all_ranks(tmp_path):
    class Recorder(SerialCommunicator):
        def bcast(self, value, root=0):
            self.last = value
            return value

    communicator = Recorder()

    def close_log(report):
        begun.log.close()

    for name, observer in (("observer", lambda report: 1 / 0), ("log", close_log)):
        begun = simulation.create(card_of(), tmp_path / name, communicator=communicator)
        with pytest.raises((ZeroDivisionError, ValueError)) as caught:
            begun.run(observer)
        assert str(caught.value) in str(communicator.last[1])


# ---- the machine
def test_no_compiler(tmp_path, card):
    """With and without a compiler named; kernels that are built already need none."""
    (tmp_path / "bin").mkdir()
    cache = {"SLHMC_CACHE_DIR": str(tmp_path / "cache")}
    for environment, words in (
        ({"PATH": str(tmp_path / "bin"), "CXX": ""}, "no C++ compiler found (looked for CXX, g++, clang++)"),
        ({"CXX": "/nowhere/g++"}, "CXX = '/nowhere/g++': no such program; set CXX to a C++17 compiler or unset it"),
    ):
        result = run_process("run", card, "-o", tmp_path / "run", environment=cache | environment)
        assert result.returncode == 2
        (line,) = own_lines(result)
        assert line.startswith(f"slhmc: {words}")
    assert not (tmp_path / "run").exists()


def test_a_cache_that_cannot_be_written(tmp_path, card):
    (tmp_path / "cache").write_text("a file")
    result = run_process("run", card, "-o", tmp_path / "run", environment={"SLHMC_CACHE_DIR": str(tmp_path / "cache")})
    assert result.returncode == 2
    (line,) = own_lines(result)
    assert f"kernel cache {tmp_path / 'cache'}: " in line and "set SLHMC_CACHE_DIR" in line


@pytest.mark.parametrize("environment", [{"SLHMC_RANKS": "4"}, {"SLURM_NTASKS": "4", "SLURM_JOB_ID": "17"}])
def test_a_world_of_another_size_than_promised(tmp_path, capsys, monkeypatch, card, environment):
    for name in ("SLHMC_RANKS", "SLURM_NTASKS", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    line = refusal(capsys, "run", card, "-o", tmp_path / "run")
    assert "the number of MPI ranks is 1, but" in line and "slhmc launch -n 4" in line
    assert not (tmp_path / "run").exists()


def test_a_gpu_that_is_not_there(tmp_path, card):
    result = run_process("run", card, "-o", tmp_path / "run", "--device", "cuda", environment={"CUDA_VISIBLE_DEVICES": ""})
    assert result.returncode == 2
    (line,) = own_lines(result)
    assert line.startswith("slhmc: ") and re.search("GPU|CuPy", line) and ";" in line
    assert not (tmp_path / "run").exists()
