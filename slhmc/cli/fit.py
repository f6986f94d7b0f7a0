"""`slhmc train`, and `resume`, of a card with a [fit]: what a person sees of a `Regression`."""

import math
from typing import Any

from slhmc.cli.progress import Live, duration
from slhmc.cli.terminal import table_console


def fit_line(report: Any) -> str:
    """One piece of work in words, for logs; nothing within an epoch."""
    if report.batch:
        return ""
    width = len(str(report.total))
    words = f"{report.phase} {report.done:{width}}/{report.total}{_losses(report, '.4e')}"
    return f"{words}  {report.seconds:.3g} s  ETA {duration(report.eta_seconds)}"


def fit_live(report: Any) -> Live:
    """One piece of work, for a terminal; the bar counts batches."""
    words = f"{report.done}/{report.total}{_losses(report, '.3g')}  ETA {duration(report.eta_seconds)}"
    of_one = max(report.batches, 1)
    return Live(report.phase, report.done * of_one + report.batch, report.total * of_one, words)


def _losses(report: Any, form: str) -> str:
    return "".join(f"  {name} {value:{form}}" for name, value in (
        ("loss", report.loss), ("validation", report.validation), ("average", report.average)) if not math.isnan(value))


def print_fit(fit: Any) -> None:
    """What the test found, and where the files are."""
    found = fit.results
    if "combinations" in found:
        _print_losses(found)
    else:
        _print_mean_squares(found)
    print(f"weights of the best epoch: {fit.files.weights}; numbers: {fit.files.results}")


def _print_losses(found: dict) -> None:
    """Of numbers of configurations: means and medians over couplings and open worms."""
    from rich.table import Table

    keys = [key for key in ("loss_mean", "loss_median", "accuracy") if key in next(iter(found["test"].values()))]
    table = Table(title=f"Test, {found['parameters']} parameters of epoch {found['best_epoch']}", title_justify="left")
    for heading in ("lattice", *keys, "combinations", "samples"):
        table.add_column(heading, justify="left" if heading == "lattice" else "right")
    for name, row in found["test"].items():
        table.add_row(name, *(f"{row[key]:.4g}" for key in keys), str(row["combinations"]), str(row["samples"]))
    table_console().print(table)


def _print_mean_squares(found: dict) -> None:
    """Of labels at sites."""
    from rich.table import Table

    table = Table(title=f"Test, {found['parameters']} parameters of epoch {found['best_epoch']}", title_justify="left")
    for heading in ("lattice", "mse_site", "mse_average", "label variance", "of averages", "samples"):
        table.add_column(heading, justify="left" if heading == "lattice" else "right")
    for name, row in found["test"].items():
        keys = ("mse_site", "mse_average", "label_variance_site", "label_variance_average")
        table.add_row(name, *("-" if row[key] is None or math.isnan(row[key]) else f"{row[key]:.4g}" for key in keys),
                      str(row["samples"]))
    table_console().print(table)
