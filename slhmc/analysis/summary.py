"""The numbers of a run: what `slhmc summary --json` prints."""

import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from slhmc.analysis.effective_mass import derived
from slhmc.analysis.flow import flow_entries
from slhmc.analysis.gamma import MINIMUM_LENGTH, gamma_method
from slhmc.analysis.susceptibility import susceptibility_entries
from slhmc.errors import InputError
from slhmc.io import EnsembleFile

_SHORT = 50    # a series of fewer tau_int has an error that is itself uncertain by more than about a third


def summarise(directory: str | os.PathLike) -> dict[str, Any]:
    """Averages of the production part of the chain in `directory`, ready for JSON.

    Keys: version, guide (words about the frozen network, none of other chains), trajectories and thermalization (their
    numbers), acceptance, exp_minus_delta_h, seconds_per_trajectory, iterations_per_trajectory,
    cost_per_independent_configuration (seconds x 2 tau_int of the plaquette), observables, susceptibilities. Entries of the last
    two and exp_minus_delta_h are mean, error, tau_int, tau_int_error, measurements, and `note` where there is something to say;
    those of the last two have also `every`, the trajectories between measurements: tau_int counts measurements. What cannot be
    known (too few measurements) is None.
    Raises InputError if there is no chain or it is damaged.
    """
    chain = open_chain(directory)
    production = chain.records[~chain.records["thermalization"]]
    with np.errstate(over="ignore"):
        weights = np.exp(-production["delta_h"])
    seconds = _mean(production["seconds"])
    observables = chain_entries(chain)
    return {
        "version": chain.version,
        "guide": chain.guide,
        "trajectories": len(production),
        "thermalization": len(chain.records) - len(production),
        "acceptance": _mean(production["accepted"]),
        "exp_minus_delta_h": series_entry(weights),
        "seconds_per_trajectory": seconds,
        "iterations_per_trajectory": _mean(production["iterations"]),
        "cost_per_independent_configuration": _cost(seconds, observables.get("plaquette")),
        "observables": observables,
        "susceptibilities": chain_susceptibilities(chain),
    }


def open_chain(directory: str | os.PathLike) -> EnsembleFile:
    """The chain of the run in `directory`, which may be at work; InputError if there is none or it is damaged."""
    path = Path(directory) / "chain.h5"
    if any(os.path.lexists(path.with_name(name)) for name in ("train.h5", "fit.h5")):
        raise InputError(f"{directory}: a training found, the directory of a run expected; see `slhmc status {directory}`")
    if not os.path.lexists(path):
        raise InputError(f"{directory}: no chain.h5 found, the directory of a run expected; check the path, "
                         f"or wait for the first trajectories of a run that has just started")
    return EnsembleFile.open(path)


def chain_entries(chain: EnsembleFile) -> dict[str, dict[str, Any]]:
    """Entries (see `summarise`) of all numbers that the observables of a chain have in production."""
    return _entries_of(chain, observable_entries)


def chain_susceptibilities(chain: EnsembleFile) -> dict[str, dict[str, Any]]:
    """Entries of the susceptibilities of a chain's production; none if its card does not tell the lattice."""
    try:
        extent = tuple(tomllib.loads(chain.card_text)["lattice"]["extent"])
    except (tomllib.TOMLDecodeError, KeyError, TypeError):
        return {}
    return _entries_of(chain, lambda name, values: susceptibility_entries(name, values, extent))


def _entries_of(chain: EnsembleFile, find: Callable[[str, np.ndarray], dict]) -> dict[str, dict[str, Any]]:
    entries = {}
    for name, (trajectories, values) in production_series(chain).items():
        every = int((trajectories[-1] - trajectories[0]) // (len(trajectories) - 1)) if len(trajectories) > 1 else None
        entries |= {component: {**entry, "every": every} for component, entry in find(name, values).items()}
    return entries


def chain_series(chain: EnsembleFile, thermalization: bool = False) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name -> (trajectories, real numbers) of what `chain_entries` averages; a ratio of averages (m_res) or a scale of the
    flow is no series. `thermalization`: with what was measured before production.
    """
    found = chain.observables if thermalization else production_series(chain)
    return {component: (trajectories, series) for name, (trajectories, values) in found.items()
            if not name.startswith(("residual_mass", "gradient_flow")) for component, series in real_series(name, values)}


def production_series(chain: EnsembleFile) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Observables of the chain after thermalization."""
    records, kept = chain.records, {}
    production = records["trajectory"][~records["thermalization"]]
    for name, (trajectories, values) in chain.observables.items():
        inside = np.isin(trajectories, production)
        kept[name] = trajectories[inside], values[inside]
    return kept


def observable_entries(name: str, values: np.ndarray) -> dict[str, dict[str, Any]]:
    """Entries (see `summarise`, without `every`) of the numbers that an observable with values of shape (n, ...) has."""
    if name.startswith("residual_mass"):
        return {name: _residual_mass(values)}
    if name == "gradient_flow":
        return flow_entries(name, values) if len(values) else {}
    return {component: series_entry(series) for component, series in real_series(name, values)}


def real_series(name: str, values: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The named real series of one observable with values of shape (n, ...)."""
    if name == "polyakov_loop":
        return _polyakov(values)
    if name.startswith(("mesons", "static_potential")):
        return []    # functions of time: `slhmc measure` shows their effective masses, and the potential
    if name == "learned_flow":
        charges = [(f"{name}_charge", values[:, 1]), (f"{name}_charge_squared", values[:, 1]**2)] if values.shape[1] > 1 else []
        return [(f"{name}_energy", values[:, 0]), *charges]
    values = values.mean(axis=tuple(range(1, values.ndim)))    # over noise vectors
    if np.iscomplexobj(values):
        return [(name, values.real), (f"{name}_imaginary", values.imag)]
    return [(name, values)]


def _residual_mass(values: np.ndarray) -> dict[str, Any]:
    """m_res from numerators and denominators [n, noise vector, 2]: the ratio of their means; keys as of an observable."""
    pairs = values.mean(axis=1)
    entry = {"mean": None, "error": None, "tau_int": None, "tau_int_error": None, "measurements": len(pairs)}
    ratio = derived(lambda numerator, denominator: numerator / denominator, pairs) if len(pairs) else None
    if ratio is None:
        return {**entry, "note": "no ratio of finite numbers"}
    note = {} if len(pairs) >= MINIMUM_LENGTH else {"note": f"fewer than {MINIMUM_LENGTH} measurements, taken for independent"}
    return {**entry, "mean": ratio.value, "error": ratio.error, "tau_int": ratio.tau_int, **note}


def _polyakov(values: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Real part and modulus for each direction of loops of shape (n, D), the last direction being time."""
    directions = "xyz"[:values.shape[1] - 1] + "t"
    return [entry for loops, direction in zip(values.T, directions, strict=True)
            for entry in ((f"polyakov_loop_{direction}", loops.real),
                          (f"polyakov_loop_modulus_{direction}", np.abs(loops)))]


def series_entry(series: np.ndarray) -> dict[str, Any]:
    """Mean, error, tau_int and its error, with None and a note where the series does not give them."""
    entry = {"mean": None, "error": None, "tau_int": None, "tau_int_error": None, "measurements": len(series)}
    bad = int((~np.isfinite(series)).sum())
    if bad:
        return {**entry, "note": f"{bad} of {len(series)} measurements are not finite"}
    if len(series) < MINIMUM_LENGTH:
        note = f"{len(series)} measurements found, an error needs at least {MINIMUM_LENGTH}"
        return {**entry, "mean": _mean(series), "note": note}
    estimate = gamma_method(series)
    entry |= {name: getattr(estimate, name) for name in ("mean", "error", "tau_int", "tau_int_error")}
    if len(series) < _SHORT * estimate.tau_int:
        entry["note"] = f"the series is only {len(series) / estimate.tau_int:.0f} tau_int long; run longer"
    return entry


def _cost(seconds: float | None, plaquette: dict[str, Any] | None) -> float | None:
    """Seconds between two independent configurations: seconds per trajectory x 2 tau_int in trajectories."""
    if seconds is None or plaquette is None or plaquette["tau_int"] is None:
        return None
    return seconds * 2 * plaquette["tau_int"] * plaquette["every"]


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
