"""`slhmc launch -n N`: start N MPI ranks on one machine or in a batch job."""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from slhmc.cli.terminal import VARIABLE
from slhmc.errors import InputError

# Open MPI refuses more ranks than cores, and pins them so that two runs on one machine fight for the same cores;
# the first pair is for version 5, the second for version 4
_RELAXED = {
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "PRTE_MCA_hwloc_default_binding_policy": "none",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_hwloc_base_binding_policy": "none",
}
# Open MPI 5 keeps its files in a directory named by its process id, and starts no rank where a killed one with the same id has
# left its own ("listener thread failed to start"): another one has another id
_NOTHING_STARTED = 213
# more would stop a machine before one of them finds that the lattice is too small; a batch job may have other nodes
_MOST_RANKS, _RANKS_OF_A_CORE = 64, 8
_JOB = ("SLURM_JOB_ID", "PBS_JOBID", "FLUX_JOB_ID", "LSB_JOBID", "JOB_ID")
_AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def launch_ranks(processes: int, arguments: list[str]) -> int:
    """Run `slhmc ARGUMENTS` on `processes` ranks; returns the exit code. USR1 and TERM stop a run with a checkpoint."""
    if not arguments:
        raise InputError("nothing to launch; for example: slhmc launch -n 4 run CARD")
    most = max(_MOST_RANKS, _RANKS_OF_A_CORE * len(os.sched_getaffinity(0)))
    if processes > most and not any(name in os.environ for name in _JOB):
        raise InputError(f"-n {processes}: at most {most} ranks expected on this machine outside of a batch job; try submit")
    command, environment = mpi_command(processes, ["-m", "slhmc", *arguments]), mpi_environment(processes)
    code = run_forwarding(command, environment)
    if code == _NOTHING_STARTED:
        print("slhmc: mpiexec could not start; once more", file=sys.stderr)
        code = run_forwarding(command, environment)
    return code


def run_ranks(processes: int, python_arguments: list[str], variables: Mapping[str, str] | None = None,
              timeout: float | None = None) -> subprocess.CompletedProcess:
    """What ranks of this Python print, and their exit code; `variables` join the environment. TimeoutExpired past `timeout` s."""
    command, environment = mpi_command(processes, python_arguments), mpi_environment(processes) | (variables or {})
    done = _captured(command, environment, timeout)
    return _captured(command, environment, timeout) if done.returncode == _NOTHING_STARTED else done


def _captured(command: list[str], environment: dict[str, str], timeout: float | None) -> subprocess.CompletedProcess:
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except BaseException:
            process.terminate()  # mpiexec then ends its ranks; were it killed, they would go on
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=10)
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def mpi_command(processes: int, python_arguments: list[str]) -> list[str]:
    """mpiexec with `processes` ranks of this Python; an exception on one rank ends all (`-m mpi4py`)."""
    if importlib.util.find_spec("mpi4py") is None:
        raise InputError("mpi4py is not installed; pip install 'slhmc[mpi]', or mpi4py alone where the site has an MPI")
    return [mpiexec(), "-n", str(processes), sys.executable, "-m", "mpi4py", *python_arguments]


def mpiexec() -> str:
    """The mpiexec of this Python environment, else that on PATH."""
    beside = Path(sys.executable).parent / "mpiexec"
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("mpiexec")
    if found is None:
        raise InputError("no mpiexec beside this Python or on PATH; "
                         "pip install 'slhmc[mpi]', or load the site's MPI module")
    return found


def mpi_environment(processes: int) -> dict[str, str]:
    """This environment, with what mpiexec needs to work unattended; what is set already is kept."""
    defaults = _RELAXED | (_AS_ROOT if os.geteuid() == 0 else {})
    ours = {"SLHMC_RANKS": str(processes), VARIABLE: "1" if sys.stdout.isatty() else "0"}
    return defaults | dict(os.environ) | ours


def run_forwarding(command: list[str], environment: dict[str, str]) -> int:
    """Run `command`; USR1 and TERM reach it as USR1, because Open MPI keeps TERM from the ranks."""
    process: subprocess.Popen | None = None
    early = False

    def forward(number: int, frame: object) -> None:
        nonlocal early
        if process is None:
            early = True
        else:
            process.send_signal(signal.SIGUSR1)

    previous = {number: signal.signal(number, forward) for number in (signal.SIGUSR1, signal.SIGTERM)}
    # the terminal sends an interrupt to mpiexec too, which ends the ranks; stay to hand on its exit code
    previous[signal.SIGINT] = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        process = subprocess.Popen(command, env=environment)
        if early:
            process.send_signal(signal.SIGUSR1)
        code = process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code
