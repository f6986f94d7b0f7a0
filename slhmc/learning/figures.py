"""Plots of a training: loss.png and weights.png; of a fit: loss.png. Matplotlib is imported when they are drawn; without it there
are none.
"""

import logging
from pathlib import Path

from slhmc.io import FitFile, TrainingFile

logger = logging.getLogger(__name__)


def draw_figures(history: TrainingFile, loss: str, folder: Path) -> None:
    """loss.png: of each batch and of the held-out samples; weights.png: every parameter, after each step."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        logger.warning("matplotlib is not installed: no loss.png and weights.png; pip install 'slhmc[plot]'")
        return
    steps, held_out = history.steps, history.evaluations
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="loss", yscale="log")
    axes.plot(steps["step"], steps["loss"], color="0.7", label=f"{loss}, batch")
    for name in ("published", "centred", "force", "trajectory"):
        if not (held_out[name] > 0).any():  # not asked for
            continue
        marked = {"marker": "o", "markersize": 3} if name == loss else {"linestyle": "--"}
        axes.plot(held_out["step"], held_out[name], label=f"{name}, held out", **marked)
    axes.legend()
    figure.savefig(folder / "loss.png", dpi=150)
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="change since the start")
    for name, values in zip(history.parameter_names, history.parameters.T, strict=True):
        axes.plot(steps["step"], values - values[0], label=f"{name} = {values[-1]:.5g}")
    axes.legend(fontsize="small")
    figure.savefig(folder / "weights.png", dpi=150)


def draw_fit(history: FitFile, folder: Path) -> None:
    """loss.png: of the training and the validation set, and the latter's of lattice averages."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        logger.warning("matplotlib is not installed: no loss.png; pip install 'slhmc[plot]'")
        return
    epochs = history.epochs
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="epoch", ylabel="mean square deviation", yscale="log")
    axes.plot(epochs["epoch"], epochs["loss"], color="0.7", label="training")
    axes.plot(epochs["epoch"], epochs["validation"], marker="o", markersize=3, label="validation")
    axes.plot(epochs["epoch"], epochs["mse_average"], linestyle="--", label="validation, lattice averages")
    axes.legend()
    figure.savefig(folder / "loss.png", dpi=150)
