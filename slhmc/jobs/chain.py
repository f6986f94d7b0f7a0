"""Jobs sent to a scheduler, asked for and cancelled, through PSI/J."""

import shutil
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slhmc.errors import InputError
from slhmc.jobs.record import JobRecord, Submitted

_COMMANDS = {"slurm": "sbatch", "pbs": "qsub", "lsf": "bsub", "flux": "flux"}
_SECONDS = 60  # of patience with a scheduler


@dataclass(frozen=True)
class QueueState:
    """A job in the queue: `queued`, `running`, `ended` or `unknown`, with the scheduler's reason if it gives one."""

    id: str
    state: str
    reason: str = ""

    @property
    def over(self) -> bool:
        return self.state == "ended"


def find_scheduler() -> str:
    """The scheduler whose commands are on PATH; `local` if there is none."""
    return next((name for name, command in _COMMANDS.items() if shutil.which(command)), "local")


def submit(scheduler: str, directory: Path, count: int) -> JobRecord:
    """Send DIR/job/job.sh `count` times, each to begin when the one before has ended, and keep the numbers.

    Raises InputError with what the scheduler says, also where the numbers of the jobs already sent are kept.
    """
    record = JobRecord(scheduler)
    script = record.folder(directory) / "job.sh"
    try:
        executor = _executor(scheduler)
    except InputError as error:
        raise InputError(f"{error}, or send {script} by hand") from error
    from slhmc.jobs.executors import script_job

    for _ in range(count):
        job = script_job(script, record.jobs[-1].id if record.jobs else None)
        words = _asking(scheduler, lambda job=job: executor.submit(job))
        if words is not None:
            sent = f"; sent before it: {', '.join(entry.id for entry in record.jobs)}" if record.jobs else ""
            raise InputError(f"{scheduler} did not take the job: {words}{sent}; the script is {script}")
        record.jobs.append(Submitted(str(job.native_id), time.time()))
        record.write(directory)
    return record


def queue_states(records: Iterable[JobRecord]) -> tuple[dict[tuple[str, str], QueueState], list[str]]:
    """{(scheduler, number): state} of all jobs, by one question to each scheduler; and what went wrong with asking."""
    numbers: dict[str, list[str]] = {}
    for record in records:
        numbers.setdefault(record.scheduler, []).extend(job.id for job in record.jobs)
    found, faults = {}, []
    for scheduler, ids in numbers.items():
        try:
            answer = _question(scheduler, ids)
        except InputError as error:
            faults.append(str(error))
            found |= {(scheduler, number): QueueState(number, "unknown") for number in ids}
        else:
            found |= {(scheduler, number): _state(number, answer.get(number)) for number in ids}
    return found, faults


def cancel(record: JobRecord, *, now: bool = False) -> list[QueueState]:
    """Take the jobs that wait out of the queue, last first; then ask the running one to stop with a checkpoint, or `now` end it.

    Returns the states that the jobs cancelled had. Raises InputError if the scheduler cannot be asked or refuses.
    """
    states, faults = queue_states([record])
    if faults:
        raise InputError("; ".join(faults))
    executor, cancelled = _executor(record.scheduler), []
    from psij import Job

    for entry in reversed(record.jobs):
        state = states[record.scheduler, entry.id]
        if state.over:
            continue
        job = Job()
        executor.attach(job, entry.id)
        executor.gentle = state.state == "running" and not now
        words = _asking(record.scheduler, lambda job=job: executor.cancel(job))
        if words is not None:
            again, faults = queue_states([JobRecord(record.scheduler, [entry])])
            if not faults and again[record.scheduler, entry.id].over:
                continue  # it ended meanwhile
            raise InputError(f"{record.scheduler} did not cancel job {entry.id}: {words}")
        cancelled.append(state)
    return cancelled


def _executor(scheduler: str) -> Any:
    try:
        from slhmc.jobs.executors import EXECUTORS, configuration
    except ImportError as error:
        raise InputError(f"batch jobs need PSI/J, which does not load ({error}); pip install 'slhmc[hpc]'") from error
    if scheduler not in EXECUTORS:
        raise InputError(f"{scheduler}: no such scheduler; {', '.join(EXECUTORS)} expected")
    return EXECUTORS[scheduler](config=configuration())


def _asking(scheduler: str, action: Any) -> str | None:
    """What went wrong with `action`, in the scheduler's words; None if nothing."""
    from psij import InvalidJobException, SubmitException

    try:
        action()
    except (FileNotFoundError, PermissionError) as error:
        return f"{error.filename} is not on PATH; is this a machine of a {scheduler} cluster?"
    except (SubmitException, InvalidJobException) as error:
        return " ".join(str(error).split())
    return None


def _question(scheduler: str, ids: list[str]) -> dict[str, Any]:
    """PSI/J's command and its reading of the answer; asked once, without its thread."""
    executor = _executor(scheduler)
    from psij import SubmitException

    command = executor.get_status_command(ids)
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        return executor.parse_status_output(result.returncode, result.stdout or result.stderr)
    except (FileNotFoundError, PermissionError):
        raise InputError(f"the queue cannot be asked: {command[0]} is not on PATH") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"the queue cannot be asked: {command[0]} has not answered for {_SECONDS} s") from None
    except (SubmitException, ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        raise InputError(f"the queue cannot be asked: {command[0]}: {' '.join(str(error).split())}") from None


def _state(number: str, status: Any) -> QueueState:
    """A job that the scheduler has forgotten has ended."""
    from psij import JobState

    if status is None or status.state.final:
        return QueueState(number, "ended")
    if status.state == JobState.ACTIVE:
        return QueueState(number, "running")
    return QueueState(number, "queued", "" if status.message in (None, "None") else status.message)
