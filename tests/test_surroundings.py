"""What surrounds a run fails: disks, ranks, compiler, GPU. One message, no loss of what was computed."""

import os
import pickle
import re
import resource
import shutil
import subprocess
import sys

import pytest
from running import assert_same_chain, card_file, card_of, refusal, run_process, sets

from slhmc import simulation
from slhmc.cli import failure
from slhmc.errors import InputError
from slhmc.lattice.communicator import SerialCommunicator


@pytest.fixture
def card(tmp_path):
    return card_file(tmp_path)


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


@pytest.mark.parametrize("error", [
    MemoryError(), RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: tried 96 GB"),
    type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory")])
def test_memory_that_is_not_there_is_told(capsys, monkeypatch, error):
    """Of NumPy, and of torch on a CPU and on a GPU: no traceback."""
    codes = []
    monkeypatch.setattr("slhmc.cli.ranks.abort", codes.append)
    failure.fail(error)
    assert capsys.readouterr().err == "slhmc: out of memory; use a smaller lattice or more ranks\n" and codes == [3]


def test_an_error_of_log_or_observer_reaches_all_ranks(tmp_path):
    class Recorder(SerialCommunicator):
        def bcast(self, value, root=0):
            self.last = value
            return value

    communicator = Recorder()

    def close_log(report):
        begun.files._log.close()

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
