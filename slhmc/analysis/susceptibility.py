"""Susceptibilities: fluctuations of volume averages from one configuration to another (docs/conventions.md, "Observables")."""

from collections.abc import Callable
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
    return _entry(prod(extent[:-1]), modulus**2, modulus[:, None], lambda means: means[0] ** 2)


def condensate_susceptibility(estimates: np.ndarray, extent: tuple[int, ...]) -> dict[str, Any]:
    """Disconnected: V (<s^2> - <s>^2), s = Tr D^-1 / V, from estimates s_a [measurement, noise vector] of it.

    Both squares without bias by noise, which would have nothing but 1 / N against it: s^2 is the mean of s_a s_b over pairs
    a != b, <s>^2 that of <s_a> <s_b>. One vector: an entry with a note.
    """
    count = estimates.shape[1]
    if count < 2:
        return {**_empty(len(estimates)), "note": "the square of a trace needs two noise vectors or more; raise noise"}

    def pairs(numbers: np.ndarray) -> np.ndarray:
        return (numbers.sum(-1)**2 - (numbers**2).sum(-1)) / (count * (count - 1))
    return _entry(prod(extent), pairs(estimates), estimates, pairs)


def _entry(volume: int, squares: np.ndarray, values: np.ndarray, square_of: Callable[[np.ndarray], float]) -> dict[str, Any]:
    """volume (<squares> - square_of(<values>)) of values [measurement, k] as an entry of a summary; nothing for fewer
    than three measurements, of which the jackknife leaves none that fluctuate."""
    entry = _empty(len(values))
    found = None if len(values) < 3 else derived(
        lambda square, *means: volume * (square - square_of(np.array(means))), np.column_stack([squares, values]))
    if found is None:
        return {**entry, "note": "three measurements or more are needed, of finite numbers"}
    note = {} if len(values) >= MINIMUM_LENGTH else {"note": f"fewer than {MINIMUM_LENGTH} measurements, taken for independent"}
    return {**entry, "mean": found.value, "error": found.error, "tau_int": found.tau_int, **note}


def _empty(measurements: int) -> dict[str, Any]:
    return {"mean": None, "error": None, "tau_int": None, "tau_int_error": None, "measurements": measurements}
