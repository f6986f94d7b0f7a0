"""`Simulation`: a Markov chain with its observables and its files."""

import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from slhmc import __version__
from slhmc.backend import open_device
from slhmc.errors import InputError, SlhmcError
from slhmc.io import EnsembleFile, RunDirectory, load_checkpoint, load_links, save_checkpoint, save_links
from slhmc.io.atomic import describe
from slhmc.lattice import Draws, GaugeField
from slhmc.lattice.communicator import SerialCommunicator
from slhmc.lattice.random import Purpose
from slhmc.runcard import RunCard, card_text, parse_card
from slhmc.simulation.build import kernel_units, make_lattice, make_observables, make_update
from slhmc.simulation.stopping import StopRequest

STATUS_SECONDS = 1.0  # status.json is not written more often than this


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
    """function() on rank 0; its result, or its error, on all ranks. Collective."""
    outcome = None
    if communicator.rank == 0:
        try:
            outcome = (function(), None)
        except SlhmcError as error:
            outcome = (None, error)
    result, error = communicator.bcast(outcome)
    if error is not None:
        raise error
    return result


def create(card: RunCard, directory, *, device: str = "cpu", communicator=None) -> "Simulation":
    """A new run in `directory`, which must not hold another. Collective."""
    simulation = Simulation(card, Path(directory), device, communicator)
    text = card_text(card)
    with simulation.closed_on_error():
        simulation.on_root(lambda: simulation.open_files(lambda: simulation.files.create(text), None))
        simulation.start()
    return simulation


def resume(directory, *, device: str = "cpu", communicator=None, trajectories: int | None = None) -> "Simulation":
    """Go on with the run in `directory` after its last checkpoint; `trajectories` replaces the number of the card. Collective."""
    directory = Path(directory)
    communicator = communicator or SerialCommunicator()
    text = on_root(communicator, lambda: RunDirectory(directory).read_card())
    card = parse_card(text, str(directory / "card.toml"))
    simulation = Simulation(card, directory, device, communicator)
    with simulation.closed_on_error():
        position = simulation.on_root(lambda: simulation.open_files(simulation.files.open, text))
        if position is None:
            simulation.start()
        else:
            simulation.continue_from(*position)
    if trajectories is not None:
        simulation.trajectories = trajectories
    return simulation


class Simulation:
    """Use `create` or `resume`, then `run`. All methods are collective; files are touched by rank 0 alone."""

    def __init__(self, card: RunCard, directory: Path, device: str, communicator=None):
        self.card, self.communicator = card, communicator or SerialCommunicator()
        self.lattice = make_lattice(card, open_device(device), self.communicator)
        self.lattice.device.prepare(kernel_units(card, self.lattice))
        self.U = GaugeField(self.lattice, card.lattice.colors)
        self.update = make_update(card, self.lattice)
        self.observables = make_observables(card, self.lattice)
        self.trajectories = card.run.trajectories
        self.trajectory = 0
        self.files = RunDirectory(directory)
        self.chain: EnsembleFile | None = None
        self.log = None
        self._links = None
        self._last_report: Report | None = None
        self._status_written = 0.0

    @property
    def total(self) -> int:
        """Trajectories of thermalization and production."""
        return self.card.run.thermalization + self.trajectories

    def on_root(self, function):
        return on_root(self.communicator, function)

    # ---- beginning
    def open_files(self, lock, text: str | None) -> tuple[int, dict] | None:
        """Lock the directory and open its files (rank 0); trajectory and state of a run that goes on, None for a new one."""
        lock()
        self.log = self.files.open_log()
        if text is None or not self.files.checkpoint.exists():
            self._forget_empty_chain()
            self.chain = EnsembleFile.create(self.files.chain, text or self.files.read_card(), __version__)
            return None
        self._links, trajectory, state = load_checkpoint(self.files.checkpoint)
        self.chain = EnsembleFile.open(self.files.chain)
        self.chain.truncate(trajectory)
        return trajectory, state

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
        self._links, _ = load_links(self.card.run.start_file, self.lattice.extent, self.U.colors)

    def _take_links(self) -> None:
        """Spread the links that rank 0 has read."""
        self.U.from_sites(self._links)
        self._links = None

    def continue_from(self, trajectory: int, state: dict) -> None:
        """Links and counters of the checkpoint that rank 0 has read."""
        self._take_links()
        self.trajectory, self.trajectories = trajectory, int(state["trajectories"])

    # ---- running
    def run(self, observer=None) -> bool:
        """Run to the end: True; or stop early with a checkpoint, on USR1, TERM or the card's time limit: False.

        observer(Report) is called on rank 0 after each trajectory. An error leaves the last checkpoint, and the directory
        free for `resume`.
        """
        try:
            done = self._run(observer)
        except BaseException as error:
            if self.lattice.is_root:
                with suppress(SlhmcError):  # the first error is the one to tell
                    self._finish("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
            raise
        self.on_root(lambda: self._finish("done" if done else "stopped"))
        return done

    def _run(self, observer) -> bool:
        started, first, accepted, longest = time.monotonic(), self.trajectory, 0, 0.0
        with StopRequest() as stop:
            while self.trajectory < self.total:
                begun = time.monotonic()
                record = self._one_trajectory()
                now = time.monotonic()
                longest = max(longest, now - begun)
                done = self.trajectory - first
                accepted += record["accepted"]
                self._tell(record, accepted / done, (now - started) / done, observer)
                out_of_time = self.card.run.time_limit is not None and now - started + longest > self.card.run.time_limit
                halt = self._agree(stop.requested or out_of_time)
                if halt or self.trajectory == self.total or self.trajectory % self.card.run.checkpoint_every == 0:
                    self.checkpoint()
                if halt and self.trajectory < self.total:
                    return False
        return True

    def _one_trajectory(self) -> dict:
        number, run = self.trajectory + 1, self.card.run
        begun = time.perf_counter()
        transition = self.update.step(self.U, run.seed, number)
        seconds = time.perf_counter() - begun
        self.trajectory = number
        draws = Draws(run.seed, number)
        values = {observable.name: observable.measure(self.U, draws)
                  for observable, every in self.observables if number % every == 0}
        record = {"trajectory": number, "accepted": transition.accepted, "delta_h": transition.delta_h,
                  "iterations": transition.iterations, "seconds": seconds, "thermalization": number <= run.thermalization}
        if self.chain is not None:
            self.chain.append(record)
            for name, value in values.items():
                self.chain.append_observable(name, number, value)
        if run.save_every and number % run.save_every == 0 and number > run.thermalization:
            self._save_links(number)
        self.plaquette = float(values.get("plaquette", float("nan")))
        return record

    def _save_links(self, number: int) -> None:
        links = self.U.to_sites()
        self.on_root(lambda: save_links(self.files.configuration(number), links, trajectory=number))

    def checkpoint(self) -> None:
        """Write the chain, then the links: a kill in between leaves a chain that is longer, and `resume` cuts it."""
        links = self.U.to_sites()

        def write():
            self.chain.flush()
            save_checkpoint(self.files.checkpoint, links, self.trajectory, {"trajectories": self.trajectories})
        self.on_root(write)

    def _agree(self, wish: bool) -> bool:
        """Whether any rank wishes to stop; all must stop after the same trajectory."""
        return any(self.communicator.allgather(bool(wish)))

    # ---- telling
    def _tell(self, record: dict, acceptance: float, pace: float, observer) -> None:
        if not self.lattice.is_root:
            return
        report = Report(record["trajectory"], self.total, record["thermalization"], record["delta_h"], record["accepted"],
                        acceptance, self.plaquette, record["seconds"], pace * (self.total - self.trajectory))
        self._log(f"{report.trajectory} dH {report.delta_h:+.6e} {'accepted' if report.accepted else 'rejected'} "
                  f"plaquette {report.plaquette:.8f} iterations {record['iterations']} {report.seconds:.4g} s\n")
        self._last_report = report
        if time.monotonic() - self._status_written > STATUS_SECONDS:
            self._write_status("running")
        if observer is not None:
            observer(report)

    def _write_status(self, state: str) -> None:
        self._status_written = time.monotonic()
        status = {"state": state, "trajectory": self.trajectory, "total": self.total}
        self.files.write_status(status | (vars(self._last_report) if self._last_report else {}))

    def _finish(self, state: str) -> None:
        """Last words in status and log, then `close`; for rank 0."""
        try:
            self._write_status(state)
            self._log(f"{state} after trajectory {self.trajectory}\n")
        finally:
            self.close()

    def _log(self, line: str) -> None:
        try:
            self.log.write(line)
        except OSError as error:
            raise InputError(f"{self.files.log}: cannot be written: {describe(error)}") from error

    def close(self) -> None:
        """Give the directory back, so that the run can be resumed in this process, too; harmless if done before."""
        if self.log is not None:
            with suppress(OSError):  # what a full disk did not take
                self.log.close()
        self.files.close()

    @contextmanager
    def closed_on_error(self):
        """`close` if the block raises."""
        try:
            yield
        except BaseException:
            self.close()
            raise
