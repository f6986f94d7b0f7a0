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
    gaussian,
    histograms,
    history,
    label_of,
)
from slhmc.report.run import predicted_acceptance
from slhmc.report.svg import COLORS, INK, MUTED, SIZE, figure

_MEANS = 25       # a running mean is over so many parts of a history
_SHOWN = 200      # points of a running mean
EXP = r"$\langle e^{-\Delta H}\rangle$"


class Picture(NamedTuple):
    """`name` for those who do not see it, `caption` below it."""

    name: str
    caption: str
    svg: bytes


def panel_picture(name: str, caption: str, draw: Callable[[Any], None], size: tuple[float, float] = SIZE) -> Picture:
    """What `draw` puts onto one panel."""
    return Picture(name, caption, figure(lambda panels: draw(panels[0]), 1, size))


def observable_pictures(ensemble: Ensemble, name: str) -> list[Picture]:
    """History and autocorrelation function; nothing of fewer than two measurements."""
    trajectories, values = ensemble.histories().get(name, (np.empty(0), np.empty(0)))
    inside = trajectories > ensemble.last_of_thermalization
    if len(values) < 2:
        return []
    produced = values[inside]
    found = [panel_picture(f"history of {name}", _history_words(ensemble, len(produced)),
                           lambda panel: _observable_history(panel, ensemble, name, trajectories, values))]
    if len(produced) >= MINIMUM_LENGTH and np.isfinite(produced).all() and (estimate := gamma_method(produced)).error:
        every = _every(trajectories[inside])
        words = parenthesis(estimate.tau_int * every, estimate.tau_int_error * every)

        def draw(panel: Any) -> None:
            autocorrelation_function(panel, trajectories[inside], produced, COLORS[0])
            panel.axhline(0, color=MUTED, linewidth=0.8)
            panel.set(xlabel="$t$ [trajectories]", ylabel=rf"$\rho(t)$ of {label_of(name)}", xlim=(0, None))
        found.append(panel_picture(f"autocorrelation function of {name}",
                                   f"Normalised autocorrelation function with its error; dashed: the window, {estimate.window * every:g} "
                                   f"trajectories, for τ_int = {words} trajectories.", draw))
    return found


def dynamics_pictures(ensemble: Ensemble) -> list[Picture]:
    """Energy violation and acceptance; none of a chain without a Metropolis step, or of fewer than two trajectories."""
    production = ensemble.run.production if ensemble.run else ensemble.records[:0]
    delta_h = production["delta_h"]
    if len(delta_h) < 2 or not np.any(delta_h):
        return []
    expected = predicted_acceptance(float(delta_h.mean()), None)["mean"]
    found = [
        panel_picture("history of dH", "Energy violation of each trajectory of production; of a long chain means of blocks, in the "
                      "band of their extremes.", lambda panel: _delta_h_history(panel, production)),
        panel_picture("histogram of dH", "Line: the Gaussian of variance 2⟨ΔH⟩, which is the one with ⟨exp(−ΔH)⟩ = 1.",
                      lambda panel: _delta_h_histogram(panel, delta_h)),
        panel_picture("acceptance along the chain", "Steps: acceptance in parts of the chain. Dashed: what ⟨ΔH⟩ lets expect, "
                      + ("-" if expected is None else f"{expected:.4f}") + ".",
                      lambda panel: _acceptance(panel, production, expected))]
    if len(delta_h) >= MINIMUM_LENGTH and np.isfinite(np.exp(np.minimum(-delta_h, 800))).all():
        found.insert(2, panel_picture("mean of exp(-dH)", "Mean over the chain so far with its error; it must be 1.",
                                      lambda panel: _exponential(panel, production)))
    return found


def cost_pictures(ensemble: Ensemble) -> list[Picture]:
    """Seconds and solver iterations of each trajectory."""
    production = ensemble.run.production if ensemble.run else ensemble.records[:0]
    if len(production) < 2:
        return []

    def draw(panel: Any, name: str, words: str) -> None:
        history(panel, production["trajectory"], production[name].astype(float), COLORS[0], "")
        panel.set(xlabel="trajectory", ylabel=words, ylim=(0, _top(production[name].astype(float))))
    found = [panel_picture("time of trajectories", "Wall time of each trajectory of production.",
                           lambda panel: draw(panel, "seconds", "time [s]"))]
    if production["iterations"].any():
        found.append(panel_picture("solver iterations", "Iterations of the solver in each trajectory, all fields and forces.",
                                   lambda panel: draw(panel, "iterations", "solver iterations")))
    return found


def overview_pictures(numbers: Sequence[dict[str, Any]]) -> list[Picture]:
    """Acceptance over <dH> with what is expected, and <exp(-dH)>, of all ensembles with a Metropolis step."""
    shown = [entry for entry in numbers if entry["trajectories"] and entry["delta_h"]["mean"] not in (None, 0.0)]
    if not shown:
        return []
    height = max(2.9, 0.9 + 0.28 * len(shown))
    found = [panel_picture("acceptance over dH", "Acceptance of all ensembles with a Metropolis step. Line: erfc(√⟨ΔH⟩ / 2).",
                           lambda panel: _acceptances(panel, shown))]
    exact = [entry for entry in shown if entry["exp_minus_delta_h"]["error"]]
    if exact:
        found.append(panel_picture("exp(-dH) of all ensembles", "⟨exp(−ΔH)⟩ must be 1, whatever guides the trajectories.",
                                   lambda panel: _exponentials(panel, exact), (5.0, height)))
    return found


# ---- panels
def _history_words(ensemble: Ensemble, produced: int) -> str:
    words = "One point for each measurement" if produced <= 400 else "Means of blocks in the band of their extremes"
    words += "; thick: running mean; dashed: mean of production with its error."
    return words + (" Grey: thermalization." if ensemble.last_of_thermalization else "")


def _observable_history(panel: Any, ensemble: Ensemble, name: str, trajectories: np.ndarray, values: np.ndarray) -> None:
    last = ensemble.last_of_thermalization
    finite = np.isfinite(values)
    trajectories, values = trajectories[finite], values[finite]
    inside = trajectories > last
    if last:
        panel.axvspan(trajectories[0], last, color=MUTED, alpha=0.18, linewidth=0)
        history(panel, trajectories[~inside], values[~inside], MUTED, "")
    if inside.any():
        history(panel, trajectories[inside], values[inside], COLORS[0], "", faint=True)
        _running_mean(panel, trajectories[inside], values[inside])
        entry = series_entry(values[inside])
        if entry["error"]:
            panel.axhspan(entry["mean"] - entry["error"], entry["mean"] + entry["error"], color=COLORS[1], alpha=0.35, linewidth=0)
        panel.axhline(entry["mean"], color=INK, linestyle="--", linewidth=0.9)
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
    finite = production[np.isfinite(production["delta_h"])]
    panel.axhline(0, color=MUTED, linewidth=0.8)
    if len(finite):
        history(panel, finite["trajectory"], finite["delta_h"], COLORS[0], "")
        panel.set_ylim(*_limits(finite["delta_h"]))
    panel.set(xlabel="trajectory", ylabel=DELTA_H)


def _delta_h_histogram(panel: Any, delta_h: np.ndarray) -> None:
    histograms(panel, [(delta_h, COLORS[0])], lambda axes, values, edges, color: gaussian(axes, values, edges, COLORS[1]))
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
    means = [max(entry["delta_h"]["mean"], 0.0) for entry in numbers]
    grid = np.linspace(0, max(1.15 * max(means), 1e-3), 200)
    panel.plot(grid, [math.erfc(math.sqrt(x) / 2) for x in grid], color=MUTED, label=EXPECTED_ACCEPTANCE)
    for number, (mean, entry) in enumerate(zip(means, numbers, strict=True)):
        color = COLORS[number % len(COLORS)]
        panel.errorbar(mean, entry["acceptance"]["mean"], entry["acceptance"]["error"] or 0.0, entry["delta_h"]["error"] or 0.0,
                       fmt="o", markersize=4, capsize=2, color=color)
        panel.annotate(entry["name"], (mean, entry["acceptance"]["mean"]), (6, 5), textcoords="offset points", fontsize=8,
                       color=color)
    panel.set(xlabel=MEAN_DELTA_H, ylabel="acceptance")


def _exponentials(panel: Any, numbers: Sequence[dict[str, Any]]) -> None:
    panel.axvline(1, color=INK, linestyle="--", linewidth=0.9)
    for number, entry in enumerate(numbers):
        weights = entry["exp_minus_delta_h"]
        panel.errorbar(weights["mean"], number, xerr=weights["error"], fmt="o", markersize=4, capsize=2,
                       color=COLORS[number % len(COLORS)])
    panel.set(xlabel=EXP, ylim=(len(numbers) - 0.5, -0.5))
    panel.set_yticks(range(len(numbers)), [entry["name"] for entry in numbers])


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Heights of an axis: all but the outermost numbers, which a single kick may send far away."""
    low, high = np.percentile(values, (0.5, 99.5))
    margin = 0.25 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _top(values: np.ndarray) -> float:
    return 1.3 * float(np.percentile(values, 98)) or 1.0


def _every(trajectories: np.ndarray) -> float:
    return float((trajectories[-1] - trajectories[0]) / (len(trajectories) - 1))
