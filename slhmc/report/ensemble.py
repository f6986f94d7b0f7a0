"""One run of a campaign, in whatever state it is: at work, done, failed, before its first trajectory."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from slhmc.analysis import chain_series
from slhmc.errors import InputError
from slhmc.io import RECORD, EnsembleFile, RunDirectory
from slhmc.report.run import Run, different, labels, run_of
from slhmc.runcard import RunCard, parse_card

_SILENT = 60.0    # seconds, and so many trajectories, after which a run at work should have written its status
_TRAJECTORIES = 20
_NO_RUN = ("train.h5", "fit.h5")


@dataclass(frozen=True)
class Ensemble:
    """What the directory of a run holds; `run` is None as long as there is no chain that can be read, `card` if none says
    what it is of. `status` as of status.json; `configurations`: trajectories whose links are kept; `faults`: what is wrong."""

    label: str
    directory: Path
    card: RunCard | None
    status: dict[str, Any]
    run: Run | None
    chain: EnsembleFile | None
    configurations: list[int]
    faults: list[str] = field(default_factory=list)

    @cached_property
    def records(self) -> np.ndarray:
        """All trajectories, thermalization too."""
        return np.empty(0, RECORD) if self.chain is None else self.chain.records

    @property
    def produced(self) -> bool:
        """Whether there is a trajectory of production."""
        return self.run is not None and len(self.run.production) > 0

    @cached_property
    def last_of_thermalization(self) -> int:
        """Trajectory after which production begins; 0 without thermalization."""
        hot = self.records["trajectory"][self.records["thermalization"]]
        return int(hot[-1]) if len(hot) else 0

    @cached_property
    def histories(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Name -> (trajectories, real numbers) of all observables, from the first trajectory on."""
        return {} if self.chain is None else chain_series(self.chain, thermalization=True)


def read_ensembles(directories: Sequence[str | os.PathLike]) -> list[Ensemble]:
    """The runs in `directories`, in any state; InputError for one that holds no run, and if one is given twice.

    A damaged chain, card or status is a sentence in `faults`.
    """
    paths = different(directories)
    for path in paths:
        _check_is_run(path)
    return [_read(path, label) for path, label in zip(paths, labels(paths), strict=True)]


def _check_is_run(path: Path) -> None:
    if any(os.path.lexists(path / name) for name in _NO_RUN):
        raise InputError(f"{path}: a training found, the directory of a run expected; see `slhmc status {path}`")
    if not any(os.path.lexists(path / name) for name in ("card.toml", "chain.h5", "job/card.toml")):
        raise InputError(f"{path}: no card.toml and no chain.h5 found, the directory of a run expected; check the path")


def _read(path: Path, label: str) -> Ensemble:
    faults: list[str] = []
    files = RunDirectory(path)
    chain = run = None
    if os.path.lexists(files.chain):
        try:
            chain = EnsembleFile.open(files.chain)
            run = run_of(chain, path, label)
        except InputError as error:
            chain = None
            faults.append(str(error))
    card = run.card if run else _card(path, faults)
    status = _status(files, faults)
    faults += _state_notes(files, status, chain)
    return Ensemble(label, path, card, status, run, chain, _configurations(files), [_line(fault) for fault in faults])


def _line(words: str) -> str:
    """A card has one line for each of its faults."""
    return "; ".join(words.splitlines())


def _card(path: Path, faults: list[str]) -> RunCard | None:
    """The card of a run without a chain."""
    file = next((path / name for name in ("card.toml", "job/card.toml") if os.path.lexists(path / name)), None)
    if file is None:
        return None
    try:
        return parse_card(file.read_text(encoding="utf-8"), str(file))
    except InputError as error:
        faults.append(str(error))
    except (OSError, UnicodeDecodeError) as error:
        faults.append(f"{file}: cannot be read: {error}")
    return None


def _status(files: RunDirectory, faults: list[str]) -> dict[str, Any]:
    if not os.path.lexists(files.status):
        submitted = os.path.lexists(files.path / "job" / "jobs.json")
        return {"state": "submitted" if submitted and not os.path.lexists(files.chain) else "unknown"}
    try:
        return files.read_status()
    except InputError as error:
        faults.append(str(error))
        return {"state": "unknown"}


def _state_notes(files: RunDirectory, status: dict[str, Any], chain: EnsembleFile | None) -> list[str]:
    """What the state of a run means for its numbers."""
    found = []
    if status.get("error"):
        found.append(f"it failed: {str(status['error']).splitlines()[0]}")
    if status.get("state") in ("stopped", "interrupted"):
        found.append(f"stopped before its end; `slhmc resume {files.path}` goes on")
    if status.get("state") == "running":
        age = time.time() - files.status.stat().st_mtime
        pace = status["seconds"] if isinstance(status.get("seconds"), float) else 0.0
        if age > max(_SILENT, _TRAJECTORIES * pace):
            found.append(f"it says that it is running, but has said nothing for {_duration(age)}: it may have been killed")
        else:
            found.append("at work: numbers are those of its last checkpoint")
    if chain is None:
        found.append("no chain yet: it appears with the first checkpoint" if not os.path.lexists(files.chain) else
                     "its chain cannot be read: no numbers")
    elif len(chain.records) == 0 or chain.records["thermalization"].all():
        found.append(f"{len(chain.records)} trajectories of thermalization, no production yet: no averages")
    return found


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} hours"


def _configurations(files: RunDirectory) -> list[int]:
    try:
        names = [path.stem[4:] for path in files.configurations.glob("cfg_*.h5")]
    except OSError:
        return []
    return sorted(int(name) for name in names if name.isdecimal())


def guide_words(chain: EnsembleFile | None) -> list[str]:
    """The frozen network of a self-learning chain."""
    if chain is None or not chain.guide:
        return []
    network = json.loads(chain.guide["network"])
    return [f"{network['kind']} network, {network['layers']} layer{'s' * (network['layers'] != 1)} of "
            f"{', '.join(network['loops'])}", f"weights sha256 {chain.guide['weights_sha256'][:16]}"]
