"""PSI/J's executors with our own scripts: the commands of each scheduler, and their answers. Imported only where jobs are sent.

PSI/J submits, asks and cancels. What it cannot do is done here: dependent jobs, threads and GPUs of PBS (by our script), bsub's
standard input, queues with reasons of several words, Flux without its Python bindings, one machine without a scheduler.
"""

import json
import tempfile
from abc import abstractmethod
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, ClassVar

from psij import Job, JobAttributes, JobSpec, JobState, JobStatus, SubmitException
from psij.executors.batch.batch_scheduler_executor import BatchSchedulerExecutor, BatchSchedulerExecutorConfig
from psij.executors.batch.lsf import LsfJobExecutor
from psij.executors.batch.pbs import PBSJobExecutor
from psij.executors.batch.slurm import SlurmJobExecutor

_AFTER = "slhmc.after"
_COPIES = tempfile.TemporaryDirectory(prefix="slhmc-psij-")


def script_job(script: Path, after: str | None) -> Job:
    """`script` as a job of PSI/J, to begin when the job `after` has ended."""
    attributes = JobAttributes(duration=timedelta(hours=1), custom_attributes={_AFTER: after or ""})  # the script says how long
    return Job(JobSpec(executable="/bin/bash", arguments=[str(script)], attributes=attributes))


def configuration() -> BatchSchedulerExecutorConfig:
    """PSI/J keeps a copy of each script until its job has ended, and polls in a thread: neither is of use here."""
    return BatchSchedulerExecutorConfig(work_directory=Path(_COPIES.name), queue_polling_interval=86400,
                                        initial_queue_polling_delay=86400)


class OwnScript(BatchSchedulerExecutor):
    """Commands with the script in the run's directory. `gentle`: cancel by USR1, for a checkpoint, where there is a way."""

    _VERSION_ = "0.0.1"
    gentle = False

    def generate_submit_script(self, job: Job, context: dict[str, object], submit_file: IO[str]) -> None:
        """Nothing: the script is there."""

    def get_submit_command(self, job: Job, submit_file_path: Path) -> list[str]:
        return self.submission(job.spec.arguments[0], job.spec.attributes.custom_attributes[_AFTER])

    def get_cancel_command(self, native_id: str) -> list[str]:
        return self.request_to_stop(native_id) if self.gentle else self.cancellation(native_id)

    def cancellation(self, native_id: str) -> list[str]:
        """The command that ends a job at once: PSI/J's, where it knows the scheduler."""
        return super().get_cancel_command(native_id)

    @abstractmethod
    def submission(self, script: str, after: str) -> list[str]:
        """The command that submits; `after` may be empty."""

    @abstractmethod
    def request_to_stop(self, native_id: str) -> list[str]:
        """The command that sends USR1 to the script of a job."""


class Slurm(OwnScript, SlurmJobExecutor):
    """sbatch, squeue, scancel."""

    _NAME_ = "slurm"

    def submission(self, script: str, after: str) -> list[str]:
        return ["sbatch", "--parsable", *[f"--dependency=afterany:{after}"] * bool(after), script]

    def job_id_from_submit_output(self, out: str) -> str:
        return out.split()[-1].partition(";")[0]

    def request_to_stop(self, native_id: str) -> list[str]:
        return ["scancel", "--batch", "--signal=USR1", native_id]

    def get_status_command(self, native_ids: Collection[str]) -> list[str]:
        return ["squeue", "--me", "-h", "-t", "all", "-o", "%i|%t|%r"]

    def parse_status_output(self, exit_code: int, out: str) -> dict[str, JobStatus]:
        """A reason has several words at times, which PSI/J does not expect."""
        _check(exit_code, out)
        rows = (line.split("|", 2) for line in out.splitlines() if line.count("|") >= 2)
        return {number: JobStatus(self._STATE_MAP.get(state.strip(), JobState.ACTIVE), message=reason)
                for number, state, reason in rows}


class PBS(OwnScript, PBSJobExecutor):
    """qsub, qstat, qdel of PBS Pro and OpenPBS."""

    _NAME_ = "pbs"

    def submission(self, script: str, after: str) -> list[str]:
        return ["qsub", *["-W", f"depend=afterany:{after}"] * bool(after), script]

    def request_to_stop(self, native_id: str) -> list[str]:
        return ["qsig", "-s", "USR1", native_id]

    def parse_status_output(self, exit_code: int, out: str) -> dict[str, JobStatus]:
        """qstat fails if it has forgotten one of the jobs, but tells of the others."""
        try:
            known = json.loads(out).get("Jobs", {})
        except ValueError:
            known = {}
        if not known:
            return {} if "nknown Job" in out or exit_code == 0 else _check(exit_code, out)
        return super().parse_status_output(0, json.dumps({"Jobs": known}))


class LSF(OwnScript, LsfJobExecutor):
    """bsub, bjobs, bkill; bsub reads directives from its standard input only."""

    _NAME_ = "lsf"

    def __init__(self, config: Any = None):
        super().__init__(None, config)

    def submission(self, script: str, after: str) -> list[str]:
        dependency = ["-w", f"ended({after})"] if after else []
        return ["sh", "-c", 'script=$1; shift; exec bsub "$@" <"$script"', "bsub", script, *dependency]

    def request_to_stop(self, native_id: str) -> list[str]:
        return ["bkill", "-s", "USR1", native_id]

    def parse_status_output(self, exit_code: int, out: str) -> dict[str, JobStatus]:
        """PSI/J looks for a reason under a key that is not there."""
        records = json.loads(out)["RECORDS"] if exit_code == 0 or out.startswith("{") else _check(exit_code, out)
        return {row["JOBID"]: JobStatus(self._STATE_MAP.get(row["STAT"], JobState.ACTIVE)) for row in records if "STAT" in row}


class Flux(OwnScript):
    """flux batch, flux jobs, flux cancel."""

    _NAME_ = "flux"
    _STATES: ClassVar = {"DEPEND": JobState.QUEUED, "PRIORITY": JobState.QUEUED, "SCHED": JobState.QUEUED, "RUN": JobState.ACTIVE,
                         "CLEANUP": JobState.ACTIVE}
    _RESULTS: ClassVar = {"COMPLETED": JobState.COMPLETED, "CANCELED": JobState.CANCELED}

    def submission(self, script: str, after: str) -> list[str]:
        return ["flux", "batch", *[f"--dependency=afterany:{after}"] * bool(after), script]

    def job_id_from_submit_output(self, out: str) -> str:
        return out.split()[-1]

    def cancellation(self, native_id: str) -> list[str]:
        return ["flux", "cancel", native_id]

    def request_to_stop(self, native_id: str) -> list[str]:
        """Cancels: a signal would go to Flux's broker, not to the script."""
        return self.cancellation(native_id)

    def process_cancel_command_output(self, exit_code: int, out: str) -> None:
        raise SubmitException(out)

    def get_status_command(self, native_ids: Collection[str]) -> list[str]:
        return ["flux", "jobs", "-a", "-n", "-o", "{id.f58} {state} {result}", *native_ids]

    def parse_status_output(self, exit_code: int, out: str) -> dict[str, JobStatus]:
        _check(exit_code, out)
        rows = (line.split() for line in out.splitlines() if len(line.split()) > 1)
        return {row[0]: JobStatus(self._STATES.get(row[1]) or self._RESULTS.get(row[-1], JobState.FAILED)) for row in rows}

    def get_list_command(self) -> list[str]:
        return ["flux", "jobs", "-a", "-n", "-o", "{id.f58}"]


class Local(OwnScript):
    """This machine: a job is a process of its own session, numbered by its process; a dependent one waits for the other's end."""

    _NAME_ = "local"

    def submission(self, script: str, after: str) -> list[str]:
        start = 'setsid bash "$@" </dev/null >/dev/null 2>&1 & echo $!'
        return ["bash", "-c", start, "bash", script, *[after] * bool(after)]

    def job_id_from_submit_output(self, out: str) -> str:
        return out.strip()

    def request_to_stop(self, native_id: str) -> list[str]:
        return ["kill", "-USR1", native_id]

    def cancellation(self, native_id: str) -> list[str]:
        return ["kill", "-KILL", "--", f"-{native_id}"]

    def process_cancel_command_output(self, exit_code: int, out: str) -> None:
        if "No such process" not in out:
            raise SubmitException(out)

    def get_status_command(self, native_ids: Collection[str]) -> list[str]:
        return ["ps", "-ww", "-o", "pid=,stat=,args=", "-p", ",".join(native_ids)]

    def parse_status_output(self, exit_code: int, out: str) -> dict[str, JobStatus]:
        """Numbers are used again by other processes, so the script must be an argument; the last one says who is awaited."""
        rows = [row for line in out.splitlines() if len(row := line.split()) > 2]
        alive = {row[0]: row[-1] for row in rows if not row[1].startswith("Z") and any(w.endswith("job/job.sh") for w in row)}
        return {number: JobStatus(JobState.QUEUED if last in alive else JobState.ACTIVE) for number, last in alive.items()}

    def get_list_command(self) -> list[str]:
        return ["ps", "-o", "pid="]


EXECUTORS = {"slurm": Slurm, "pbs": PBS, "lsf": LSF, "flux": Flux, "local": Local}


def _check(exit_code: int, out: str) -> Any:
    if exit_code:
        raise SubmitException(out.strip() or f"exit code {exit_code}")
