#!/usr/bin/env python3
"""Run the rows of a study, train and sample, and put their tables into its page.

    .venv/bin/python scripts/study.py docs/results/acceptance.toml -o runs/acceptance

A study is a TOML file: [columns], a list for each table, and [[rows]] with `name`, `table`, `card`, `set` (keys of the card),
and where the guide is trained first `train` (card of the training) and `train_set`; cards are in run_cards/. [all] has keys that
every row is given, [quick] those that shorten every row with --quick. A row that is a regression has `fit` (card of `slhmc
train`), `set` and `seeds` in place of card and train, and perhaps `published`, more columns of its table, `family` and `samples`,
for figures; rows with the same `data` share the data sets in OUTPUT/data/DATA, and the table NAME_seeds has every seed
(scripts/fits.py names its columns), and [[figures]] are drawn (scripts/figures.py, scripts/flux_figures.py). Rows that are there
already are not run again, those that were interrupted go on, those that were begun with other keys are refused. The page is the
Markdown file beside the study; its table NAME stands between the lines `<!-- table NAME -->` and `<!-- end -->`.
"""

import argparse
import concurrent.futures
import json
import re
import sys
import tomllib
from pathlib import Path

import fits
import flux_figures  # noqa: F401  kinds of figures
from commands import CARDS, guarded, place_of, slhmc
from figures import draw_figures
from pages import filled, markdown

from slhmc.analysis.notation import parenthesis
from slhmc.io import load_weights
from slhmc.report import compare

HEADINGS = {
    "trajectories": "trajectories", "seed": "seed", "acceptance": "acceptance", "predicted_acceptance": "erfc(sqrt(<dH>)/2)",
    "delta_h": "<dH>", "exp_minus_delta_h": "<exp(-dH)>", "milliseconds": "ms a trajectory", "iterations": "solver iterations",
    "plaquette": "plaquette", "plaquette_tau": "its tau_int", "plaquette_cost": "ms an independent plaquette",
    "chiral_condensate": "condensate", "chiral_condensate_tau": "its tau_int",
    "chiral_condensate_cost": "ms an independent condensate", "polyakov_loop_t": "Polyakov loop t",
    "polyakov_loop_t_tau": "its tau_int", "weights": "weights", "held_out": "held-out loss",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, help="directory of the runs")
    parser.add_argument("--quick", action="store_true", help="shorten every row as [quick] says")
    parser.add_argument("--jobs", type=int, default=1, help="rows, and seeds of a row, side by side")
    parser.add_argument("--tables", action="store_true", help="run nothing: the tables of what is there")
    parser.add_argument("--only", default="", help="regular expression of NAME or of TABLE: NAME; the page stays as it is")
    options = parser.parse_args()
    study = tomllib.loads(options.study.read_text())
    extra = [study.get("all", {}), *[study.get("quick", {})] * options.quick]
    rows = [row for row in study["rows"] if re.search(options.only, row["name"])
            or re.search(options.only, f"{row['table']}: {row['name']}")]
    options.output.mkdir(parents=True, exist_ok=True)
    if not options.tables:
        fits.train_all([fit for row in rows if "fit" in row for fit in fits.fits_of(row, options.output, extra)], options.jobs)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(lambda row: run_row(row, options.output, extra, not options.tables), rows))
    (options.output / "rows.json").write_text(json.dumps(results, indent=1))
    texts = tables_of(study["columns"], rows, results)
    page = options.study.with_suffix(".md")
    if page.exists() and not (options.quick or options.only):
        page.write_text(filled(page.read_text(), texts))
        draw_figures(options.study, study.get("figures", []), rows, results)
    print("\n\n".join(f"{name}\n\n{lines}" for name, lines in texts.items()))
    return 0


def tables_of(columns: dict[str, list[str]], rows: list[dict], results: list[dict]) -> dict[str, str]:
    """Every table as Markdown."""
    texts = {}
    for name in columns:
        chosen = [(row, entry) for row, entry in zip(rows, results, strict=True) if row["table"] == name]
        entries = [entry for _, entry in chosen]
        texts[name] = table(entries, columns[name])
        if any("fit" in row for row, _ in chosen):
            texts[f"{name}_seeds"] = fits.seed_table(entries)
    return texts


def run_row(row: dict, output: Path, extra: list[dict], begin: bool = True) -> dict:
    """Train and sample one row; its numbers as text. begin: False for the numbers of what is there."""
    found = {"name": row["name"]} | row.get("published", {}) | {key: str(row[key]) for key in ("family", "samples") if key in row}
    if "fit" in row:
        return found | fits.numbers(fits.fits_of(row, output, extra))
    place = place_of(row, output)
    settings = [key for keys in (row, *extra) for key in keys.get("set", [])]
    if "train" in row:
        train = place / "train"
        if begin:
            slhmc("train", CARDS / row["train"], train, [key for keys in (row, *extra) for key in keys.get("train_set", [])])
        settings.append(f"guide.network={(train / 'weights.h5').resolve()}")
        weights = load_weights(train / "weights.h5")
        found["weights"] = ", ".join(f"{value:.4f}" for value in weights.parameters.values())
    if begin:
        slhmc("run", CARDS / row["card"], place / "run", settings)
    return found | numbers(place / "run")


def numbers(directory: Path) -> dict[str, str]:
    """What tables can show of a run."""
    comparison = compare([directory])
    result, card = comparison.result, comparison.runs[0].card
    run = result["runs"][0]
    found = {"trajectories": str(run["trajectories"]), "seed": str(card.run.seed),
             "predicted_acceptance": text(run["predicted_acceptance"]["mean_delta_h"]),
             "milliseconds": f"{1e3 * run['seconds_per_trajectory']['median']:.3g}",
             "iterations": text(run["iterations_per_trajectory"])}
    found |= {name: text(run[name]) for name in ("acceptance", "delta_h", "exp_minus_delta_h")}
    for name, (entry,) in result["observables"].items():
        found[name] = text(entry)
        found[f"{name}_tau"] = parenthesis(entry["tau_int_trajectories"], entry["tau_int_trajectories_error"])
        seconds = run["seconds_per_trajectory"]
        scale = 1e3 * seconds["median"] / seconds["mean"]  # others may have used the machine for a while
        costs = (entry["cost"], entry["cost_error"])
        found[f"{name}_cost"] = parenthesis(*(None if value is None else scale * value for value in costs))
    return found


def text(entry: dict) -> str:
    return parenthesis(entry["mean"], entry["error"])


def table(entries: list[dict], columns: list[str]) -> str:
    """A Markdown table of rows that have their numbers."""
    heads = [HEADINGS.get(name) or fits.heading(name) for name in columns]
    return markdown(["", *heads], ([entry["name"], *(entry.get(name, "-") for name in columns)] for entry in entries))


if __name__ == "__main__":
    sys.exit(guarded(main))
