"""All runs of a campaign with their numbers, whatever their physics; runs of the same physics are compared."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from slhmc import __version__
from slhmc.report.comparison import Comparison, compare_runs, finite, with_cost
from slhmc.report.ensemble import Ensemble, guide_words, read_ensembles
from slhmc.report.physics import physics
from slhmc.report.run import Run, run_numbers
from slhmc.report.tables import Table
from slhmc.runcard import RunCard


@dataclass(frozen=True)
class Measurements:
    """What `slhmc measure` has of an ensemble: numbers for JSON, tables, and panels: (words below it, what draws on axes)."""

    source: str
    numbers: dict[str, Any] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    panels: list[tuple[str, Callable[[Any], None]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Campaign:
    """Ensembles, their measurements, comparisons of those that share a physics; `result`: all numbers, ready for JSON."""

    ensembles: list[Ensemble]
    measurements: list[list[Measurements]]
    comparisons: list[Comparison]
    result: dict[str, Any]


def campaign(directories: Sequence[str | os.PathLike], describe: Callable[[RunCard], str],
             measured: Callable[[Ensemble], list[Measurements]] = lambda ensemble: []) -> Campaign:
    """The runs in `directories`; InputError as of `read_ensembles`.

    describe: the physics of a card in words. measured: what there is to show of measurements on the kept configurations.
    """
    ensembles = read_ensembles(directories)
    measurements = [measured(ensemble) for ensemble in ensembles]
    comparisons = [compare_runs(runs) for runs in _same_physics(ensembles)]
    numbers = [ensemble_numbers(ensemble, describe, shown) for ensemble, shown in zip(ensembles, measurements, strict=True)]
    for entry in numbers:
        entry["compared_with"] = [run.label for comparison in comparisons for run in comparison.runs
                                  if entry["name"] in [other.label for other in comparison.runs] and run.label != entry["name"]]
    result = {"version": __version__, "ensembles": numbers, "comparisons": [comparison.result for comparison in comparisons]}
    return Campaign(ensembles, measurements, comparisons, finite(result))


def ensemble_numbers(ensemble: Ensemble, describe: Callable[[RunCard], str], shown: list[Measurements]) -> dict[str, Any]:
    """All that is known of one ensemble; docs/file-format.md has the keys, "report --json"."""
    card, run, status = ensemble.card, ensemble.run, ensemble.status
    kept = ensemble.configurations
    found: dict[str, Any] = {
        "name": ensemble.label, "directory": str(ensemble.directory),
        "physics": None if card is None else describe(card),
        "algorithm": None if card is None else "; ".join([algorithm(card), *guide_words(ensemble.chain)]),
        "state": str(status.get("state", "unknown")), "error": status.get("error"),
        "trajectory": status.get("trajectory"), "total": status.get("total"),
        "version": None if run is None else run.version, "seed": None if card is None else card.run.seed,
        "configurations": {"kept": len(kept), "first": kept[0] if kept else None, "last": kept[-1] if kept else None},
        "trajectories": 0 if run is None else len(run.production), "thermalization": 0 if run is None else run.thermalization,
        "observables": {}, "slowest": None,
        "changes": [] if ensemble.chain is None else [dict(zip(("trajectory", "key", "was", "now"), change, strict=True))
                                                      for change in ensemble.chain.changes],
        "measurements": {part.source: part.numbers for part in shown},
        "notes": [*ensemble.faults, *(note for part in shown for note in part.notes)],
    }
    return found | (_production(run) if ensemble.produced else {})


def _production(run: Run) -> dict[str, Any]:
    numbers = run_numbers(run)
    published = run.card.reference.observables if run.card.reference else {}
    observables = {name: with_cost(entry, numbers) for name, entry in run.entries.items()}
    for name, entry in observables.items():
        if name in published:
            entry["published"], entry["published_error"] = published[name].value, published[name].error
    return numbers | {"observables": observables, "slowest": _slowest(observables)}


def _slowest(observables: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """The observable of the longest autocorrelation time; one that is but an upper bound only if there is no other."""
    known = {name: entry for name, entry in observables.items()
             if entry["tau_int_trajectories"] is not None and entry["tau_int_trajectories_error"] is not None}
    resolved = {name: entry for name, entry in known.items() if "upper bounds" not in entry.get("note", "")} or known
    if not resolved:
        return None
    name = max(resolved, key=lambda name: resolved[name]["tau_int_trajectories"])
    keys = ("tau_int_trajectories", "tau_int_trajectories_error", "cost", "cost_error")
    return {"observable": name} | {key: resolved[name][key] for key in keys}


def _same_physics(ensembles: list[Ensemble]) -> list[list[Run]]:
    """Runs with production, in groups of two or more whose cards have the same physics."""
    groups: dict[tuple, list[Run]] = {}
    for ensemble in ensembles:
        if ensemble.produced:
            groups.setdefault(tuple(sorted(physics(ensemble.run.card).items())), []).append(ensemble.run)
    return [runs for runs in groups.values() if len(runs) > 1]


def algorithm(card: RunCard) -> str:
    """How a card makes its chain, in words."""
    if card.hmc is None:
        sweeps = card.heat_bath.over_relaxation if card.heat_bath else 0
        return f"heat bath, {sweeps} over-relaxation sweep{'s' * (sweeps != 1)}"
    levels = [f"{card.hmc.steps} {card.hmc.scheme}", *(f"{inner.steps} {inner.scheme}" for inner in card.hmc.inner)]
    words = f"{'self-learning HMC' if card.guide else 'HMC'}, length {card.hmc.length:g}, steps {' x '.join(levels)}"
    if card.guide is None:
        return words
    guide = [f"m {quark.mass:g}" if quark.kappa is None else f"kappa {quark.kappa:g}" for quark in card.guide_quarks]
    guide += [] if card.guide.beta is None else [f"beta {card.guide.beta:g}"]
    return words + (f", guide {', '.join(guide)}" if guide else "")
