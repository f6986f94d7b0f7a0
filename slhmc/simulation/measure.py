"""Measurements on the saved configurations of a run, finished or at work."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from slhmc import __version__
from slhmc.backend import open_device
from slhmc.errors import ComputationError, InputError, RunCardError
from slhmc.io import MeasurementFile, RunDirectory, load_links
from slhmc.io.fit import model_digest
from slhmc.lattice import Draws, GaugeField
from slhmc.lattice.communicator import SerialCommunicator
from slhmc.runcard import MeasureTable, RunCard, parse_card, with_paths
from slhmc.simulation.build import QUARK_OBSERVABLES, kernel_units, make_lattice, make_observables
from slhmc.simulation.simulation import on_root

# what a measurement may have otherwise than the run: a key, or a table with all its keys
CHOICES = ("measure", "solver", "lattice.ranks", "lattice.lanes")
Observer = Callable[[int, int, int, list[str]], None]


def measurement_card(directory, names: Iterable[str] = (), overrides: Iterable[str] = ()) -> RunCard:
    """The card of a run with what is to be measured in [measure]: `names` alone, or what the card has; `overrides` as of --set.

    Raises InputError for a name that is no observable, an override of anything but CHOICES, or what does not fit the card.
    """
    names, overrides, path = list(names), list(overrides), Path(directory) / "card.toml"
    known = [name for name in MeasureTable.model_fields if name != "quarks"]
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"--observable {unknown[0]}: no such observable; there are {', '.join(known)}")
    for override in overrides:
        key = override.partition("=")[0].strip()
        if not any(key == choice or key.startswith(f"{choice}.") for choice in CHOICES):
            raise InputError(f"--set {override}: a measurement may set {', '.join(CHOICES)} alone; what made the links must stay")
    files = RunDirectory(directory)
    if files.training.exists() or files.fit.exists():
        raise InputError(f"{directory}: a training found, the directory of a run expected; its configurations are samples")
    text = files.read_card()
    card = parse_card(text, str(path), overrides)
    missing = [f"measure.{name}={{}}" for name in names if getattr(card.measure, name) is None]
    try:
        card = parse_card(text, str(path), [*missing, *overrides])
    except RunCardError as error:
        words = str(error)
        for override in missing:
            words = words.replace(f"--set {override}:", f"--observable {override[8:-3]}:")
        raise RunCardError(words) from None
    card = with_paths(card, Path(directory).absolute(), overrides)
    if not names:
        return card
    unwanted = {name: None for name in known if name not in names}
    return card.model_copy(update={"measure": card.measure.model_copy(update=unwanted)})


def measure(directory, names=(), overrides=(), *, output=None, device: str = "cpu", communicator=None,
            observer: Observer | None = None) -> MeasurementFile | None:
    """Measure each configuration in configs/ that the file of measurements lacks; the file on rank 0, None elsewhere. Collective.

    names, overrides: see `measurement_card`; `every` does not matter here. output: the file, DIR/measure.h5 if None. It is
    written after each configuration, so what is interrupted goes on where it was. The noise of a configuration is that of its
    trajectory, the same for each observable whichever others are measured. observer(trajectory, done, total, names) is called on
    rank 0 after each configuration. Raises InputError where there is no configuration, or none that can be read, or the
    file has other settings; ComputationError with the trajectory.
    """
    communicator = communicator or SerialCommunicator()
    card = on_root(communicator, lambda: measurement_card(directory, names, overrides))
    file = MeasurementFile(output or Path(directory) / "measure.h5", __version__)
    files = RunDirectory(directory)
    found = on_root(communicator, lambda: _configurations(files))
    with ExitStack() as stack:
        def begin():
            stack.enter_context(file.locked())
            file.read()
        on_root(communicator, begin)
        _measure(files, card, found, file, device, communicator, observer)
    return file if communicator.rank == 0 else None


def _measure(files: RunDirectory, card: RunCard, found, file: MeasurementFile, device: str, communicator, observer) -> None:
    lattice = make_lattice(card, open_device(device), communicator)
    lattice.device.prepare(kernel_units(card.model_copy(update={"guide": None}), lattice))
    observables = [observable for observable, _ in make_observables(card, lattice)]

    def due():
        for observable in observables:
            file.begin(observable.name, settings(card, observable.name), getattr(observable, "channels", ()))
        pending = {number: [o.name for o in observables if not file.has(o.name, number)] for number in found}
        return {number: wanted for number, wanted in pending.items() if wanted}
    pending = on_root(communicator, due)
    U = GaugeField(lattice, card.lattice.colors)
    for done, (number, wanted) in enumerate(pending.items(), 1):
        U.from_sites(on_root_alone(communicator, lambda number=number: _links(files, card, number)))
        values = {o.name: _value(o, U, card.run.seed, number) for o in observables if o.name in wanted}

        def keep(number=number, values=values, done=done):
            for name, value in values.items():
                file.add(name, number, value)
            file.flush()
            if observer is not None:
                observer(number, done, len(pending), list(values))
        on_root(communicator, keep)


def on_root_alone(communicator, function):
    """function() on rank 0, None elsewhere; its error on all ranks. For what is too large to share. Collective."""
    result = None

    def call():
        nonlocal result
        result = function()
    on_root(communicator, call)
    return result


def _configurations(files: RunDirectory) -> list[int]:
    """Trajectories of the configurations in configs/; InputError if there is none."""
    numbers = sorted(int(path.stem[4:]) for path in files.configurations.glob("cfg_*.h5") if path.stem[4:].isdecimal())
    if not numbers:
        raise InputError(f"{files.configurations}: no configurations found, cfg_NNNNNN.h5 expected; a run keeps them if its "
                         f"card has run.save_every: `slhmc resume {files.path} --set run.save_every=10` with more --trajectories")
    return numbers


def _links(files: RunDirectory, card: RunCard, number: int):
    path = files.configuration(number)
    links, attributes = load_links(path, card.lattice.extent, card.lattice.colors)
    if attributes.get("trajectory") != number:
        raise InputError(f"{path}: holds trajectory {attributes.get('trajectory')}, {number} expected by its name; "
                         "restore the file, or move it away")
    return links


def _value(observable, U, seed: int, trajectory: int):
    try:
        return observable.measure(U, Draws(seed, trajectory))
    except ComputationError as error:
        raise type(error)(f"trajectory {trajectory}, measuring {observable.name}: {error}") from None


def settings(card: RunCard, name: str) -> dict:
    """What the values of an observable depend on besides the links: its table, its quark, the boundary, the seed."""
    base, _, number = name.rpartition("_")
    base, number = (base, int(number)) if number.isdecimal() else (name, 1)
    told = {key: value for key, value in getattr(card.measure, base).model_dump().items() if key != "every"}
    if base == "learned_flow":
        told["weights"] = model_digest(told["weights"])  # wherever it lies
    if base in QUARK_OBSERVABLES:
        dynamics = {"level", "hasenbusch", "rational", "flavors"}
        quark = card.measured_quarks[number - 1].model_dump(exclude_none=True, exclude=dynamics)
        told |= {"quark": quark, "fermion_boundary": list(card.lattice.fermion_boundary), "seed": card.run.seed}
        told |= {} if card.smearing is None else {"smearing": card.smearing.model_dump(exclude_none=True)}
    return told
