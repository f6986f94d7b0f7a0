"""Long campaigns: kills at any moment on one and two ranks, directories that go away, ranks that die, a soak."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from running import (
    CARD,
    ROOT,
    assert_same_chain,
    card_file,
    card_of,
    command_line,
    final_links,
    refusal,
    run_card,
    sets,
    slhmc_command,
)

from slhmc import simulation
from slhmc.backend import HostDevice, host
from slhmc.errors import InputError
from slhmc.io import EnsembleFile
from slhmc.simulation.build import check_memory

SECONDS = 60  # a process that shares its cores with others may need many of them to begin
DEATH_SECONDS = 30
TRAJECTORIES = 4000  # more than the kills leave time for

# kept configurations and checkpoints as often as can be: a kill is likely to fall into one of them
OFTEN = ("run.checkpoint_every=2", "run.save_every=3")


def running(directory, *arguments, ranks=1):
    """`slhmc ARGUMENTS`, at work when this returns; with ranks = 0 in a fork of a process that has loaded everything before."""
    (directory / "status.json").unlink(missing_ok=True)  # its return shows that trajectories are made
    if ranks == 0:
        process = FORKS.Process(target=in_a_fork, args=(arguments,))
        process.start()
        alive = process.is_alive
    else:
        command = command_line(*(("launch", "-n", ranks, "--") if ranks > 1 else ()), *arguments)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        alive = lambda: process.poll() is None  # noqa: E731
    assert wait_for((directory / "status.json").exists, alive, SECONDS), "the run does not begin"
    return process, alive


FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["slhmc.simulation", "slhmc.cli"])


def in_a_fork(arguments):
    """`slhmc ARGUMENTS` without its lines."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - open for the life of the process
    slhmc_command(*arguments)


def wait_for(condition, alive, seconds):
    """Until it holds, nothing is alive, or the time is over; whether it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if not alive() or time.monotonic() > deadline:
            return False
        time.sleep(0.0001)
    return True


def to_the_end(*arguments, ranks=1):
    """`slhmc ARGUMENTS` in this process, or on ranks."""
    if ranks < 2:
        assert slhmc_command(*arguments) == 0
    else:
        subprocess.run(command_line("launch", "-n", ranks, "--", *arguments), check=True, capture_output=True, timeout=SECONDS,
                       cwd=ROOT)


def kill(process):
    """SIGKILL for all processes of a job, as a node that fails does; a single process at once, before it has left a write."""
    family = [] if hasattr(process, "join") else children_of(process.pid)
    for pid in (*family, process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.join(SECONDS) if hasattr(process, "join") else process.communicate(timeout=SECONDS)


@pytest.mark.parametrize(("ranks", "kills"), [(0, 24), (2, 6)])
def test_a_chain_outlives_kills_at_any_moment(tmp_path, ranks, kills):
    """At random moments, and every second time while a file is being written: not a bit of the chain is another one."""
    card, run, moments = card_file(tmp_path), tmp_path / "run", random.Random(ranks)
    keys = (f"run.trajectories={TRAJECTORIES}", *OFTEN, *(("lattice.ranks=[1, 2]",) if ranks else ()))
    (process, alive), last, within = running(run, "run", card, "-o", run, *sets(*keys), ranks=ranks), 0, 0
    for number in range(kills):
        time.sleep(moments.uniform(0, 0.2))
        if number % 2:
            wait_for(lambda: any(name.endswith("-tmp") for name in os.listdir(run)), alive, 5)
        assert alive()
        kill(process)
        within += any(name.endswith("-tmp") for name in os.listdir(run))
        reached = final_links(run)[1]
        assert reached >= last
        last = reached
        process, alive = running(run, "resume", run, ranks=ranks)
    kill(process)
    assert within >= kills // 8, "hardly a kill fell into the writing of a file"
    total = final_links(run)[1] + 5
    whole = tmp_path / "whole"
    to_the_end("resume", run, "--trajectories", total - 3, ranks=ranks)
    to_the_end("run", card, "-o", whole, *sets(*keys, f"run.trajectories={total - 3}"), ranks=ranks)
    assert_same_chain(run, whole)
    assert {path.name for path in (run / "configs").glob("*.h5")} == {path.name for path in (whole / "configs").iterdir()}
    assert not list(run.rglob("*-tmp"))


def test_a_rank_that_dies_ends_the_job(tmp_path):
    """Within 30 seconds, and somebody says which one; the chain goes on from its checkpoint."""
    card, run = card_file(tmp_path), tmp_path / "run"
    keys = (f"run.trajectories={TRAJECTORIES}", "run.checkpoint_every=2", "lattice.ranks=[1, 2]")
    process, _ = running(run, "run", card, "-o", run, *sets(*keys), ranks=2)
    ranks = [child for child in children_of(process.pid) if b"mpi4py" in Path(f"/proc/{child}/cmdline").read_bytes()]
    os.kill(max(ranks), signal.SIGKILL)
    begun = time.monotonic()
    _, words = process.communicate(timeout=DEATH_SECONDS)
    assert process.returncode not in (0, 75) and time.monotonic() - begun < DEATH_SECONDS
    assert "signal 9" in words.lower() or "killed" in words.lower(), words
    assert wait_for(lambda: not any(map(lives, ranks)), lambda: True, DEATH_SECONDS)
    assert slhmc_command("resume", run, "--trajectories", final_links(run)[1] + 1, *sets("lattice.ranks=[1, 1]")) == 0


def lives(pid):
    """Not even as a zombie that nobody has asked for its exit code yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children_of(pid):
    """All processes below one."""
    found, below = [], {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            below.setdefault(parent, []).append(int(entry.name))
    todo = [pid]
    while todo:
        mine = below.get(todo.pop(), [])
        found += mine
        todo += mine
    return found


# ---- directories that go away
def lines_of(process):
    """What it said before it ended with exit code 2: no traceback."""
    _, words = process.communicate(timeout=SECONDS)
    assert process.returncode == 2 and "Traceback" not in words, words
    return words.splitlines()


def test_a_directory_that_vanishes_ends_the_run_in_words(tmp_path):
    """Moved away while the run is at work: what was there by then goes on elsewhere, and nothing is left under the old name."""
    card, run, moved = card_file(tmp_path), tmp_path / "run", tmp_path / "moved"
    process, alive = running(run, "run", card, "-o", run, *sets(f"run.trajectories={TRAJECTORIES}", "run.checkpoint_every=2"))
    assert wait_for(lambda: final_links(run)[1] > 5, alive, SECONDS)
    run.rename(moved)
    (line,) = lines_of(process)
    assert line.startswith(f"slhmc: {run}") and "no such file or directory" in line.lower()
    assert not run.exists()
    goes_on(tmp_path, moved)


@contextmanager
def read_only(directory):
    """No file of it can be made, replaced or removed: by its mode, and for root, who is above modes, by an attribute."""
    if os.geteuid():
        directory.chmod(0o555)
    elif subprocess.run(f"chattr +i '{directory}'", shell=True, capture_output=True, check=False).returncode:
        pytest.skip("root, and no attributes here")
    try:
        yield
    finally:
        directory.chmod(0o755) if os.geteuid() else subprocess.run(["chattr", "-i", str(directory)], check=True)


def test_a_directory_that_becomes_read_only_ends_the_run_in_words(tmp_path):
    card, run = card_file(tmp_path), tmp_path / "run"
    process, alive = running(run, "run", card, "-o", run, *sets(f"run.trajectories={TRAJECTORIES}", "run.checkpoint_every=2"))
    assert wait_for(lambda: final_links(run)[1] > 5, alive, SECONDS)
    with read_only(run):
        (line,) = lines_of(process)
    assert line.startswith(f"slhmc: {run}") and ("permission denied" in line.lower() or "not permitted" in line.lower())
    goes_on(tmp_path, run)


def goes_on(tmp_path, run):
    """Two trajectories more, and the chain is that of a run that nothing happened to."""
    total = final_links(run)[1] + 2
    assert slhmc_command("resume", run, "--trajectories", total - 3) == 0
    assert_same_chain(run, run_card(tmp_path / "whole", f"run.trajectories={total - 3}"))


# ---- a soak
SOAK = """
import os, resource, sys
from slhmc import simulation
from slhmc.runcard import parse_card
told = []
def observer(report):
    if report.trajectory in (2000, 10000):
        pages = int(open("/proc/self/statm").read().split()[1])
        told.append((pages * resource.getpagesize(), len(os.listdir("/proc/self/fd"))))
card = parse_card(open(sys.argv[1]).read(), "card.toml", sys.argv[3:])
assert simulation.create(card, sys.argv[2]).run(observer)
print(*told[0], *told[1])
"""


def test_ten_thousand_trajectories_leave_memory_and_files_as_they_are(tmp_path):
    """Beyond the records of the chain, some 200 bytes a trajectory in memory."""
    card = card_file(tmp_path, CARD.replace("[8, 8]", "[4, 4]"))
    keys = ("run.trajectories=9997", "run.checkpoint_every=500", "run.save_every=0", "hmc.steps=2")
    command = [sys.executable, "-c", SOAK, str(card), str(tmp_path / "run"), *keys]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stderr
    early, files, late, files_late = map(int, result.stdout.split())
    assert files_late == files
    assert late - early < 8000 * 1000, f"{(late - early) / 8000:.0f} bytes a trajectory"
    chain = EnsembleFile.open(tmp_path / "run" / "chain.h5")
    assert len(chain.records) == 10000 and simulation.resume(tmp_path / "run").trajectory == 10000


# ---- memory
def test_a_lattice_beyond_the_memory_is_refused_before_anything_is_made(tmp_path, capsys, monkeypatch):
    """A process that took more would be killed without a word."""
    card = card_file(tmp_path)
    monkeypatch.setattr(host, "MEMORY_LIMIT", tmp_path / "memory.max")
    host.MEMORY_LIMIT.write_text(f"{1 << 20}\n")
    line = refusal(capsys, "run", card, "-o", tmp_path / "run", *sets("lattice.extent=[32,32,32,32]"))
    assert line.startswith("slhmc: lattice.extent = [32, 32, 32, 32]: fields of links and momenta take ")
    assert line.endswith(" GiB of memory found; use a smaller lattice, or more ranks on more nodes")
    assert not (tmp_path / "run").exists()


def test_ranks_of_a_machine_share_its_memory_or_what_a_job_has_of_it(tmp_path, monkeypatch):
    for name in host.LOCAL_RANKS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(host, "MEMORY_LIMIT", tmp_path / "memory.max")
    device, found = HostDevice(), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for words, expected in ((None, found), ("max\n", found), (f"{1 << 60}\n", found), (f"{1 << 20}\n", 1 << 20)):
        if words is not None:
            host.MEMORY_LIMIT.write_text(words)
        assert device.memory_bytes(4) == expected
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")
    assert [device.memory_bytes(ranks) for ranks in (1, 2, 4)] == [1 << 20, 1 << 19, 1 << 19]
    card = card_of("lattice.extent=[8,8,8,8]")  # SU(2): (2 x 4 + 2 x 3) x 4 x 4096 x 8 bytes
    for ranks, needed, there in ((1, "0.001709", "0.0009766"), (2, "0.0008545", "0.0004883")):
        with pytest.raises(InputError, match=rf"\[8, 8, 8, 8\]: .* take {needed} GiB a rank, {there} GiB"):
            check_memory(card, device, ranks)
    check_memory(card, device, 4)  # on two machines
