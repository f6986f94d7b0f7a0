"""Susceptibilities: fluctuations of volume averages from one configuration to another (docs/conventions.md, "Observables")."""

from math import prod
from typing import Any

import numpy as np

from slhmc.analysis.effective_mass import derived
from slhmc.analysis.gamma import MINIMUM_LENGTH


def susceptibility_entries(name: str, values: np.ndarray, extent: tuple[int, ...]) -> dict[str, dict[str, Any]]:
    """Entries of a summary for values [measurement, ...] of an observable: polyakov_loop_susceptibility_t, or
    NAME_susceptibility of a condensate; none of others.
    """
    if len(values) and name == "polyakov_loop":
        return {f"{name}_susceptibility_t": polyakov_susceptibility(values, extent)}
    if len(values) and name.startswith("chiral_condensate") and not np.iscomplexobj(values):
        return {f"{name}_susceptibility": condensate_susceptibility(values, extent)}
    return {}


def polyakov_susceptibility(loops: np.ndarray, extent: tuple[int, ...]) -> dict[str, Any]:
    """V_s (<|P|^2> - <|P|>^2) of Polyakov loops [measurement, direction] in the last direction, V_s sites in the others."""
    modulus = np.abs(loops[:, -1])
    return _entry(prod(extent[:-1]), modulus**2, modulus)


def condensate_susceptibility(estimates: np.ndarray, extent: tuple[int, ...]) -> dict[str, Any]:
    """Disconnected: V (<s^2> - <s>^2), s = Tr D^-1 / V, from estimates s_a [measurement, noise vector] of it.

    s^2 without bias: the mean of s_a s_b over pairs a != b, as noise vectors are independent. One vector: an entry with a note.
    """
    count = estimates.shape[1]
    if count < 2:
        return {**_empty(len(estimates)), "note": "the square of a trace needs two noise vectors or more; raise noise"}
    sums = estimates.sum(axis=1)
    squares = (sums**2 - (estimates**2).sum(axis=1)) / (count * (count - 1))
    return _entry(prod(extent), squares, sums / count)


def _entry(volume: int, squares: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    """volume (<squares> - <values>^2) as an entry of a summary; nothing for one measurement, which does not fluctuate."""
    entry = _empty(len(values))
    found = None if len(values) < 2 else derived(lambda square, mean: volume * (square - mean**2), np.stack([squares, values], 1))
    if found is None:
        return {**entry, "note": "two measurements or more are needed, of finite numbers"}
    note = {} if len(values) >= MINIMUM_LENGTH else {"note": f"fewer than {MINIMUM_LENGTH} measurements, taken for independent"}
    return {**entry, "mean": found.value, "error": found.error, "tau_int": found.tau_int, **note}


def _empty(measurements: int) -> dict[str, Any]:
    return {"mean": None, "error": None, "tau_int": None, "tau_int_error": None, "measurements": measurements}
