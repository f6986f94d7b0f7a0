"""The numbers of a run of the complex scalar field: averages of each pair of couplings over its chains."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from slhmc.analysis.gamma import MINIMUM_LENGTH, gamma_method
from slhmc.io import FluxChains


def summarise_scalar(directory: str | os.PathLike) -> dict[str, Any]:
    """Averages of the production part of the chains in `directory`, ready for JSON.

    Keys: version, sweeps and thermalization (done), measure_every, seconds_per_sweep (of all chains), and couplings, a list with
    eta, coupling, mu, chains, and for density and phi_squared: mean, error, tau_int (in measurements), tau_int_error,
    measurements (of all chains), and note where there is something to say. Chains of a pair are replica of the Gamma method.
    Raises InputError if there is no chain file or it is damaged.
    """
    chains = FluxChains.open(Path(directory) / "chain.h5")
    sweeps, production = chains.sweeps, chains.sweeps > chains.thermalization
    last = int(sweeps[-1]) if len(sweeps) else 0
    pairs = np.stack([chains.couplings[name] for name in ("eta", "coupling", "mu")], 1)
    _, first = np.unique(pairs, axis=0, return_index=True)
    return {
        "version": chains.version,
        "sweeps": max(last - chains.thermalization, 0),
        "thermalization": min(last, chains.thermalization),
        "measure_every": int(sweeps[1] - sweeps[0]) if len(sweeps) > 1 else None,
        "seconds_per_sweep": float(chains.seconds.sum() / last) if last else None,
        "couplings": [_averages(chains, pairs, pairs[index], production) for index in sorted(first)],
    }


def _averages(chains: FluxChains, pairs: np.ndarray, pair: np.ndarray, production: np.ndarray) -> dict[str, Any]:
    which = (pairs == pair).all(1)
    eta, coupling, mu = map(float, pair)
    entries = {name: replica_entry(chains.values(name)[production][:, which]) for name in ("density", "phi_squared")}
    return {"eta": eta, "coupling": coupling, "mu": mu, "chains": int(which.sum())} | entries


def replica_entry(values: np.ndarray) -> dict[str, Any]:
    """Mean, error, tau_int and its error of [measurement, chain], with None and a note where they cannot be known."""
    entry: dict[str, Any] = {"mean": float(values.mean()) if values.size else None, "error": None, "tau_int": None,
                             "tau_int_error": None, "measurements": values.size}
    if len(values) < MINIMUM_LENGTH:
        return entry | {"note": f"{len(values)} measurements of each chain found, an error needs at least {MINIMUM_LENGTH}"}
    estimate = gamma_method(list(values.T))
    return entry | {name: getattr(estimate, name) for name in ("mean", "error", "tau_int", "tau_int_error")}
