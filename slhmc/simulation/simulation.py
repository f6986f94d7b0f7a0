"""`Simulation`: a Markov chain with its observables and its files."""

import json
import time
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from math import isfinite
from pathlib import Path

from slhmc import __version__
from slhmc.backend import open_device
from slhmc.errors import ComputationError, InputError, SlhmcError
from slhmc.io import (
    EnsembleFile,
    RunDirectory,
    Weights,
    load_checkpoint,
    load_configuration,
    save_checkpoint,
    save_links,
    write_weights,
)
from slhmc.lattice import Draws, GaugeField
from slhmc.lattice.communicator import SerialCommunicator
from slhmc.lattice.random import Purpose
from slhmc.runcard import RunCard, card_text, parse_card, with_paths
from slhmc.simulation.build import check_memory, kernel_units, make_lattice, make_observables, make_update
from slhmc.simulation.changes import changes, check_overrides, check_settings, settings
from slhmc.simulation.guide import frozen_guide, read_weights
from slhmc.simulation.kept import abandon
from slhmc.simulation.status import LiveStatus
from slhmc.stopping import StopRequest


@dataclass(frozen=True)
class Report:
    """One trajectory, for people: `trajectory` of `total` counts thermalization, too; acceptance is that of this session."""

    trajectory: int
    total: int
    thermalization: bool
    delta_h: float
    accepted: bool
    acceptance: float
    plaquette: float
    seconds: float
    eta_seconds: float | None


def on_root(communicator, function):
    """function() on rank 0; its result, or its error, on all ranks. Collective.

    An error that is not one of ours may not survive the way to other ranks: they raise a RuntimeError with its words.
    """
    result = error = told = None
    if communicator.rank == 0:
        try:
            result = function()
        except Exception as caught:  # noqa: BLE001 - whatever it is, no rank may be left waiting
            error = told = caught
            if not isinstance(caught, SlhmcError):
                told = RuntimeError(f"on rank 0: {type(caught).__name__}: {caught}")
    result, told = communicator.bcast((result, told))
    if told is not None:
        raise told if error is None else error
    return result


def error_words(error: BaseException) -> str:
    """An error as a user is told it."""
    return str(error) if isinstance(error, SlhmcError) else f"{type(error).__name__}: {error}"


def _refuse_fit(card: RunCard) -> None:
    if card.fit is not None:
        raise InputError("the card has a [fit], whose chains are those of its data sets; `slhmc train` it")


def create(card: RunCard, directory, *, device: str = "cpu", communicator=None) -> "Simulation":
    """A new run in `directory`, which must not hold another; it gets a copy of the guide's weights. Collective."""
    communicator = communicator or SerialCommunicator()
    _refuse_fit(card)
    weights, found = on_root(communicator, lambda: read_weights(card)), card.guide and card.guide.network
    if weights is not None:
        own = card.guide.model_copy(update={"network": RunDirectory(directory).weights.name})
        card = card.model_copy(update={"guide": own})
    simulation = Simulation(card, Path(directory), device, communicator, weights)
    text = card_text(card)
    with simulation.closed_on_error():
        simulation.on_root(lambda: simulation.open_files(lambda: simulation.files.create(text, found), None))
        simulation.start()
    return simulation


def resume(directory, *, device: str = "cpu", communicator=None, overrides=()) -> "Simulation":
    """Go on with the run in `directory` after its last checkpoint. Collective.

    `overrides` (each `table.key=value`) change its card.toml, which may also be edited; what changed since the last session
    is kept in the chain file. Raises InputError if a key changed that is not in CHANGEABLE, if a file is damaged or not of
    this run, or if more trajectories are done than the card asks for.
    """
    directory, overrides = Path(directory), list(overrides)
    communicator = communicator or SerialCommunicator()
    check_overrides(overrides)
    text = on_root(communicator, lambda: RunDirectory(directory).read_card())
    card = parse_card(text, str(directory / "card.toml"), overrides)
    _refuse_fit(card)
    if overrides:
        card = with_paths(card, None, overrides)
        text = card_text(card)
    weights = on_root(communicator, lambda: read_weights(with_paths(card, directory.absolute())))
    simulation = Simulation(card, directory, device, communicator, weights)
    with simulation.closed_on_error():
        trajectory = simulation.on_root(lambda: simulation.open_files(simulation.files.open, text))
        if trajectory is None:
            simulation.start()
        else:
            simulation.continue_from(trajectory)
    return simulation


class Simulation:
    """Use `create` or `resume`, then `run`. All methods are collective; files are touched by rank 0 alone."""

    def __init__(self, card: RunCard, directory: Path, device: str, communicator=None, weights: Weights | None = None):
        self._created = time.monotonic()
        self.card, self.communicator = card, communicator or SerialCommunicator()
        self.lattice = make_lattice(card, open_device(device), self.communicator)
        check_memory(card, self.lattice.device, self.communicator.size)
        self.lattice.device.prepare(kernel_units(card, self.lattice))
        self.U = GaugeField(self.lattice, card.lattice.colors)
        self.weights, self.frozen = weights, frozen_guide(card, weights)
        self.update = make_update(card, self.lattice, weights=weights)
        # far from equilibrium a guide leads nowhere: the target itself thermalizes
        guided = card.guide is not None and card.run.thermalization > 0
        self.prior = make_update(card.model_copy(update={"guide": None}), self.lattice) if guided else self.update
        self.observables = make_observables(card, self.lattice)
        self.trajectory = 0
        self.files = RunDirectory(directory)
        self.chain: EnsembleFile | None = None
        self._links = None
        self._last_report: Report | None = None
        self.plaquette = float("nan")  # of the last measurement
        self._status = LiveStatus(self.files)
        self._checkpoint_seconds = 0.0  # the longest yet

    @property
    def total(self) -> int:
        """Trajectories of thermalization and production."""
        return self.card.run.thermalization + self.card.run.trajectories

    def on_root(self, function):
        return on_root(self.communicator, function)

    # ---- beginning
    def open_files(self, lock, text: str | None) -> int | None:
        """Lock the directory and open its files (rank 0); trajectory of a run that goes on, None for a new one.

        `text`: the card of a run that goes on, for card.toml once all is found to be in order.
        """
        lock()
        self.files.write_log("")  # one that cannot be written is found before anything is computed
        trajectory = None
        if text is not None and self.files.checkpoint.exists():
            trajectory = self._open_chain(text)
        else:
            self._forget_empty_chain()
            if self.weights is not None:
                write_weights(self.files.weights, self.weights)
            self.chain = EnsembleFile.create(self.files.chain, text or self.files.read_card(), __version__, self.frozen)
            self._settle(self.card)
            if text is not None:
                abandon(self.files, 0)
        if text is not None:
            self.files.change_card(text)
        return trajectory

    def _open_chain(self, text: str) -> int:
        """Chain and links of the checkpoint, and its trajectory; what changed in the card goes on record."""
        self.chain = EnsembleFile.open(self.files.chain)
        before = parse_card(self.chain.card_text, f"card in {self.files.chain}")
        changed = changes(before, self.card)
        if refused := [str(change) for change in changed if not change.allowed]:
            raise InputError(f"{self.files.card}: not the card that made this chain: {', '.join(refused)}; restore the card, "
                             f"or start a new run in another directory from {self.files.checkpoint.name} or configs/")
        if self.chain.guide != self.frozen:
            raise InputError(f"{self.files.weights}: not the weights that made this chain: sha256 "
                             f"{self.frozen.get('weights_sha256', 'of nothing')} found, "
                             f"{self.chain.guide.get('weights_sha256', 'no network')} expected; restore a copy")
        self._links, trajectory, _ = load_checkpoint(self.files.checkpoint, self.chain.owner, self.lattice.extent,
                                                     self.U.colors)
        self.chain.truncate(trajectory)
        self._settle(before)
        self._check_length(trajectory)
        if changed:
            self.chain.change_card(text, trajectory, changed)
            self.chain.flush()
            for change in changed:
                self.files.write_log(f"changed after trajectory {trajectory}: {change}\n")
        abandon(self.files, trajectory)
        return trajectory

    def _check_length(self, trajectory: int) -> None:
        wanted, done = self.card.run.trajectories, trajectory - self.card.run.thermalization
        if done > wanted:
            raise InputError(f"{self.files.path}: {wanted} trajectories asked for, but {done} are done; ask for {done} or "
                             f"more by --trajectories, or see `slhmc summary {self.files.path}`")

    def _settle(self, before: RunCard) -> None:
        """Keep in the chain what values of each observable depend on; InputError if those that it has were made otherwise."""
        for observable, _ in self.observables:
            name, now = observable.name, json.loads(json.dumps(settings(self.card, observable.name)))  # as it will be read
            if name in self.chain.observables:
                check_settings(name, self.chain.settings.get(name) or self._settings_of(before, name) or now, now)
            self.chain.settings[name] = now

    @staticmethod
    def _settings_of(card: RunCard, name: str) -> dict | None:
        """`settings` by another card, as the chain file does not have them; None if it cannot tell."""
        try:
            return json.loads(json.dumps(settings(card, name)))
        except (AttributeError, InputError):
            return None

    def _forget_empty_chain(self) -> None:
        """A run killed before its first checkpoint may have left a chain of nothing; any other chain has lost its checkpoint."""
        if not self.files.chain.exists():
            return
        if kept := len(EnsembleFile.open(self.files.chain).records):
            raise InputError(f"{self.files.checkpoint}: missing, but {self.files.chain.name} holds {kept} trajectories; "
                             "restore a copy, or start a new run in another directory from a configuration kept in configs/")
        self.files.chain.unlink()

    def start(self) -> None:
        """Links of [run] start, and the first checkpoint."""
        run = self.card.run
        if run.start == "hot":
            self.U.randomize(Draws(run.seed, 0).next(Purpose.START))
        elif run.start == "file":
            self.on_root(self._read_start_file)
            self._take_links()
        self.checkpoint()

    def _read_start_file(self) -> None:
        self._links, _ = load_configuration(self.card.run.start_file, self.lattice.extent, self.U.colors)

    def _take_links(self) -> None:
        """Spread the links that rank 0 has read."""
        self.U.from_sites(self._links)
        self._links = None

    def continue_from(self, trajectory: int) -> None:
        """The links of the checkpoint that rank 0 has read."""
        self._take_links()
        self.trajectory = trajectory

    # ---- running
    def run(self, observer=None, stop: StopRequest | None = None) -> bool:
        """Run to the end: True; or stop early with a checkpoint, on USR1, TERM or the card's time limit: False.

        observer(Report) is called on rank 0 after each trajectory. A `stop` that was entered earlier has the signals
        since then, and the time limit counts from there; without one it counts from when this object was made. An error
        leaves the last checkpoint, and the directory free for `resume`.
        """
        started = self._created if stop is None else stop.entered
        try:
            with StopRequest() if stop is None else nullcontext(stop) as stop:
                done = self._run(observer, stop, started)
        except BaseException as error:
            if self.lattice.is_root:
                self._status.warns = False
                with suppress(SlhmcError):  # the first error is the one to tell
                    self._finish(*("interrupted",) if isinstance(error, KeyboardInterrupt) else ("failed", error_words(error)))
            raise
        self.on_root(lambda: self._finish("done" if done else "stopped"))
        return done

    def _run(self, observer, stop: StopRequest, started: float) -> bool:
        entered, first, accepted, longest = time.monotonic(), self.trajectory, 0, 0.0
        halt = self.trajectory < self.total and self._agree(stop.requested)
        while self.trajectory < self.total and not halt:
            begun = time.monotonic()
            record = self._one_trajectory()
            done = self.trajectory - first
            accepted += record["accepted"]
            pace = (time.monotonic() - entered) / done
            self.on_root(partial(self._tell, record, accepted / done, pace, observer))
            longest = max(longest, time.monotonic() - begun)
            halt = self._agree(stop.requested or self._out_of_time(started, longest))
            if halt or self.trajectory == self.total or self.trajectory % self.card.run.checkpoint_every == 0:
                self.checkpoint()
        return self.trajectory == self.total

    def _out_of_time(self, started: float, longest: float) -> bool:
        """Whether a checkpoint that is due now, another trajectory and its checkpoint may end after the time limit."""
        limit = self.card.run.time_limit
        return limit is not None and time.monotonic() - started + longest + 2 * self._checkpoint_seconds > limit

    def _one_trajectory(self) -> dict:
        number, run = self.trajectory + 1, self.card.run
        begun = time.perf_counter()
        transition = (self.update if number > run.thermalization else self.prior).step(self.U, run.seed, number)
        seconds = time.perf_counter() - begun
        draws = Draws(run.seed, number)
        try:
            values = {observable.name: observable.measure(self.U, draws)
                      for observable, every in self.observables if number % every == 0}
        except ComputationError as error:
            raise type(error)(f"trajectory {number}, measuring: {error}") from None
        plaquette = float(values.get("plaquette", self.plaquette))
        if "plaquette" in values and not isfinite(plaquette):
            raise ComputationError(f"trajectory {number}: the plaquette is {plaquette}: the links are damaged; go on from the "
                                   "last checkpoint by `slhmc resume`; if it happens again, check gauge.beta")
        self.trajectory, self.plaquette = number, plaquette
        record = {"trajectory": number, "accepted": transition.accepted, "delta_h": transition.delta_h,
                  "iterations": transition.iterations, "seconds": seconds, "thermalization": number <= run.thermalization}
        if self.chain is not None:
            self.chain.append(record)
            for name, value in values.items():
                self.chain.append_observable(name, number, value)
        if run.save_every and number % run.save_every == 0 and number > run.thermalization:
            self._save_links(number)
        return record

    def _save_links(self, number: int) -> None:
        links = self.U.to_sites()
        self.on_root(lambda: save_links(self.files.configuration(number), links, trajectory=number))

    def checkpoint(self) -> None:
        """Write the chain, then the links: a kill in between leaves a chain that is longer, and `resume` cuts it."""
        begun = time.monotonic()
        links = self.U.to_sites()

        def write():
            self.chain.flush()
            save_checkpoint(self.files.checkpoint, links, self.trajectory, {}, self.chain.owner)
        self.on_root(write)
        self._checkpoint_seconds = max(self._checkpoint_seconds, time.monotonic() - begun)

    def _agree(self, wish: bool) -> bool:
        """Whether any rank wishes to stop; all must stop after the same trajectory."""
        return any(self.communicator.allgather(bool(wish)))

    # ---- telling
    def _tell(self, record: dict, acceptance: float, pace: float, observer) -> None:
        report = Report(record["trajectory"], self.total, record["thermalization"], record["delta_h"], record["accepted"],
                        acceptance, self.plaquette, record["seconds"], pace * (self.total - self.trajectory))
        self.files.write_log(f"{report.trajectory} dH {report.delta_h:+.6e} {'accepted' if report.accepted else 'rejected'} "
                             f"plaquette {report.plaquette:.8f} iterations {record['iterations']} {report.seconds:.4g} s\n")
        self._last_report = report
        if self._status.old:
            self._write_status("running")
        if observer is not None:
            observer(report)

    def _write_status(self, state: str, error: str | None = None) -> None:
        last = {} if self._last_report is None else vars(self._last_report)
        self._status.write(state, {"trajectory": self.trajectory, "total": self.total} | last, error)

    def _finish(self, state: str, error: str | None = None) -> None:
        """Last words in status and log, then `close`; for rank 0."""
        try:
            self._write_status(state, error)
            self.files.write_log(f"{state} after trajectory {self.trajectory}\n")
        finally:
            self.close()

    def close(self) -> None:
        """Give the directory back, so that the run can be resumed in this process, too; harmless if done before."""
        self.files.close()

    @contextmanager
    def closed_on_error(self):
        """`close` if the block raises."""
        try:
            yield
        except BaseException:
            self.close()
            raise
