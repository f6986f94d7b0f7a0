"""DIR/job: the script of a run's jobs, their numbers in the queue, what the last of them came to."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from slhmc.errors import InputError
from slhmc.io.atomic import replace_file

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
            jobs = [Submitted(str(job["id"]), float(job["submitted"])) for job in raw["jobs"]]
            return cls(str(raw["scheduler"]), jobs)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path}: damaged: the jobs of a run expected; remove it, after a look into the queue") from None


def exit_code(directory: Path) -> int | None:
    """What the last job of a run ended with; None while one runs, and if it was killed."""
    try:
        text = (JobRecord.folder(directory) / "exit_code").read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def last_words(directory: Path) -> str | None:
    """The last line of slhmc in the newest output of a job, else its last line; None if there is none."""
    outputs = sorted(JobRecord.folder(directory).glob("*.out"), key=lambda path: path.stat().st_mtime)
    if not outputs:
        return None
    with outputs[-1].open("rb") as handle:
        handle.seek(max(0, handle.seek(0, 2) - _TAIL_BYTES))
        lines = [line.strip() for line in handle.read().decode(errors="replace").splitlines()]
    told = [line for line in lines if line and not line.startswith("slhmc: exit code")]
    ours = [line.removeprefix("slhmc: ") for line in told if line.startswith("slhmc: ")]
    return (ours or told or [None])[-1]
