"""The numbers of a campaign as tables of words, the same for a terminal and for a page."""

import math
from typing import Any

from slhmc.analysis import parenthesis, rough
from slhmc.report.tables import Table

SLOWEST = 8    # column of the slowest observable in the table of ensembles

def ensemble_table(result: dict[str, Any]) -> Table:
    """One row for each ensemble."""
    headings = ["ensemble", "state", "physics", "trajectories", "acceptance", "⟨dH⟩", "⟨exp(−dH)⟩", "s/trajectory",
                "slowest τ_int", "seed", "version"]
    return Table("ensembles", headings, [_row(entry) for entry in result["ensembles"]], 3)


def _row(entry: dict[str, Any]) -> list[str]:
    slowest = entry["slowest"] or {}
    dynamics = [value(entry.get(name)) if metropolis(entry) else "-" for name in ("acceptance", "delta_h", "exp_minus_delta_h")]
    return [entry["name"], state_words(entry), entry["physics"] or "-", str(entry["trajectories"]), *dynamics,
            number(entry.get("seconds_per_trajectory", {}).get("mean"), ".3g"),
            f"{named(slowest, 'tau_int_trajectories')} {slowest['observable']}" if slowest else "-",
            "-" if entry["seed"] is None else str(entry["seed"]), entry["version"] or "-"]


def metropolis(entry: dict[str, Any]) -> bool:
    """Whether the chain has a Metropolis step: dH is not always 0, as a heat bath has it; it may be no number."""
    delta_h = entry.get("delta_h")
    return delta_h is not None and not (delta_h["mean"] == 0.0 and not delta_h["error"])


def state_words(entry: dict[str, Any]) -> str:
    """The state, with how far the run is unless it is done."""
    words = entry["state"]
    if words != "done" and entry["trajectory"] is not None:
        words += f" {entry['trajectory']}" + ("" if entry["total"] is None else f"/{entry['total']}")
    return words


def observables_of(entry: dict[str, Any]) -> Table:
    """The observables of one ensemble: averages of production, published values if there are any."""
    published = any("published" in row for row in entry["observables"].values())
    headings = ["observable", "value", "τ_int [trajectories]", "measurements", "s/independent config.",
                *(["published", "σ"] if published else [])]
    rows = []
    for name, row in entry["observables"].items():
        words = [name, value(row), named(row, "tau_int_trajectories"), str(row["measurements"]), named(row, "cost")]
        rows.append([*words, *_published(row)] if published else words)
    return Table("observables", headings, rows)


def _published(row: dict[str, Any]) -> list[str]:
    if "published" not in row:
        return ["-", "-"]
    error = math.hypot(row["error"] or 0.0, row["published_error"])
    known = row["mean"] is not None and row["error"] is not None and error > 0
    return [parenthesis(row["published"], row["published_error"] or None),
            f"{(row['mean'] - row['published']) / error:+.1f}" if known else "-"]


def change_table(entry: dict[str, Any]) -> Table | None:
    """Keys of the card that were changed on the way; None if none was."""
    if not entry["changes"]:
        return None
    rows = [[change["key"], change["was"] or "-", change["now"] or "-", str(change["trajectory"])] for change in entry["changes"]]
    return Table("changes of the card", ["key", "was", "now", "after trajectory"], rows, 3)


def facts(entry: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(what, number, what to hold it against) of one ensemble; only what is known."""
    slowest, kept = entry["slowest"] or {}, entry["configurations"]
    known = {"trajectories": (str(entry["trajectories"]), f"after {entry['thermalization']} of thermalization")}
    if entry["trajectories"]:
        weights, seconds = entry["exp_minus_delta_h"], entry["seconds_per_trajectory"]
        deviation = weights["deviation"]
        known |= {
            "acceptance": (value(entry["acceptance"]),
                           f"{value(entry['predicted_acceptance']['mean_delta_h'])} expected: erfc(√⟨dH⟩/2)"),
            "⟨exp(−dH)⟩": (value(weights), "1 expected" + ("" if deviation is None else f": {deviation:+.1f} σ")),
            "⟨dH⟩": (value(entry["delta_h"]), ""),
            "s/trajectory": (number(seconds["mean"], ".3g"), f"median {number(seconds['median'], '.3g')}"),
            "solver iterations": (value(entry["iterations_per_trajectory"]), "a trajectory"),
        }
        if not entry["iterations_per_trajectory"]["mean"]:
            del known["solver iterations"]
        if not metropolis(entry):
            for name in ("acceptance", "⟨exp(−dH)⟩", "⟨dH⟩"):
                del known[name]
    if slowest:
        known |= {"slowest τ_int": (named(slowest, "tau_int_trajectories"), f"trajectories: {slowest['observable']}"),
                  "s/independent configuration": (named(slowest, "cost"), "2 τ_int of the slowest")}
    known["configurations kept"] = (str(kept["kept"]), f"trajectories {kept['first']} to {kept['last']}" if kept["kept"] else
                                    "run.save_every keeps them")
    return [(name, *words) for name, words in known.items()]


def value(entry: dict[str, Any] | None) -> str:
    """An entry with its error."""
    return "-" if entry is None else parenthesis(entry["mean"], entry["error"])


def named(entry: dict[str, Any], name: str) -> str:
    """NAME with NAME_error."""
    return rough(entry.get(name), entry.get(f"{name}_error"))


def number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
