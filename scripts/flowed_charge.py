#!/usr/bin/env python3
"""The topological charge along the gradient flow, by trained networks and by plaquettes: a table for docs/results/lcnn_charge.md.

    .venv/bin/python scripts/flowed_charge.py exact=runs/a published=runs/b -o runs/flowed_charge.json

NAME=DIRECTORY of `slhmc train` with label = "topological_charge". A configuration is made by the heat bath of the first card and
flows by the Wilson flow; at each flow time the networks, as they are, say its charge: sum over sites of y / data.scale.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from commands import guarded
from figures import COLORS
from pages import filled, markdown

from slhmc.backend import Device, open_device
from slhmc.errors import InputError
from slhmc.lattice import GaugeField, Lattice
from slhmc.learning.datasets import ChainMaker, Part, pack_links
from slhmc.learning.models import trained_model
from slhmc.networks.lcnn import LinkBatch
from slhmc.networks.lcnn.loops import topological_charge_density
from slhmc.observables.gradient_flow import FiveLoopCharge, GradientFlow
from slhmc.runcard import RunCard


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("networks", nargs="+", help="NAME=DIRECTORY of a training")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file of all numbers")
    parser.add_argument("--page", type=Path, help="Markdown page whose table `flow` and figure are replaced")
    parser.add_argument("--extent", type=int, nargs=4, default=(24, 24, 24, 8), metavar="SITES")
    parser.add_argument("--beta", type=float, default=2.4)
    parser.add_argument("--sweeps", type=int, default=200, help="of the heat bath, from a hot start")
    parser.add_argument("--times", type=float, nargs="+", default=(0.0, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    device = open_device("cpu")
    models = {name: trained_model(Path(directory) / "weights.h5") for name, _, directory in
              (network.rpartition("=") for network in options.networks)}
    for name, (_, card) in models.items():
        if card.data.label != "topological_charge":
            raise InputError(f'{name}: a network of label = "{card.data.label}" found, "topological_charge" expected')
    U = thermal_links(next(iter(models.values()))[1], options, device)
    rows = charges(U, models, options.times, device)
    told = {"extent": list(options.extent), "beta": options.beta, "sweeps": options.sweeps, "seed": options.seed, "rows": rows}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(told, indent=1))
    lines = table(rows, list(models))
    if options.page:
        options.page.write_text(filled(options.page.read_text(), {"flow": lines}))
        draw(options.page.parent / "images" / f"{options.page.stem}_flow.png", rows, list(models))
    print(lines)
    return 0


def thermal_links(card: RunCard, options: argparse.Namespace, device: Device) -> GaugeField:
    """One configuration, by the update of the card."""
    data = card.data.model_copy(update={"betas": (options.beta,), "test": 1, "thermalization": options.sweeps - 1, "spacing": 1,
                                        "seed": options.seed})
    extent = tuple(options.extent)
    (links,) = ChainMaker(card.model_copy(update={"data": data}), Part("test", extent), device).make(0, lambda: False)
    U = GaugeField(Lattice(extent, device), card.lattice.colors)
    U.scatter_reals(links.transpose(2, 0, 1).reshape(*extent[::-1], -1))
    U.changed()
    return U


@torch.no_grad()
def charges(U: GaugeField, models: dict, times, device: Device) -> list[dict[str, float]]:
    """Q at each flow time."""
    flow, five_loops, rows = GradientFlow(U, tolerance=1e-6), FiveLoopCharge(U.lattice, U.colors), []
    for time in times:
        flow.advance(time)
        batch = LinkBatch(device, pack_links(U)[None], U.lattice.extent, U.colors)
        row = {"time": time, "plaquettes": float(topological_charge_density(batch).sum()),
               "five_loops": float(five_loops.measure(U))}
        for name, (model, card) in models.items():
            row[name] = float(model(batch).sum()) / card.data.scale
        rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    return rows


def table(rows: list[dict[str, float]], names: list[str]) -> str:
    """What networks say is shown as its difference from the charge by plaquettes, which they have learned."""
    return markdown(["flow time", "by plaquettes", *(f"{name}, minus that" for name in names), "by five loops"],
                    [[f"{row['time']:g}", f"{row['plaquettes']:.5f}",
                      *(f"{row[name] - row['plaquettes']:.1e}" for name in names), f"{row['five_loops']:.5f}"] for row in rows])


def draw(path: Path, rows: list[dict[str, float]], names: list[str]) -> None:
    """The charge along the flow, and below how far networks are from what they have learned."""
    from matplotlib.figure import Figure

    path.parent.mkdir(exist_ok=True)
    figure = Figure(figsize=(6.4, 5.2), layout="constrained")
    charge, difference = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    times = [row["time"] for row in rows]
    charge.plot(times, [row["five_loops"] for row in rows], "k--", linewidth=1.2, label="five loops")
    charge.plot(times, [row["plaquettes"] for row in rows], "k-", linewidth=1.2, label="plaquettes")
    for color, marker, name in zip(COLORS, "os^vD", names, strict=False):
        charge.plot(times, [row[name] for row in rows], marker, color=color, markerfacecolor="none", label=name)
        off = [max(abs(row[name] - row["plaquettes"]), 1e-16) for row in rows]  # 0 has no logarithm
        difference.plot(times, off, f"-{marker}", color=color, markerfacecolor="none")
    charge.set(ylabel="topological charge")
    charge.legend(fontsize=8)
    difference.set(yscale="log", xlabel="flow time / a^2", ylabel="|network - plaquettes|")
    difference.grid(axis="y", alpha=0.25)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(guarded(main))
