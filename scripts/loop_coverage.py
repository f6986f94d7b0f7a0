#!/usr/bin/env python3
"""Count the traced Wilson loops that stacks of L-CB layers cover, and put the tables into docs/results/lcnn_loops.md.

    .venv/bin/python scripts/loop_coverage.py
"""

import sys
from pathlib import Path

from figures import COLORS
from pages import filled, markdown

from slhmc.networks.lcnn.coverage import by_length, covered_loops, loops_of_lattice

PAGE = Path(__file__).resolve().parent.parent / "docs" / "results" / "lcnn_loops.md"
STACKS = {"1x1": [1], "1x2 small": [2], "1x2 medium": [3], "1x2 large": [4],
          "2x2 small": [2, 2], "2x2 medium": [3, 3], "2x2 large": [4, 4]}
KINDS = {"arxiv_v1": ("arxiv_v1", False), "prl_2022": ("prl_2022", False), "symmetric": ("arxiv_v1", True)}
PUBLISHED = {"1x1": 3, "1x2 small": 11, "1x2 medium": 19, "1x2 large": 27, "2x2 small": 621,
             "2x2 medium": 4985, "2x2 large": 16725}


def main() -> int:
    loops = {(stack, kind): covered_loops(kernels, convention, symmetric)
             for stack, kernels in STACKS.items() for kind, (convention, symmetric) in KINDS.items()}
    bare = covered_loops(STACKS["1x1"], local_term=False)
    totals = [["1x1, no transported list", "1", str(PUBLISHED["1x1"]), *[str(len(bare))] * len(KINDS), length_of(bare)]]
    for stack, kernels in STACKS.items():
        found = [loops[stack, kind] for kind in KINDS]
        totals.append([stack, ", ".join(map(str, kernels)), "-" if stack == "1x1" else str(PUBLISHED[stack]),
                       *(str(len(words)) for words in found), length_of(found[0])])
    tables = {"totals": markdown(["net", "kernel sizes", "published", *KINDS, "longest"], totals)}
    tables |= {kind: lengths({stack: loops[stack, kind] for stack in STACKS}) for kind in KINDS}
    PAGE.write_text(filled(PAGE.read_text(), tables))
    draw(PAGE.parent / "images" / "lcnn_loops.png", {stack: by_length(loops[stack, "arxiv_v1"]) for stack in STACKS})
    print("\n\n".join(f"{name}\n\n{lines}" for name, lines in tables.items()))
    return 0


def length_of(words: set[str]) -> str:
    """Of the longest loop."""
    return str(max(map(len, words)))


def lengths(loops: dict[str, set[str]]) -> str:
    """A table of loops by length, a row for each length, beside all loops that the lattice has."""
    counts = {stack: by_length(words) for stack, words in loops.items()}
    longest = max(length for count in counts.values() for length in count)
    lattice = {0: 1} | loops_of_lattice(longest)
    rows = [[str(length), *(str(count.get(length, 0)) for count in counts.values()), str(lattice[length])] for length in lattice]
    return markdown(["length", *loops, "all loops of Z^2"], rows)


def draw(path: Path, counts: dict[str, dict[int, int]]) -> None:
    """Loops of each length that stacks cover, beside all of the lattice."""
    from matplotlib.figure import Figure

    path.parent.mkdir(exist_ok=True)
    longest = max(length for count in counts.values() for length in count)
    lattice = {length: count for length, count in loops_of_lattice(longest).items() if length and count < 1e7}
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    panel = figure.subplots()
    panel.plot(list(lattice), list(lattice.values()), "k--", linewidth=1.2, label="all of the lattice")
    for number, (stack, count) in enumerate(counts.items()):
        shown = {length: value for length, value in sorted(count.items()) if length and value}
        panel.plot(list(shown), list(shown.values()), "-o", color=COLORS[number % len(COLORS)], markersize=4, label=stack)
    panel.set(yscale="log", xlabel="length", ylabel="loops")
    panel.grid(axis="y", alpha=0.25)
    panel.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
