"""Figures of studies of fits on fluxes, as scripts/figures.py has them for others.

`kind = "counts"`: loss over the number of open worms, median over couplings and seeds, a panel for each of `extents`, a line for
each row. `kind = "samples"`: mean loss at `extent` over the training samples of rows (their `samples`), a line for each `family`;
every seed, and medians. `kind = "transition"`: n and |phi|^2 over mu at `extent`, of the data and of what networks say, a line
for each of `rows`: means over seeds.
"""

import statistics
from pathlib import Path

import numpy as np
from figures import COLORS, DOTS, KINDS, panels_of

MARKS = ("o", "s", "^", "D", "v", "P", "X")
OBSERVABLES = {"density": "n", "phi_squared": "$|\\phi|^2$"}


def draw_counts(path: Path, figure: dict, tables: dict[str, list[dict]]) -> None:
    image, panels = panels_of(len(figure["extents"]))
    entries = [entry for table in tables.values() for entry in table if entry.get("seeds")]
    for panel, extent in zip(panels, figure["extents"], strict=True):
        for number, entry in enumerate(entries):
            losses: dict[int, list[float]] = {}
            for found in (found for seed in entry["seeds"] for found in seed["combinations"].values()):
                if found["extent"] == extent:
                    losses.setdefault(found["open_worms"], []).append(found["loss"])
            if losses:
                line = "-" if number < len(COLORS) else "--"  # colours begin again
                panel.plot(list(losses), [statistics.median(values) for values in losses.values()], line, linewidth=1,
                           marker=MARKS[number % len(MARKS)], markersize=3, color=COLORS[number % len(COLORS)],
                           label=entry["name"])
        panel.set(title=extent, yscale="log", xlabel="open worms")
        panel.grid(axis="y", alpha=0.25)
    panels[0].set_ylabel("loss, median over couplings and seeds")
    panels[0].legend(fontsize=7, ncols=2)
    image.savefig(path, dpi=DOTS)


def draw_samples(path: Path, figure: dict, tables: dict[str, list[dict]]) -> None:
    image, panels = panels_of(len(figure["extents"]))
    entries = [entry for table in tables.values() for entry in table if entry.get("seeds")]
    families = list(dict.fromkeys(entry["family"] for entry in entries))
    for panel, extent in zip(panels, figure["extents"], strict=True):
        for color, family in zip(COLORS, families, strict=False):
            points = []
            for entry in entries:
                values = [seed["test"][extent]["loss_mean"] for seed in entry["seeds"] if extent in seed["test"]]
                if entry["family"] == family and values:
                    points.append((int(entry["samples"]), values))
            points.sort()
            for samples, values in points:
                panel.plot([samples] * len(values), values, ".", color=color, alpha=0.5, markersize=4)
            if points:
                panel.plot([samples for samples, _ in points], [statistics.median(values) for _, values in points], "-o",
                           color=color, markersize=3, linewidth=1, label=family)
        panel.set(title=extent, xscale="log", yscale="log", xlabel="training samples")
        numbers = sorted({int(entry["samples"]) for entry in entries})
        panel.set_xticks(numbers, [str(number) for number in numbers])
        panel.set_xticks([], minor=True)
        panel.grid(axis="y", alpha=0.25)
    panels[0].set_ylabel("mean loss")
    panels[0].legend(fontsize=8)
    image.savefig(path, dpi=DOTS)


def draw_transition(path: Path, figure: dict, tables: dict[str, list[dict]]) -> None:
    from matplotlib.figure import Figure

    image = Figure(figsize=(8.6, 3.4), layout="constrained")
    panels = image.subplots(1, len(OBSERVABLES))
    entries = [entry for table in tables.values() for entry in table if entry["name"] in figure["rows"] and entry.get("seeds")]
    for panel, (key, words) in zip(panels, OBSERVABLES.items(), strict=True):
        for color, entry in zip(COLORS, entries, strict=False):
            found = [[point for point in seed["combinations"].values() if point["extent"] == figure["extent"]]
                     for seed in entry["seeds"]]
            if not found[0]:
                continue  # a flattening network is not asked on other lattices
            mu = [point["mu"] for point in found[0]]
            said = np.array([[point[f"{key}_output"] for point in points] for points in found])
            if entry is entries[0]:
                panel.errorbar(mu, [point[f"{key}_label"] for point in found[0]], color="k", marker="x", linestyle="none",
                               yerr=[point[f"{key}_label_error"] for point in found[0]], label="data", markersize=5)
            panel.plot(mu, said.mean(0), "-", color=color, linewidth=1, label=entry["name"])
            panel.fill_between(mu, said.min(0), said.max(0), color=color, alpha=0.2, linewidth=0)
        panel.set(xlabel="$\\mu$", ylabel=words, title=figure["extent"])
        panel.grid(alpha=0.25)
    panels[0].legend(fontsize=8)
    image.savefig(path, dpi=DOTS)


KINDS.update(counts=draw_counts, samples=draw_samples, transition=draw_transition)
