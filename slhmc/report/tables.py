"""The result of a comparison as tables of words, the same for a terminal and for a page."""

from collections.abc import Callable
from typing import Any, NamedTuple

from slhmc.analysis import parenthesis, rough


class Table(NamedTuple):
    """Rows of words under their headings; the first `names` columns are text, the others numbers."""

    title: str
    headings: list[str]
    rows: list[list[str]]
    names: int = 1


def run_table(result: dict[str, Any]) -> Table:
    """Trajectories, acceptance, energy violation and time: one column for each run."""
    lines: list[tuple[str, Callable[[dict], str]]] = [
        ("trajectories", lambda run: str(run["trajectories"])),
        ("thermalization before them", lambda run: str(run["thermalization"])),
        ("acceptance", lambda run: _entry(run["acceptance"])),
        ("predicted: erfc(sqrt(<dH>) / 2)", lambda run: _entry(run["predicted_acceptance"]["mean_delta_h"])),
        ("predicted: erfc(sqrt(var(dH) / 8))", lambda run: _entry(run["predicted_acceptance"]["variance_delta_h"])),
        ("<dH>", lambda run: _entry(run["delta_h"])),
        ("<exp(-dH)>", lambda run: _entry(run["exp_minus_delta_h"])),
        ("  its deviation from 1 in sigma", lambda run: _number(run["exp_minus_delta_h"]["deviation"], "+.1f")),
        ("s/trajectory, mean (used for costs)", lambda run: _number(run["seconds_per_trajectory"]["mean"], ".4g")),
        ("s/trajectory, median", lambda run: _number(run["seconds_per_trajectory"]["median"], ".4g")),
        ("s in all", lambda run: _number(run["seconds_per_trajectory"]["total"], ".4g")),
        ("solver iterations/trajectory", lambda run: _entry(run["iterations_per_trajectory"])),
    ]
    runs = result["runs"]
    return Table("runs", ["", *(run["name"] for run in runs)], [[name, *map(words, runs)] for name, words in lines])


def observable_table(result: dict[str, Any]) -> Table:
    """Values, differences from the reference in combined errors, tau_int and its ratio: one row for each run."""
    compared = len(result["runs"]) > 1
    headings = ["observable", "run", "value", *(["sigma"] if compared else []), "tau_int", *(["ratio"] if compared else [])]
    rows = []
    for first, run, entry in _entries(result):
        row = [first, run, _entry(entry)]
        row += [_number(entry.get("difference"), "+.1f")] if compared else []
        row += [_named(entry, "tau_int_trajectories")] + ([_named(entry, "tau_int_trajectories_ratio")] if compared else [])
        rows.append(row)
    return Table("observables; tau_int in trajectories, ratios to the reference run", headings, rows, 2)


def cost_table(result: dict[str, Any]) -> Table:
    """Cost of an independent configuration, in seconds and in solver iterations, and ratios to the reference."""
    compared = len(result["runs"]) > 1
    names = ["cost", *(["cost_ratio"] if compared else []), "cost_iterations", *(["cost_iterations_ratio"] if compared else [])]
    headings = ["observable", "run", *(heading for name, heading in (
        ("cost", "seconds"), ("cost_ratio", "ratio"), ("cost_iterations", "iterations"), ("cost_iterations_ratio", "ratio"))
        if name in names)]
    rows = [[first, run, *(_named(entry, name) for name in names)] for first, run, entry in _entries(result)]
    title = "cost of an independent configuration = (seconds or solver iterations) per trajectory x 2 tau_int"
    return Table(title + ("; a ratio below 1 is cheaper than the reference" if compared else ""), headings, rows, 2)


def difference_table(result: dict[str, Any]) -> Table | None:
    """Keys of the cards that are not physics and not the same in all runs; None if there are none."""
    if not result["what_differs"]:
        return None
    rows = [[key, *(value or "-" for value in values)] for key, values in result["what_differs"].items()]
    return Table("what differs in the cards, beside physics", ["key", *(run["name"] for run in result["runs"])], rows)


def notes(result: dict[str, Any]) -> list[str]:
    """What there is to say about the runs and their numbers, the same words once."""
    said: dict[str, list[str]] = {}
    for number, run in enumerate(result["runs"]):
        entries = {name: entry for name, entry in run.items() if isinstance(entry, dict)}
        entries |= {name: rows[number] for name, rows in result["observables"].items()}
        for name, entry in entries.items():
            if note := entry.get("note"):
                said.setdefault(f"{run['name']}: {note}", []).append(name)
    return [*result["notes"], *(f"{words} ({', '.join(names)})" for words, names in said.items())]


def verdict(result: dict[str, Any]) -> str:
    """One sentence: whether the runs agree."""
    largest = result["largest_difference"]
    if len(result["runs"]) == 1:
        return "one run: nothing to compare with"
    if largest is None:
        return ("not enough data: there is no observable with an error in the reference and in another run; "
                "let the runs go on")
    words = f"{largest['observable']} of {largest['run']}, {largest['difference']:+.1f} sigma from {result['reference']}"
    if result["consistent"]:
        return f"consistent: no difference above {result['sigma_limit']:g} sigma; the largest: {words}"
    return f"NOT consistent: {words}; the limit is {result['sigma_limit']:g} sigma"


def _entries(result: dict[str, Any]):
    """(name of the observable, or nothing below its first row; run; entry)."""
    for name, entries in result["observables"].items():
        for number, (run, entry) in enumerate(zip(result["runs"], entries, strict=True)):
            yield "" if number else name, run["name"], entry


def _entry(entry: dict[str, Any]) -> str:
    return parenthesis(entry["mean"], entry["error"])


def _named(entry: dict[str, Any], name: str) -> str:
    return rough(entry.get(name), entry.get(f"{name}_error"))


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
