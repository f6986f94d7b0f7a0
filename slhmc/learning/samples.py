"""Samples (U, phi) in equilibrium of the target: of a chain at work, or of configurations that a run has kept."""

from abc import ABC, abstractmethod
from pathlib import Path

from slhmc.actions import Action
from slhmc.errors import InputError
from slhmc.io import RunDirectory, fingerprint, load_links
from slhmc.lattice import AlgebraField, Draws, GaugeField, Purpose
from slhmc.report.physics import foreign_keys
from slhmc.runcard import RunCard, parse_card
from slhmc.simulation.measure import on_root_alone
from slhmc.simulation.simulation import on_root


class SampleDraws(Draws):
    """The random numbers of one sample, by its number: a stream that no chain uses, whatever draws them."""

    def next(self, purpose):
        return super().next(Purpose.TRAINING)


class Sample:
    """Links, pseudofermions drawn for the target on them, and S(U, phi); one object whose contents `draw` replaces."""

    def __init__(self, lattice, colors: int, target: Action, seed: int):
        self.U, self.phi, self.target, self.seed = GaugeField(lattice, colors), None, target, seed
        self.action = float("nan")  # S(U, phi)
        self._random = self._dynamics = self._tape = None

    def draw(self, links: GaugeField, number: int, action: float | None = None) -> None:
        """Sample `number` on `links`; `action`: S(U, phi), if it is known from an earlier draw of this sample. Collective."""
        self.U.assign(links)
        draws = SampleDraws(self.seed, number)
        self.phi = self.target.refresh(self.U, draws, self.phi)
        self._random = draws.next(Purpose.MOMENTA)
        self.action = float(self.target.action(self.U, self.phi)) if action is None else action

    def trajectory(self, dynamics) -> GaugeField:
        """Links at the end of a trajectory from here along the guide of `dynamics`, an HMC; phi stays. Collective.

        The momenta belong to the sample: they are the same each time.
        """
        if self._dynamics is None:  # one field for all dynamics: the target keeps what it makes on each
            self.end, self.momenta = GaugeField(self.U.lattice, self.U.colors), AlgebraField(self.U.lattice, self.U.colors)
        if self._dynamics is not dynamics:
            self._dynamics, self._tape = dynamics, None
        self.end.assign(self.U)
        self.momenta.draw_gaussian(self._random)
        if self._tape is None:
            with self.U.lattice.device.record() as self._tape:
                self.end.changed()
                dynamics.integrate(self.end, self.momenta, self.phi)
                self.end.reunitarize()
        self._tape.run()
        self.end.changed()
        return self.end


class Source(ABC):
    """Links one after the other in U; `position` counts those that were samples, a checkpoint keeps `trajectory`. Abstract.

    Leaves: OnlineSource, OfflineSource.
    """

    U: GaugeField
    trajectory: int
    kept: dict[str, str] | None = None  # files that samples are read from: name -> fingerprint

    def keep_to(self, kept: dict[str, str]) -> None:
        """Go on with these files and no others."""

    @property
    @abstractmethod
    def position(self) -> int:
        """How many samples there were so far."""

    @abstractmethod
    def advance(self) -> bool:
        """Go on by one step; whether the links are a sample now. Collective."""

    def next(self) -> int:
        """Go on to the next sample, in U; its number. Collective."""
        while not self.advance():
            pass
        return self.position - 1


class OnlineSource(Source):
    """Links of a chain of the target after every `spacing` trajectories, beginning after thermalization.

    accepted: how many trajectories were, in this session.
    """

    def __init__(self, card: RunCard, U: GaugeField, update):
        self.card, self.U, self.update = card, U, update
        self.trajectory = 0
        self.accepted = 0

    @property
    def position(self) -> int:
        return max(0, self.trajectory - self.card.run.thermalization) // self.card.train.spacing

    def advance(self) -> bool:
        """One trajectory. Collective."""
        before = self.position
        self.trajectory += 1
        self.accepted += self.update.step(self.U, self.card.run.seed, self.trajectory).accepted
        return self.position > before


class OfflineSource(Source):
    """Kept configurations of a run: the first `held_out` once, then the others, over and over.

    Raises InputError if there are too few, or if the card of the run has other physics than that of the training.
    """

    def __init__(self, card: RunCard, U: GaugeField, communicator):
        self.card, self.U, self.communicator = card, U, communicator
        self.files = RunDirectory(card.train.directory)
        self.paths = on_root(communicator, self._configurations)
        self.kept = on_root(communicator, lambda: {path.name: fingerprint(path) for path in self.paths})
        self.trajectory = 0  # the position; a checkpoint keeps it

    @property
    def position(self) -> int:
        return self.trajectory

    def _configurations(self) -> list[Path]:
        paths, needed = sorted(self.files.configurations.glob("cfg_*.h5")), self.card.train.held_out + 1
        if len(paths) < needed:
            raise InputError(f"{self.files.configurations}: {len(paths)} configurations found, {needed} or more expected: "
                             f"train.held_out = {needed - 1} and one to train on; let a run keep more by run.save_every, or "
                             "lower train.held_out")
        if self.files.card.exists():
            found = parse_card(self.files.read_card(), str(self.files.card))
            if foreign := [words for words in foreign_keys(found, self.card) if not words.startswith("measure.")]:
                foreign = [words.replace(" (there ", " (in the card of the training ") for words in foreign]
                raise InputError(f"{self.files.path}: samples of another target found than that of the training: "
                                 f"{', '.join(foreign)}; give the run of this target, or its keys to the card")
        return paths

    def keep_to(self, kept: dict[str, str]) -> None:
        """Take no others than these, by name and fingerprint: InputError if one of them is gone or another file. Collective."""
        for name, found in kept.items():
            if self.kept.get(name) != found:
                there = "another file" if name in self.kept else "nothing"
                raise InputError(f"{self.files.configurations / name}: {there} found where a sample of this training was; "
                                 "restore it, or train anew into another directory")
        self.paths, self.kept = [path for path in self.paths if path.name in kept], kept

    def path(self, position: int) -> Path:
        """The configuration at a position."""
        held_out = self.card.train.held_out
        later = held_out + (position - held_out) % (len(self.paths) - held_out)
        return self.paths[position if position < held_out else later]

    def advance(self) -> bool:
        """Read the next links: always a sample. Collective."""
        path, lattice = self.path(self.position), self.card.lattice
        self.U.from_sites(on_root_alone(self.communicator, lambda: load_links(path, lattice.extent, lattice.colors)[0]))
        self.trajectory += 1
        return True
