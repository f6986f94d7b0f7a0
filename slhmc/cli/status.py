"""`slhmc status`: how far runs are, from their status files."""

import sys
import time
from pathlib import Path
from typing import Any

from slhmc.cli.failure import USAGE
from slhmc.cli.progress import duration
from slhmc.errors import InputError


def print_status(directories: list[Path]) -> int:
    """One line for each directory; 2 if one of them holds no run."""
    from slhmc.io import RunDirectory

    code = 0
    for path in directories:
        run = RunDirectory(path)
        try:
            line = status_line(run.read_status(), time.time() - run.status.stat().st_mtime)
        except InputError as error:
            print(f"slhmc: {error}", file=sys.stderr)
            code = USAGE
        else:
            print(f"{path}: {line}")
    return code


def status_line(status: dict[str, Any], age: float) -> str:
    """A status in words; a key that it lacks, or that is not known yet, is left out. `age` in seconds."""
    words = [str(status.get("state", "unknown state"))]
    if status.get("trajectory") is not None:
        total = status.get("total")
        words.append(f"trajectory {status['trajectory']}" + ("" if total is None else f"/{total}"))
    if status.get("step") is not None:
        words.append(f"{status.get('phase', '')} {status['step']}/{status.get('total', '?')}".strip())
    for key, name, form in (("loss", "loss", ".4g"), ("held_out", "held-out loss", ".4g"),
                            ("validation", "validation loss", ".4g"),
                            ("predicted_acceptance", "predicted acceptance", ".3f"), ("acceptance", "acceptance", ".3f"),
                            ("plaquette", "plaquette", ".6f")):
        if status.get(key) is not None:
            words.append(f"{name} {status[key]:{form}}")
    if status.get("state") == "running" and status.get("eta_seconds") is not None:
        words.append(f"ETA {duration(status['eta_seconds'])}")
    if status.get("error"):
        words.append(f"error: {str(status['error']).splitlines()[0]}")
    return "  ".join([*words, f"(written {duration(age)} ago)"])
