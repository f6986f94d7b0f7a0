"""The text of a job script: the head that a scheduler reads, and the body, which is the same for all of them."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from slhmc.jobs.launcher import launch_line, launcher_environment
from slhmc.jobs.record import NOT_BEGUN
from slhmc.jobs.resources import Resources, clock
from slhmc.jobs.site import Site


@dataclass(frozen=True)
class Job:
    """A run or a training in `directory`, an absolute path; `begun_by`: the file whose presence says that it has begun.

    command: run or train, of DIR/job/card.toml; python, mpiexec: what starts it; environment: exported in the script.
    """

    name: str
    directory: Path
    command: str
    begun_by: str
    resources: Resources
    site: Site
    python: str
    mpiexec: str = "mpiexec"
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Scheduler:
    """How a scheduler is told what a job needs, and what it tells the job.

    head: directives, prefix included; number: the job's number, granted: the ranks that there is room for, both for the shell
    (None: what was asked for). warns: whether the scheduler sends the signal. redirects: whether it writes the output itself.
    """

    head: Callable[[Job], list[str]]
    prefix: str
    number: str
    granted: str | None = None
    warns: bool = False
    redirects: bool = False


def slurm_head(job: Job) -> list[str]:
    """Options of sbatch; the signal goes to the script alone, which hands it on."""
    want = job.resources
    return [
        f"--job-name={job.name}",
        f"--nodes={want.nodes}",
        f"--ntasks={want.ranks}",
        f"--ntasks-per-node={want.ranks_per_node}",
        f"--cpus-per-task={want.threads}",
        *[f"--gpus-per-node={want.ranks_per_node}"] * want.gpu,
        f"--time={clock(want.seconds)}",
        *_given("--account=", want.account),
        *_given("--partition=", want.partition),
        f"--signal=B:USR1@{want.warning}",
        f"--output={_folder(job)}/%j.out",
        "--open-mode=append",
        "--requeue",
    ]


def pbs_head(job: Job) -> list[str]:
    """Options of qsub: a chunk is a node with its ranks, their threads and GPUs."""
    want = job.resources
    chunk = f"select={want.nodes}:ncpus={want.ranks_per_node * want.threads}:mpiprocs={want.ranks_per_node}"
    chunk += f":ompthreads={want.threads}" + f":ngpus={want.ranks_per_node}" * want.gpu
    return [
        f"-N {job.name[:15]}",
        f"-l {chunk}",
        *["-l place=scatter"] * (want.nodes > 1),
        f"-l walltime={clock(want.seconds)}",
        *_given("-A ", want.account),
        *_given("-q ", want.partition),
        "-j oe",
        f"-o {_folder(job)}/",
        "-r y",
    ]


def lsf_head(job: Job) -> list[str]:
    """Options of bsub: a slot is a rank; LSF counts times in minutes."""
    want = job.resources
    return [
        f"-J {job.name}",
        f"-n {want.ranks}",
        f'-R "span[ptile={want.ranks_per_node}] affinity[core({want.threads})]"',
        *[f'-gpu "num={want.ranks_per_node}:mode=shared"'] * want.gpu,
        f"-W {-(-want.seconds // 60)}",
        "-wa USR1",
        f"-wt {-(-want.warning // 60)}",
        *_given("-P ", want.account),
        *_given("-q ", want.partition),
        f"-o {_folder(job)}/%J.out",
        "-r",
    ]


def flux_head(job: Job) -> list[str]:
    """Options of flux batch: a slot is a rank."""
    want = job.resources
    return [
        f"--job-name={job.name}",
        f"--nodes={want.nodes}",
        f"--nslots={want.ranks}",
        f"--cores-per-slot={want.threads}",
        *["--gpus-per-slot=1"] * want.gpu,
        f"--time-limit={want.seconds}s",
        *_given("--bank=", want.account),
        *_given("--queue=", want.partition),
        f"--output={_folder(job)}/{{{{id}}}}.out",
    ]


SCHEDULERS = {
    "slurm": Scheduler(slurm_head, "#SBATCH", "$SLURM_JOB_ID", "$SLURM_NTASKS", warns=True, redirects=True),
    "pbs": Scheduler(pbs_head, "#PBS", "$PBS_JOBID", '$(wc -l <"$PBS_NODEFILE")'),
    "lsf": Scheduler(lsf_head, "#BSUB", "$LSB_JOBID", "$LSB_DJOB_NUMPROC", warns=True, redirects=True),
    "flux": Scheduler(flux_head, "#flux:", "$FLUX_JOB_ID", redirects=True),
    "local": Scheduler(lambda job: [], "#", "$$"),
}

_TOP = """\
# Written by `slhmc submit`, for a person to read and to change; all jobs of a chain run it, one after the other.

cd {directory} || exit 2
"""
_WAIT = """
# on one machine there is no queue: job.sh NUMBER waits for the process of that number
while [ -n "${1:-}" ] && kill -0 "$1" 2>/dev/null; do sleep 1; done
"""
_REDIRECT = """
exec >>"job/{number}.out" 2>&1
"""
_LAST = """
# what the job before this one came to: 75, or killed, is a reason to go on
last=$(cat job/exit_code 2>/dev/null)
case "$last" in
    0) echo "slhmc: the run is done, nothing is left to do"; exit 0 ;;
    2 | 3 | 126 | 127) echo "slhmc: {not_begun} with exit code $last: see its output here" >&2; exit "$last" ;;
esac
echo running >job/exit_code
"""
_NO_MODULE = "{ echo 127 >job/exit_code; exit 127; }"
_SIGNALS = """
# the warning before the time limit and `slhmc cancel` become USR1 for the ranks: a checkpoint, and exit code 75
ranks='' signalled=''
stop() { signalled=yes; [ -z "$ranks" ] || kill -USR1 "$ranks" 2>/dev/null; }
trap stop USR1 TERM
"""
_TIMER = """\
# this scheduler sends no warning, so one comes from here
(sleep {seconds} & trap "kill $!" TERM; wait $! && kill -USR1 $$) >/dev/null 2>&1 &
timer=$!
"""
_RUN = """
if [ -e {begun_by} ]; then
    set -- resume .
else
    set -- {command} job/card.toml -o .
fi
{launch} "$@"{options} &
ranks=$!
[ -z "$signalled" ] || kill -USR1 "$ranks"
code='' signalled=yes
while [ -n "$signalled" ]; do  # a signal ends `wait` early; at the second time, 127 is that of a process already waited for
    signalled=
    wait "$ranks"
    result=$?
    [ "$result" = 127 ] && [ -n "$code" ] || code=$result
done
"""
_END = """\
echo "$code" >job/exit_code
echo "slhmc: exit code $code"
exit "$code"
"""


def job_script(scheduler: str, job: Job) -> str:
    """The script of `job` for `scheduler`, a name of SCHEDULERS."""
    kind, want = SCHEDULERS[scheduler], job.resources
    head = [*kind.head(job), *([] if scheduler == "local" else job.site.directives)]
    exports = {"OMP_NUM_THREADS": str(want.threads), **job.environment}
    binding = launcher_environment(job.site, want) if want.ranks > 1 else {}
    launch = launch_line(scheduler, job.site, want, job.mpiexec, job.python, [*exports, "SLHMC_RANKS"])
    parts = [
        "#!/bin/bash\n" + "".join(f"{kind.prefix} {line}\n" for line in head),
        _TOP.format(directory=shlex.quote(str(job.directory))),
        _WAIT if scheduler == "local" else "",
        "" if kind.redirects else _REDIRECT.format(number=kind.number),
        _LAST.format(not_begun=NOT_BEGUN),
        _block("modules of the site", [*["module purge"] * bool(job.site.modules),
                                       *(f"module load {shlex.quote(name)} || {_NO_MODULE}" for name in job.site.modules)]),
        _block("environment", [f"export {name}={shlex.quote(value)}" for name, value in (exports | binding).items()]),
        "\n# slhmc compares this with the ranks that have come\n",
        f"export SLHMC_RANKS={kind.granted or want.ranks}\n",
        _block("lines of the site", job.site.lines),
        _SIGNALS,
        "" if kind.warns else _TIMER.format(seconds=want.seconds - want.warning),
        _RUN.format(begun_by=job.begun_by, command=job.command, launch=launch, options=" --device cuda" * want.gpu),
        "" if kind.warns else 'kill "$timer" 2>/dev/null\n',
        _END,
    ]
    return "".join(parts)


def _block(title: str, lines: list[str]) -> str:
    return f"\n# {title}\n" + "".join(f"{line}\n" for line in lines) if lines else ""


def _given(option: str, value: str | None) -> list[str]:
    return [] if value is None else [option + value]


def _folder(job: Job) -> Path:
    return job.directory / "job"
