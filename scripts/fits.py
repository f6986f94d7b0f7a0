"""Rows of a study that are regressions: `slhmc train` for each seed, all on the same data, and what tables show of them.

A column is `parameters`, `epochs`, `minutes` (medians), `never_trained`, or STATISTIC.NUMBER.EXTENT: `best` (of the seed with
the lowest validation loss), `median` or `worst` of a number in `results.json`, at that extent or extent and coupling of the
test: `median.mse_average.8x8`, `median.mse_site.8x8 beta 3.5`. A column of another name is what the row's `published` says.
"""

import json
import statistics
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

from commands import CARDS, Failed, place_of, slhmc
from pages import markdown

HEADINGS = {"parameters": "parameters", "epochs": "epochs", "minutes": "minutes", "never_trained": "never trained"}
ERRORS = {"mse_average": "MSE of averages", "mse_site": "MSE per site"}
NUMBERS = {**ERRORS, "label_variance_average": "variance of averaged labels",
           "label_variance_site": "variance of labels per site", "mse_start": "the same of U(0)",
           "largest_link_error": "largest link error", "plaquette_error": "error of the plaquette", "wrong_pole": "wrong pole",
           "loss_mean": "mean loss", "loss_median": "median loss", "accuracy": "accuracy",
           "accuracy_worst": "lowest accuracy of a combination", "accuracy_violated": "accuracy of violated",
           "accuracy_closed": "accuracy of closed",
           "charge_error": "error of Q", "same_integer": "same integer", "charge_variance": "variance of Q"}


@dataclass(frozen=True)
class Fit:
    """The training of a row with one seed."""

    seed: int
    card: Path
    directory: Path
    data: Path
    settings: list[str]

    @property
    def results(self) -> Path:
        """Written when a training is finished."""
        return self.directory / "results.json"

    @property
    def ran_away(self) -> Path:
        """Written when a loss was not finite."""
        return self.directory.parent / "ran_away.txt"

    def train(self) -> None:
        """Unless it is there; a training with other keys is refused. One that runs away is a result like others."""
        if self.ran_away.exists():
            return
        try:
            slhmc("train", self.card, self.directory, self.settings, self.results)
        except Failed as failure:
            last = (self.directory.parent / "train.txt").read_text().splitlines()[-1]
            if failure.returned != 3 or "run away" not in last:
                raise
            self.ran_away.write_text(last + "\n")


def fits_of(row: dict, output: Path, extra: list[dict]) -> list[Fit]:
    """One for each of the row's seeds."""
    seeds = next((keys["seeds"] for keys in reversed(extra) if "seeds" in keys), row["seeds"])
    data = (output / "data" / row.get("data", "data")).resolve()
    settings = [key for keys in (row, *extra) for key in keys.get("set", [])]
    return [Fit(seed, CARDS / row["fit"], place_of(row, output) / f"seed_{seed}" / "train", data,
                [*settings, f"data.directory={json.dumps(str(data))}", f"run.seed={seed}"]) for seed in seeds]


def train_all(fits: list[Fit], jobs: int) -> None:
    """Side by side; the first one of a data directory makes the data, and others that want them wait."""
    with ThreadPoolExecutor(jobs) as pool:
        for done in [pool.submit(fit.train) for fit in fits]:
            done.result()


def numbers(fits: list[Fit]) -> dict:
    """What tables can show of the fits that are finished; `seeds` has the results of each."""
    found = [json.loads(fit.results.read_text()) for fit in fits if fit.results.exists()]
    away = [fit.seed for fit in fits if fit.ran_away.exists()]
    if not found:
        return {"ran_away": away, "never_trained": f"{len(away)} of {len(away)}"} if away else {}
    best = min(found, key=lambda entry: entry["validation"])
    shown = {"parameters": str(best["parameters"]), "seeds": found, "ran_away": away,
             "never_trained": never_trained(found, len(away)),
             "epochs": f"{statistics.median(entry['epochs'] for entry in found):g}",
             "minutes": f"{statistics.median(entry['seconds'] for entry in found) / 60:.2g}"}
    for extent, entries in best["test"].items():
        for name in entries:
            values = [entry["test"][extent].get(name) for entry in found]
            if not all(map(known, values)):
                continue
            form = ".4f" if name.startswith("accuracy") else ".2g"
            shown[f"best.{name}.{extent}"] = f"{entries[name]:{form}}"
            shown[f"median.{name}.{extent}"] = f"{statistics.median(values):{form}}"
            shown[f"worst.{name}.{extent}"] = f"{max(values):{form}}"
    return shown


def known(value: Any) -> bool:
    """Whether it is a number: a network with one number a configuration has no error per site; bins of a flow are a list."""
    return isinstance(value, (int, float)) and not isnan(value)


def never_trained(found: list[dict], away: int) -> str:
    """Seeds that ran away, or whose error is above half of the variance of the labels, at the first extent: no better than
    their mean."""
    count = away
    for result in found:
        entry = next(iter(result["test"].values()))
        if "loss_mean" in entry:
            continue  # what a constant would lose is not known
        kind = "site" if known(entry.get("mse_site")) else "average"
        count += entry[f"mse_{kind}"] > entry[f"label_variance_{kind}"] / 2
    return f"{count} of {len(found) + away}"


def heading(column: str) -> str:
    """Of a column of these rows."""
    if column in HEADINGS or "." not in column:
        return HEADINGS.get(column, column)
    statistic, number, extent = column.split(".", 2)
    if number.startswith("label"):
        return f"{NUMBERS[number]} {extent}"
    return f"{NUMBERS.get(number, number)} {extent}, {statistic}"


def seed_table(entries: list[dict]) -> str:
    """Every seed of every row: MSE of averages / MSE per site, or mean / median of the losses of combinations, at the first
    extent of the test, or over all its lattices.
    """
    seeds = sorted({result["seed"] for entry in entries for result in entry.get("seeds", [])}
                   | {seed for entry in entries for seed in entry.get("ran_away", [])})
    rows = []
    for entry in entries:
        cells = dict.fromkeys(entry.get("ran_away", []), "ran away")
        cells |= {result["seed"]: cell(shown_of(result)) for result in entry.get("seeds", [])}
        rows.append([entry["name"], *(cells.get(seed, "-") for seed in seeds)])
    return markdown(["seed", *map(str, seeds)], rows)


def shown_of(result: dict) -> dict:
    """What the table of seeds shows of a result."""
    tests = result["test"]
    return next((entry for name, entry in tests.items() if name.startswith("up to")), next(iter(tests.values())))


def cell(entry: dict) -> str:
    """The numbers that a model has."""
    return " / ".join(f"{entry[name]:.2g}" for name in (*ERRORS, "loss_mean", "loss_median") if known(entry.get(name)))
