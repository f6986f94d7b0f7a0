"""`ScalarSimulation`: chains of the complex scalar field with their files, as `Simulation` is for links."""

import time
from collections.abc import Callable
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slhmc import __version__
from slhmc.backend import HostDevice, open_device
from slhmc.backend.compiler import compile_host
from slhmc.errors import InputError, SlhmcError
from slhmc.io import FluxChains, FluxConfigurations, RunDirectory, load_flux_checkpoint, save_flux_checkpoint, save_fluxes
from slhmc.runcard import ScalarCard, card_text, parse_card
from slhmc.scalar import WormSampler
from slhmc.simulation.changes import changes
from slhmc.simulation.kept import abandon
from slhmc.simulation.simulation import error_words
from slhmc.simulation.status import LiveStatus
from slhmc.stopping import StopRequest

_PIECE_SECONDS = 0.5  # of sweeps, after which a signal is heeded

# none of them changes what the chains sample
SCALAR_CHANGEABLE = ("run.sweeps", "run.save_every", "run.checkpoint_every", "run.time_limit")



@dataclass(frozen=True)
class SweepReport:
    """Where a run of the scalar field is, for people; seconds: of a sweep of all chains; density, phi_squared: means over all
    chains, nan until they are measured."""

    sweep: int
    total: int
    thermalization: bool
    density: float
    phi_squared: float
    seconds: float
    eta_seconds: float
    checkpointed: bool


def create_scalar(card: ScalarCard, directory, *, device: str = "cpu", communicator=None) -> "ScalarSimulation":
    """A new run in `directory`, which must not hold another."""
    simulation = ScalarSimulation(card, Path(directory), device, communicator)
    simulation.files.create(card_text(card))
    with _closed_on_error(simulation.files):
        simulation.begin()
    return simulation


def resume_scalar(directory, *, device: str = "cpu", communicator=None, overrides=()) -> "ScalarSimulation":
    """Go on with the run in `directory` after its last checkpoint, bit for bit.

    `overrides` (each `table.key=value`) change its card.toml. Raises InputError if a key changed that is not in
    SCALAR_CHANGEABLE, if a file is damaged or not of this run, or if more sweeps are done than the card asks for.
    """
    files = RunDirectory(directory)
    card = parse_card(files.read_card(), str(files.card), list(overrides), ScalarCard)
    simulation = ScalarSimulation(card, Path(directory), device, communicator)
    simulation.files.open()
    with _closed_on_error(simulation.files):
        simulation.go_on()
    return simulation


def build_scalar() -> None:
    """Compile the CPU kernels of all scalar cards into the cache, for nodes without a compiler."""
    HostDevice().prepare([("worm.cc", "double", 1, 0, 0, 0)])
    compile_host("tape.cc", {})


def make_sampler(card: ScalarCard, device) -> WormSampler:
    """The chains of a card: eta slowest, then mu, then the chains of each pair."""
    table = card.scalar
    eta, mu, _ = np.meshgrid(table.etas, table.mu, np.arange(table.chains), indexing="ij")
    return WormSampler(device, card.lattice.extent, eta.reshape(-1), table.coupling, mu.reshape(-1), eta.size, card.run.seed,
                       table.worms)


@contextmanager
def _closed_on_error(files: RunDirectory):
    try:
        yield
    except BaseException:
        files.close()
        raise


class ScalarSimulation:
    """Use `create_scalar` or `resume_scalar`, then `run`."""

    def __init__(self, card: ScalarCard, directory: Path, device: str, communicator=None):
        if communicator is not None and communicator.size > 1:
            raise InputError(f"a card with [scalar] found on {communicator.size} ranks, 1 expected: threads share its chains "
                             "(OMP_NUM_THREADS)")
        self._created = time.monotonic()
        self.card, self.sampler = card, make_sampler(card, open_device(device))
        self.files = RunDirectory(directory)
        self.chains: FluxChains | None = None
        self._last: SweepReport | None = None
        self._status = LiveStatus(self.files)
        self._measured, self._means = time.perf_counter(), (float("nan"), float("nan"))
        self._piece = 1  # sweeps at once

    @property
    def total(self) -> int:
        """Sweeps of thermalization and production."""
        return self.card.run.thermalization + self.card.run.sweeps

    # ---- beginning
    def begin(self) -> None:
        """The files of a new run, with chains that are empty."""
        sampler, run = self.sampler, self.card.run
        self.files.write_log("")
        couplings = {"eta": sampler.eta, "coupling": sampler.coupling, "mu": sampler.mu}
        self.chains = FluxChains(self.files.chain, card_text(self.card), __version__, couplings, run.thermalization)
        self.checkpoint()

    def go_on(self) -> None:
        """Chains and fields of the checkpoint; a run killed before its first one begins anew."""
        files = self.files
        if not files.checkpoint.exists():
            if files.chain.exists() and len(FluxChains.open(files.chain).sweeps):
                raise InputError(f"{files.checkpoint}: missing, but {files.chain.name} holds measurements; restore a copy, or "
                                 "start a new run in another directory")
            self.begin()
            return
        self.chains = FluxChains.open(files.chain)
        changed = changes(parse_card(self.chains.card_text, f"card in {files.chain}", (), ScalarCard), self.card)
        if refused := [str(change) for change in changed if change.key not in SCALAR_CHANGEABLE]:
            raise InputError(f"{files.card}: not the card that made these chains: {', '.join(refused)}; a run that goes on may "
                             f"change {', '.join(SCALAR_CHANGEABLE)}; for others start a new run in another directory")
        k, ell, sweep = load_flux_checkpoint(files.checkpoint, self.chains.owner)
        if sweep > self.total:
            raise InputError(f"{files.path}: {self.card.run.sweeps} sweeps asked for, but {sweep - self.chains.thermalization} "
                             f"are done; ask for that or more by --set run.sweeps=N")
        try:
            self.sampler.restore(k, ell, sweep)
        except InputError as error:
            raise InputError(f"{files.checkpoint}: {error}; put back the checkpoint of this run") from error
        self.chains.truncate(sweep)
        abandon(files, sweep)
        text = card_text(self.card)
        self.chains.card_text = text
        files.change_card(text)
        for change in changed:
            files.write_log(f"changed after sweep {sweep}: {change}\n")

    # ---- running
    def run(self, observer=None, stop: StopRequest | None = None) -> bool:
        """Run to the end: True; or stop early with a checkpoint, on USR1, TERM or the card's time limit: False.

        observer(SweepReport) is called after each measurement; `stop` as of `Simulation.run`.
        """
        started = self._created if stop is None else stop.entered
        try:
            with StopRequest() if stop is None else nullcontext(stop) as stop:
                done = self._run(observer, stop, started)
        except BaseException as error:
            self._status.warns = False
            with suppress(SlhmcError):  # the first error is the one to tell
                self._finish(*("interrupted",) if isinstance(error, KeyboardInterrupt) else ("failed", error_words(error)))
            raise
        self._finish("done" if done else "stopped")
        return done

    def _run(self, observer, stop: StopRequest, started: float) -> bool:
        entered, first, limit = time.monotonic(), self.sampler.sweep, self.card.run.time_limit
        self._measured, longest = time.perf_counter(), 0.0

        def must_stop(seconds: float = 0.0) -> bool:
            """After another piece of so many."""
            nonlocal longest
            longest = max(longest, seconds)
            return stop.requested or (limit is not None and time.monotonic() - started + 2 * longest > limit)
        halt = False
        while self.sampler.sweep < self.total and not halt:
            self._advance(must_stop)
            now, done, halt = time.monotonic(), self.sampler.sweep - first, must_stop()
            checkpoint = halt or self.sampler.sweep == self.total or self.sampler.sweep % self.card.run.checkpoint_every == 0
            if checkpoint:
                self.checkpoint()
            self._tell(observer, (now - entered) / done, checkpoint)
        return self.sampler.sweep == self.total

    def _advance(self, must_stop: Callable[[float], bool] = lambda seconds: False) -> None:
        """All sweeps up to the next one after which something is measured, kept or written, and that; fewer, if it must stop, as
        it asks about twice a second. Pieces change no bits.
        """
        run, sampler = self.card.run, self.sampler
        nearest = [every - sampler.sweep % every for every in (run.measure_every, run.save_every, run.checkpoint_every) if every]
        end = sampler.sweep + min(*nearest, self.total - sampler.sweep)
        while sampler.sweep < end:
            begun, piece = time.monotonic(), min(self._piece, end - sampler.sweep)
            sampler.update(piece)
            sampler.device.synchronize()
            passed = time.monotonic() - begun
            self._piece = max(1, min(2 * piece, int(piece * _PIECE_SECONDS / max(passed, 1e-9))))
            if must_stop(passed) and sampler.sweep < end:
                return
        sweep, due = sampler.sweep, sampler.sweep % run.measure_every == 0
        keep = run.save_every and sweep % run.save_every == 0 and sweep > run.thermalization
        if due or keep:
            density, square = sampler.observables()
            self._means = float(density.mean()), float(square.mean())
        if due:
            now = time.perf_counter()
            self.chains.append(sweep, now - self._measured, density, square)
            self._measured = now
        if keep:
            save_fluxes(self.files.configuration(sweep), FluxConfigurations(
                sampler.k, sampler.l, sampler.eta, sampler.coupling, sampler.mu, density, square, sweep))

    def checkpoint(self) -> None:
        """Write the chains, then the fields: a kill in between leaves chains that are longer, and `resume` cuts them."""
        self.chains.flush()
        save_flux_checkpoint(self.files.checkpoint, self.sampler.k, self.sampler.l, self.sampler.sweep, self.chains.owner)

    # ---- telling
    def _tell(self, observer, pace: float, checkpointed: bool) -> None:
        sweep, (density, square) = self.sampler.sweep, self._means
        self._last = SweepReport(sweep, self.total, sweep <= self.card.run.thermalization, density, square, pace,
                                 pace * (self.total - sweep), checkpointed)
        if checkpointed:
            self.files.write_log(f"{sweep} n {density:.6f} phi_squared {square:.6f} {pace:.4g} s\n")
        if checkpointed or self._status.old:
            self._write_status("running")
        if observer is not None:
            observer(self._last)

    def _write_status(self, state: str, error: str | None = None) -> None:
        last = {} if self._last is None else vars(self._last)
        self._status.write(state, {"sweep": self.sampler.sweep, "total": self.total} | last, error)

    def _finish(self, state: str, error: str | None = None) -> None:
        """Last words in status and log, then the lock is given back."""
        try:
            self._write_status(state, error)
            self.files.write_log(f"{state} after sweep {self.sampler.sweep}\n")
        finally:
            self.files.close()
