"""Observables of a chain as JSON that pyerrors reads (pyerrors.input.json.load_json)."""

import gzip
import json
import re
from typing import Any

import numpy as np

from slhmc import __version__
from slhmc.analysis.summary import production_series, real_series
from slhmc.errors import InputError
from slhmc.io import EnsembleFile

FEWEST = 5  # measurements that pyerrors asks for


def pyerrors_json(chain: EnsembleFile, ensemble: str) -> tuple[dict[str, Any], list[str]]:
    """The object to be written, and the names of observables left out: fewer than 5 measurements, or numbers that are not finite.

    Real series, the components of `slhmc summary`, become one `Obs` each, tagged by name; mesons, the residual mass (noise
    vectors averaged), the gradient flow and Wilson loops of the static potential, [n, ...], an `Array`. Samples are numbered by
    trajectory. `ensemble` is the name of the only replicum; InputError if pyerrors would take it for something else.
    """
    if not re.fullmatch(r"[\w.+-]+", ensemble):
        raise InputError(f"ensemble name {ensemble!r} found, letters, digits and _ . + - expected (| tells replica apart); give "
                         "--ensemble")
    data, left_out = [], []
    for name, (trajectories, values) in _series(chain).items():
        if len(values) < FEWEST or not np.isfinite(values).all():
            left_out.append(name)
        else:
            data.append(_entry(name, ensemble, trajectories, values))
    names = [entry["tag"][0] for entry in data]
    return {"program": f"slhmc {__version__}", "version": "1.2", "who": "", "date": "", "host": "",
            "description": {"ensemble": ensemble, "observables": names, "card": chain.card_text}, "obsdata": data}, left_out


def encoded(content: dict[str, Any], compressed: bool) -> bytes:
    """Bytes of a file; equal contents give equal bytes."""
    text = json.dumps(content, indent=1, allow_nan=False).encode()
    return gzip.compress(text, mtime=0) if compressed else text


def _series(chain: EnsembleFile) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name -> (trajectories [n], real numbers [n, ...])."""
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, (trajectories, values) in production_series(chain).items():
        if name.startswith(("mesons", "gradient_flow", "static_potential")):
            found[name] = trajectories, values
        elif name.startswith("residual_mass"):
            found[name] = trajectories, values.mean(axis=1)
        else:
            found |= {component: (trajectories, series) for component, series in real_series(name, values)}
    return found


def _entry(name: str, ensemble: str, trajectories: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    """One Obs or Array: means, and deviations from them with the number of their trajectory."""
    shape = values.shape[1:]
    flat = values.reshape(len(values), -1).astype(float)
    means = flat.mean(axis=0)
    deltas = [[int(trajectory), *row] for trajectory, row in zip(trajectories, (flat - means).tolist(), strict=True)]
    return {"type": "Array" if shape else "Obs", "layout": ", ".join(map(str, shape)) if shape else "1",
            "tag": [name] * len(means), "value": means.tolist(),
            "data": [{"id": ensemble, "replica": [{"name": ensemble, "deltas": deltas}]}]}
