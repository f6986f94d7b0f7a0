"""DIR/job: the script of a run's jobs, their numbers in the queue, what the last of them came to."""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from slhmc.errors import InputError
from slhmc.io.atomic import replace_file

NOT_BEGUN = "the job before this one failed"  # words of a job that does nothing; the reason is in an output before
_TAIL_BYTES = 65536


@dataclass(frozen=True)
class Submitted:
    """A job as its scheduler knows it. `submitted`: seconds since 1970."""

    id: str
    submitted: float


@dataclass
class JobRecord:
    """The jobs of the last submission, in the order in which they run."""

    scheduler: str
    jobs: list[Submitted] = field(default_factory=list)

    @staticmethod
    def folder(directory: Path) -> Path:
        return Path(directory) / "job"

    def write(self, directory: Path) -> None:
        """Into DIR/job/jobs.json, whole or not at all."""
        replace_file(self.folder(directory) / "jobs.json", [json.dumps(asdict(self), indent=1).encode() + b"\n"])

    @classmethod
    def read(cls, directory: Path) -> Self | None:
        """The record of a run; None if no job was submitted. InputError if it is damaged."""
        path = cls.folder(directory) / "jobs.json"
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            jobs = [Submitted(_number(job["id"]), float(job["submitted"])) for job in raw["jobs"]]
            if not jobs:
                raise ValueError("no jobs")
            return cls(str(raw["scheduler"]), jobs)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InputError(f"{path}: damaged: the jobs of a run expected; remove it, after a look into the queue") from None


def exit_code(directory: Path) -> int | None:
    """What the last job of a run ended with; None while one runs, and if it was killed."""
    try:
        text = (JobRecord.folder(directory) / "exit_code").read_bytes().strip()
    except OSError:
        return None
    return int(text) if re.fullmatch(rb"[0-9]{1,3}", text) else None


def last_words(directory: Path) -> str | None:
    """The last line of slhmc in the newest output of a job that began to work, else its last line; None if there is none."""
    for path in sorted(JobRecord.folder(directory).glob("*.out"), key=_written, reverse=True):
        lines = [line.strip() for line in _tail(path).decode(errors="replace").splitlines()]
        told = [line for line in lines if line and not line.startswith(("slhmc: exit code", f"slhmc: {NOT_BEGUN}"))]
        ours = [line.removeprefix("slhmc: ") for line in told if line.startswith("slhmc: ")]
        if told:
            return (ours or told)[-1]
    return None


def _number(found: object) -> str:
    """A job as schedulers number them; ValueError for what could be an option of their commands."""
    if not re.fullmatch(r"[^\W_][\w.:@\[\]-]*", str(found)):
        raise ValueError(f"{found} is no number of a job")
    return str(found)


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # gone since it was listed
        return 0.0


def _tail(path: Path) -> bytes:
    try:
        with path.open("rb") as handle:
            handle.seek(max(0, handle.seek(0, 2) - _TAIL_BYTES))
            return handle.read()
    except OSError:
        return b""
