"""`slhmc report`: the ensembles of a campaign, on the terminal, as JSON, as a page."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slhmc.cli import ranks
from slhmc.cli.compare import rich_table
from slhmc.cli.flow import draw_charge, draw_energy, flow_numbers, words
from slhmc.cli.measure import Measured, channels_of, draw_masses, measured_card, shown_by
from slhmc.cli.potential import NAME as POTENTIAL
from slhmc.cli.potential import analysed, draw_potential, fit_words, potential_numbers
from slhmc.cli.summary import describe, finite, parenthesis
from slhmc.cli.terminal import on_terminal
from slhmc.errors import InputError
from slhmc.runcard import RunCard

if TYPE_CHECKING:
    from slhmc.report import Ensemble, Measurements, Table

_WIDTH = 220  # of the table where no terminal limits it


def report_runs(directories: list[Path], as_json: bool, page: Path | None) -> int:
    """The table of ensembles, or all numbers as JSON, and the page if one is asked for."""
    from slhmc import report

    if ranks.rank():
        return 0
    if page is not None:
        report.check_page(page)
    campaign = report.campaign(directories, describe, measured_of)
    if page is not None:
        report.write_campaign(page, campaign, _title(directories))
    if as_json:
        print(json.dumps(campaign.result, indent=2, allow_nan=False))
    else:
        _print(campaign, page)
    return 0


def _title(directories: list[Path]) -> str:
    """The run, or the folder that all runs are in."""
    names = [path.resolve() for path in directories]
    if len(names) == 1:
        return names[0].name
    parents = {path.parent for path in names}
    return parents.pop().name or "campaign" if len(parents) == 1 else "campaign"


def _print(campaign: Any, page: Path | None) -> None:
    from rich.console import Console

    from slhmc import report

    console = Console(highlight=False, markup=False, force_terminal=on_terminal(), width=None if on_terminal() else _WIDTH)
    console.print(rich_table(report.ensemble_table(campaign.result)))
    for entry in campaign.result["ensembles"]:
        for note in entry["notes"]:
            console.print(f"  {entry['name']}: {note}", soft_wrap=True)
    for comparison in campaign.comparisons:
        names = ", ".join(run.label for run in comparison.runs)
        console.print(f"same physics: {names}: {report.verdict(comparison.result)}", soft_wrap=True)
    if page is not None:
        console.print(f"page: {page}", soft_wrap=True)


# ---- measurements
def measured_of(ensemble: "Ensemble") -> list["Measurements"]:
    """What `slhmc measure` and `slhmc measure --online` show of a run."""
    from slhmc import __version__
    from slhmc.io import MeasurementFile
    from slhmc.report import Measurements

    if ensemble.card is None:
        return []
    path, found = ensemble.directory / "measure.h5", []
    if path.exists():
        try:
            file = MeasurementFile.open(path, __version__)
            measured = {name: Measured(file.labels[name], *file.series(name)) for name in file.names}
            quarks = {name: _quark(told["quark"]) for name, told in file.settings.items() if "quark" in told}
            found.append(_shown("measure.h5", measured, quarks, measured_card(ensemble.card, file.settings), averages=True))
        except InputError as error:
            found.append(Measurements("measure.h5", notes=[str(error)]))
    if online := _online(ensemble):
        card = measured_card(ensemble.card, ensemble.chain.settings)
        names = [name for name in online if name.startswith("mesons")]
        quarks = dict(zip(names, (_quark(quark.model_dump()) for quark in ensemble.card.measured_quarks), strict=False))
        found.append(_shown("on the way", shown_by(card, online), quarks, card, averages=False))
    return found


def _online(ensemble: "Ensemble") -> dict[str, Measured]:
    """Correlators and flows of the chain's production: what has no average of its own."""
    from slhmc.observables import StaggeredMesons, WilsonMesons

    channels = {len(kind.channels): kind.channels for kind in (StaggeredMesons, WilsonMesons)}
    found = {}
    for name, (trajectories, values) in ({} if ensemble.chain is None else ensemble.chain.observables).items():
        kept = trajectories > ensemble.last_of_thermalization
        if name.startswith("mesons") and kept.any() and values.shape[1] in channels:
            found[name] = Measured(channels[values.shape[1]], trajectories[kept], values[kept])
        elif name in ("gradient_flow", POTENTIAL) and kept.any():
            found[name] = Measured((), trajectories[kept], values[kept])
    return found


def _quark(told: dict[str, Any]) -> str:
    """The quark of a correlator, from its keys of a card."""
    known = f"kappa {told['kappa']:g}" if told.get("kappa") is not None else f"mass {told['mass']:g}"
    return f"{told['operator']}, {known}"


def _shown(source: str, measured: dict[str, Measured], quarks: dict[str, str], card: RunCard, averages: bool) -> "Measurements":
    """Numbers, tables and panels. quarks: of correlators, in words; averages: also those that a chain has in its own table."""
    from slhmc.analysis import observable_entries, susceptibility_entries
    from slhmc.report import Measurements

    entries: dict[str, dict] = {}
    for name, found in measured.items():
        if averages or name == "gradient_flow":
            entries |= observable_entries(name, found.values) | susceptibility_entries(name, found.values, card.lattice.extent)
    numbers: dict[str, Any] = {"observables": finite(entries)} if averages else {}
    if POTENTIAL in measured:
        potential, potential_entries = _potential(measured[POTENTIAL].values, card)
        entries |= potential_entries
        numbers |= {"observables": finite(entries)} if averages else {}
    tables, panels = [_average_table(entries)] if averages and entries else [], []
    for name, found in measured.items():
        if name == "gradient_flow":
            numbers[name] = flow_numbers(found.values, card)
            tables.append(_flow_table(numbers[name]["curves"], card, len(found.values)))
            panels += _flow_panels(found.values, card)
        elif name == POTENTIAL:
            numbers[name] = potential_numbers(potential)
            tables.append(_potential_table(potential, len(found.values)))
            caption = f"static potential, {len(found.values)} configurations; {fit_words(potential)}".removesuffix("; ")
            panels.append((caption, lambda panel: draw_potential(panel, potential)))
        elif name.startswith("mesons"):
            channels = channels_of(found, None)
            numbers[name] = {channel.name: {"effective_mass": [None if mass is None else {"mean": mass.value, "error": mass.error}
                                                               for mass in channel.masses]} for channel in channels}
            title = f"{name} ({quarks[name]})" if name in quarks else name
            tables.append(_mass_table(title, numbers[name], len(found.values)))
            panels.append((f"effective masses, {len(found.values)} configurations",
                           lambda panel, title=title, channels=channels: draw_masses(panel, title, channels)))
    return Measurements(source, numbers, tables, panels)


def _potential(values: np.ndarray, card: RunCard) -> tuple[Any, dict[str, dict]]:
    """The potential, and what its fit adds to the averages."""
    from slhmc.analysis import potential_entries

    potential = analysed(values, card)
    return potential, potential_entries(POTENTIAL, potential, len(values))


def _potential_table(potential: Any, configurations: int) -> "Table":
    from slhmc.report import Table

    rows = [[str(r), words(value), "-" if chi is None else f"{chi:.2f}"]
            for r, (value, chi) in enumerate(zip(potential.values, potential.chi_squared, strict=True), 1)]
    return Table(f"static potential, {configurations} configurations", ["r/a", "a V(r)", "χ²/dof of the plateau"], rows, 0)


def _flow_panels(values: np.ndarray, card: RunCard) -> list:
    panels = [("energy density along the gradient flow; dotted: 0.3 and t0", lambda panel: draw_energy(panel, values, card))]
    if values.shape[1] > 3:
        panels.append(("topological charge along the flow, a line for each of the last configurations",
                       lambda panel: draw_charge(panel, values)))
    return panels


def _average_table(entries: dict[str, dict]) -> "Table":
    from slhmc.report import Table

    rows = [[name, parenthesis(entry["mean"], entry["error"]), "-" if entry["tau_int"] is None else f"{entry['tau_int']:.2g}",
             str(entry["measurements"])] for name, entry in entries.items()]
    return Table("averages", ["observable", "value", "τ_int [configurations]", "configurations"], rows)


def _mass_table(name: str, masses: dict[str, dict], configurations: int) -> "Table":
    from slhmc.report import Table

    length = min(len(channel["effective_mass"]) for channel in masses.values())
    rows = [[str(t), *(_words(channel["effective_mass"][t]) for channel in masses.values())] for t in range(1, length)]
    return Table(f"effective masses of {name}, {configurations} configurations", ["t", *masses], rows, 0)


def _flow_table(curves: list[dict], card: RunCard, configurations: int) -> "Table":
    from slhmc.report import Table

    names = {"t2E": "t²⟨E⟩", "t2E_plaquette": "from plaquettes", "W": "W", "susceptibility": "⟨Q²⟩/V",
             "susceptibility_improved": "from five loops"}
    known = {key: words for key, words in names.items() if key in curves[0]}
    rows = [[f"{row['t']:.4g}", *(_words(row[key]) for key in known)] for row in curves]
    action = card.measure.gradient_flow.action
    return Table(f"{action} flow, {configurations} configurations", ["t/a²", *known.values()], rows, 0)


def _words(entry: dict | None) -> str:
    return "-" if entry is None else parenthesis(entry["mean"], entry["error"])
