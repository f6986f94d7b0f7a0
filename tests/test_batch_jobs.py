"""Batch jobs at work: chains on one machine and on a stand-in for PBS, the script itself, the queue in `slhmc status`."""

import json
import os
import re
import signal
import subprocess
import time

import pytest
from batch_jobs import GAUGE_CARD, SECONDS, waited
from pbs import stand_in_for_pbs
from running import card_file, refusal, sets, slhmc_command

from slhmc.io import RunDirectory
from slhmc.jobs import Job, JobRecord, Resources, Site, Submitted, exit_code, job_script, last_words

pytestmark = pytest.mark.usefixtures("sites")
AS_ROOT = 'lines = ["export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"]\n'


@pytest.fixture
def card(tmp_path):
    return card_file(tmp_path, GAUGE_CARD)


# ---- jobs on one machine
def submitted(run):
    return [job.id for job in JobRecord.read(run).jobs]


def test_a_chain_on_one_machine(tmp_path, capsys, card):
    """The first job runs until it is cancelled, the second is never begun; then two more go on, and end early."""
    pytest.importorskip("psij")
    run = tmp_path / "run"
    options = ("--scheduler", "local", "--time", "1h", "--chain", 2)
    assert slhmc_command("submit", card, "-o", run, *options, *sets("run.trajectories=100000")) == 0
    first, second = submitted(run)
    waited(lambda: (run / "status.json").exists(), run)
    capsys.readouterr()
    assert slhmc_command("status", run, tmp_path / "none") == 2
    captured = capsys.readouterr()
    assert re.search(rf"^{run} +running {first}, 1 queued +(running|waiting) ", captured.out, re.MULTILINE)
    assert "none" in captured.err
    assert f"jobs of this run are in the queue: {first} (running), {second} (queued)" in refusal(capsys, "submit", run)
    assert slhmc_command("cancel", run) == 0
    assert f"cancelled {first} (running), {second} (queued)" in capsys.readouterr().out
    waited(lambda: exit_code(run) == 75, run)
    assert slhmc_command("status", run, "--json") == 0
    (told,) = json.loads(capsys.readouterr().out)
    done = told["status"]["trajectory"]
    assert told["status"]["state"] == "stopped" and 0 < done < 100003
    text = (run / "card.toml").read_text()
    (run / "card.toml").write_text(re.sub(r"trajectories = \d+", f"trajectories = {max(done, 4)}", text))
    waited(lambda: slhmc_command("submit", run, *options) == 0, run)  # the first script may still say its last word
    third, fourth = submitted(run)
    waited(lambda: "nothing is left to do" in (run / "job" / f"{fourth}.out").read_text()
           if (run / "job" / f"{fourth}.out").exists() else False, run)
    assert exit_code(run) == 0 and "slhmc: exit code 0" in (run / "job" / f"{third}.out").read_text()


# ---- the script with something else in the place of slhmc
def stand_in_job(folder, commands, **changes):
    """job.sh of a job on one machine, whose rank is these commands of the shell."""
    rank = folder / "rank"
    rank.write_text(f"#!/bin/bash\n{commands}\n")
    rank.chmod(0o755)
    (folder / "job").mkdir(exist_ok=True)
    want = Resources(**{"nodes": 1, "ranks": 1, "threads": 1, "gpu": False, "seconds": 3600, "warning": 300} | changes)
    script = folder / "job" / "job.sh"
    script.write_text(job_script("local", Job("name", folder, "run", "card.toml", want, Site(), str(rank))))
    return ["bash", str(script)]


@pytest.mark.parametrize(("last", "code", "called"), [
    (None, 75, True), ("running", 0, True), ("75", 3, True), ("137", 75, True),
    ("0", 0, False), ("2", 2, False), ("3", 3, False), ("127", 127, False)])
def test_a_job_goes_on_after_a_stop_or_a_kill_and_not_after_an_error(tmp_path, last, code, called):
    command = stand_in_job(tmp_path, f"echo \"$*\" >called; exit {code}")
    if last is not None:
        (tmp_path / "job" / "exit_code").write_text(f"{last}\n")
    assert subprocess.run(command, timeout=SECONDS, check=False).returncode == code
    assert (tmp_path / "called").exists() == called
    if called:
        assert exit_code(tmp_path) == code
        assert (tmp_path / "called").read_text() == "-m slhmc run job/card.toml -o .\n"
        (tmp_path / "card.toml").touch()
        (tmp_path / "job" / "exit_code").unlink()
        subprocess.run(command, timeout=SECONDS, check=False)
        assert (tmp_path / "called").read_text() == "-m slhmc resume .\n"


HEEDING = "trap 'echo told >>signals; exit 75' USR1; touch ready; while :; do sleep 0.05; done"


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_signals_to_the_script_are_usr1_for_the_ranks(tmp_path, number):
    process = subprocess.Popen(stand_in_job(tmp_path, HEEDING))
    deadline = time.monotonic() + SECONDS
    while not (tmp_path / "ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(SECONDS) == 75 and exit_code(tmp_path) == 75
    assert (tmp_path / "signals").read_text() == "told\n"


def test_the_script_warns_where_the_scheduler_does_not(tmp_path):
    """The wait of the timer is cut to nothing, once the rank is ready for its signal."""
    command = stand_in_job(tmp_path, HEEDING, seconds=1000, warning=1)
    script = tmp_path / "job" / "job.sh"
    text = script.read_text()
    assert "(sleep 999 &" in text
    script.write_text(text.replace("(sleep 999 &", "(while [ ! -e ready ]; do sleep 0.05; done &"))
    assert subprocess.run(command, timeout=SECONDS, check=False).returncode == 75
    assert (tmp_path / "signals").read_text() == "told\n"


def test_a_rank_that_dies_by_a_signal_leaves_its_code(tmp_path):
    assert subprocess.run(stand_in_job(tmp_path, "kill -KILL $$"), timeout=SECONDS, check=False).returncode == 137
    assert exit_code(tmp_path) == 137


def test_a_job_of_a_local_chain_waits_for_the_one_before(tmp_path):
    command = stand_in_job(tmp_path, "touch called")
    first = subprocess.Popen(["sleep", "600"])
    second = subprocess.Popen([*command, str(first.pid)])
    time.sleep(0.2)
    assert second.poll() is None and not (tmp_path / "called").exists()
    first.kill()
    first.wait(SECONDS)
    assert second.wait(SECONDS) == 0 and (tmp_path / "called").exists()


# ---- PBS by a stand-in
@pytest.fixture
def pbs(tmp_path, monkeypatch):
    """Commands of PBS on PATH."""
    stand_in_for_pbs(tmp_path, monkeypatch)


@pytest.mark.mpi
def test_a_chain_on_a_stand_in_for_pbs(tmp_path, capsys, sites, card, pbs):
    """On two ranks; the first job is asked to stop, the second goes on and is cancelled with the third."""
    pytest.importorskip("psij")
    pytest.importorskip("mpi4py", exc_type=ImportError)
    (sites / "default.toml").write_text(AS_ROOT)
    run = tmp_path / "run"
    options = ("-n", 2, "--chain", 3, "--scheduler", "pbs")
    assert slhmc_command("submit", card, "-o", run, *options, *sets("run.trajectories=100000")) == 0
    first, second, third = submitted(run)
    outputs = [run / "job" / f"{number}.out" for number in (first, second, third)]
    waited(lambda: outputs[0].exists() and "trajectory " in outputs[0].read_text(), run)
    capsys.readouterr()
    assert slhmc_command("status", run) == 0
    assert f"queue: running {first}, 2 queued  " in capsys.readouterr().out
    subprocess.run(["qsig", "-s", "USR1", first], check=True, timeout=SECONDS)
    waited(lambda: outputs[1].exists() and "trajectory " in outputs[1].read_text(), run)
    assert "slhmc: exit code 75" in outputs[0].read_text()
    assert slhmc_command("cancel", run) == 0
    assert f"cancelled {second} (running), {third} (queued)" in capsys.readouterr().out
    waited(lambda: exit_code(run) == 75, run)
    waited(lambda: slhmc_command("status", run) == 0 and "queue: ended  stopped" in capsys.readouterr().out, run)
    assert not outputs[2].exists()


@pytest.mark.mpi
def test_ranks_are_compared_with_what_pbs_granted(tmp_path, sites, card, pbs, monkeypatch):
    pytest.importorskip("psij")
    pytest.importorskip("mpi4py", exc_type=ImportError)
    (sites / "default.toml").write_text(AS_ROOT)
    monkeypatch.setenv("STAND_IN_RANKS", "1")
    run = tmp_path / "run"
    assert slhmc_command("submit", card, "-o", run, "-n", 2, "--scheduler", "pbs") == 0
    waited(lambda: exit_code(run) is not None, run)
    assert exit_code(run) == 2 and last_words(run).startswith("the number of MPI ranks is 2, but SLHMC_RANKS = 1")


# ---- status
def test_what_a_job_leaves_that_ended_badly(tmp_path, capsys, monkeypatch):
    """Killed without a word, failed before the run could tell."""
    pytest.importorskip("psij")
    run = tmp_path / "run"
    (run / "job").mkdir(parents=True)
    JobRecord("local", [Submitted("999999999", 0.0)]).write(run)
    assert slhmc_command("status", run) == 0
    assert capsys.readouterr().out == f"{run}: queue: ended  killed  error: without a word\n"
    RunDirectory(run).write_status({"state": "running", "trajectory": 7, "total": 9})
    assert slhmc_command("status", run) == 0
    assert "queue: ended  running  trajectory 7/9" in capsys.readouterr().out, "by hand, perhaps"
    os.utime(run / "status.json", (0, 0))
    assert slhmc_command("status", run) == 0
    assert "queue: ended  killed  trajectory 7/9  error: without a word" in capsys.readouterr().out
    (run / "status.json").unlink()
    (run / "job" / "1.out").write_text("slhmc: the number of MPI ranks is 1\nmpiexec: has noticed\nslhmc: exit code 2\n")
    (run / "job" / "exit_code").write_text("2\n")
    assert last_words(run) == "the number of MPI ranks is 1"
    assert slhmc_command("status", run) == 0
    assert capsys.readouterr().out == f"{run}: queue: ended  failed  error: the number of MPI ranks is 1\n"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert slhmc_command("status", run) == 0
    captured = capsys.readouterr()
    assert "queue: unknown 999999999  waiting" in captured.out and "cannot be asked: ps is not on PATH" in captured.err
    (run / "job" / "jobs.json").write_text("[]")
    assert "damaged" in refusal(capsys, "status", run)
