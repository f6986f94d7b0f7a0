"""`slhmc summary`: averages of a run with their errors, beside published values."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from slhmc.analysis.notation import parenthesis, rough
from slhmc.cli.terminal import table_console
from slhmc.runcard import QuarkTable, RunCard, load_card


def difference_in_sigma(entry: dict[str, Any], value: float, error: float) -> float | None:
    """(ours - published) / sqrt(our error^2 + published error^2); None where it has no meaning."""
    if entry.get("mean") is None or entry.get("error") is None:
        return None
    sigma = math.hypot(entry["error"], error)
    return (entry["mean"] - value) / sigma if sigma > 0 and math.isfinite(sigma) else None


def print_json(directory: Path) -> None:
    """The summary as one JSON object."""
    from slhmc.analysis import summarise

    print(json.dumps(finite(summarise(directory)), indent=2, allow_nan=False))


def finite(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def how_many(configurations: int) -> str:
    """Configurations behind a table, and where its errors come from."""
    from slhmc.analysis import MINIMUM_LENGTH

    errors = "errors by the Gamma method" if configurations >= MINIMUM_LENGTH else \
        f"fewer than {MINIMUM_LENGTH}: errors by the jackknife, as if they were independent"
    return f"{configurations} configuration{'s' * (configurations != 1)}; {errors}"


def print_summary(directory: Path) -> None:
    """The summary as tables; needs 80 columns."""

    from slhmc.analysis import summarise

    result = summarise(directory)
    card = load_card(directory / "card.toml")
    console = table_console()
    console.print(f"\n{directory}: {describe(card)}", soft_wrap=True)
    for name, words in [*_guide_lines(card, result), *_run_lines(result)]:
        console.print(f"  {name:<30}{words}", soft_wrap=True)
    console.print()
    entries = result["observables"] | result.get("susceptibilities", {})
    console.print(_observable_table(entries, card))
    for note in _notes(entries, card):
        console.print(f"  {note}", soft_wrap=True)


def print_entries(entries: dict[str, dict[str, Any]], card: RunCard) -> None:
    """A table of averages, beside published values of the same observables, with notes."""

    console = table_console()
    if card.reference is not None and not set(card.reference.observables) <= set(entries):
        card = card.model_copy(update={"reference": None})
    console.print(_observable_table(entries, card))
    for note in _notes(entries, card):
        console.print(f"  {note}", soft_wrap=True)


def describe(card: RunCard) -> str:
    """The physics of a card in one line."""
    extent = "x".join(map(str, card.lattice.extent))
    words = f"SU({card.lattice.colors}), {extent}"
    words += "" if card.gauge.beta is None else f", {card.gauge.action} beta {card.gauge.beta:g}"
    words += f", {_quarks(card.quarks)}" if card.quarks else ", no quarks"
    return words + ", smeared links" * (card.smearing is not None)


def _quarks(quarks: Iterable[QuarkTable]) -> str:
    return ", ".join(f"{quark.operator} " + (f"m {quark.mass:g}" if quark.kappa is None else f"kappa {quark.kappa:g}")
                     for quark in quarks)


def _guide_lines(card: RunCard, result: dict[str, Any]) -> list[tuple[str, str]]:
    """The guide of self-learning HMC: its quarks, its network with the hash of the frozen weights, its correction."""
    if card.guide is None:
        return []
    words = [_quarks(card.guide_quarks)] * bool(card.quarks)
    words += [f"Ls {own.Ls}" for own, target in zip(card.guide_quarks, card.quarks, strict=True) if own.Ls != target.Ls]
    words += [] if card.guide.beta is None else [f"beta {card.guide.beta:g}"]
    if frozen := result.get("guide"):
        network, trained = (json.loads(frozen[key]) for key in ("network", "trained"))
        words += [f"trained {key} {value:.5g}" for key, value in trained.items()]
        words.append(f"{network['kind']} network, {network['layers']} layer{'s' * (network['layers'] != 1)} of "
                     f"{', '.join(network['loops'])}")
    lines = [("guide", "; ".join(words) or "as the target")]
    if frozen:
        lines.append(("frozen weights, sha256", frozen["weights_sha256"][:16]))
    if card.guide.correction is not None:
        lines.append(("correction", f"every {card.guide.correction.every}, {card.guide.correction.scheme}"))
    return lines


def _notes(observables: dict[str, dict[str, Any]], card: RunCard) -> list[str]:
    named: dict[str, list[str]] = {}
    for name, entry in observables.items():
        if entry.get("note"):
            named.setdefault(entry["note"], []).append(name)
    notes = [f"{', '.join(names)}: {note}" for note, names in named.items()]
    if card.reference is None:
        return notes
    published = card.reference.observables
    return [
        f"published: {card.reference.source}",
        *(f"published {name}: {entry.note}" for name, entry in published.items() if entry.note),
        *notes,
    ]


def _run_lines(result: dict[str, Any]) -> list[tuple[str, str]]:
    exp = result["exp_minus_delta_h"]
    rows = [
        ("trajectories", f"{result['trajectories']} after {result.get('thermalization', 0)} of thermalization"),
        ("acceptance", _number(result["acceptance"], ".4f")),
        ("<exp(-dH)>", parenthesis(exp["mean"], exp["error"])),
        ("s/trajectory", _number(result["seconds_per_trajectory"], ".3g")),
        ("solver iterations/trajectory", _number(result.get("iterations_per_trajectory"), ".1f")),
        ("s/independent plaquette", _number(result.get("cost_per_independent_configuration"), ".3g")),
    ]
    return [(name, words) for name, words in rows if words != "-"]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _observable_table(observables: dict[str, dict[str, Any]], card: RunCard) -> Any:
    from rich import box
    from rich.table import Table

    published = card.reference.observables if card.reference else {}
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("observable", no_wrap=True)
    in_trajectories = any(entry.get("every") for entry in observables.values())
    tau_int = "tau_int/traj." if in_trajectories else "tau_int"
    for heading in ("value", tau_int, *(("published", "sigma") if published else ())):
        table.add_column(heading, justify="right", no_wrap=True)
    for name in [*observables, *(name for name in published if name not in observables)]:
        entry = observables.get(name, {})
        row = [name, parenthesis(entry.get("mean"), entry.get("error"))]
        times = (entry.get("tau_int"), entry.get("tau_int_error"))
        row.append(rough(*(None if time is None else time * (entry.get("every") or 1) for time in times)))
        if name in published:
            row += _compared(entry, published[name].value, published[name].error)
        table.add_row(*row)
    return table


def _compared(entry: dict[str, Any], value: float, error: float) -> list[str]:
    sigma = difference_in_sigma(entry, value, error)
    return [parenthesis(value, error) if error else f"{value:.7g}", "-" if sigma is None else f"{sigma:+.1f}"]
