#!/usr/bin/env python3
"""Fit x^3 and x^2 by networks with and without built-in oddness, and put tables and figure into docs/results/oddness.md.

    .venv/bin/python scripts/oddness.py

Two networks 1-128-32-1: tanh without biases, f(-x) = -f(x) whatever the weights are, and sigmoids with biases, which know no
symmetry. Points are on one side of 0, or on both. --page and --steps are for short trials. Two minutes on one core.
"""

import argparse
import statistics
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from figures import COLORS
from pages import filled, markdown
from torch import nn

PAGE = Path(__file__).resolve().parent.parent / "docs" / "results" / "oddness.md"
TARGETS = {"x^3": lambda x: x**3, "x^2": lambda x: x**2}
RANGES = {"0 to 1": (0.0, 1.0), "-1 to 1": (-1.0, 1.0)}  # of the points that are learned
NETWORKS = {"tanh, no biases": (nn.Tanh, False), "sigmoid, biases": (nn.Sigmoid, True)}
NODES, POINTS, RATE = (128, 32), 64, 3e-3
PARTS = {"-2 to -1": (-2.0, -1.0), "-1 to 0": (-1.0, 0.0), "0 to 1": (0.0, 1.0), "1 to 2": (1.0, 2.0)}  # of the test


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=4000, help="of Adam, all points in each")
    parser.add_argument("--seeds", type=int, default=5, help="networks of each kind")
    parser.add_argument("--page", type=Path, default=PAGE, help="Markdown page whose tables are replaced")
    options = parser.parse_args()
    torch.set_num_threads(1)
    curves = {(target, learned, name): [fitted(target, learned, name, seed, options.steps) for seed in range(options.seeds)]
              for target in TARGETS for learned in RANGES for name in NETWORKS}
    tables = {target: table({key[1:]: found for key, found in curves.items() if key[0] == target}, target) for target in TARGETS}
    options.page.write_text(filled(options.page.read_text(), tables))
    draw(options.page.parent / "images" / f"{options.page.stem}.png", curves)
    print("\n\n".join(f"{name}\n\n{lines}" for name, lines in tables.items()))
    return 0


def places() -> np.ndarray:
    """Where networks are looked at: symmetric around 0."""
    return np.linspace(-2, 2, 401)


def network(name: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    activation, bias = NETWORKS[name]
    widths, layers = (1, *NODES, 1), []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after, bias=bias, dtype=torch.float64), activation()]
    return nn.Sequential(*layers[:-1])


def fitted(target: str, learned: str, name: str, seed: int, steps: int) -> np.ndarray:
    """What a network says at `places` after its fit."""
    net = network(name, seed)
    x = torch.linspace(*RANGES[learned], POINTS, dtype=torch.float64)[:, None]
    y = TARGETS[target](x)
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        (net(x) - y).square().mean().backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return net(torch.from_numpy(places())[:, None])[:, 0].numpy()


def table(curves: dict[tuple[str, str], list[np.ndarray]], target: str) -> str:
    """Medians over networks: root mean square errors of each part of the test, and how far from odd they are."""
    x, rows = places(), []
    exact = TARGETS[target](x)
    for (learned, name), found in curves.items():
        cells = [f"{statistics.median(float(np.sqrt(np.mean((f - exact)[(x >= a) & (x <= b)] ** 2))) for f in found):.1e}"
                 for a, b in PARTS.values()]
        rows.append([name, learned, *cells, f"{statistics.median(float(abs(f + f[::-1]).max()) for f in found):.1e}"])
    return markdown(["network", "learned from", *(f"error {part}" for part in PARTS), "largest f(x) + f(-x)"], rows)


def draw(path: Path, curves: dict[tuple[str, str, str], list[np.ndarray]]) -> None:
    """A panel for each target and range; every network."""
    from matplotlib.figure import Figure

    path.parent.mkdir(exist_ok=True)
    x, figure = places(), Figure(figsize=(9.6, 6.4), layout="constrained")
    panels = figure.subplots(len(TARGETS), len(RANGES), sharex=True)
    for line, target in zip(panels, TARGETS, strict=True):
        for panel, learned in zip(line, RANGES, strict=True):
            panel.axvspan(*RANGES[learned], color="0.93", label="learned from")
            panel.plot(x, TARGETS[target](x), "k--", linewidth=1.2, label=target)
            for color, name in zip(COLORS, NETWORKS, strict=False):
                for number, values in enumerate(curves[target, learned, name]):
                    panel.plot(x, values, color=color, linewidth=0.9, alpha=0.8, label=name if not number else None)
            panel.set(title=f"{target} from {learned}", ylim=(-4, 4))
            panel.grid(alpha=0.25)
    panels[0, 0].legend(fontsize=8)
    for panel in panels[-1]:
        panel.set_xlabel("x")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
