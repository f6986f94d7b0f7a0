"""Job scripts, sites, chains on one machine and on a stand-in for PBS, the queue in `slhmc status`.

A real Slurm is in tests/test_batch_slurm.py.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from running import CARD, ROOT, card_file, contents, refusal, sets, slhmc_command

from slhmc.errors import InputError
from slhmc.io import RunDirectory
from slhmc.jobs import Job, JobRecord, Resources, Site, Submitted, exit_code, job_script, last_words, load_site, seconds_of

SECONDS = 120
GAUGE_CARD = CARD[:CARD.index("[[quarks]]")] + CARD[CARD.index("[hmc]"):CARD.index("[measure.chiral")]
AS_ROOT = 'lines = ["export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"]\n'
ASKED = ("--nodes", 2, "-n", 8, "--threads", 3, "--time", "26h", "--account", "lattice", "--partition", "long")

# what qsub, qstat, qdel and qsig of PBS do, for one job after the other; a job is a process
PBS_COMMANDS = {
    "qsub": """
import json, os, subprocess, sys
folder = os.environ["STAND_IN"]
after = sys.argv[sys.argv.index("-W") + 1].removeprefix("depend=afterany:") if "-W" in sys.argv else ""
script = sys.argv[-1]
chunk = next(line.split("select=")[1].strip() for line in open(script) if line.startswith("#PBS -l select"))
nodes, ranks = int(chunk.split(":")[0]), int(chunk.split("mpiprocs=")[1].split(":")[0])
ranks = int(os.environ.get("STAND_IN_RANKS", ranks))
number = f"{len(os.listdir(folder)) + 1}.server"
base = os.path.join(folder, number)
os.mkdir(base)
with open(base + "/nodes", "w") as file:
    file.write("node\\n" * (nodes * ranks))
variables = {name: os.environ[name] for name in ("PATH", "HOME")}  # the rest of the environment does not travel
variables |= {"PBS_JOBID": number, "PBS_NODEFILE": base + "/nodes"}
wait = f"while [ ! -e '{folder}/{after}/end' ]; do sleep 0.1; done; " if after else ""
line = f"{wait}[ ! -e '{base}/deleted' ] || exit; touch '{base}/begun'; bash '{script}' & "
line += f"echo $! >'{base}/pid'; wait; touch '{base}/end'"
subprocess.Popen(["setsid", "bash", "-c", line], env=variables, stdin=subprocess.DEVNULL, stdout=open(base + "/o", "w"),
                 stderr=subprocess.STDOUT)
print(number)
""",
    "qstat": """
import json, os, sys
folder, jobs = os.environ["STAND_IN"], {}
for number in (word for word in sys.argv[1:] if word.endswith(".server")):
    base = os.path.join(folder, number)
    if os.path.exists(base):
        jobs[number] = {"job_state": "F" if os.path.exists(base + "/end") else "R" if os.path.exists(base + "/begun") else "H"}
print(json.dumps({"Jobs": jobs}))
""",
    "qsig": """
import os, signal, sys
os.kill(int(open(os.path.join(os.environ["STAND_IN"], sys.argv[-1], "pid")).read()), signal.SIGUSR1)
""",
    "qdel": """
import os, sys
for name in ("deleted", "end"):
    open(os.path.join(os.environ["STAND_IN"], sys.argv[-1], name), "w").close()
""",
}


@pytest.fixture(autouse=True)
def settings(tmp_path, monkeypatch):
    """A configuration folder of the test's own; the folder of its sites."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
    sites = tmp_path / "config" / "slhmc" / "sites"
    sites.mkdir(parents=True)
    yield sites
    _end_jobs(tmp_path)


def _end_jobs(folder):
    """A job that a failed test has left is at work in its directory."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if process.name != str(os.getpid()) and (process / "cwd").resolve().is_relative_to(folder):
                os.kill(int(process.name), signal.SIGKILL)


@pytest.fixture
def card(tmp_path):
    return card_file(tmp_path, GAUGE_CARD)


def dry(capsys, *arguments):
    """The script of `slhmc submit --dry-run`, found to be one by bash."""
    capsys.readouterr()
    assert slhmc_command("submit", *arguments, "--dry-run") == 0
    text = capsys.readouterr().out
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    return text


def waited(condition, run):
    deadline = time.monotonic() + SECONDS
    while not condition():
        outputs = "".join(path.read_text() for path in (run / "job").glob("*.out"))
        assert time.monotonic() < deadline, outputs
        time.sleep(0.05)


# ---- scripts
@pytest.mark.parametrize(("scheduler", "head", "granted", "timer"), [
    ("slurm", ["#SBATCH --nodes=2", "#SBATCH --ntasks=8", "#SBATCH --ntasks-per-node=4", "#SBATCH --cpus-per-task=3",
               "#SBATCH --gpus-per-node=4", "#SBATCH --time=26:00:00", "#SBATCH --account=lattice", "#SBATCH --partition=long",
               "#SBATCH --signal=B:USR1@300", "#SBATCH --qos=high"], "$SLURM_NTASKS", False),
    ("pbs", ["#PBS -l select=2:ncpus=12:mpiprocs=4:ompthreads=3:ngpus=4", "#PBS -l walltime=26:00:00", "#PBS -A lattice",
             "#PBS -q long", "#PBS --qos=high"], '$(wc -l <"$PBS_NODEFILE")', True),
    ("lsf", ["#BSUB -n 8", '#BSUB -R "span[ptile=4] affinity[core(3)]"', '#BSUB -gpu "num=4:mode=shared"', "#BSUB -W 1560",
             "#BSUB -wa USR1", "#BSUB -wt 5", "#BSUB -P lattice", "#BSUB -q long"], "$LSB_DJOB_NUMPROC", False),
    ("flux", ["#flux: --nodes=2", "#flux: --nslots=8", "#flux: --cores-per-slot=3", "#flux: --gpus-per-slot=1",
              "#flux: --time-limit=93600s", "#flux: --bank=lattice", "#flux: --queue=long"], "8", True),
    ("local", [], "8", True),
])
def test_every_scheduler_is_asked_for_ranks_threads_and_gpus(tmp_path, capsys, settings, card, scheduler, head, granted, timer):
    (settings / "big.toml").write_text('directives = ["--qos=high"]\n')
    text = dry(capsys, card, "-o", tmp_path / "run", "--scheduler", scheduler, "--gpus", 8, "--site", "big", *ASKED)
    lines = text.splitlines()
    assert set(head) <= set(lines)
    first = lines.index(next(line for line in lines if not line.startswith("#")))
    assert all(lines.index(line) < first for line in head), "directives after the first command are not read"
    assert "export OMP_NUM_THREADS=3" in lines and f"export SLHMC_RANKS={granted}" in lines
    assert ("(sleep 93300 &" in text) == timer
    start = next(line for line in lines if '"$@"' in line)
    assert start.endswith('-m mpi4py -m slhmc "$@" --device cuda &')
    assert "--gpus-per-task=1" in start if scheduler == "flux" else " -n 8 env OMP_NUM_THREADS=" in start
    assert not (tmp_path / "run").exists()


def test_a_job_asks_for_no_more_than_it_needs(tmp_path, capsys, card):
    """No devices, and for one rank no launcher."""
    for scheduler in ("slurm", "pbs", "lsf", "flux", "local"):
        text = dry(capsys, card, "-o", tmp_path / "run", "--scheduler", scheduler)
        assert not any(words in text for words in ("gpu", "--device", "mpiexec", "mpi4py", "OMPI_"))
        assert f'{sys.executable} -m slhmc "$@" &' in text


@pytest.mark.parametrize(("launcher", "binding", "words"), [
    ("srun", "none", "srun --ntasks=8 --cpus-per-task=3 --cpu-bind=none --mpi=pmix"),
    ("srun", "cores", "srun --ntasks=8 --cpus-per-task=3 --cpu-bind=cores --mpi=pmix"),
    ("srun", "launcher", "srun --ntasks=8 --cpus-per-task=3 --mpi=pmix"),
    ("mpiexec", "cores", "export PRTE_MCA_rmaps_default_mapping_policy=slot:PE=3"),
    ("mpiexec", "none", "export PRTE_MCA_hwloc_default_binding_policy=none"),
    ("flux", "cores", "flux run --ntasks=8 --cores-per-task=3 -o cpu-affinity=per-task --mpi=pmix"),
])
def test_launchers_and_binding_of_a_site(tmp_path, capsys, settings, card, launcher, binding, words):
    (settings / "default.toml").write_text(f'launcher = "{launcher}"\nbinding = "{binding}"\nlauncher_options = ["--mpi=pmix"]\n')
    assert words in dry(capsys, card, "-o", tmp_path / "run", "--scheduler", "slurm", *ASKED)


def test_modules_and_lines_of_a_site_come_before_the_ranks(tmp_path, capsys, settings, card, monkeypatch):
    monkeypatch.setenv("SCRATCH", "/scratch/me")
    (settings / "hill.toml").write_text('scheduler = "lsf"\nmodules = ["gcc/13", "openmpi"]\nlines = ["ulimit -s unlimited"]\n'
                                        'scratch = "$SCRATCH/runs"\naccount = "qcd"\nwarning = 120\n')
    text = dry(capsys, card, "--site", "hill", "-n", 2)
    places = [text.index(words) for words in (
        "#BSUB -wt 2\n", "#BSUB -P qcd\n", "cd /scratch/me/runs/card ||", "module purge\nmodule load gcc/13 ||",
        "module load openmpi", "ulimit -s unlimited\n", "\nmpiexec -n 2 ")]
    assert places == sorted(places)


def test_a_training_is_trained_and_resumed_as_one(tmp_path, capsys):
    training = ROOT / "run_cards" / "su2_staggered_train.toml"
    fit = ROOT / "run_cards" / "lcnn" / "wilson_loop_1x2.toml"
    for path, command, file in ((training, "train", "train.h5"), (fit, "train", "fit.h5")):
        text = dry(capsys, path, "-o", tmp_path / "run", "--scheduler", "local")
        assert f"if [ -e {file} ]; then\n    set -- resume .\nelse\n    set -- {command} job/card.toml -o ." in text
    assert "set -- run job/card.toml" in dry(capsys, training, "-o", tmp_path / "run", "--command", "run")
    assert "has no [train]" in refusal(capsys, "submit", ROOT / "run_cards" / "su2_2d_pure_gauge.toml", "--command", "train")


# ---- what is refused
@pytest.mark.parametrize(("options", "words"), [
    (("--gpus", 4, "-n", 2), "--gpus 4 with --ranks 2: one rank drives one GPU"),
    (("--nodes", 3, "-n", 4), "--ranks 4 on --nodes 3: the same number of ranks on each node"),
    (("--time", "soon"), "a time limit of 'soon': expected hours:minutes:seconds"),
    (("--time", "5m"), "the time limit of 300 s leaves nothing before the warning 300 s ahead"),
    (("--site", "nowhere"), "nowhere.toml: no such site"),
    (("--site", "../x"), "--site ../x: the name of a file in"),
    (("-n", 2, "--set", "lattice.ranks=[2,2]"), "a grid of 4 ranks, but the job has 2; give --ranks 4"),
    (("-o", "a b"), "' ' in the path, which schedulers do not take"),
    (("--set", "gauge.beta=-1"), "--set gauge.beta=-1: must be greater than 0"),
])
def test_a_job_that_cannot_be(capsys, tmp_path, monkeypatch, card, options, words):
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    assert words in refusal(capsys, "submit", card, *options)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(("text", "words"), [
    ('launcher = "mpirun"', "launcher: input should be 'mpiexec', 'srun' or 'flux', found 'mpirun'"),
    ("modules = 3", "modules: input should be a valid list, found 3"),
    ("warning = true", "warning: input should be a valid integer, found True"),
    ('lines = ["a\\nb"]', "lines: each entry must be one line of text"),
    ("module = []", "module: unknown key; a site has scheduler, launcher, "),
    ("launcher = ", "not valid TOML"),
])
def test_faults_of_a_site_are_named(settings, text, words):
    (settings / "bad.toml").write_text(text)
    with pytest.raises(InputError, match=re.escape(words)):
        load_site("bad")


def test_times_and_shares():
    assert [seconds_of(text) for text in ("90m", "24h", "2d", "45s", "1:00:00", "2-01:00:01")] == [5400, 86400, 172800, 45, 3600,
                                                                                               176401]
    for text in ("0s", "1:60:00", "12", "h", "-1h", "00:00:00"):
        with pytest.raises(InputError, match="a time limit of"):
            seconds_of(text)
    nothing = {"threads": None, "time": None, "warning": 60, "account": None, "partition": None}
    assert Resources.asked(nodes=2, ranks=None, gpus=8, **nothing).ranks_per_node == 4
    assert Resources.asked(nodes=3, ranks=None, gpus=None, **nothing).ranks == 3


def test_a_run_that_is_there_goes_on_by_its_directory_only(tmp_path, capsys, card):
    (tmp_path / "run").mkdir()
    assert "no card.toml found, a run card or the directory" in refusal(capsys, "submit", tmp_path / "run")
    (tmp_path / "run" / "card.toml").write_text(GAUGE_CARD)
    assert f"go on with that run by `slhmc submit {tmp_path / 'run'}`" in refusal(capsys, "submit", card, "-o", tmp_path / "run")
    assert "leave -o and --set out" in refusal(capsys, "submit", tmp_path / "run", *sets("gauge.beta=3"))
    assert "set -- resume ." in dry(capsys, tmp_path / "run")
    assert "no jobs of `slhmc submit` found" in refusal(capsys, "cancel", tmp_path / "run")


def test_without_psij_the_script_can_still_be_made(tmp_path, capsys, card, monkeypatch):
    for name in [name for name in sys.modules if name == "slhmc.jobs.executors" or name.partition(".")[0] == "psij"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psij", None)
    assert "pip install 'slhmc[hpc]'" in refusal(capsys, "submit", card, "-o", tmp_path / "run", "--scheduler", "local")
    assert "#SBATCH" in dry(capsys, card, "-o", tmp_path / "other", "--scheduler", "slurm")


def test_a_scheduler_that_is_not_there(tmp_path, capsys, card, monkeypatch):
    pytest.importorskip("psij")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    for scheduler, command in (("slurm", "sbatch"), ("pbs", "qsub"), ("flux", "flux")):
        words = refusal(capsys, "submit", card, "-o", tmp_path / scheduler, "--scheduler", scheduler)
        assert f"{scheduler} did not take the job: {command} is not on PATH" in words


# ---- answers of schedulers
def test_answers_of_the_queues_are_understood():
    pytest.importorskip("psij")
    from slhmc.jobs.executors import EXECUTORS, configuration

    def states(scheduler, answer, code=0):
        executor = EXECUTORS[scheduler](config=configuration())
        return {number: status.state.name for number, status in executor.parse_status_output(code, answer).items()}

    words = "3|PD|Nodes required for job are DOWN, DRAINED or reserved\n4|R|None\n5|CD|None\n6|??|None\n"
    assert states("slurm", words) == {"3": "QUEUED", "4": "ACTIVE", "5": "COMPLETED", "6": "ACTIVE"}
    jobs = {"1.s": {"job_state": "F", "Exit_status": 75}, "2.s": {"job_state": "R"}, "3.s": {"job_state": "H"}}
    assert states("pbs", json.dumps({"Jobs": jobs}), 153) == {"1.s": "FAILED", "2.s": "ACTIVE", "3.s": "QUEUED"}
    assert states("pbs", "qstat: Unknown Job Id 1.s", 153) == {}
    rows = [{"JOBID": "7", "STAT": "PEND"}, {"JOBID": "8", "STAT": "EXIT"}, {"JOBID": "9", "ERROR": "Job <9> is not found"}]
    assert states("lsf", json.dumps({"RECORDS": rows})) == {"7": "QUEUED", "8": "FAILED"}
    lines = "f1 DEPEND \nf2 SCHED \nf3 RUN \nf4 INACTIVE COMPLETED\nf5 INACTIVE TIMEOUT\n"
    assert states("flux", lines) == {"f1": "QUEUED", "f2": "QUEUED", "f3": "ACTIVE", "f4": "COMPLETED", "f5": "FAILED"}


def test_dependent_jobs_and_requests_in_the_words_of_each_scheduler():
    pytest.importorskip("psij")
    from slhmc.jobs.executors import EXECUTORS, configuration, script_job

    def commands(scheduler):
        executor = EXECUTORS[scheduler](config=configuration())
        executor.gentle = True
        job = script_job(Path("/r/job/job.sh"), "12")
        return executor.get_submit_command(job, Path("copy")), executor.get_cancel_command("12")

    assert commands("slurm") == (["sbatch", "--parsable", "--dependency=afterany:12", "/r/job/job.sh"],
                                 ["scancel", "--batch", "--signal=USR1", "12"])
    assert commands("pbs") == (["qsub", "-W", "depend=afterany:12", "/r/job/job.sh"], ["qsig", "-s", "USR1", "12"])
    submission, request = commands("lsf")
    assert submission[-3:] == ["/r/job/job.sh", "-w", "ended(12)"] and request == ["bkill", "-s", "USR1", "12"]
    assert commands("flux") == (["flux", "batch", "--dependency=afterany:12", "/r/job/job.sh"], ["flux", "cancel", "12"])


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
    folder = tmp_path / "bin"
    folder.mkdir()
    (tmp_path / "server").mkdir()
    for name, text in PBS_COMMANDS.items():
        (folder / name).write_text(f"#!{sys.executable}\n{text}")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN", str(tmp_path / "server"))


def test_a_chain_on_a_stand_in_for_pbs(tmp_path, capsys, settings, card, pbs):
    """On two ranks; the first job is asked to stop, the second goes on and is cancelled with the third."""
    pytest.importorskip("psij")
    pytest.importorskip("mpi4py", exc_type=ImportError)
    (settings / "default.toml").write_text(AS_ROOT)
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


def test_ranks_are_compared_with_what_pbs_granted(tmp_path, settings, card, pbs, monkeypatch):
    pytest.importorskip("psij")
    pytest.importorskip("mpi4py", exc_type=ImportError)
    (settings / "default.toml").write_text(AS_ROOT)
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
