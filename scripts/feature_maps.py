#!/usr/bin/env python3
"""Draw what the first layers of a trained network see of a configuration of fluxes, beside the places where its flux is violated.

    .venv/bin/python scripts/feature_maps.py EQ=RUN ST=RUN FL=RUN -o docs/results/images/scalar_detection_maps.png

RUN is a directory of `slhmc train` on violations; all have the same data. The configuration is the first violated one of the
test on the lattice of the training. A row has the maps of a network's first convolution that stand out most at the violations,
and its last map before the end of the lattice, summed over channels by magnitude. The same configuration shifted by one site
stands beside it in the last column: maps of an equivariant network shift with it.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from commands import guarded

from slhmc.backend import HostDevice
from slhmc.learning.flux_data import flux_parts
from slhmc.learning.flux_task import FluxSamples
from slhmc.learning.models import trained_model
from slhmc.scalar import divergence

MAPS, DOTS = 3, 120


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", metavar="NAME=RUN")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    named = [run.partition("=")[::2] for run in options.runs]
    networks = {name: trained_model(Path(run) / "weights.h5") for name, run in named}
    card = next(iter(networks.values()))[1]
    fluxes = violated(card, Path(card.data.directory or Path(named[0][1]) / "data"))
    rows = {name: maps(model, fluxes) for name, (model, _) in networks.items()}
    draw(options.output, fluxes, rows)
    print(f"{options.output}: {', '.join(rows)}")
    return 0


def violated(card, directory: Path) -> torch.Tensor:
    """One configuration, [1, channel, x, t]."""
    part = next(part for part in flux_parts(card)[2:] if part.extent == tuple(card.lattice.extent))
    samples = FluxSamples(card, part, directory, HostDevice(), "double")
    return samples.batch([int(np.flatnonzero(samples.open_worms)[0])])[0]


def violations(fluxes: torch.Tensor) -> np.ndarray:
    """div k, [x, t]."""
    return divergence(fluxes[0, :2].numpy().transpose(2, 1, 0)).T


@torch.no_grad()
def maps(model, fluxes: torch.Tensor) -> list[np.ndarray]:
    """MAPS maps of the first convolution, the last map, and that of the shifted configuration."""
    def on_lattice(field):
        return [found[0].numpy() for found in model.fields(field) if found.ndim == 4]
    found, shifted = on_lattice(fluxes), on_lattice(fluxes.roll(1, 2))
    first, places = found[1], violations(fluxes) != 0
    if first.shape[1:] != places.shape:
        order = range(len(first))
    else:
        order = np.argsort([-(abs(one[places]).mean() - abs(one[~places]).mean()) / (one.std() + 1e-12) for one in first])
    return [*(first[index] for index in list(order)[:MAPS]), abs(found[-1]).sum(0), abs(shifted[-1]).sum(0)]


def draw(path: Path, fluxes: torch.Tensor, rows: dict[str, list[np.ndarray]]) -> None:
    from matplotlib.figure import Figure

    path.parent.mkdir(parents=True, exist_ok=True)
    heads = [*(f"first layer, map {number}" for number in range(1, MAPS + 1)), "last map", "last map, shifted by a site"]
    figure = Figure(figsize=(2.0 * (len(heads) + 1), 2.1 * len(rows) + 0.4), layout="constrained")
    panels = figure.subplots(len(rows), len(heads) + 1, squeeze=False)
    for number, (line, (name, found)) in enumerate(zip(panels, rows.items(), strict=True)):
        shown = [("div k", violations(fluxes)), *zip(heads, found, strict=True)]
        for panel, (title, values) in zip(line, shown, strict=True):
            signed = title == "div k"
            limit = 1 if signed else None
            panel.imshow(values.T, origin="lower", cmap="RdBu" if signed else "viridis", vmin=limit and -limit, vmax=limit)
            panel.set(xticks=[], yticks=[])
            if not number:
                panel.set_title(title, fontsize=8)
        line[0].set_ylabel(name)
    figure.savefig(path, dpi=DOTS)


if __name__ == "__main__":
    sys.exit(guarded(main))
