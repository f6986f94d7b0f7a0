"""Figures of studies of fits, beside their pages: images/STUDY_NAME.png for each [[figures]] of the study.

`kind = "seeds"`: `number` (such as "mse_average.8x8") of every seed, a panel for each of `tables`, a column for each row; `lines`
are levels to compare with, one for each table. `kind = "lattices"`: `number` on each lattice of the test, every seed, over
that on the first lattice.
"""

import statistics
from pathlib import Path
from textwrap import wrap

from fits import NUMBERS, known

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255")  # Okabe and Ito, and Tol's wine
SIZE, DOTS = (3.1, 3.2), 120


def draw_figures(study: Path, figures: list[dict], rows: list[dict], results: list[dict]) -> list[Path]:
    """Draw what the study asks for; the files."""
    paths = []
    for figure in figures:
        path = study.parent / "images" / f"{study.stem}_{figure['name']}.png"
        path.parent.mkdir(exist_ok=True)
        entries = {table: [entry for row, entry in zip(rows, results, strict=True) if row["table"] == table]
                   for table in figure["tables"]}
        KINDS[figure["kind"]](path, figure, entries)
        paths.append(path)
    return paths


def panels_of(count: int):
    """A figure with that many panels side by side, one scale for all."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(4.4, SIZE[0] * count), SIZE[1]), layout="constrained")
    return figure, figure.subplots(1, count, sharey=True, squeeze=False)[0]


def draw_seeds(path: Path, figure: dict, tables: dict[str, list[dict]]) -> None:
    name, _, extent = figure["number"].partition(".")
    image, panels = panels_of(len(tables))
    for number, (panel, (table, entries)) in enumerate(zip(panels, tables.items(), strict=True)):
        for column, entry in enumerate(entries):
            values = sorted(found["test"][extent][name] for found in entry.get("seeds", []))
            width = 0.06 * (len(values) - 1)
            places = [column + width * (2 * k / max(1, len(values) - 1) - 1) / 2 for k in range(len(values))]
            panel.plot(places, values, "o", color=COLORS[0], markersize=4, alpha=0.8, label="a seed" if not column else None)
            if values:
                panel.hlines(statistics.median(values), column - 0.35, column + 0.35, COLORS[0], linewidth=1.5)
        for color, (words, levels) in zip(COLORS[1:], figure.get("lines", {}).items(), strict=False):
            panel.axhline(levels[number], color=color, linestyle="--", linewidth=1.2, label=words)
        panel.set(title=table, yscale="log", xlim=(-0.6, len(entries) - 0.4))
        names = ["\n".join(wrap(entry["name"], max(7, 42 // len(entries)))) for entry in entries]
        panel.set_xticks(range(len(entries)), names, fontsize=9)
        panel.grid(axis="y", alpha=0.25)
    panels[0].set_ylabel(f"{NUMBERS[name]}, {extent}")
    panels[0].legend(fontsize=8, loc="best")
    image.savefig(path, dpi=DOTS)


def draw_lattices(path: Path, figure: dict, tables: dict[str, list[dict]]) -> None:
    name = figure["number"]
    image, panels = panels_of(len(tables))
    for panel, (table, entries) in zip(panels, tables.items(), strict=True):
        for color, entry in zip(COLORS, entries, strict=False):
            found = [seed["test"] for seed in entry.get("seeds", [])]
            for test in found:
                values = [numbers[name] / next(iter(test.values()))[name] for numbers in test.values() if known(numbers[name])]
                panel.plot(list(test)[:len(values)], values, "-o", color=color, markersize=3, linewidth=0.7, alpha=0.6,
                           label=entry["name"] if test is found[0] else None)
        panel.set(title=table, xlabel="lattice of the test")
        panel.tick_params(axis="x", labelsize=8)
        panel.grid(axis="y", alpha=0.25)
        panel.legend(fontsize=8)
    panels[0].set_ylabel(f"{NUMBERS[name]} / that on the first lattice")
    image.savefig(path, dpi=DOTS)


KINDS = {"seeds": draw_seeds, "lattices": draw_lattices}
