"""Scales and charges of the gradient flow, from values [measurement, quantity, time] of the observable `gradient_flow`.

Quantities: time, E from plaquettes, E from clovers, in four dimensions Q from clovers and from five loops (docs/conventions.md,
"Gradient flow").
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from slhmc.analysis.effective_mass import DerivedValue, derived
from slhmc.analysis.gamma import MINIMUM_LENGTH

REFERENCE = 0.3  # t^2 E at t0, t d/dt t^2 E at w0^2
NODES = 6  # flow times of a local polynomial
BISECTIONS = 60
PLAQUETTE, CLOVER, CHARGE, IMPROVED = 1, 2, 3, 4


def scales(values: np.ndarray) -> dict[str, DerivedValue | None]:
    """t0 and w0 in lattice units, with E from clovers; t0_plaquette from plaquettes. None where the flow does not reach 0.3.

    t0: t^2 <E> = 0.3; w0: t d/dt (t^2 <E>) = 0.3 at t = w0^2, the first time from below. Between flow times a polynomial through
    the six nearest. The error is that of the mean of t0 - h_i / h', h_i what configuration i has at t0 more than 0.3, h' the
    slope of the mean: to first order in its fluctuations, which is what the Gamma method takes of any derived quantity.
    """
    return {"t0": _scale(values, CLOVER, slope=False), "w0": _scale(values, CLOVER, slope=True),
            "t0_plaquette": _scale(values, PLAQUETTE, slope=False)}


def _scale(values: np.ndarray, quantity: int, slope: bool) -> DerivedValue | None:
    times = values[0, 0]
    curves = times**2 * values[:, quantity]
    mean = curves.mean(axis=0)

    heights = [float(height_weights(times, t, slope) @ mean) - REFERENCE for t in times]
    first = next((k for k in range(len(times) - 1) if heights[k] < 0 <= heights[k + 1]), None)
    if first is None:
        return None

    def height(t: float) -> float:  # of one polynomial: slopes jump where the six flow times change
        return float(height_weights(times, t, slope, first) @ mean) - REFERENCE
    low, high = times[first], times[first + 1]
    step = 1e-3 * (high - low)
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if height(middle) < 0 else (low, middle)
    steepness = (height(low + step) - height(low - step)) / (2 * step)
    single = low - (curves @ height_weights(times, low, slope, first) - REFERENCE) / steepness
    return derived(lambda average: average, (low**0.5 + (single - low) / (2 * low**0.5) if slope else single)[:, None])


def height_weights(times: np.ndarray, t: float, slope: bool, interval: int | None = None) -> np.ndarray:
    """w with sum_k w_k f(t_k) = f(t), or t f'(t), of the polynomial through the flow times next to t, or next to an interval,
    that from times[interval] on.
    """
    index = int(np.clip(np.searchsorted(times, t, "right") - 1, 0, max(0, len(times) - 2))) if interval is None else interval
    first = min(max(0, index + 1 - NODES // 2), max(0, len(times) - NODES))
    near = np.arange(first, min(first + NODES, len(times)))
    weights = np.zeros(len(times))
    for k in near:
        others = times[near[near != k]]
        ratios = (t - others) / (times[k] - others)
        terms = [np.prod(np.delete(ratios, j)) / (times[k] - other) for j, other in enumerate(others)]
        weights[k] = t * sum(terms) if slope else np.prod(ratios)
    return weights


def squared_charge(values: np.ndarray, quantity: int, time: int = -1) -> DerivedValue | None:
    """<Q^2> at one of the flow times, the last by default: V times the susceptibility."""
    return derived(lambda mean: mean, values[:, quantity, time:time + 1 or None] ** 2)


def has_charge(values: np.ndarray) -> bool:
    """Whether there are charges: in four dimensions."""
    return values.shape[1] > CHARGE


def flow_entries(name: str, values: np.ndarray) -> dict[str, dict[str, Any]]:
    """Entries of a summary: NAME_t0, NAME_w0 in lattice units, charges and their squares at the last flow time."""
    found = {f"{name}_{key}": value for key, value in scales(values).items()}
    if has_charge(values):
        for key, quantity in (("charge", CHARGE), ("charge_improved", IMPROVED)):
            found[f"{name}_{key}"] = derived(lambda mean: mean, values[:, quantity, -1:])
            found[f"{name}_{key}_squared"] = squared_charge(values, quantity)
    return {key: _entry(value, len(values), values[0, 0, -1]) for key, value in found.items()}


def _entry(value: DerivedValue | None, measurements: int, last: float) -> dict[str, Any]:
    entry = {"mean": None, "error": None, "tau_int": None, "tau_int_error": None, "measurements": measurements}
    if value is None:
        return {**entry, "note": f"not reached up to flow time {last:g}; raise measure.gradient_flow.t_max"}
    note = {} if measurements >= MINIMUM_LENGTH else {"note": f"fewer than {MINIMUM_LENGTH} measurements, taken for independent"}
    return {**entry, "mean": value.value, "error": value.error, "tau_int": value.tau_int, **note}


def flow_curves(values: np.ndarray, sites: int) -> list[dict[str, Any]]:
    """For each flow time: t, t^2 E from clovers and from plaquettes, W, and the susceptibilities <Q^2> / V, as DerivedValues."""
    times, result = values[0, 0], []
    for k, t in enumerate(times):
        row: dict[str, Any] = {"t": float(t)}
        for key, quantity in (("t2E", CLOVER), ("t2E_plaquette", PLAQUETTE)):
            row[key] = derived(lambda mean: mean, t**2 * values[:, quantity, k:k + 1])
        slopes = times**2 * values[:, CLOVER] @ height_weights(times, t, slope=True)
        row["W"] = derived(lambda mean: mean, slopes[:, None])
        if has_charge(values):
            for key, quantity in (("susceptibility", CHARGE), ("susceptibility_improved", IMPROVED)):
                row[key] = derived(lambda mean: mean, values[:, quantity, k:k + 1] ** 2 / sites)
        result.append(row)
    return result


def as_numbers(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """`flow_curves` ready for JSON: DerivedValues as {mean, error}."""
    return [{key: {"mean": entry.value, "error": entry.error} if isinstance(entry, DerivedValue) else entry
             for key, entry in row.items()} for row in rows]
