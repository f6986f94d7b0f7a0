"""Batch jobs on a real Slurm of one node: ranks, the warning before the time limit, chains, cancel."""

import os
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from batch_jobs import GAUGE_CARD, SECONDS, environment_of_jobs, waited
from running import assert_same_chain, card_file, final_links, run_process, sets, slhmc_command
from slurm import private_slurm, why_not

from slhmc.io import RunDirectory
from slhmc.jobs import JobRecord, exit_code

pytest.importorskip("mpi4py", exc_type=ImportError)
pytest.importorskip("psij")
pytestmark = [pytest.mark.mpi, pytest.mark.skipif(why_not() is not None, reason=f"no Slurm here: {why_not()}")]

ENDLESS = sets("run.trajectories=100000")
SITE = """
scheduler = "slurm"
lines = ["export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"]
warning = 30
"""
PATIENT = SITE.replace('lines = ["', 'lines = ["renice -n 19 $$", "')
NOWHERE = SITE + 'launcher_command = "/no/mpiexec"\n'
SINGLETONS = SITE + 'launcher = "srun"\nlauncher_options = ["--mpi=none"]\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a card, a configuration folder with sites, and Slurm at work."""
    folder = tmp_path_factory.mktemp("slurm")
    card_file(folder, GAUGE_CARD)
    sites = folder / "slhmc" / "sites"
    sites.mkdir(parents=True)
    (sites / "default.toml").write_text(SITE)
    (sites / "patient.toml").write_text(PATIENT)
    (sites / "nowhere.toml").write_text(NOWHERE)
    (sites / "singletons.toml").write_text(SINGLETONS)
    with private_slurm() as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in (variables | environment_of_jobs(folder)).items():
            patch.setenv(name, value)
        yield folder


@pytest.fixture(scope="module")
def warned(folder):
    """A chain whose first job Slurm itself warns, within half a minute; the other tests use the time."""
    return sent(folder, "warned", "-n", 2, "--site", "patient", "--time", "1m", "--warning", 59, "--chain", 2, *ENDLESS)


def sent(folder: Path, name: str, *options) -> Path:
    """The directory of a run that was submitted."""
    run = folder / name
    assert slhmc_command("submit", folder / "card.toml", "-o", run, "--time", "5m", *options) == 0
    return run


def output_of(run: Path, number: int) -> str:
    """Of the job at this place in the chain; empty before it begins."""
    path = run / "job" / f"{JobRecord.read(run).jobs[number].id}.out"
    return path.read_text() if path.exists() else ""


def at_work(run: Path, number: int):
    """Whether this job of the chain has made a trajectory."""
    return lambda: "\ntrajectory " in "\n" + output_of(run, number)


def ended(run: Path, number: int):
    return lambda: "slhmc: exit code" in output_of(run, number)


def ranks_of(run: Path) -> list[int]:
    """Numbers of the processes that compute in a directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if words[0].endswith(b"python") and b"slhmc" in words and (process / "cwd").resolve() == run:
                found.append(int(process.name))
    return sorted(found)


def test_four_ranks_and_the_early_end_of_a_chain(warned, folder, capsys):
    run = sent(folder, "four", "-n", 4, "--chain", 2, *sets("lattice.ranks=[2,2]", "run.trajectories=2"))
    waited(lambda: "nothing is left to do" in output_of(run, 1), run)
    assert exit_code(run) == 0 and final_links(run)[1] == 5
    capsys.readouterr()
    waited(lambda: slhmc_command("status", run) == 0 and "queue: ended  done  trajectory 5/5" in capsys.readouterr().out, run)


def test_a_chain_that_is_stopped_twice_is_the_uninterrupted_one(warned, folder, capsys):
    """By the signal of Slurm's warning, then by `slhmc cancel`, which takes the job that waits from the queue."""
    run = sent(folder, "stopped", "-n", 2, "--chain", 3, *ENDLESS)
    jobs = [job.id for job in JobRecord.read(run).jobs]
    waited(at_work(run, 0), run)
    subprocess.run(["scancel", "--batch", "--signal=USR1", jobs[0]], check=True, timeout=SECONDS)
    waited(at_work(run, 1), run)
    assert "slhmc: exit code 75" in output_of(run, 0)
    capsys.readouterr()
    assert slhmc_command("status", run) == 0
    assert f"queue: running {jobs[1]}, 1 queued (Dependency)" in capsys.readouterr().out
    assert slhmc_command("submit", run) == 2
    assert f"jobs of this run are in the queue: {jobs[1]} (running), {jobs[2]} (queued)" in capsys.readouterr().err
    assert slhmc_command("cancel", run) == 0
    assert f"cancelled {jobs[1]} (running), {jobs[2]} (queued)" in capsys.readouterr().out
    waited(ended(run, 1), run)
    assert "slhmc: exit code 75" in output_of(run, 1) and output_of(run, 2) == ""
    assert RunDirectory(run).read_status()["state"] == "stopped"
    whole, total = folder / "whole", final_links(run)[1]
    result = run_process("launch", "-n", 2, "run", folder / "card.toml", "-o", whole, *sets(f"run.trajectories={total - 3}"))
    assert result.returncode == 0, result.stderr
    assert_same_chain(run, whole)


def test_ranks_that_do_not_see_each_other_end_the_chain(warned, folder, capsys):
    """srun with an --mpi that does not fit starts worlds of one rank; the second job sees that going on is of no use."""
    run = sent(folder, "alone", "-n", 2, "--site", "singletons", "--chain", 2)
    waited(lambda: "the job before this one failed with exit code 2" in output_of(run, 1), run)
    assert "the number of MPI ranks is 1, but SLHMC_RANKS = 2" in output_of(run, 0)
    assert exit_code(run) == 2 and not (run / "chain.h5").exists()
    capsys.readouterr()
    waited(lambda: slhmc_command("status", run) == 0 and "queue: ended  failed  error: " in capsys.readouterr().out, run)


def test_a_launcher_that_is_not_there_ends_the_chain(warned, folder, capsys):
    """And is told by `slhmc status`, though the job after it says less."""
    run = sent(folder, "nowhere", "-n", 2, "--site", "nowhere", "--chain", 2)
    waited(lambda: "the job before this one failed with exit code 127" in output_of(run, 1), run)
    assert exit_code(run) == 127 and "slhmc: exit code 127" in output_of(run, 0)
    capsys.readouterr()
    waited(lambda: slhmc_command("status", run) == 0 and "queue: ended  failed" in (told := capsys.readouterr().out)
           and "/no/mpiexec: No such file" in told, run)


def test_a_rank_that_is_killed_costs_no_more_than_the_job(warned, folder):
    """As by a node that fails: the job ends, the next one goes on from the checkpoint."""
    run = sent(folder, "killed", "-n", 2, "--chain", 2, *ENDLESS)
    waited(at_work(run, 0), run)
    os.kill(ranks_of(run)[-1], signal.SIGKILL)
    waited(at_work(run, 1), run)
    assert re.search(r"slhmc: exit code (?!0|2|3|75)\d+\n", output_of(run, 0))
    assert slhmc_command("cancel", run) == 0
    waited(ended(run, 1), run)
    assert exit_code(run) == 75


def test_slurm_refuses_what_it_does_not_have(folder, capsys):
    assert slhmc_command("submit", folder / "card.toml", "-o", folder / "refused", "--partition", "none") == 2
    words = capsys.readouterr().err
    assert "slurm did not take the job: " in words and "artition" in words and "job.sh" in words


def test_slurms_own_warning_is_a_checkpoint_and_the_next_job_goes_on(warned):
    waited(at_work(warned, 1), warned)
    first = output_of(warned, 0)
    assert "slhmc: exit code 75" in first and "stopped early with a checkpoint" in first
    reached = first.count("\ntrajectory ") + first.startswith("trajectory ")
    assert f"trajectory {reached + 1:6d}/100003 " in output_of(warned, 1)
    assert slhmc_command("cancel", warned, "--now") == 0
    waited(lambda: slhmc_command("cancel", warned) == 0, warned)
