"""`slhmc measure`: measurements on kept configurations, tables of effective masses and of the flow, and their plot."""

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from slhmc.cli import ranks
from slhmc.cli.chain import log_warnings
from slhmc.cli.flow import draw_charge, draw_energy, flow_numbers, print_flow
from slhmc.cli.potential import NAME as STATIC
from slhmc.cli.potential import analysed, draw_potential, potential_numbers, print_potential
from slhmc.cli.summary import describe, finite, how_many, parenthesis, print_entries
from slhmc.cli.terminal import table_console
from slhmc.errors import InputError, SlhmcError
from slhmc.runcard import FlowTable, RunCard, StaticPotentialTable, load_card


class Measured(NamedTuple):
    """What was measured of one observable: names along the first axis of a value, trajectories [n], values [n, ...]."""

    labels: tuple[str, ...]
    trajectories: np.ndarray
    values: np.ndarray


class Channel(NamedTuple):
    """Effective masses of one channel at t = 0 ... T/2, and their plateau if one was asked for and found."""

    name: str
    masses: list
    plateau: Any


class Request(NamedTuple):
    """What is asked for. card: of directories that are not of runs, whose files `pattern` chooses."""

    names: list[str]
    overrides: list[str]
    card: Path | None = None
    pattern: str | None = None
    output: Path | None = None
    plot: Path | None = None
    window: str | None = None
    as_json: bool = False
    farm: int = 1
    online: bool = False
    device: str = "cpu"


def measure_directories(directories: list[Path], request: Request) -> None:
    """Measure what the files of measurements lack, then show all that they hold of the observables asked for; if `online`, show
    what runs have measured themselves. Collective.

    Raises what went wrong on single configurations after the tables.
    """
    parse_window(request.window)
    check_plot(request.plot)
    for option, path in (("-o", request.output), ("--plot", request.plot)):
        if path is not None and len(directories) > 1:
            raise InputError(f"{option} {path}: one file for {len(directories)} directories found; leave it out, or give one "
                             "directory at a time")
    if request.online:
        _refuse_measuring(request)
    log_warnings()
    failures: list[SlhmcError] = []
    if request.online:
        shown = {str(directory): _show_online(directory, request) for directory in directories}
    else:
        communicator = ranks.world()
        ready = _ready(directories, request, communicator, failures)
        shown = {str(directory): _measure_one(directory, request, communicator, failures) for directory in ready}
    if request.as_json and ranks.rank() == 0:
        print(json.dumps(next(iter(shown.values())) if len(directories) == 1 else shown, indent=2, allow_nan=False))
    if failures:
        from slhmc.simulation import gathered

        raise gathered(failures)


def _refuse_measuring(request: Request) -> None:
    """InputError for options that say what is measured, or how, where nothing is."""
    if request.card is not None:
        raise InputError(f"--online: shows what runs have measured on their way, --card {request.card} is for files of other "
                         "programs; leave out one of the two")
    given = [f"-o {request.output}"] * (request.output is not None) + [f"--farm {request.farm}"] * (request.farm != 1)
    given += [f"--files {request.pattern}"] * (request.pattern is not None)
    given += [f"--observable {name}" for name in request.names] + [f"--set {override}" for override in request.overrides]
    if given:
        raise InputError(f"--online: shows all that runs have measured on their way and measures nothing, but {given[0]} found; "
                         "leave out one of the two")


def _ready(directories: list[Path], request: Request, communicator: Any, failures: list) -> list[Path]:
    """Those where there is something to measure; what is wrong with others joins `failures`, and is raised if there are no more.
    Collective.
    """
    from slhmc import simulation
    from slhmc.lattice.communicator import SerialCommunicator

    def check() -> tuple[list[Path], list[SlhmcError]]:
        ready, wrong = [], []
        for directory in directories:
            try:
                check_request(simulation.check_measurement(directory, request.names, request.overrides, card=request.card,
                                                           pattern=request.pattern), request.plot, parse_window(request.window))
                ready.append(directory)
            except InputError as error:
                wrong.append(error)
        if not ready:
            raise wrong[0] if len(wrong) == 1 else simulation.gathered(wrong)
        return ready, wrong
    ready, wrong = simulation.on_root(communicator or SerialCommunicator(), check)
    failures += wrong
    return ready


def _measure_one(directory: Path, request: Request, communicator: Any, failures: list) -> dict | None:
    """Measure in one directory and show its tables; its numbers, if they are wanted for JSON."""
    from slhmc import simulation

    times = parse_window(request.window)
    chosen = request.names, request.overrides, request.card
    file = simulation.measure(directory, request.names, request.overrides, card=request.card, pattern=request.pattern,
                              output=request.output, device=request.device, communicator=communicator, farm=request.farm,
                              failures=failures,
                              observer=lambda *told: _tell(*told, sys.stderr if request.as_json else sys.stdout))
    if file is None or not file.path.exists():  # nothing could be measured: `failures` says why
        return None
    card = simulation.measurement_card(directory, *chosen)
    order = {name: place for place, name in enumerate(type(card.measure).model_fields)}  # the file's is that of the alphabet
    wanted = sorted((name for name in file.names if getattr(card.measure, base_name(name)) is not None),
                    key=lambda name: (order[base_name(name)], name))
    measured = {name: Measured(file.labels[name], *file.series(name)) for name in wanted}
    return show(measured, card, request.plot, times, None if request.as_json else f"\n{file.path}: {describe(card)}",
                asked="mesons" in (request.names or ()))


def _show_online(directory: Path, request: Request) -> dict | None:
    """The same tables of what the production part of a chain has."""
    if ranks.rank():
        return None
    from slhmc.io import EnsembleFile
    from slhmc.observables import StaggeredMesons, WilsonMesons

    chain = EnsembleFile.open(directory / "chain.h5")
    card = measured_card(load_card(directory / "card.toml"), chain.settings)
    times = parse_window(request.window)
    check_request(card, request.plot, times)
    production, measured = chain.records["trajectory"][~chain.records["thermalization"]], {}
    for name, (trajectories, values) in chain.observables.items():
        kept = np.isin(trajectories, production)
        channels = next((kind.channels for kind in (WilsonMesons, StaggeredMesons)
                         if name.startswith("mesons") and len(kind.channels) == values.shape[1]), ())
        if kept.any():
            measured[name] = Measured(channels, trajectories[kept], values[kept])
    title = None if request.as_json else f"\n{directory}: {describe(card)}"
    return show(shown_by(card, measured), card, request.plot, times, title)


def measured_card(card: RunCard, settings: dict[str, dict[str, Any]]) -> RunCard:
    """The card with the flow and the loops that were measured, which it need not have any more, or has otherwise by --set."""
    changes = {}
    for name, kind in (("gradient_flow", FlowTable), (STATIC, StaticPotentialTable)):
        if name in settings:
            own = getattr(card.measure, name)
            told = {key: value for key, value in settings[name].items() if key in kind.model_fields}
            changes[name] = kind.model_validate(({} if own is None else own.model_dump()) | told, strict=False)
    return card.model_copy(update={"measure": card.measure.model_copy(update=changes)})


def shown_by(card: RunCard, measured: dict[str, Measured]) -> dict[str, Measured]:
    """What can be shown with a card: flows and loops need their table, which older chains do not keep."""
    return {name: found for name, found in measured.items()
            if name not in ("gradient_flow", STATIC) or getattr(card.measure, name) is not None}


def base_name(name: str) -> str:
    """The key of [measure] that an observable belongs to: NAME for NAME_2."""
    base, _, number = name.rpartition("_")
    return base if number.isdecimal() else name


def _tell(configuration: Any, done: int, total: int, names: list[str], stream) -> None:
    print(f"{configuration.label}: {', '.join(names)}  {done}/{total}", file=stream, flush=True)


def parse_window(text: str | None) -> tuple[int, int] | None:
    """FIRST:LAST as two times; InputError for anything else."""
    if text is None:
        return None
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise InputError(f"--plateau {text}: two times FIRST:LAST expected, from 1 on, such as 4:8")
    return int(first), int(last)


# ---- tables
def show(measured: dict[str, Measured], card: RunCard, plot: Path | None, window: tuple[int, int] | None,
         title: str | None, asked: bool = False) -> dict[str, Any] | None:
    """Averages, then the flow, then effective masses for each quark, then the plot; without a title all as numbers for JSON.

    asked: whether mesons were to be measured by this call, so that it is no advice to ask for them.
    """
    from slhmc.analysis import observable_entries, susceptibility_entries

    entries: dict = {}
    for name, found in measured.items():
        entries |= observable_entries(name, found.values)
    for name, found in measured.items():
        entries |= susceptibility_entries(name, found.values, card.lattice.extent)
    mesons = {name: channels_of(found, window) for name, found in measured.items() if name.startswith("mesons")}
    flow = measured["gradient_flow"].values if "gradient_flow" in measured else None
    potential = analysed(measured[STATIC].values, card) if STATIC in measured else None
    if potential is not None:
        from slhmc.analysis import potential_entries

        entries |= potential_entries(STATIC, potential, len(measured[STATIC].values))
    if title is not None:
        print(title)
        if entries:
            print_entries(entries, card)
        if flow is not None:
            print_flow(flow, card)
        if potential is not None:
            print_potential(potential, len(measured[STATIC].values), card)
        for name, channels in mesons.items():
            _print_masses(f"{name} ({_quark(card, name)})", channels, len(measured[name].trajectories), window)
        if not mesons and card.measured_quarks:
            print("  no meson correlators among them" + ("" if asked else "; --observable mesons measures them"))
    if plot is not None and (panels := _panels(mesons, flow, potential, card)):
        draw(plot, panels)
        if title is not None:
            print(f"  plot: {plot}")
    if title is not None:
        return None
    return _numbers(entries, mesons, flow, card) | ({} if potential is None else {STATIC: potential_numbers(potential)})


def _numbers(entries: dict, mesons: dict[str, list[Channel]], flow: np.ndarray | None, card: RunCard) -> dict[str, Any]:
    """All as one object for JSON: averages, effective masses by channel, curves of the flow."""
    def of(mass: Any) -> dict | None:
        return None if mass is None else {"mean": mass.value, "error": mass.error}

    result: dict[str, Any] = {"observables": finite(entries)}
    for name, channels in mesons.items():
        result[name] = {channel.name: {"effective_mass": [of(mass) for mass in channel.masses],
                                       "plateau": of(channel.plateau and channel.plateau.mass)} for channel in channels}
    return result | ({} if flow is None else {"gradient_flow": flow_numbers(flow, card)})


def channels_of(found: Measured, window: tuple[int, int] | None) -> list[Channel]:
    """Effective masses of correlators [n, channel, t]."""
    from slhmc.analysis import effective_masses, plateau

    return [Channel(label, effective_masses(series), plateau(series, *window) if window else None)
            for label, series in zip(found.labels, found.values.swapaxes(0, 1), strict=True)]


def _quark(card: RunCard, name: str) -> str:
    number = name.rpartition("_")[2]
    quark = card.measured_quarks[int(number) - 1 if number.isdecimal() else 0]
    return f"{quark.operator}, " + (f"mass {quark.mass:g}" if quark.kappa is None else f"kappa {quark.kappa:g}")


def _print_masses(title: str, channels: list[Channel], measurements: int, window) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("t", justify="right")
    for channel in channels:
        table.add_column(channel.name, justify="right", no_wrap=True)
    for t in range(1, len(channels[0].masses)):
        table.add_row(str(t), *(_words(channel.masses[t]) for channel in channels))
    if window is not None:
        table.add_section()
        table.add_row("{}:{}".format(*window), *(_words(channel.plateau and channel.plateau.mass) for channel in channels))
        quality = [None if channel.plateau is None else channel.plateau.chi_squared for channel in channels]
        table.add_row("chi2/dof", *("-" if value is None else f"{value:.2f}" for value in quality))
    console = table_console()
    console.print(f"\n  effective masses, cosh m = (C(t-1) + C(t+1)) / 2 C(t): {title}", soft_wrap=True)
    console.print(table)
    console.print(f"  {how_many(measurements)}", soft_wrap=True)


def _words(mass: Any) -> str:
    return "-" if mass is None else parenthesis(mass.value, mass.error)


# ---- plot
def check_plot(path: Path | None) -> None:
    """InputError before anything is computed if no plot can be made there."""
    if path is None:
        return
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError(f"--plot {path}: matplotlib does not load ({error}); pip install 'slhmc[plot]'") from error
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    if path.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise InputError(f"--plot {path}: a name that ends in .png, .pdf or .svg expected")
    if not path.absolute().parent.is_dir():
        raise InputError(f"--plot {path}: no such directory as {path.absolute().parent}; make it first")


def check_request(card: RunCard, plot: Path | None, window: tuple[int, int] | None) -> None:
    """InputError before anything is computed if the card has no such times, or nothing to plot."""
    if window is not None and window[1] > card.lattice.extent[-1] // 2:
        raise InputError(f"--plateau {window[0]}:{window[1]}: times up to T/2 = {card.lattice.extent[-1] // 2} expected")
    drawn = card.measure.mesons, card.measure.gradient_flow, card.measure.static_potential
    if plot is not None and not any(drawn):
        raise InputError(f"--plot {plot}: no meson correlators to plot; add --observable mesons, or static_potential, or --flow")


def _panels(mesons: dict[str, list[Channel]], flow: np.ndarray | None, potential: Any, card: RunCard) -> list[Callable]:
    """What draws each panel: effective masses of each quark, t^2 E, charges along the flow, the static potential."""
    panels: list[Callable] = [lambda panel, name=name, channels=channels: draw_masses(
        panel, f"{name} ({_quark(card, name)})", channels) for name, channels in mesons.items()]
    if flow is not None:
        panels.append(lambda panel: draw_energy(panel, flow, card))
        panels += [lambda panel: draw_charge(panel, flow)] * (flow.shape[1] > 3)
    if potential is not None:
        panels.append(lambda panel: draw_potential(panel, potential))
    return panels


def draw(path: Path, panels: list[Callable]) -> None:
    """One panel below the other; written at once."""
    import io

    from matplotlib.figure import Figure

    from slhmc.io.atomic import replace_file

    figure = Figure(figsize=(6.4, 3.8 * len(panels)), layout="constrained")
    for axes, panel in zip(np.atleast_1d(figure.subplots(len(panels), 1)), panels, strict=True):
        panel(axes)
    image = io.BytesIO()
    figure.savefig(image, format=path.suffix[1:].lower(), dpi=150)
    replace_file(path, [image.getvalue()])


def draw_masses(panel, title: str, channels: list[Channel]) -> None:
    """Effective masses over time with errors, plateaus as bands."""
    for number, channel in enumerate(channels):
        times = [t for t, mass in enumerate(channel.masses) if mass is not None]
        values, errors = ([getattr(channel.masses[t], key) or 0.0 for t in times] for key in ("value", "error"))
        shift, color = 0.08 * (number - (len(channels) - 1) / 2), f"C{number}"
        panel.errorbar(np.array(times) + shift, values, errors, fmt="o", markersize=4, capsize=2, color=color,
                       label=channel.name.replace("_", " "))
        if channel.plateau is not None:
            fit = channel.plateau
            low, high = fit.mass.value - (fit.mass.error or 0), fit.mass.value + (fit.mass.error or 0)
            panel.fill_between([fit.first - 0.4, fit.last + 0.4], low, high, color=color, alpha=0.25, linewidth=0)
    panel.set(title=title, xlabel="$t / a$", ylabel="effective mass $a m$", ylim=(0, None),
              xlim=(0.5, len(channels[0].masses) - 0.5))
    panel.legend()
