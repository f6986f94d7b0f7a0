#!/usr/bin/env python3
"""Figures of docs/results/learned_flow.md: one link of SU(2), error against cost, charges.

    .venv/bin/python scripts/flow_figures.py --link runs/a/train --cost runs/flow_cost.json -o docs/results/images

--link: a training with label = "square_trace_flow"; learned_flow_link.png has the errors of its test links against tr U(0), and
flows of some of them; with --page its table `link` too. --cost: what flow_cost.py wrote; learned_flow_cost.png has errors of
links against time, a panel for each lattice and flow time, learned_flow_charge.png the charges behind learned flows against
those of links flowed all the way.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from commands import guarded
from flow_cost import FAMILIES
from matplotlib.figure import Figure
from pages import filled, markdown

from slhmc.backend import open_device
from slhmc.errors import InputError
from slhmc.learning.datasets import parts
from slhmc.learning.evaluation import Labelled
from slhmc.learning.flows import square_trace_flow
from slhmc.learning.models import trained_model
from slhmc.networks.lcnn import LinkBatch
from slhmc.runcard import load_card

STARTS = (-0.95, -0.6, -0.3, -0.1, -0.03, 0.03, 0.1, 0.3, 0.6, 0.95)  # tr U(0) / 2 of the flows that are shown
MARKS = {"runge_kutta": "s", "euler": "^", "chebyshev": "v"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--link", type=Path, help="directory of a training")
    parser.add_argument("--cost", type=Path, help="JSON file of flow_cost.py")
    parser.add_argument("--lattices", nargs="+", help="of the cost's panels; all if left out")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the images")
    parser.add_argument("--page", type=Path, help="Markdown page whose table `link` is replaced, with --link")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    figures = {}
    if options.link:
        figures["link"] = link_figure(options.link)
        lines = link_table(json.loads((options.link / "results.json").read_text()), options.link)
        print(lines)
        if options.page:
            options.page.write_text(filled(options.page.read_text(), {"link": lines}))
    if options.cost:
        found = json.loads(options.cost.read_text())
        figures |= {"cost": cost_figure(found, options.lattices), "charge": charge_figure(found)}
    for name, figure in figures.items():
        if figure is not None:
            figure.savefig(options.output / f"learned_flow_{name}.png", dpi=100)
            print(options.output / f"learned_flow_{name}.png")
    return 0


def link_table(results: dict, directory: Path) -> str:
    """Errors of a flow of single links at the time of the training and later, all and by |tr U(0)| / 2."""
    flow_time = load_card(directory / "card.toml").data.flow_time
    entry = next(iter(results["test"].values()))
    times = {f"{flow_time:g}, that of the training": entry, **entry.get("later", {})}
    bins = [f"{edge['from']:g} to {edge['to']:g}" for edge in entry["bins"]]
    heads = ["t", "MSE per link", "the same of U(0)", "largest link error", "wrong pole", *(f"MSE, {edges}" for edges in bins)]
    rows = [[name, *(f"{numbers[key]:.2g}" for key in ("mse_site", "mse_start", "largest_link_error", "wrong_pole")),
             *(f"{edge['mse']:.1e}" for edge in numbers["bins"])]
            for name, numbers in times.items()]
    return markdown(heads, rows)


@torch.no_grad()
def link_figure(directory: Path) -> Figure:
    """Left: |U - U*| of each test link against tr U(0) / 2, at the time of the training and the last later one; right: tr U(t) /
    2 of some links, exact in grey.
    """
    model, card = trained_model(directory / "weights.h5")
    if card.data.label != "square_trace_flow":
        raise InputError(f'{directory}: label = "{card.data.label}" found, "square_trace_flow" expected with --link')
    data, device = Path(card.data.directory) if card.data.directory else directory / "data", open_device("cpu")
    figure = Figure(figsize=(10, 4), layout="constrained")
    left = figure.add_subplot(1, 2, 1, xlabel="tr U(0) / 2", ylabel="|U(t) - U*(t)|", yscale="log")
    for time, color in zip((card.data.flow_time, *card.data.later_times[-1:]), ("C0", "C3"), strict=False):
        batch, labels = Labelled(card, parts(card)[2], data, device, "double", time).batch(slice(None))
        squares = (model(batch, time) - labels).square().unflatten(-1, (batch.dimensions, -1)).sum(-1) / model.norm**2 * 2
        traces = batch.links_of_samples()[:, :, 0].transpose(1, 2)
        left.plot(traces.ravel(), squares.sqrt().ravel(), ".", color=color, markersize=2, label=f"t = {time:g}")
    left.legend(markerscale=4)
    longest = max(card.data.flow_time, *card.data.later_times, 0)
    right = figure.add_subplot(1, 2, 2, xlabel="t", ylabel="tr U(t) / 2")
    times = np.linspace(0, longest, 4 * model.flow.steps + 1)
    start = starts()
    learned = [start if time == 0 else model.flow.links(LinkBatch(device, start, (2, 2), 2), time).numpy() for time in times]
    traces = [links.reshape(len(STARTS), -1)[:, 0] for links in learned]
    exact = [square_trace_flow(start, time)[:, 0, 0, 0] for time in times]
    right.plot(times, np.array(exact), color="0.7", linewidth=3)
    right.plot(times, np.array(traces), color="C0", linewidth=1)
    right.axvline(card.data.flow_time, color="0.5", linestyle=":")
    return figure


def starts() -> np.ndarray:
    """A lattice of 2 x 2 equal links for each of STARTS, packed."""
    direction = np.array([1, 2, -2]) / 3
    rows = [[x, *(np.sqrt(1 - x * x) * direction)] for x in STARTS]
    return np.tile(np.array(rows)[:, None, :, None], (1, 2, 1, 4))


def cost_figure(found: dict, lattices: list[str] | None) -> Figure | None:
    """Error of links against milliseconds: learned flows, and what was tried of each family."""
    panels: dict[tuple, dict] = {}
    for flow, entries in found.items():
        for lattice, entry in entries.items():
            if entry["label"] == "flowed_links" and (lattices is None or lattice in lattices):
                panels.setdefault((lattice, entry["time"]), {})[flow] = entry
    if not panels:
        return None
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.6 * columns, 3.8 * rows), layout="constrained")
    for number, ((lattice, time), entries) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(rows, columns, number, xlabel="ms a configuration", ylabel="|U - U*|² a link", xscale="log",
                                  yscale="log", title=f"{lattice}, t = {time:g}")
        for family, mark in MARKS.items():
            tried = {point["steps"]: point for entry in entries.values() for point in entry.get(f"{family}_tried", ())}
            points = [tried[steps] for steps in sorted(tried) if tried[steps]["error"] < 1]
            axes.plot([point["milliseconds"] for point in points], [point["error"] for point in points], mark, color="0.5",
                      markersize=5, label=FAMILIES[family])
        for flow, entry in entries.items():
            axes.plot(entry["learned"]["milliseconds"], entry["learned"]["error"], "*", markersize=13, label=flow)
        axes.legend(fontsize="x-small")
    return figure


def charge_figure(found: dict) -> Figure | None:
    """Q of the learned flows' ends against Q*, a panel for each lattice."""
    entries = [(flow, lattice, entry) for flow, lattices in found.items() for lattice, entry in lattices.items()
               if entry["label"] == "flowed_charge"]
    lattices = list(dict.fromkeys(lattice for _, lattice, _ in entries))
    if not lattices:
        return None
    figure = Figure(figsize=(4.6 * len(lattices), 4), layout="constrained")
    for number, lattice in enumerate(lattices, 1):
        axes = figure.add_subplot(1, len(lattices), number, xlabel="Q*", ylabel="Q", title=lattice)
        shown = [(flow, entry) for flow, place, entry in entries if place == lattice]
        for flow, entry in shown:
            axes.plot(entry["wanted"], entry["learned"]["charges"], ".", label=flow)
        largest = max(1.5, *(abs(charge) for _, entry in shown for charge in entry["wanted"]))
        axes.plot([-largest, largest], [-largest, largest], color="0.7", zorder=0)
        axes.legend(fontsize="x-small")
    return figure


if __name__ == "__main__":
    sys.exit(guarded(main))
