"""Figures of a comparison: histories, histograms, autocorrelation functions, dH, acceptance, time; each as SVG text."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from slhmc.analysis import MINIMUM_LENGTH, autocorrelation, gamma_method
from slhmc.report.run import Run, predicted_acceptance
from slhmc.report.svg import COLORS, MUTED, figure, short

_POINTS = 400     # of a line: longer histories are drawn as means of blocks within the band of their extremes
_FEW = 60         # points that have marks
_LARGEST = 1e100
_BLOCKS = 40      # of a history of averages
_SIZE = (11.0, 2.9)
DELTA_H, MEAN_DELTA_H = r"$\Delta H$", r"$\langle\Delta H\rangle$"
EXPECTED_ACCEPTANCE = r"$\mathrm{erfc}(\sqrt{\langle\Delta H\rangle}/2)$"
_LABELS = {"chiral_condensate": r"$\langle\bar\psi\psi\rangle$ per site", "learned_flow_energy": "$E$, learned flow",
           "learned_flow_charge": "$Q$, learned flow", "learned_flow_charge_squared": "$Q^2$, learned flow"}


def label_of(name: str) -> str:
    """An observable on an axis: Polyakov loops and condensates by their symbols, others by their names."""
    if name.startswith("polyakov_loop_modulus_"):
        return f"$|L_{name[-1]}|$"
    if name.startswith("polyakov_loop_"):
        return rf"$\mathrm{{Re}}\,L_{name[-1]}$"
    return _LABELS.get(name, name.replace("_", " "))


def observable_figure(name: str, runs: Sequence[Run], form: str = "svg") -> bytes:
    """History, histogram and normalised autocorrelation function with its window, of all runs."""
    series = [(run, *run.series[name]) for run in runs if name in run.series and len(run.series[name][0])]

    def draw(panels: Sequence[Any]) -> None:
        for (run, trajectories, values), color in zip(series, _colors(), strict=False):
            history(panels[0], trajectories, values, color, short(run.label))
            autocorrelation_function(panels[2], trajectories, values, color)
        histograms(panels[1], [(values, color) for (_, _, values), color in zip(series, _colors(), strict=False)])
        panels[0].set(xlabel="trajectory", ylabel=label_of(name), title="history")
        panels[1].set(xlabel=label_of(name), ylabel="density", title="histogram", yticks=[])
        panels[2].axhline(0, color=MUTED, linewidth=0.8)
        panels[2].set(xlabel="$t$ [trajectories]", ylabel=r"$\rho(t)$", title="autocorrelation; dashed: window")
    return figure(draw, 3, _SIZE, form)


def delta_h_figure(runs: Sequence[Run], form: str = "svg") -> bytes:
    """dH: history and histogram, with the Gaussian of mean <dH> and variance 2 <dH>; acceptance along the chain."""
    def draw(panels: Sequence[Any]) -> None:
        for run, color in zip(runs, _colors(), strict=False):
            trajectories, delta_h = run.production["trajectory"], run.production["delta_h"]
            history(panels[0], trajectories, delta_h, color, short(run.label))
            averages(panels[2], trajectories, run.production["accepted"].astype(float), color)
            expected = predicted_acceptance(float(delta_h.mean()), None)["mean"]
            if expected is not None:
                panels[2].axhline(expected, color=color, linestyle="--", linewidth=1)
        histograms(panels[1], [(run.production["delta_h"], color) for run, color in zip(runs, _colors(), strict=False)],
                   lambda panel, values, edges, color: gaussian(panel, values.mean(), edges, color))
        panels[0].set(xlabel="trajectory", ylabel=DELTA_H, title="history")
        panels[1].set(xlabel=DELTA_H, ylabel="density", title=rf"histogram; line: expected of {MEAN_DELTA_H}", yticks=[])
        panels[2].set(xlabel="trajectory", ylabel="acceptance", title=f"dashed: {EXPECTED_ACCEPTANCE}", ylim=(-0.03, 1.03))
    return figure(draw, 3, _SIZE, form)


def time_figure(runs: Sequence[Run], form: str = "svg") -> bytes:
    """Seconds and solver iterations of each trajectory."""
    def draw(panels: Sequence[Any]) -> None:
        for run, color in zip(runs, _colors(), strict=False):
            for panel, name in zip(panels, ("seconds", "iterations"), strict=True):
                history(panel, run.production["trajectory"], run.production[name].astype(float), color, short(run.label))
        panels[0].set(xlabel="trajectory", ylabel="time of a trajectory [s]", ylim=(0, None))
        panels[1].set(xlabel="trajectory", ylabel="solver iterations", ylim=(0, None))
    return figure(draw, 2, _SIZE, form)


def _colors() -> list[str]:
    return list(COLORS) * 100


# ---- panels
def drawable(values: np.ndarray) -> np.ndarray:
    """Which numbers can be drawn: axes have no room for those near the largest."""
    return np.abs(values) < _LARGEST    # nan is not


def history(panel: Any, trajectories: np.ndarray, values: np.ndarray, color: str, label: str, points: int = _POINTS,
            alpha: float = 0.85) -> None:
    """A line; of more than so many points means of blocks, within the band from the smallest to the largest number of each."""
    block = -(-len(values) // points)
    if block <= 1:
        panel.plot(trajectories, values, color=color, linewidth=0.8, alpha=alpha, label=label,
                   marker="." if len(values) <= _FEW else "")
        return
    begins = np.arange(0, len(values), block)
    lengths = np.diff(np.append(begins, len(values)))
    centers = np.add.reduceat(trajectories, begins) / lengths
    low, high = np.minimum.reduceat(values, begins), np.maximum.reduceat(values, begins)
    panel.fill_between(centers, low, high, color=color, alpha=0.2, linewidth=0)
    panel.plot(centers, np.add.reduceat(values, begins) / lengths, color=color, linewidth=0.8, alpha=alpha,
               label=label)


def averages(panel: Any, trajectories: np.ndarray, values: np.ndarray, color: str) -> None:
    """Means of blocks as steps."""
    parts = np.array_split(np.arange(len(values)), min(_BLOCKS, max(1, len(values) // MINIMUM_LENGTH)))
    edges = [trajectories[part[0]] for part in parts] + [trajectories[-1] + 1]
    panel.stairs([values[part].mean() for part in parts], edges, baseline=None, color=color, linewidth=1.4)


def histograms(panel: Any, series: list[tuple[np.ndarray, str]], curve: Callable | None = None) -> None:
    """Densities of all series in the same bins; the outermost 0.2 percent are outside of them."""
    finite = [(values[drawable(values)], color) for values, color in series]
    pooled = np.concatenate([values for values, _ in finite]) if finite else np.empty(0)
    if not len(pooled):
        return
    low, high = np.percentile(pooled, (0.1, 99.9))
    fewest = min(len(values) for values, _ in finite)
    edges = np.histogram_bin_edges(pooled, bins=int(np.clip(2 * fewest ** (1 / 3), 5, 60)),
                                   range=(low, high) if low < high else None)
    for values, color in finite:
        density = np.histogram(values, edges)[0] / max(len(values), 1) / np.diff(edges)
        panel.stairs(density, edges, fill=True, color=color, alpha=0.2)
        panel.stairs(density, edges, color=color, linewidth=1.2)
        if curve is not None:
            curve(panel, values, edges, color)


def gaussian(panel: Any, mean: float, edges: np.ndarray, color: str) -> None:
    """dH of mean m and variance 2 m: what <exp(-dH)> = 1 asks of a Gaussian."""
    if mean > 1e-12:
        x = np.linspace(edges[0], edges[-1], 120)
        panel.plot(x, np.exp(-(x - mean)**2 / (4 * mean)) / np.sqrt(4 * np.pi * mean), color=color, linewidth=0.9)


def autocorrelation_function(panel: Any, trajectories: np.ndarray, values: np.ndarray, color: str) -> None:
    """rho(t) = Gamma(t) / Gamma(0) with errors, up to three windows; t in trajectories."""
    if len(values) < MINIMUM_LENGTH or not np.isfinite(values).all():
        return
    estimate = gamma_method(values)
    if estimate.error == 0:
        return
    gamma = autocorrelation([values - values.mean()])
    rho, window = gamma / gamma[0], estimate.window
    shown = min(len(rho), max(3 * window, 10))
    every = (trajectories[-1] - trajectories[0]) / (len(trajectories) - 1)
    times, errors = np.arange(shown) * every, _rho_errors(rho, shown, window, len(values))
    panel.fill_between(times, rho[:shown] - errors, rho[:shown] + errors, color=color, alpha=0.2, linewidth=0)
    panel.plot(times, rho[:shown], color=color, linewidth=1.2)
    panel.axvline(window * every, color=color, linestyle="--", linewidth=1)


def _rho_errors(rho: np.ndarray, shown: int, window: int, length: int) -> np.ndarray:
    """error^2 = 1/N sum_k [rho(k + t) + rho(k - t) - 2 rho(t) rho(k)]^2, k to t + window (Luscher, hep-lat/0409106, E.11)."""
    errors = np.zeros(shown)
    padded = np.concatenate([rho, np.zeros(2 * len(rho))])    # what lies beyond is noise
    for t in range(1, shown):
        k = np.arange(1, t + window + 1)
        errors[t] = np.sqrt(np.sum((padded[k + t] + padded[np.abs(k - t)] - 2 * padded[t] * padded[k])**2) / length)
    return errors
