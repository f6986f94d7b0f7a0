"""`slhmc status`: how far runs are, from their status files, and where their jobs are in the queue."""

import json
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from slhmc.cli.failure import USAGE
from slhmc.cli.progress import duration
from slhmc.errors import InputError

_LONG = 60.0  # a run that has written its status within these seconds is at work, whoever started it
_NUMBERS = ("trajectory", "total", "step", "sweep", "eta_seconds", "acceptance", "plaquette", "loss", "held_out", "validation",
            "predicted_acceptance")
_HEADINGS = ("run", "queue", "state", "done", "acceptance", "ETA", "written", "")


def print_status(directories: list[Path], as_json: bool = False) -> int:
    """A line for one directory, a table for several, JSON on request; 2 if one of them holds no run."""
    found, code = [], 0
    for path in directories:
        try:
            found.append(_read(path))
        except InputError as error:
            print(f"slhmc: {error}", file=sys.stderr)
            code = USAGE
    for fault in _add_queue_states(found):
        print(f"slhmc: {fault}", file=sys.stderr)
    if as_json:
        print(json.dumps(found, indent=2, allow_nan=False))
    elif len(directories) == 1:
        for run in found:
            queue = f"queue: {queue_words(run['jobs'])}  " if run["jobs"] else ""
            print(f"{run['directory']}: {queue}{status_line(run['status'], run['age_seconds'])}")
    elif found:
        _print_table([_row(run) for run in found])
    return code


def _read(path: Path) -> dict[str, Any]:
    """Status and record of a run; InputError if the directory has neither."""
    from slhmc.io import RunDirectory
    from slhmc.jobs import JobRecord

    files, record = RunDirectory(path), JobRecord.read(path)
    run = {"directory": str(path), "status": {}, "age_seconds": None, "jobs": [], "record": record}
    try:
        run["status"] = {key: value for key, value in files.read_status().items() if key not in _NUMBERS or _is_number(value)}
        with suppress(FileNotFoundError):
            run["age_seconds"] = time.time() - files.status.stat().st_mtime
    except InputError as error:
        if record is None or not isinstance(error.__cause__, FileNotFoundError):
            raise
    return run


def _is_number(value: object) -> bool:
    """The file may be of another program, or edited."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _add_queue_states(runs: list[dict[str, Any]]) -> list[str]:
    """Replace records by the states of their jobs; what went wrong with asking."""
    from slhmc.jobs import queue_states

    states, faults = queue_states([run["record"] for run in runs if run["record"] is not None])
    for run in runs:
        record = run.pop("record")
        if record is not None:
            run["jobs"] = [asdict(states[record.scheduler, job.id]) | {"scheduler": record.scheduler} for job in record.jobs]
            if run["status"].get("state") != "running" or (run["age_seconds"] or 0) > _LONG:
                run["status"] = _with_end_of_jobs(run["status"], Path(run["directory"]), run["jobs"])
    return faults


def _with_end_of_jobs(status: dict[str, Any], directory: Path, jobs: list[dict[str, Any]]) -> dict[str, Any]:
    """A job that was killed leaves a status that says it runs; one that failed early leaves words in its output only."""
    from slhmc.jobs import exit_code, last_words

    if any(job["state"] != "ended" for job in jobs):
        return status if status else {"state": "waiting"}
    code = exit_code(directory)
    if code is None and status.get("state") in (None, "running"):
        return status | {"state": "killed", "error": status.get("error") or last_words(directory) or "without a word"}
    if code not in (None, 0, 75) and not status.get("error"):
        return status | {"state": "failed", "error": last_words(directory) or f"exit code {code}"}
    return status


def status_line(status: dict[str, Any], age: float | None) -> str:
    """A status in words; a key that it lacks, or that is not known yet, is left out. `age` in seconds."""
    words = [str(status.get("state", "unknown state")), *_progress(status), *_numbers(status, ("acceptance", "plaquette"))]
    if status.get("state") == "running" and status.get("eta_seconds") is not None:
        words.append(f"ETA {duration(status['eta_seconds'])}")
    words += _error(status)
    return "  ".join([*words, *([] if age is None else [f"(written {duration(age)} ago)"])])


def queue_words(jobs: list[dict[str, Any]]) -> str:
    """`running 12, 2 queued (Dependency)`: numbers of jobs that run, how many wait and why the first of them does."""
    if not jobs:
        return "-"
    count = Counter(job["state"] for job in jobs)
    words = [f"{state} {' '.join(job['id'] for job in jobs if job['state'] == state)}"
             for state in ("running", "unknown") if count[state]]
    if count["queued"]:
        reason = next(job["reason"] for job in jobs if job["state"] == "queued")
        words.append(f"{count['queued']} queued" + (f" ({reason})" if reason else ""))
    return ", ".join(words) or "ended"


def _progress(status: dict[str, Any]) -> list[str]:
    words = []
    if status.get("trajectory") is not None:
        total = status.get("total")
        words.append(f"trajectory {status['trajectory']}" + ("" if total is None else f"/{total}"))
    if status.get("sweep") is not None:
        words.append(f"sweep {status['sweep']}/{status.get('total', '?')}")
    if status.get("step") is not None:
        words.append(f"{status.get('phase', '')} {status['step']}/{status.get('total', '?')}".strip())
    return words + _numbers(status, ("loss", "held_out", "validation", "predicted_acceptance"))


def _numbers(status: dict[str, Any], keys: tuple[str, ...]) -> list[str]:
    forms = {"loss": ("loss", ".4g"), "held_out": ("held-out loss", ".4g"), "validation": ("validation loss", ".4g"),
             "predicted_acceptance": ("predicted acceptance", ".3f"), "acceptance": ("acceptance", ".3f"),
             "plaquette": ("plaquette", ".6f")}
    return [f"{forms[key][0]} {status[key]:{forms[key][1]}}" for key in keys if status.get(key) is not None]


def _error(status: dict[str, Any]) -> list[str]:
    return [f"error: {str(status['error']).splitlines()[0]}"] if status.get("error") else []


def _row(run: dict[str, Any]) -> tuple[str, ...]:
    status = run["status"]
    running = status.get("state") == "running"
    acceptance = status.get("acceptance", status.get("predicted_acceptance"))
    return (run["directory"], queue_words(run["jobs"]), str(status.get("state", "unknown state")),
            "  ".join(_progress(status)[:1]) or "-", "-" if acceptance is None else f"{acceptance:.3f}",
            duration(status.get("eta_seconds")) if running else "-",
            "-" if run["age_seconds"] is None else f"{duration(run['age_seconds'])} ago", "".join(_error(status)))


def _print_table(rows: list[tuple[str, ...]]) -> None:
    """Columns as wide as they must be: a path that is cut is of no use."""
    rows = [_HEADINGS, *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
