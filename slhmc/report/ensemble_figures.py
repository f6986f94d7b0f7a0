"""Figures of one ensemble, a panel each, and of all ensembles side by side."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from slhmc.analysis import MINIMUM_LENGTH, gamma_method, parenthesis, series_entry
from slhmc.report.ensemble import Ensemble
from slhmc.report.figures import (
    DELTA_H,
    EXPECTED_ACCEPTANCE,
    MEAN_DELTA_H,
    autocorrelation_function,
    averages,
    drawable,
    gaussian,
    histograms,
    history,
    label_of,
)
from slhmc.report.run import predicted_acceptance
from slhmc.report.svg import COLORS, INK, MUTED, SIZE, figure, short

_MEANS = 25       # a running mean is over so many parts of a history
_SHOWN = 150      # points of a running mean
_POINTS = 250     # of a history: as many as can be told apart in a panel
_MARKERS = "os^Dv"
_RUNAWAY = 700    # |dH| beyond which exp(-dH) is no number
EXP = r"$\langle e^{-\Delta H}\rangle$"


class Picture(NamedTuple):
    """`name` for those who do not see it, `caption` below it; `begins`: it stands at the begin of a row."""

    name: str
    caption: str
    svg: bytes
    begins: bool = False


def panel_picture(name: str, caption: str, draw: Callable[[Any], None], size: tuple[float, float] = SIZE,
                  begins: bool = False) -> Picture:
    """What `draw` puts onto one panel."""
    return Picture(name, caption, figure(lambda panels: draw(panels[0]), 1, size), begins)


def observable_pictures(ensemble: Ensemble, name: str) -> list[Picture]:
    """History and autocorrelation function; nothing of fewer than two measurements."""
    trajectories, values = ensemble.histories.get(name, (np.empty(0), np.empty(0)))
    inside = trajectories > ensemble.last_of_thermalization
    if len(values) < 2:
        return []
    produced = values[inside]
    found = [panel_picture(f"history of {name}", _history_words(name, produced),
                           lambda panel: _observable_history(panel, ensemble, name, trajectories, values), begins=True)]
    if len(produced) >= MINIMUM_LENGTH and drawable(produced).all() and (estimate := gamma_method(produced)).error:
        every = _every(trajectories[inside])
        words = parenthesis(estimate.tau_int * every, estimate.tau_int_error * every)

        def draw(panel: Any) -> None:
            autocorrelation_function(panel, trajectories[inside], produced, COLORS[0])
            panel.axhline(0, color=MUTED, linewidth=0.8)
            panel.set(xlabel="$t$ [trajectories]", ylabel=rf"$\rho(t)$ of {label_of(name)}", xlim=(0, None))
        found.append(panel_picture(f"autocorrelation function of {name}",
                                   f"τ_int of {name} = {words} trajectories, window {estimate.window * every:g}", draw))
    return found


def dynamics_pictures(ensemble: Ensemble) -> list[Picture]:
    """Energy violation and acceptance; none of a chain without a Metropolis step, or of fewer than two trajectories."""
    production = ensemble.run.production if ensemble.run else ensemble.records[:0]
    delta_h = production["delta_h"]
    if len(delta_h) < 2 or not np.any(delta_h):
        return []
    with np.errstate(over="ignore", invalid="ignore"):
        expected = predicted_acceptance(float(delta_h.mean()), None)["mean"]
    found = [
        panel_picture("history of dH", "energy violation", lambda panel: _delta_h_history(panel, production)),
        panel_picture("histogram of dH", "line: the Gaussian of the same variance with ⟨exp(−ΔH)⟩ = 1",
                      lambda panel: _delta_h_histogram(panel, delta_h)),
        panel_picture("acceptance along the chain", f"acceptance {production['accepted'].mean():.4f} in parts of the chain"
                      + ("" if expected is None else f"; {expected:.4f} expected"),
                      lambda panel: _acceptance(panel, production, expected))]
    if len(delta_h) >= MINIMUM_LENGTH and np.all(np.abs(delta_h) < _RUNAWAY):
        found.insert(2, panel_picture("mean of exp(-dH)", "mean over the chain so far with its error; 1 expected",
                                      lambda panel: _exponential(panel, production)))
    return found


def cost_pictures(ensemble: Ensemble) -> list[Picture]:
    """Seconds and solver iterations of each trajectory."""
    production = ensemble.run.production if ensemble.run else ensemble.records[:0]
    if len(production) < 2:
        return []

    def draw(panel: Any, name: str, words: str) -> None:
        values = production[name].astype(float)
        known = drawable(values)
        if known.any():
            history(panel, production["trajectory"][known], values[known], COLORS[0], "", _POINTS)
            panel.set_ylim(0, _top(values[known]))
        panel.set(xlabel="trajectory", ylabel=words)
    found = [panel_picture("time of trajectories", "wall time of each trajectory",
                           lambda panel: draw(panel, "seconds", "time [s]"))]
    if production["iterations"].any():
        words = "iterations of the solver in each trajectory, all fields and forces"
        found.append(panel_picture("solver iterations", words, lambda panel: draw(panel, "iterations", "solver iterations")))
    return found


def overview_pictures(numbers: Sequence[dict[str, Any]]) -> list[Picture]:
    """Acceptance over <dH> with what is expected, and <exp(-dH)>, of all ensembles with a Metropolis step."""
    shown = [entry for entry in numbers if entry["trajectories"] and entry["delta_h"]["mean"] not in (None, 0.0)]
    if not shown:
        return []
    height = max(2.9, 0.9 + 0.28 * len(shown))
    found = [panel_picture("acceptance over dH", "acceptance of ensembles with a Metropolis step; symbols as beside",
                           lambda panel: _acceptances(panel, shown))]
    if all(entry["exp_minus_delta_h"]["mean"] is not None for entry in shown):
        found.append(panel_picture("exp(-dH) of all ensembles", "mean of exp(−ΔH); 1 expected, whatever guides the trajectories",
                                   lambda panel: _exponentials(panel, shown), (5.0, height)))
    return found


# ---- panels
def _history_words(name: str, produced: np.ndarray) -> str:
    entry = series_entry(produced)
    return name + (f" = {parenthesis(entry['mean'], entry['error'])}" if entry["mean"] is not None else "")


def _observable_history(panel: Any, ensemble: Ensemble, name: str, trajectories: np.ndarray, values: np.ndarray) -> None:
    last = ensemble.last_of_thermalization
    finite = drawable(values)
    trajectories, values = trajectories[finite], values[finite]
    inside = trajectories > last
    if last:
        panel.axvspan(trajectories[0], last, color=MUTED, alpha=0.18, linewidth=0)
        history(panel, trajectories[~inside], values[~inside], MUTED, "", _POINTS)
    if inside.any():
        history(panel, trajectories[inside], values[inside], COLORS[0], "", _POINTS, 0.5)
        _running_mean(panel, trajectories[inside], values[inside])
        entry = series_entry(values[inside])
        mean, error = entry["mean"], entry["error"]
        if error:
            panel.axhspan(mean - error, mean + error, color=COLORS[1], alpha=0.35, linewidth=0)
        panel.axhline(mean, color=INK, linestyle="--", linewidth=0.9)
        panel.set_ylim(*_limits(values[inside]))
    panel.set(xlabel="trajectory", ylabel=label_of(name))
    panel.margins(x=0.01)


def _running_mean(panel: Any, trajectories: np.ndarray, values: np.ndarray) -> None:
    """Over a window that moves along the chain."""
    width = len(values) // _MEANS
    if width < 2:
        return
    sums = np.cumsum(np.insert(values, 0, 0.0))
    means = (sums[width:] - sums[:-width]) / width
    centers = np.convolve(trajectories, np.full(width, 1 / width), "valid")
    every = -(-len(means) // _SHOWN)
    panel.plot(centers[::every], means[::every], color=COLORS[1], linewidth=1.8)


def _delta_h_history(panel: Any, production: np.ndarray) -> None:
    finite = production[drawable(production["delta_h"])]
    panel.axhline(0, color=MUTED, linewidth=0.8)
    if len(finite):
        history(panel, finite["trajectory"], finite["delta_h"], COLORS[0], "", _POINTS)
        panel.set_ylim(*_limits(finite["delta_h"]))
    panel.set(xlabel="trajectory", ylabel=DELTA_H)


def _delta_h_histogram(panel: Any, delta_h: np.ndarray) -> None:
    finite = delta_h[drawable(delta_h)]
    histograms(panel, [(finite, COLORS[0])], lambda axes, values, edges, _: gaussian(axes, 0.5 * values.var(), edges, COLORS[1]))
    panel.axvline(0, color=MUTED, linewidth=0.8)
    panel.set(xlabel=DELTA_H, ylabel="density", ylim=(0, None))


def _exponential(panel: Any, production: np.ndarray) -> None:
    """The error at the end is that of the Gamma method; before it grows as one over the root of the length."""
    weights = np.exp(-production["delta_h"])
    length = len(weights)
    entry = series_entry(weights)
    shown = np.unique(np.geomspace(min(MINIMUM_LENGTH, length), length, _SHOWN).astype(int))
    means = np.cumsum(weights)[shown - 1] / shown
    errors = (entry["error"] or 0.0) * np.sqrt(length / shown)
    trajectories = production["trajectory"][shown - 1]
    panel.axhline(1, color=INK, linestyle="--", linewidth=0.9)
    panel.fill_between(trajectories, means - errors, means + errors, color=COLORS[0], alpha=0.25, linewidth=0)
    panel.plot(trajectories, means, color=COLORS[0])
    late = shown >= length // 10
    reach = 1.3 * max(np.max(np.abs(means[late] - 1) + errors[late]), 1e-12)
    panel.set(xlabel="trajectory", ylabel=EXP, ylim=(1 - reach, 1 + reach))


def _acceptance(panel: Any, production: np.ndarray, expected: float | None) -> None:
    averages(panel, production["trajectory"], production["accepted"].astype(float), COLORS[0])
    if expected is not None:
        panel.axhline(expected, color=COLORS[1], linestyle="--", label=EXPECTED_ACCEPTANCE)
    panel.set(xlabel="trajectory", ylabel="acceptance", ylim=(-0.03, 1.03))


def _acceptances(panel: Any, numbers: Sequence[dict[str, Any]]) -> None:
    means = [entry["delta_h"]["mean"] for entry in numbers]
    reach = max(mean + (entry["delta_h"]["error"] or 0.0) for mean, entry in zip(means, numbers, strict=True))
    grid = np.linspace(0, max(1.15 * reach, 1e-3), 200)
    panel.plot(grid, [math.erfc(math.sqrt(x) / 2) for x in grid], color=MUTED, label=EXPECTED_ACCEPTANCE)
    for number, (mean, entry) in enumerate(zip(means, numbers, strict=True)):
        panel.errorbar(mean, entry["acceptance"]["mean"], entry["acceptance"]["error"] or 0.0, entry["delta_h"]["error"] or 0.0,
                       **_symbol(number))
    panel.set(xlabel=MEAN_DELTA_H, ylabel="acceptance")


def _exponentials(panel: Any, numbers: Sequence[dict[str, Any]]) -> None:
    panel.axvline(1, color=INK, linestyle="--", linewidth=0.9)
    for number, entry in enumerate(numbers):
        weights = entry["exp_minus_delta_h"]
        panel.errorbar(weights["mean"], number, xerr=weights["error"] or 0.0, **_symbol(number))
    panel.set(xlabel=EXP, ylim=(len(numbers) - 0.5, -0.5))
    panel.set_yticks(range(len(numbers)), [short(entry["name"]) for entry in numbers])


def _symbol(number: int) -> dict[str, Any]:
    """Of an ensemble: colours and shapes have no common period."""
    return {"fmt": _MARKERS[number % len(_MARKERS)], "color": COLORS[number % len(COLORS)], "markersize": 5, "capsize": 2}


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Heights of an axis: all but the outermost numbers, which a single kick may send far away."""
    low, high = np.percentile(values, (0.5, 99.5))
    margin = 0.25 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _top(values: np.ndarray) -> float:
    return 1.3 * float(np.percentile(values, 98)) or 1.0


def _every(trajectories: np.ndarray) -> float:
    return float((trajectories[-1] - trajectories[0]) / (len(trajectories) - 1))
