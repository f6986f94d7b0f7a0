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

    t0: t^2 <E> = 0.3; w0: t d/dt (t^2 <E>) = 0.3 at t = w0^2. Between flow times a polynomial through the six nearest.
    Errors are those of `derived`.
    """
    return {"t0": _scale(values, CLOVER, False), "w0": _scale(values, CLOVER, True), "t0_plaquette": _scale(values, PLAQUETTE, False)}


def _scale(values: np.ndarray, quantity: int, slope: bool) -> DerivedValue | None:
    times, energies = values[0, 0], values[:, quantity]
    curve = times**2 * energies.mean(axis=0)
    heights = [slope_at(times, curve, k) for k in range(len(times))] if slope else list(curve)
    crossing = next((k for k in range(len(times) - 1) if heights[k] < REFERENCE <= heights[k + 1]), None)
    if crossing is None:
        return None
    near = nodes(len(times), crossing)
    local, bracket = times[near], (times[crossing], times[crossing + 1])

    def scale(*means: float) -> float:
        found = _crossing(local, local**2 * np.array(means), bracket, slope)
        return found**0.5 if slope else found
    return derived(scale, energies[:, near])


def nodes(count: int, index: int) -> slice:
    """The flow times around the interval that begins at `index`."""
    first = min(max(0, index + 1 - NODES // 2), max(0, count - NODES))
    return slice(first, min(first + NODES, count))


def slope_at(times: np.ndarray, curve: np.ndarray, index: int) -> float:
    """t d(curve)/dt at one of the flow times."""
    near = nodes(len(times), max(0, index - 1) if index == len(times) - 1 else index)
    return float(times[index] * _polynomial(times[near], curve[near], times[index])[1])


def _polynomial(nodes: np.ndarray, values: np.ndarray, x: float) -> tuple[float, float]:
    """Value and derivative at x of the polynomial through the nodes (Neville's scheme and its derivative)."""
    p, d = list(values), [0.0] * len(values)
    for width in range(1, len(nodes)):
        for i in range(len(nodes) - width):
            left, right = nodes[i], nodes[i + width]
            d[i] = (p[i + 1] - p[i] + (x - left) * d[i + 1] + (right - x) * d[i]) / (right - left)
            p[i] = ((x - left) * p[i + 1] + (right - x) * p[i]) / (right - left)
    return float(p[0]), float(d[0])


def _crossing(nodes: np.ndarray, curve: np.ndarray, bracket: tuple[float, float], slope: bool) -> float:
    """Where the curve, or t times its slope, is 0.3 in the bracket; nan if it is on one side there, as far as a bracket's width
    around it."""
    width = bracket[1] - bracket[0]
    low, high = max(bracket[0] - width, nodes[0]), min(bracket[1] + width, nodes[-1])

    def height(t: float) -> float:
        value, derivative = _polynomial(nodes, curve, t)
        return (t * derivative if slope else value) - REFERENCE
    if not height(low) < 0 <= height(high):
        return float("nan")
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if height(middle) < 0 else (low, middle)
    return 0.5 * (low + high)


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
        row["W"] = _slope(values, k)
        if has_charge(values):
            for key, quantity in (("susceptibility", CHARGE), ("susceptibility_improved", IMPROVED)):
                row[key] = derived(lambda mean: mean, values[:, quantity, k:k + 1] ** 2 / sites)
        result.append(row)
    return result


def _slope(values: np.ndarray, index: int) -> DerivedValue | None:
    times = values[0, 0]

    def slope(*means: float) -> float:
        return slope_at(times, times**2 * np.array(means), index)
    return derived(slope, values[:, CLOVER])


def as_numbers(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """`flow_curves` ready for JSON: DerivedValues as {mean, error}."""
    return [{key: {"mean": entry.value, "error": entry.error} if isinstance(entry, DerivedValue) else entry
             for key, entry in row.items()} for row in rows]
