"""No death of the writer loses the old file, and no two runs share a directory."""

import errno
import itertools
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from test_io import CARD, LOAD, SAVE, kinds, random_links

from slhmc.errors import InputError
from slhmc.io import EnsembleFile, RunDirectory, load_links, save_links


def only_the_old_file_is_there(kind, path, old):
    LOAD[kind](path)
    return path.read_bytes() == old and os.listdir(path.parent) == [path.name]


@kinds
@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
@pytest.mark.parametrize(("number", "words"), [
    (errno.ENOSPC, "no space left.*free some space"), (errno.EDQUOT, "disk quota exceeded; free some space"),
    (errno.EROFS, "read-only.*make the directory writable"), (errno.EIO, "input/output error.*check the disk")])
def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch, kind, step, number, words):
    path = tmp_path / "file.h5"
    SAVE[kind](path)
    old = path.read_bytes()

    def fail(*arguments, **options):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(InputError, match=rf"file\.h5: cannot be written: {words}.*\(the file that was there is"):
            SAVE[kind](path, seed=2)
    assert only_the_old_file_is_there(kind, path, old)
    SAVE[kind](path, seed=2)
    assert path.read_bytes() != old


@kinds
def test_write_that_stops_half_way_leaves_the_old_file(tmp_path, kind):
    """A limit on file sizes makes the kernel itself cut the write short, as a full disk does."""
    path = tmp_path / "file.h5"
    SAVE[kind](path)
    old, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(InputError, match="file too large; raise the limit.*is unchanged"):
            SAVE[kind](path, seed=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert only_the_old_file_is_there(kind, path, old)


@kinds
def test_write_into_impossible_places_is_refused_in_words(tmp_path, kind):
    (tmp_path / "file").write_text("")
    (tmp_path / "directory.h5").mkdir()
    for name, words in [("missing/file.h5", "make the directory first.*no file was made"),
                        ("file/file.h5", "file where a directory was expected"), ("directory.h5", "directory.*way")]:
        with pytest.raises(InputError, match=words):
            SAVE[kind](tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["directory.h5", "file"]


def test_symbolic_link_stays_a_link(tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "cfg.h5").symlink_to("scratch/cfg.h5")
    save_links(tmp_path / "cfg.h5", random_links())
    assert (tmp_path / "cfg.h5").is_symlink()
    load_links(tmp_path / "scratch" / "cfg.h5")


def die_at(step, calls, original):
    """`original`, but a SIGKILL instead of call number `step` of all that share `calls`."""
    def call(*arguments, **options):
        if next(calls) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)
    return call


def killed_at(step, action):
    """Run `action` in a forked child that kills itself at its `step`-th system call that matters; True if it died."""
    child = os.fork()
    if child == 0:
        calls = itertools.count()
        for name in ("open", "fsync", "replace"):
            setattr(os, name, die_at(step, calls, getattr(os, name)))
        action()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@kinds
def test_kill_between_any_two_steps_leaves_the_old_or_the_new_file(tmp_path, kind):
    directory = RunDirectory(tmp_path / "run")
    directory.create(CARD).close()
    path = directory.path / "file.h5"
    SAVE[kind](path, seed=2)
    new = path.read_bytes()
    states = []
    for step in itertools.count():
        SAVE[kind](path, seed=1)
        old = path.read_bytes()
        died = killed_at(step, lambda: SAVE[kind](path, seed=2))
        assert path.read_bytes() in (old, new)
        states.append(path.read_bytes() == new)
        if not died:
            break
    assert states == [False, False, False, True, True, True]    # open, fsync, replace | open directory, fsync, lived
    assert [name for name in os.listdir(directory.path) if name.endswith("-tmp")]
    directory.open().close()
    assert not [name for name in os.listdir(directory.path) if name.endswith("-tmp")]


FLUSHER = """
import sys
from slhmc.io import RunDirectory, EnsembleFile
import numpy as np
directory = RunDirectory(sys.argv[1]).open()
chain = EnsembleFile.open(directory.chain)
while True:
    number = len(chain.records)
    chain.append(dict(trajectory=number, accepted=True, delta_h=0.5 * number, iterations=0, seconds=0,
                      thermalization=False))
    chain.append_observable("vector", number, np.full(5000, float(number)))
    chain.flush()
    print("flushed", flush=True)
"""
HOLDER = """
import sys, time
from slhmc.io import RunDirectory
directory = RunDirectory(sys.argv[1]).open()
print("locked", flush=True)
time.sleep(60)
"""


def test_chain_survives_kills_at_random_moments(tmp_path):
    directory, rng = RunDirectory(tmp_path), random.Random(4)
    with directory.create(CARD):
        EnsembleFile.create(directory.chain, CARD, "0.1").flush()
    length = 0
    for _ in range(6):
        with subprocess.Popen([sys.executable, "-c", FLUSHER, str(tmp_path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout.readline() == b"flushed\n"
            time.sleep(rng.uniform(0.0, 0.1))
            writer.kill()
        chain = EnsembleFile.open(directory.chain)
        numbers = np.arange(len(chain.records))
        assert len(numbers) > length
        length = len(numbers)
        assert np.array_equal(chain.records["trajectory"], numbers)
        assert np.array_equal(chain.observables["vector"][1][:, 7], numbers)
    with directory.open():
        assert sorted(os.listdir(tmp_path)) == [".lock", "card.toml", "chain.h5", "configs"]


def test_reader_of_a_live_run_sees_whole_chains(tmp_path):
    with RunDirectory(tmp_path).create(CARD) as directory:
        EnsembleFile.create(directory.chain, CARD, "0.1").flush()
    with subprocess.Popen([sys.executable, "-c", FLUSHER, str(tmp_path)], stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        lengths = [len(EnsembleFile.open(directory.chain).records) for _ in range(30)]
        writer.kill()
    assert lengths == sorted(lengths)


# The directory of a run

def test_run_directory_holds_its_files(tmp_path):
    with RunDirectory(tmp_path / "deep" / "run").create(CARD) as directory:
        save_links(directory.configuration(123), random_links())
        directory.write_log("first\n")
        assert directory.log.read_text() == "first\n"
        assert directory.read_card() == CARD
    assert (tmp_path / "deep" / "run" / "configs" / "cfg_000123.h5").is_file()


@pytest.mark.parametrize("name", ["chain.h5", "checkpoint.h5", "configs/cfg_000001.h5"])
def test_directory_of_another_run_is_refused_and_left_alone(tmp_path, name):
    (tmp_path / "configs").mkdir()
    (tmp_path / name).write_text("precious")
    (tmp_path / "card.toml").write_text("old")
    with pytest.raises(InputError, match=f"{name} of another run found.*slhmc resume .*another -o"):
        RunDirectory(tmp_path).create(CARD)
    assert ((tmp_path / name).read_text(), (tmp_path / "card.toml").read_text()) == ("precious", "old")
    RunDirectory(tmp_path).open().close()


def test_run_that_died_before_its_first_chain_file_can_start_again(tmp_path):
    RunDirectory(tmp_path).create("old").close()
    with RunDirectory(tmp_path).create("new") as directory:
        assert directory.read_card() == "new"


def test_two_runs_at_once_are_refused_and_a_live_writer_is_left_alone(tmp_path):
    with RunDirectory(tmp_path).create(CARD):
        (tmp_path / ".chain.h5.0123abcd.slhmc-tmp").write_text("being written")
        for start in (lambda: RunDirectory(tmp_path).create(CARD), lambda: RunDirectory(tmp_path).open()):
            with pytest.raises(InputError, match=f"a run is at work here \\(process {os.getpid()} on "):
                start()
        assert (tmp_path / ".chain.h5.0123abcd.slhmc-tmp").exists()
    RunDirectory(tmp_path).open().close()
    assert not (tmp_path / ".chain.h5.0123abcd.slhmc-tmp").exists()


def test_lock_of_a_killed_run_is_free(tmp_path):
    RunDirectory(tmp_path).create(CARD).close()
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE) as run:
        assert run.stdout.readline() == b"locked\n"
        with pytest.raises(InputError, match=f"process {run.pid} on"):
            RunDirectory(tmp_path).open()
        run.kill()
    RunDirectory(tmp_path).open().close()


def test_places_that_cannot_be_a_run_directory_are_refused_in_words(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for name, words in [("file", "a file of this name is in the way"), ("file/run", "a part of the path is a file")]:
        with pytest.raises(InputError, match=f"cannot be made a directory: .*{words}"):
            RunDirectory(tmp_path / name).create(CARD)
    with pytest.raises(InputError, match="no card.toml found.*slhmc run CARD"):
        RunDirectory(tmp_path / "missing").open()

    def refuse(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(InputError, match="cannot be locked: permission denied; make the directory writable"):
        RunDirectory(tmp_path / "run").create(CARD)


def test_file_system_without_locks_is_only_warned_about(tmp_path, monkeypatch, caplog):
    def unknown(*arguments):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", unknown)
    with RunDirectory(tmp_path).create(CARD):
        assert "has no locks" in caplog.text


def test_status_is_strict_json_and_replaced_at_once(tmp_path):
    with RunDirectory(tmp_path).create(CARD) as directory:
        for delta_h in (0.5, np.float64("inf")):
            directory.write_status({"trajectory": np.int64(3), "delta_h": delta_h, "extent": (4, 4)})
        expected = {"trajectory": 3, "delta_h": None, "extent": [4, 4]}
        assert directory.read_status() == json.loads(directory.status.read_text()) == expected
        for damage in (b"{\"trajectory\"", b"[]", b"\xff\xfe"):
            directory.status.write_bytes(damage)
            with pytest.raises(InputError, match=r"status\.json: damaged"):
                directory.read_status()
        directory.status.unlink()
        with pytest.raises(InputError, match="no such file"):
            directory.read_status()


def test_importing_io_leaves_hdf5_alone():
    check = "import sys, slhmc.io, slhmc.analysis; sys.exit('h5py' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
