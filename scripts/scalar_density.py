#!/usr/bin/env python3
"""Density of the complex scalar field against mu: tables and figure of docs/results/scalar_density.md from a run of one eta.

    .venv/bin/python scripts/scalar_density.py runs/density_60x4 --page docs/results/scalar_density.md

Table `density` has n and |phi|^2 of each mu; table `gaps` the differences E(q+1) - E(q) of the lowest energies with q particles:
the charge of a chain is an integer q with P(q) = Z_q exp(mu q Nt), so mu - log(P(q+1) / P(q)) / Nt is the same number at every
mu, log(Z_q / Z_(q+1)) / Nt, which is that difference where Nt is large. --page also draws images/NAME_OF_PAGE.png beside it.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from commands import guarded
from figures import COLORS
from pages import filled, markdown

from slhmc.analysis import gamma_method_derived, parenthesis, rough, summarise_scalar
from slhmc.io import FluxChains
from slhmc.runcard import ScalarCard, load_card

LEAST = 0.02  # share of the measurements in each of the two sectors of a ratio


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="directory of a run")
    parser.add_argument("--page", type=Path, help="Markdown page whose tables and figure are replaced")
    options = parser.parse_args()
    extent = load_card(options.run / "card.toml", (), ScalarCard).lattice.extent
    rows = summarise_scalar(options.run)["couplings"]
    if len({row["eta"] for row in rows}) > 1:
        raise SystemExit(f"{options.run}: several values of eta found, one expected")
    gaps = all_gaps(FluxChains.open(options.run / "chain.h5"), extent)
    tables = {"density": density_table(rows), "gaps": gap_table(gaps)}
    print("\n\n".join(tables.values()))
    if options.page:
        options.page.write_text(filled(options.page.read_text(), tables))
        draw(options.page.parent / "images" / f"{options.page.stem}.png", rows, gaps, extent)
    return 0


def density_table(rows: list[dict]) -> str:
    cells = [[f"{row['mu']:g}", *(words for name in ("density", "phi_squared") for words in (
        parenthesis(row[name]["mean"], row[name]["error"]), rough(row[name]["tau_int"], row[name]["tau_int_error"])))]
        for row in rows]
    return markdown(["mu", "n", "tau_int", r"\|phi\|^2", "tau_int"], cells)


def all_gaps(chains: FluxChains, extent: tuple[int, int]) -> list[list[tuple[float, float, float]]]:
    """For q = 0, 1, ...: (mu, E(q+1) - E(q), its error) of each mu that has seen both sectors."""
    charges = np.rint(chains.values("density")[chains.sweeps > chains.thermalization] * extent[0]).astype(int)
    gaps = []
    for q in range(charges.max()):
        found = [(mu, *gap) for mu in np.unique(chains.couplings["mu"])
                 if (gap := gap_at(mu, charges[:, chains.couplings["mu"] == mu], q, extent[1])) is not None]
        if not found:
            break
        gaps.append(found)
    return gaps


def gap_at(mu: float, charges: np.ndarray, q: int, extent_t: int) -> tuple[float, float] | None:
    """mu - log(P(q+1) / P(q)) / Nt from charges [measurement, chain], with its error by the Gamma method."""
    sectors = [charges == number for number in (q, q + 1)]
    if min(sector.mean() for sector in sectors) < LEAST:
        return None
    estimate = gamma_method_derived(lambda here, above: mu - np.log(above / here) / extent_t,
                                    [list(sector.T.astype(float)) for sector in sectors])
    return estimate.mean, estimate.error


def gap_table(gaps: list[list[tuple[float, float, float]]]) -> str:
    rows = []
    for q, found in enumerate(gaps):
        mu, values, errors = np.array(found).T
        mean, error = combined(values, errors)
        square = (((values - mean) / errors)**2).sum() / max(len(values) - 1, 1)
        rows.append([str(q), f"{mu.min():g} to {mu.max():g}", str(len(mu)), parenthesis(mean, error),
                     "-" if len(values) == 1 else f"{square:.2f}"])
    return markdown(["q", "mu", "values", "E(q+1) - E(q)", "chi^2/dof"], rows)


def combined(values: np.ndarray, errors: np.ndarray) -> tuple[float, float]:
    """Weighted mean and its error."""
    weights = errors**-2.0
    return float((weights * values).sum() / weights.sum()), float(weights.sum()**-0.5)


def draw(path: Path, rows: list[dict], gaps: list, extent: tuple[int, int]) -> None:
    """n, in particles, with the thresholds, and |phi|^2."""
    from matplotlib.figure import Figure

    path.parent.mkdir(exist_ok=True)
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    panels = figure.subplots(2, 1, sharex=True)
    mu = [row["mu"] for row in rows]
    shown = (("density", extent[0], "particles, n Nx"), ("phi_squared", 1, "|φ|²"))
    for panel, (name, factor, label) in zip(panels, shown, strict=True):
        entries = [row[name] for row in rows]
        panel.errorbar(mu, [entry["mean"] * factor for entry in entries], [(entry["error"] or 0) * factor for entry in entries],
                       fmt="o", markersize=3, color=COLORS[0])
        panel.set_ylabel(label)
        panel.grid(alpha=0.25)
        for number, found in enumerate(gaps):
            panel.axvline(combined(*np.array(found).T[1:])[0], color=COLORS[1], linewidth=0.8, linestyle="--",
                          label="E(q+1) − E(q)" if number == 0 else None)
    panels[1].set_xlabel("μ")
    panels[0].legend(fontsize=8)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    sys.exit(guarded(main))
