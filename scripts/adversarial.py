#!/usr/bin/env python3
"""How far random and optimised gauge transformations move trained networks: a table for docs/results/lcnn_adversarial.md.

    .venv/bin/python scripts/adversarial.py L-CNN=runs/a CNN=runs/b -o runs/adversarial.json

NAME=DIRECTORY of `slhmc train`; its test configurations on the first test lattice are used, in double precision.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from commands import guarded
from figures import COLORS
from pages import filled, markdown

from slhmc.backend import open_device
from slhmc.errors import InputError
from slhmc.learning.adversarial import drifts
from slhmc.learning.datasets import parts
from slhmc.learning.evaluation import Labelled
from slhmc.learning.models import trained_model

COLUMNS = ("network", "parameters", "random, median", "random, largest", "optimised, median", "optimised, largest",
           "any site, largest", "of the prediction: random, median", "optimised, median")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("networks", nargs="+", help="NAME=DIRECTORY of a training")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file of all numbers")
    parser.add_argument("--page", type=Path, help="Markdown page whose table `adversarial` and figure are replaced")
    parser.add_argument("--samples", type=int, default=50, help="test configurations, evenly over all beta")
    parser.add_argument("--draws", type=int, default=10, help="random transformations of each")
    parser.add_argument("--steps", type=int, default=200, help="steps of the optimizer")
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    found = {}
    for network in options.networks:
        name, _, directory = network.rpartition("=")
        found[name or directory] = numbers(Path(directory), options)
        print(f"{name or directory}: {json.dumps(found[name or directory]['of_spread'])}", flush=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=1))
    lines = markdown(COLUMNS, [row(name, entry) for name, entry in found.items()])
    if options.page:
        options.page.write_text(filled(options.page.read_text(), {"adversarial": lines}))
        draw(options.page.parent / "images" / f"{options.page.stem}.png", found)
    print(lines)
    return 0


def numbers(directory: Path, options: argparse.Namespace) -> dict:
    """Drifts of a network, in units of the spread of the labels (of lattice averages) and of its predictions."""
    model, card = trained_model(directory / "weights.h5")
    if card.model.kind == "flow":
        raise InputError(f"{directory}: a learned flow found, whose links turn with the gauge; a network of Wilson loops or "
                         "charges expected")
    data = Path(card.data.directory) if card.data.directory else directory / "data"
    samples = Labelled(card, parts(card)[2], data, open_device("cpu"), "double")
    chosen = np.unique(np.linspace(0, len(samples) - 1, options.samples).round().astype(int))
    batch, labels = samples.batch(chosen)
    found = drifts(model, batch, options.draws, options.steps, options.learning_rate, options.seed)
    units = {"of_spread": float(samples.labels.mean(1).std()), "of_prediction": found.y.abs()}
    kinds = {"random": found.random, "random_largest": found.largest, "optimised": found.optimised,
             "site": torch.maximum(found.site_random, found.site_optimised)}
    return {"parameters": model.parameter_count, "samples": len(chosen), "beta": samples.beta[chosen].tolist(),
            "draws": options.draws, "steps": options.steps, "spread": units["of_spread"], "predictions": found.y.tolist(),
            "labels": labels.mean(1).tolist(), "drifts": {kind: values.tolist() for kind, values in kinds.items()},
            **{unit: {kind: statistics(values / scale) for kind, values in kinds.items()} for unit, scale in units.items()}}


def statistics(values: torch.Tensor) -> dict[str, float]:
    return {"median": float(np.median(values.numpy())), "largest": float(values.max())}


def row(name: str, entry: dict) -> list[str]:
    """A line of the table."""
    spread, prediction = entry["of_spread"], entry["of_prediction"]
    shown = (spread["random"]["median"], spread["random_largest"]["largest"], spread["optimised"]["median"],
             spread["optimised"]["largest"], spread["site"]["largest"], prediction["random"]["median"],
             prediction["optimised"]["median"])
    return [name, str(entry["parameters"]), *(f"{value:.2g}" for value in shown)]


def draw(path: Path, found: dict) -> None:
    """The drift of each configuration over its label, by the largest random and the optimised transformation."""
    from matplotlib.figure import Figure

    path.parent.mkdir(exist_ok=True)
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    panel = figure.subplots()
    for color, (name, entry) in zip(COLORS, found.items(), strict=False):
        for kind, face, words in (("random_largest", "none", "random"), ("optimised", color, "optimised")):
            drifts = np.maximum(np.array(entry["drifts"][kind]) / entry["spread"], 1e-17)  # 0 has no logarithm
            panel.plot(entry["labels"], drifts, "o", color=color, markerfacecolor=face, markersize=4, label=f"{name}, {words}")
    panel.set(yscale="log", xlabel="Re tr W / Nc, lattice average", ylabel="drift of y / spread of labels")
    panel.grid(axis="y", alpha=0.25)
    panel.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(guarded(main))
