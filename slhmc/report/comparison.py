"""The comparison itself: differences in combined errors, ratios of autocorrelation times and of costs."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slhmc import __version__
from slhmc.report.physics import differences, physics
from slhmc.report.run import Run, read_runs, run_numbers

SIGMA_LIMIT = 4.0


@dataclass(frozen=True)
class Comparison:
    """Runs, the reference first, and `result`: all numbers, ready for JSON (docs/file-format.md has its keys)."""

    runs: list[Run]
    result: dict[str, Any]


def compare(directories: Sequence[str | os.PathLike]) -> Comparison:
    """The runs in `directories` beside the first of them; InputError as of `read_runs`.

    A difference is (mean - mean of the reference) / sqrt(error^2 + error of the reference^2). The cost of an independent
    configuration is the mean of seconds per trajectory x 2 tau_int in trajectories; errors of costs and ratios are those of
    tau_int. `consistent` is whether no difference is larger than SIGMA_LIMIT, None if there is none; a run that stands still
    (`Run.stands_still`) has none.
    """
    return compare_runs(read_runs(directories))


def compare_runs(runs: list[Run]) -> Comparison:
    """The same of runs that are read, of the same physics."""
    numbers = [run_numbers(run) for run in runs]
    names, left_out = _common(runs)
    observables = {name: _beside_reference([with_cost(run.entries[name], entry)
                                            for run, entry in zip(runs, numbers, strict=True)], runs) for name in names}
    largest = _largest(observables, runs)
    result = {
        "version": __version__,
        "reference": runs[0].label,
        "sigma_limit": SIGMA_LIMIT,
        "consistent": None if largest is None else abs(largest["difference"]) <= SIGMA_LIMIT,
        "largest_difference": largest,
        "physics": physics(runs[0].card),
        "what_differs": _what_differs(runs),
        "runs": numbers,
        "observables": observables,
        "notes": [*left_out, *_standing(runs), *_dependence(runs)],
    }
    return Comparison(runs, finite(result))


def difference(entry: dict[str, Any], reference: dict[str, Any]) -> float | None:
    """In combined errors; None where an error is missing, or 0: a series that never changes tells nothing about its mean."""
    if any(side["mean"] is None or side["error"] is None for side in (entry, reference)):
        return None
    if _constant(entry) or _constant(reference):
        same = _constant(entry) and _constant(reference) and math.isclose(entry["mean"], reference["mean"], rel_tol=1e-12)
        return 0.0 if same else None
    return (entry["mean"] - reference["mean"]) / math.hypot(entry["error"], reference["error"])


def _common(runs: list[Run]) -> tuple[list[str], list[str]]:
    """Observables of all runs, and notes on the others."""
    shared = [name for name in runs[0].entries if all(name in run.entries for run in runs)]
    alone = {run.label: [name for name in run.entries if name not in shared] for run in runs}
    notes = [f"not in all runs, left out: {', '.join(missing)} of {label}" for label, missing in alone.items() if missing]
    names = [name for name in shared if all(_flow(run, name) == _flow(runs[0], name) for run in runs)]
    foreign = [name for name in shared if name not in names]
    return names, notes + [f"of different flows, left out: {', '.join(foreign)}"] * bool(foreign)


def _flow(run: Run, name: str) -> tuple:
    """What the links went through before an observable was measured on them: another flow makes another number of it."""
    base = next((base for base in ("gradient_flow", "learned_flow") if name.startswith(base)), "")
    told = run.settings.get(base, {})
    return told.get("action"), told.get("weights")


def with_cost(entry: dict[str, Any], numbers: dict[str, Any]) -> dict[str, Any]:
    """The entry of an observable with tau_int in trajectories and with costs in seconds and in solver iterations."""
    entry = dict(entry)
    tau_int, error, every = entry["tau_int"], entry["tau_int_error"], entry["every"]
    unknown = tau_int is None or every is None or _constant(entry)
    in_trajectories = (None, None) if unknown else (tau_int * every, None if error is None else error * every)
    if _constant(entry):
        entry.setdefault("note", "the same number in all measurements: it has no error and no tau_int")
    elif not unknown and error is not None and every > 1 and tau_int - error <= 0.5:
        entry.setdefault("note", f"uncorrelated in steps of {every} trajectories: tau_int and cost are upper bounds; "
                                 f"measure more often for better ones")
    entry["tau_int_trajectories"], entry["tau_int_trajectories_error"] = in_trajectories
    iterations, seconds = numbers["iterations_per_trajectory"]["mean"], numbers["seconds_per_trajectory"]["mean"]
    for name, unit in (("cost", seconds), ("cost_iterations", iterations)):
        entry[name], entry[f"{name}_error"] = (None if value is None or unit is None else 2 * value * unit
                                               for value in in_trajectories)
    return entry


def _beside_reference(entries: list[dict[str, Any]], runs: list[Run]) -> list[dict[str, Any]]:
    reference = entries[0]
    for entry, run in zip(entries[1:], runs[1:], strict=True):
        entry["difference"] = None if run.stands_still or runs[0].stands_still else difference(entry, reference)
        for name in ("tau_int_trajectories", "cost", "cost_iterations"):
            entry[f"{name}_ratio"], entry[f"{name}_ratio_error"] = _ratio(
                *((side[name], side[f"{name}_error"]) for side in (entry, reference)))
    return entries


def _ratio(numerator: tuple, denominator: tuple) -> tuple[float | None, float | None]:
    """Quotient of two independent numbers (value, error), with its error."""
    (a, a_error), (b, b_error) = numerator, denominator
    if a is None or not b:
        return None, None
    error = None if a_error is None or b_error is None or not a else a / b * math.hypot(a_error / a, b_error / b)
    return a / b, error


def _largest(observables: dict[str, list[dict[str, Any]]], runs: list[Run]) -> dict[str, Any] | None:
    found = [{"observable": name, "run": run.label, "difference": entry["difference"]}
             for name, entries in observables.items() for run, entry in zip(runs[1:], entries[1:], strict=True)
             if entry["difference"] is not None]
    return max(found, key=lambda entry: abs(entry["difference"]), default=None)


def _what_differs(runs: list[Run]) -> dict[str, list[str]]:
    versions = [run.version for run in runs]
    found = {"version of slhmc": versions} if len(set(versions)) > 1 else {}
    weights = [run.guide.get("weights_sha256", "")[:16] for run in runs]
    found |= {"sha256 of the guide's weights": weights} if len(set(weights)) > 1 else {}
    return found | differences([run.card for run in runs])


def _standing(runs: list[Run]) -> list[str]:
    return [f"{run.label}: {int(run.production['accepted'].sum())} of {len(run.production)} trajectories accepted, too few for "
            "errors to mean anything: no differences; let it go on, or mend its guide or its [hmc] steps"
            for run in runs if run.stands_still]


def _dependence(runs: list[Run]) -> list[str]:
    twins = [run.label for run in runs[1:] if run.card.run.seed == runs[0].card.run.seed]
    return [f"{', '.join(twins)}: the seed of {runs[0].label}; runs with the same random numbers may be correlated, "
            f"and differences too small"] if twins else []


def _constant(entry: dict[str, Any]) -> bool:
    return entry["error"] == 0


def finite(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
