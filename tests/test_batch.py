"""Job scripts, sites, what is refused, the words of each scheduler.

Jobs at work are in tests/test_batch_jobs.py, a real Slurm in tests/test_batch_slurm.py.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from batch_jobs import GAUGE_CARD
from running import ROOT, card_file, contents, refusal, sets, slhmc_command

from slhmc.errors import InputError
from slhmc.jobs import Resources, load_site, seconds_of

pytestmark = pytest.mark.usefixtures("sites")
ASKED = ("--nodes", 2, "-n", 8, "--threads", 3, "--time", "26h", "--account", "lattice", "--partition", "long")


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
def test_every_scheduler_is_asked_for_ranks_threads_and_gpus(tmp_path, capsys, sites, card, scheduler, head, granted, timer):
    (sites / "big.toml").write_text('directives = ["--qos=high"]\n')
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
def test_launchers_and_binding_of_a_site(tmp_path, capsys, sites, card, launcher, binding, words):
    (sites / "default.toml").write_text(f'launcher = "{launcher}"\nbinding = "{binding}"\nlauncher_options = ["--mpi=pmix"]\n')
    assert words in dry(capsys, card, "-o", tmp_path / "run", "--scheduler", "slurm", *ASKED)


def test_modules_and_lines_of_a_site_come_before_the_ranks(tmp_path, capsys, sites, card, monkeypatch):
    monkeypatch.setenv("SCRATCH", "/scratch/me")
    (sites / "hill.toml").write_text('scheduler = "lsf"\nmodules = ["gcc/13", "openmpi"]\nlines = ["ulimit -s unlimited"]\n'
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
    (("-n", 32), "32 ranks do not divide the lattice"),
    (("-n", 10**9), "1000000000 ranks do not divide the lattice"),
    (("-n", 2, "--set", "lattice.lanes=16"), "lanes = 16: the local lattice"),
    (("--chain", 1001), "Invalid value for '--chain': Input should be less than or equal to 1000"),
    (("--time", "99999999999d"), "a time limit of '99999999999d': at most 366 days expected; let several jobs follow"),
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
def test_faults_of_a_site_are_named(sites, text, words):
    (sites / "bad.toml").write_text(text)
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
