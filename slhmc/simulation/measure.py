"""Measurements on kept configurations: those of a run, finished or at work, or files of other programs."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from slhmc import __version__
from slhmc.backend import open_device
from slhmc.errors import ComputationError, InputError, RunCardError, SlhmcError, SolverNotConverged
from slhmc.io import (
    KeptConfiguration,
    MeasurementFile,
    RunDirectory,
    fingerprint,
    found_configurations,
    is_scalar_chain,
    run_configurations,
)
from slhmc.io.atomic import ReadError
from slhmc.lattice import Draws, GaugeField
from slhmc.lattice.communicator import SerialCommunicator
from slhmc.runcard import MeasureTable, RunCard, load_measurement_card, parse_card, with_paths
from slhmc.simulation.build import kernel_units, make_lattice, make_observables
from slhmc.simulation.changes import settings
from slhmc.simulation.farm import Farm, on_root_alone
from slhmc.simulation.kept import Misfit, links_of_file, links_of_run
from slhmc.simulation.simulation import on_root

# what a measurement may have otherwise than the run: a key, or a table with all its keys
CHOICES = ("measure", "solver", "lattice.ranks", "lattice.lanes")
Observer = Callable[[KeptConfiguration, int, int, list[str]], None]


class Outcome(NamedTuple):
    """What a group of ranks has found on a configuration: values by observable, and what could not be measured."""

    configuration: KeptConfiguration
    fingerprint: str | None
    values: dict
    failures: list[SlhmcError]


def measurement_card(directory, names: Iterable[str] = (), overrides: Iterable[str] = (), card=None) -> RunCard:
    """The card of a run with what is to be measured in [measure]: `names` alone, or what the card has; `overrides` as of --set.

    card: the file of a card (`load_measurement_card`) for a directory that is not of a run; `overrides` may set anything then.
    Raises InputError for a name that is no observable, an override of anything but CHOICES, or what does not fit the card.
    """
    names, overrides = list(names), list(overrides)
    known = [name for name in MeasureTable.model_fields if name != "quarks"]
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"--observable {unknown[0]}: no such observable; there are {', '.join(known)}")
    read = _card_of_run(Path(directory), overrides) if card is None else partial(load_measurement_card, card)
    found = read(overrides)
    missing = [f"measure.{name}={{}}" for name in names if getattr(found.measure, name) is None]
    try:
        found = read([*missing, *overrides])
    except RunCardError as error:
        words = str(error)
        for override in missing:
            words = words.replace(f"--set {override}:", f"--observable {override[8:-3]}:")
        raise RunCardError(words) from None
    found = with_paths(found, Path(directory if card is None else Path(card).parent).absolute(), overrides)
    if not names:
        return found
    unwanted = {name: None for name in known if name not in names}
    return found.model_copy(update={"measure": found.measure.model_copy(update=unwanted)})


def check_measurement(directory, names=(), overrides=(), *, card=None, pattern: str | None = None) -> RunCard:
    """The card of a measurement there, if `measure` will find one and configurations. Raises InputError."""
    settled = measurement_card(directory, names, overrides, card)
    _configurations(Path(directory), card, pattern)
    return settled


def _card_of_run(directory: Path, overrides: list[str]) -> Callable[[list[str]], RunCard]:
    for override in overrides:
        key = override.partition("=")[0].strip()
        if not any(key == choice or key.startswith(f"{choice}.") for choice in CHOICES):
            raise InputError(f"--set {override}: a measurement may set {', '.join(CHOICES)} alone; what made the links must stay")
    files = RunDirectory(directory)
    if files.training.exists() or files.fit.exists():
        raise InputError(f"{directory}: a training found, the directory of a run expected; its configurations are samples")
    if is_scalar_chain(files.chain):
        raise InputError(f"{directory}: a run of the scalar field found, of gauge theory expected; n and |phi|^2 are measured on "
                         f"the way: slhmc summary {directory}")
    if directory.is_dir() and not files.card.exists():
        raise InputError(f"{directory}: no card.toml found, the directory of a run expected; for files of links of other "
                         "programs give a card with [lattice] and [measure] by --card")
    text = files.read_card()
    return lambda overrides: parse_card(text, str(files.card), overrides)


def measure(directory, names=(), overrides=(), *, card=None, pattern: str | None = None, output=None, device: str = "cpu",
            communicator=None, farm: int = 1, observer: Observer | None = None,
            failures: list[SlhmcError] | None = None) -> MeasurementFile | None:
    """Measure each configuration that the file of measurements lacks; the file on rank 0, None elsewhere. Collective.

    names, overrides, card: see `measurement_card`; `every` does not matter here. The configurations are those in configs/ of a
    run, or, with a card, the files of links in the directory (`found_configurations`, by `pattern`). output: the file,
    DIR/measure.h5 if None. farm: groups of ranks, each of which works on configurations of its own; the file is written when all
    have one more, so what is interrupted goes on where it was. The noise of a configuration is that of its number, the same for
    each observable whichever others are measured. observer(configuration, done, total, names) is called on rank 0.

    A configuration that cannot be read, or on which a solver does not converge, is left out and told in the end: appended to
    `failures`, or raised, as InputError if all are, else as ComputationError. Raises InputError where there is no configuration,
    where links do not fit the card, where the file has other settings or was made of other links; ComputationError.
    """
    communicator = communicator or SerialCommunicator()
    campaign = Farm(communicator, farm)
    settled = on_root(communicator, lambda: measurement_card(directory, names, overrides, card))
    file = MeasurementFile(output or Path(directory) / "measure.h5", __version__)
    found = on_root(communicator, lambda: _configurations(Path(directory), card, pattern))
    with ExitStack() as stack:
        def begin():
            stack.enter_context(file.locked())
            file.read()
            return _checked(file, found)
        found, missed = on_root(communicator, begin)
        missed += _measure(settled, links_of_run if card is None else links_of_file, found, file, campaign, device, observer)
    if missed and failures is None:
        raise gathered(missed)
    if failures is not None:
        failures.extend(missed)
    return file if communicator.rank == 0 else None


def gathered(failures: list[SlhmcError]) -> SlhmcError:
    """One error for what went wrong on single configurations: InputError if all are, else ComputationError."""
    kind = InputError if all(isinstance(error, InputError) for error in failures) else ComputationError
    left = f"{len(failures)} failure{'s' * (len(failures) > 1)}; all else is measured and kept"
    return kind("\n".join([*(str(error) for error in failures[:-1]), f"{failures[-1]} ({left})"]))


def _configurations(directory: Path, card, pattern: str | None) -> list[KeptConfiguration]:
    if card is None:
        if pattern is not None:
            raise InputError(f"--files {pattern}: chooses files of other programs, which need --card; the run in {directory} "
                             "keeps its own in configs/")
        return run_configurations(RunDirectory(directory))
    if RunDirectory(directory).card.exists():
        raise InputError(f"{directory}: the directory of a run found, which has its own card; leave out --card, or give "
                         f"{directory / 'configs'}")
    return found_configurations(directory, pattern)


def _checked(file: MeasurementFile, found: list[KeptConfiguration]) -> tuple[list[KeptConfiguration], list[SlhmcError]]:
    """Configurations that agree with what was measured before, and errors of those that the system does not read any more."""
    readable, errors = [], []
    for configuration in found:
        try:
            file.check(configuration)
            readable.append(configuration)
        except ReadError as error:
            errors.append(error)
    return readable, errors


def _measure(card: RunCard, read, found: list[KeptConfiguration], file: MeasurementFile, farm: Farm, device: str,
             observer) -> list[SlhmcError]:
    """Round by round: each group of ranks measures one configuration, then rank 0 writes."""
    lattice = make_lattice(card, open_device(device), farm.group)
    lattice.device.prepare(kernel_units(card.model_copy(update={"guide": None}), lattice))
    observables = [observable for observable, _ in make_observables(card, lattice)]

    def due():
        file.begin_lattice(card.lattice.extent, card.lattice.colors)
        for observable in observables:
            file.begin(observable.name, settings(card, observable.name), getattr(observable, "channels", ()))
        pending = [(entry, [o.name for o in observables if not file.has(o.name, entry.number)]) for entry in found]
        return [(entry, wanted) for entry, wanted in pending if wanted]
    pending = on_root(farm.everyone, due)
    U, failures, done = GaugeField(lattice, card.lattice.colors), [], 0
    for share in farm.shares(pending):
        outcome = None if share is None else _attempt(card, read, U, [o for o in observables if o.name in share[1]], share[0])
        outcomes = farm.gather(outcome)
        failures += [error for outcome in outcomes for error in outcome.failures]
        on_root(farm.everyone, partial(_keep, file, outcomes, done, len(pending), observer))
        done += len(outcomes)
    return failures


def _keep(file: MeasurementFile, outcomes: list[Outcome], done: int, total: int, observer) -> None:
    for outcome in outcomes:
        for name, value in outcome.values.items():
            file.add(name, outcome.configuration.number, value)
        if outcome.values:
            file.configurations[outcome.configuration.number] = outcome.configuration.path.name, outcome.fingerprint
    if any(outcome.values for outcome in outcomes):
        file.flush()
    for place, outcome in enumerate(outcomes, done + 1):
        if observer is not None and outcome.values:
            observer(outcome.configuration, place, total, list(outcome.values))


def _attempt(card: RunCard, read, U: GaugeField, observables: list, configuration: KeptConfiguration) -> Outcome:
    """Measure on one configuration. What all ranks of the group know to have failed is told; anything else ends the job."""
    group, print_of = U.lattice.communicator, None

    def load():
        before = fingerprint(configuration.path)
        links = read(configuration, card)
        if fingerprint(configuration.path) != before:
            raise InputError(f"{configuration.path}: has changed while it was read; measure again when its writer is done")
        return links, before
    try:
        links, print_of = on_root_alone(group, load) or (None, None)
    except Misfit:
        raise
    except InputError as error:
        return Outcome(configuration, None, {}, [error])
    U.from_sites(links)
    values, failures = {}, []
    for observable in observables:
        try:
            values[observable.name] = _value(observable, U, card.run.seed, configuration)
        except SolverNotConverged as error:
            failures.append(error)
    return Outcome(configuration, print_of, values, failures)


def _value(observable, U, seed: int, configuration: KeptConfiguration):
    try:
        return observable.measure(U, Draws(seed, configuration.number))
    except ComputationError as error:
        raise type(error)(f"{configuration.label}, measuring {observable.name}: {error}") from None
