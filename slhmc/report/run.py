"""One run as its chain file has it: the card, the production part, and the numbers that say what a trajectory is worth."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slhmc.analysis import chain_entries, chain_series, derived, open_chain, series_entry
from slhmc.errors import InputError
from slhmc.io import EnsembleFile
from slhmc.report.physics import foreign_keys
from slhmc.runcard import RunCard, parse_card

FEWEST = 10      # accepted trajectories of a run whose errors mean anything
_UNEVEN = 1.2    # mean over median of the seconds of a trajectory, from which on the time is not that of this run alone


@dataclass(frozen=True)
class Run:
    """`production`: records (see slhmc.io.RECORD) after thermalization; `guide` and `settings` as of slhmc.io.EnsembleFile;
    `entries` and `series` as of slhmc.analysis."""

    label: str
    directory: Path
    version: str
    card: RunCard
    guide: dict[str, str]
    thermalization: int
    production: np.ndarray
    entries: dict[str, dict[str, Any]]
    series: dict[str, tuple[np.ndarray, np.ndarray]]
    settings: dict[str, dict[str, Any]]

    @property
    def stands_still(self) -> bool:
        """Whether so few trajectories were accepted that no error can be told: below FEWEST, and less than every other one."""
        return int(self.production["accepted"].sum()) < min(FEWEST, len(self.production) / 2)


def read_runs(directories: Sequence[str | os.PathLike]) -> list[Run]:
    """The runs in `directories`, at work or done, the first being the reference.

    Raises InputError if one of them has no chain, a damaged one, or no trajectory of production, if a directory is given
    twice, and if the physics of a run is not that of the first.
    """
    paths = different(directories)
    runs = [_read(path, label) for path, label in zip(paths, labels(paths), strict=True)]
    for run in runs[1:]:
        if foreign := foreign_keys(run.card, runs[0].card):
            raise InputError(f"{run.directory}: other physics than {runs[0].directory}: {', '.join(foreign)}; only runs of the "
                             f"same lattice, gauge action and quarks can be compared")
    return runs


def different(directories: Sequence[str | os.PathLike]) -> list[Path]:
    """The paths; InputError if one leads to where another does."""
    paths = [Path(directory) for directory in directories]
    resolved = [path.resolve() for path in paths]
    for number, path in enumerate(paths):
        if resolved[number] in resolved[:number]:
            raise InputError(f"{path}: given twice, different runs expected; give each directory once")
    return paths


def run_numbers(run: Run) -> dict[str, Any]:
    """What the records of production say, ready for JSON; entries as of `slhmc summary`, None where nothing is known.

    predicted_acceptance: erfc(sqrt(<dH>) / 2), and the same with <dH> = var(dH) / 2, which is so for Gaussian dH
    (S. Gupta et al., Phys. Lett. B 242 (1990) 437). exp_minus_delta_h has `deviation`, that from 1 in its errors.
    """
    delta_h = run.production["delta_h"]
    entry = series_entry(delta_h)
    return {
        "name": run.label,
        "directory": str(run.directory),
        "version": run.version,
        "trajectories": len(run.production),
        "thermalization": run.thermalization,
        "acceptance": series_entry(run.production["accepted"].astype(float)),
        "predicted_acceptance": {"mean_delta_h": predicted_acceptance(entry["mean"], entry["error"]),
                                 "variance_delta_h": _by_variance(delta_h)},
        "delta_h": entry,
        "exp_minus_delta_h": _exp_minus_delta_h(delta_h) | ({"deviation": None} if run.stands_still else {}),
        "seconds_per_trajectory": _seconds(run.production["seconds"]),
        "iterations_per_trajectory": series_entry(run.production["iterations"].astype(float)),
    }


def predicted_acceptance(mean: float | None, error: float | None) -> dict[str, float | None]:
    """erfc(sqrt(<dH>) / 2), 1 for <dH> < 0; its error: half of what it changes by from <dH> - error to <dH> + error."""
    def acceptance(delta_h: float) -> float:
        return math.erfc(math.sqrt(max(delta_h, 0.0)) / 2)
    if mean is None or not math.isfinite(mean):
        return {"mean": None, "error": None}
    spread = None if error is None else 0.5 * (acceptance(mean - error) - acceptance(mean + error))
    return {"mean": acceptance(mean), "error": spread}


def _by_variance(delta_h: np.ndarray) -> dict[str, float | None]:
    half = None
    if len(delta_h) > 1 and np.isfinite(delta_h).all():
        half = derived(lambda mean, square: 0.5 * (square - mean**2), np.stack([delta_h, delta_h**2], axis=1))
    return predicted_acceptance(None, None) if half is None else predicted_acceptance(half.value, half.error)


def _exp_minus_delta_h(delta_h: np.ndarray) -> dict[str, Any]:
    with np.errstate(over="ignore"):
        entry = series_entry(np.exp(-delta_h))
    deviation = (entry["mean"] - 1) / entry["error"] if entry["error"] else None
    return {**entry, "deviation": deviation}


def _seconds(seconds: np.ndarray) -> dict[str, Any]:
    """Wall time: the mean is what a trajectory costs; a median far below it tells of other work on the machine."""
    mean, median = float(seconds.mean()), float(np.median(seconds))
    entry = {"mean": mean, "median": median, "total": float(seconds.sum())}
    if mean > _UNEVEN * median or median > _UNEVEN * mean:
        entry["note"] = (f"trajectories take {mean:.3g} s on average and {median:.3g} s in the median: uneven, as on a machine "
                         f"that others use; costs are from the mean")
    return entry


def _read(directory: Path, label: str) -> Run:
    chain = open_chain(directory)
    run = run_of(chain, directory, label)
    if not len(run.production):
        raise InputError(f"{directory}: {run.thermalization} trajectories of thermalization found and none of production, which "
                         f"alone is compared; let the run go on")
    return run


def run_of(chain: EnsembleFile, directory: Path, label: str) -> Run:
    """What a chain file has; production may be empty. InputError if its card is none."""
    card, records = parse_card(chain.card_text, f"{directory}/chain.h5: card"), chain.records
    production = records[~records["thermalization"]]
    return Run(label, directory, chain.version, card, chain.guide, len(records) - len(production), production,
               chain_entries(chain), chain_series(chain), chain.settings)


def labels(paths: list[Path]) -> list[str]:
    """Names of the directories; whole paths where those are not different."""
    names = [path.resolve().name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]
