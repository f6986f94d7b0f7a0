"""Data sets of a card: chains of its update, one for each beta, on each lattice, for training, validation and test."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from slhmc import __version__
from slhmc.backend import Device
from slhmc.errors import ComputationError, InputError
from slhmc.io import DataSet, check_data_set, load_data_set, save_data_set
from slhmc.lattice import Draws, GaugeField, Lattice, Purpose
from slhmc.lattice.communicator import receive_array, send_array
from slhmc.lattice.fields import link_reals
from slhmc.observables.gradient_flow import GradientFlow
from slhmc.runcard import RunCard
from slhmc.simulation.build import kernel_units, make_update
from slhmc.simulation.learned_flow import pack_links, unpack_links
from slhmc.simulation.simulation import on_root

SPLITS = ("training", "validation", "test")
_UNLOCKED = -1  # in place of the descriptor of a lock
FLOW_TOLERANCE = 1e-6  # of the steps of gradient flows that are labels
_WAIT = 0.2  # seconds between two looks at the lock of another process


def exact_words(number: float) -> str:
    """A number in up to 12 digits, or in as many as tell it from every other."""
    words = f"{number:.12g}"
    return words if float(words) == number else repr(float(number))


class Part(NamedTuple):
    """One data set: a file."""

    split: str
    extent: tuple[int, ...]
    flow: tuple[str, float] | None = None  # links at that time of the flow of an action; else as they are
    beta: float | None = None  # of data.test_betas; else of all that is trained on

    @property
    def name(self) -> str:
        """Of the lattice, and of the coupling if it is one of the test alone: "8x8", "8x8 beta 3.5"."""
        lattice = "x".join(map(str, self.extent))
        return lattice if self.beta is None else f"{lattice} beta {exact_words(self.beta)}"

    def path(self, directory: Path) -> Path:
        flow = "" if self.flow is None else f"_{self.flow[0]}_t{exact_words(self.flow[1])}"
        return directory / f"{self.split}_{self.name.replace(' beta ', '_beta')}{flow}.h5"

    def chain_path(self, directory: Path, chain: int) -> Path:
        """Where a chain is kept until all of them are there."""
        return directory / f".{self.path(directory).stem}.chain{chain:03d}.h5"


def parts(card: RunCard) -> list[Part]:
    """All data sets of a card: training, validation, then tests in the order of their extents, then of other couplings."""
    extents = dict.fromkeys(card.data.test_extents or (card.lattice.extent,))
    return [Part(split, tuple(card.lattice.extent)) for split in SPLITS[:2]] + [
        Part("test", tuple(extent), beta=beta) for beta in (None, *dict.fromkeys(card.data.test_betas)) for extent in extents]


def target(card: RunCard, part: Part, time: float | None = None) -> Part | None:
    """The data set of flowed links that the label is made of, at data.flow_time or another; None if it needs none."""
    data = card.data
    if data.label not in ("flowed_links", "flowed_charge"):
        return None
    return part._replace(flow=(data.flow_action, data.flow_time if time is None else time))


def data_sets(card: RunCard) -> list[Part]:
    """All files: `parts`, then flowed links, those of tests at later times too."""
    found = parts(card)
    flowed = [target(card, part) for part in found]
    flowed += [target(card, part, time) for part in found[2:] for time in card.data.later_times]
    return found + [part for part in flowed if part is not None]


def betas(card: RunCard) -> tuple[float, ...]:
    """Of the chains that are trained on; 0, without weight, for links that are drawn."""
    if card.data.ensemble == "haar":
        return (0.0,)
    return tuple(card.data.betas or (card.gauge.beta,))


def couplings(card: RunCard, part: Part) -> tuple[float, ...]:
    """One for each chain of a data set."""
    return betas(card) if part.beta is None else (part.beta,)


def origin(card: RunCard, part: Part) -> dict[str, Any]:
    """All that the configurations of a data set depend on, ready for JSON; where it agrees, a file is found again."""
    data, update = card.data, {}
    if part.flow is not None:
        action, time = part.flow
        return origin(card, part._replace(flow=None)) | {"flow": {"action": action, "time": time, "tolerance": FLOW_TOLERANCE}}
    if data.ensemble == "haar":
        return {"split": part.split, "extent": list(part.extent), "colors": card.lattice.colors, "ensemble": "haar",
                "configurations": getattr(data, part.split), "seed": data.seed}
    for name in ("hmc", "heat_bath", "smearing"):
        if (table := getattr(card, name)) is not None:
            update[name] = table.model_dump(exclude_none=True)
    if card.quarks:
        update |= {"quarks": [quark.model_dump(exclude_none=True) for quark in card.quarks],
                   "solver": card.solver.model_dump(exclude_none=True),
                   "fermion_boundary": list(card.lattice.fermion_boundary)}
    return {"split": part.split, "extent": list(part.extent), "colors": card.lattice.colors,
            "gauge": card.gauge.model_dump(exclude={"beta"}, exclude_none=True), **update, "betas": list(couplings(card, part)),
            "configurations": getattr(data, part.split), "thermalization": data.thermalization, "spacing": data.spacing,
            "start": card.run.start, "seed": data.seed}


def chain_seed(card: RunCard, part: Part, chain: int) -> int:
    """The seed of a chain: a hash of data.seed, split, extent, the number of the chain and a coupling of the test alone."""
    words = [card.data.seed, SPLITS.index(part.split), chain, *part.extent]
    if part.beta is not None:
        words.append(int(np.float64(part.beta).view(np.uint64)))
    return int(np.random.SeedSequence(words).generate_state(1)[0])


class ChainMaker:
    """Makes chains of one data set, on this rank alone; kernels are compiled when it is made."""

    def __init__(self, card: RunCard, part: Part, device: Device):
        lattice = card.lattice.model_copy(update={"extent": part.extent})
        self.card, self.part = card.model_copy(update={"lattice": lattice, "fit": None}), part
        self.lattice = Lattice(part.extent, device)
        device.prepare(kernel_units(self.card, self.lattice))

    def make(self, chain: int, halt: Callable[[], bool]) -> np.ndarray | None:
        """Links of one chain, float64 [sample, mu, real, site]; None if `halt` becomes true."""
        if self.card.data.ensemble == "haar":
            return self._drawn(chain, halt)
        data, beta = self.card.data, couplings(self.card, self.part)[chain]
        gauge = self.card.gauge.model_copy(update={"beta": beta})
        update = make_update(self.card.model_copy(update={"gauge": gauge}), self.lattice)
        seed, U = chain_seed(self.card, self.part, chain), GaugeField(self.lattice, self.card.lattice.colors)
        if self.card.run.start == "hot":
            U.randomize(Draws(seed, 0).next(Purpose.START))
        links, done, trajectory = self._empty(), 0, 0
        while done < len(links):
            trajectory += 1
            try:
                update.step(U, seed, trajectory)
            except ComputationError as error:
                raise type(error)(f"chain of beta = {beta:g} on {self.lattice.extent}, {error}") from None
            if trajectory > data.thermalization and (trajectory - data.thermalization) % data.spacing == 0:
                links[done] = pack_links(U)
                done += 1
            if halt():
                return None
        return links

    def _empty(self) -> np.ndarray:
        """For all configurations of a chain; InputError, before they are made, if that is more than the memory has."""
        extent, split = self.part.extent, self.part.split
        shape = (getattr(self.card.data, split), len(extent), link_reals(self.card.lattice.colors), prod(extent))
        try:
            return np.empty(shape)
        except (MemoryError, ValueError):
            raise InputError(f"data.{split} = {shape[0]} configurations of {self.part.name} take {8 * prod(shape):.2g} bytes for "
                             "each beta, more than the memory has; lower it") from None

    def _drawn(self, chain: int, halt: Callable[[], bool]) -> np.ndarray | None:
        """Links drawn from the Haar measure, each configuration by a number of its own."""
        seed, links = chain_seed(self.card, self.part, chain), self._empty()
        U = GaugeField(self.lattice, self.card.lattice.colors)
        for number in range(len(links)):
            U.randomize(Draws(seed, number).next(Purpose.START))
            links[number] = pack_links(U)
            if halt():
                return None
        return links


class FlowMaker:
    """Flows the links of a data set that is there, on this rank alone, chain by chain."""

    def __init__(self, card: RunCard, part: Part, device: Device, directory: Path):
        action, self.time = part.flow
        plain = part._replace(flow=None)
        self.links, self.each = load_data_set(plain.path(directory), origin(card, plain)).links, getattr(card.data, part.split)
        self.U = GaugeField(Lattice(part.extent, device), card.lattice.colors)
        self.flow = GradientFlow(self.U, action, tolerance=FLOW_TOLERANCE)

    def make(self, chain: int, halt: Callable[[], bool]) -> np.ndarray | None:
        """As ChainMaker.make, flowed."""
        links = self.links[chain * self.each:(chain + 1) * self.each].copy()
        for number in range(len(links)):
            unpack_links(self.U, links[number])
            self.flow.restart()
            self.flow.advance(self.time)
            links[number] = pack_links(self.U)
            if halt():
                return None
        return links


class Maker:
    """Finds or makes all data sets of a card in `directory`. Collective but for what says otherwise."""

    def __init__(self, card: RunCard, directory: Path, device: Device, communicator):
        self.card, self.directory, self.device, self.communicator = card, directory, device, communicator
        self.parts = data_sets(card)

    def check(self) -> None:
        """InputError if a file of another card is in the way (rank 0)."""
        for part in self.parts:
            if part.path(self.directory).exists():
                check_data_set(part.path(self.directory), origin(self.card, part))

    def make(self, halt: Callable[[], bool], tell: Callable[[int, int], None]) -> bool:
        """Make what is missing; False if `halt` became true on a rank. tell(chains done, chains in all) is called on rank 0, with
        (0, data sets in all) if another process is at work on them.

        Ranks make chains of their own; rank 0 writes each. Chains that are done stay when the others are interrupted, and other
        processes that want the same directory wait.
        """
        with self._locked(halt, tell) as mine:
            if not mine:
                return False
            on_root(self.communicator, self.check)
            missing = on_root(self.communicator, lambda: [part for part in self.parts if not part.path(self.directory).exists()])
            done, total = 0, sum(len(couplings(self.card, part)) for part in missing)
            for part in missing:
                if not self._make_part(part, halt, lambda count, done=done: tell(done + count, total)):
                    return False
                done += len(couplings(self.card, part))
        return True

    def _make_part(self, part: Part, halt: Callable[[], bool], tell: Callable[[int], None]) -> bool:
        communicator, of_chains = self.communicator, couplings(self.card, part)
        number = len(of_chains)
        files = [part.chain_path(self.directory, chain) for chain in range(number)]
        expected = [origin(self.card, part) | {"chain": chain} for chain in range(number)]
        wanted = on_root(communicator, lambda: [chain for chain in range(number) if not _is_there(files[chain], expected[chain])])
        maker = (ChainMaker(self.card, part, self.device) if part.flow is None
                 else FlowMaker(self.card, part, self.device, self.directory))
        for first in range(0, len(wanted), communicator.size):
            turn = wanted[first:first + communicator.size]
            mine = maker.make(turn[communicator.rank], halt) if communicator.rank < len(turn) else None
            done = communicator.allgather(None if mine is None else mine.shape)
            for rank, chain in enumerate(turn):
                if done[rank] is not None:
                    links = _to_root(communicator, mine, rank, done[rank])
                    on_root(communicator, lambda links=links, chain=chain: self._save(
                        files[chain], links, [of_chains[chain]] * len(links), part, expected[chain]))
            on_root(communicator, partial(tell, number - len(wanted) + first + len(turn)))
            if None in done[:len(turn)]:
                return False
        on_root(communicator, lambda: self._merge(part, files, expected))
        return True

    def _merge(self, part: Part, files: list[Path], expected: list[dict]) -> None:
        """One file of all chains (rank 0)."""
        each = getattr(self.card.data, part.split)
        links = beta = None
        for number, (path, words) in enumerate(zip(files, expected, strict=True)):
            chain = load_data_set(path, words)
            if links is None:
                links, beta = np.empty((each * len(files), *chain.links.shape[1:])), np.empty(each * len(files))
            links[number * each:(number + 1) * each], beta[number * each:(number + 1) * each] = chain.links, chain.beta
        self._save(part.path(self.directory), links, beta, part, origin(self.card, part))
        for path in files:
            path.unlink(missing_ok=True)

    def _save(self, path: Path, links: np.ndarray, beta, part: Part, words: dict) -> None:
        save_data_set(path, DataSet(links, np.array(beta, np.float64), words, part.extent, self.card.lattice.colors), __version__)

    @contextmanager
    def _locked(self, halt: Callable[[], bool], tell: Callable[[int, int], None]) -> Iterator[bool]:
        """The directory, for this job alone; False if it was to halt while another had it."""
        lock = on_root(self.communicator, lambda: self._take_lock(halt, lambda: tell(0, len(self.parts))))
        try:
            yield lock is not None
        finally:
            if lock is not None and lock != _UNLOCKED and self.communicator.rank == 0:
                os.close(lock)

    def _take_lock(self, halt: Callable[[], bool], waiting: Callable[[], None]) -> int | None:
        try:
            return take_lock(self.directory, halt, waiting)
        except InputError:
            if all(part.path(self.directory).exists() for part in self.parts):
                return _UNLOCKED  # nothing to write: data of others, on a disk that may only be read
            raise


def take_lock(directory: Path, halt: Callable[[], bool], waiting: Callable[[], None]) -> int | None:
    """The descriptor of the lock of a directory of data sets; None if `halt` became true while another had it, of which
    `waiting` is called once.
    """
    told = False
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise InputError(f"{directory}: data sets cannot be kept here: {(error.strerror or str(error)).lower()}; give another "
                         "data.directory") from error
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            if halt():
                os.close(lock)
                return None
            if not told:
                waiting()
                told = True
            time.sleep(_WAIT)
        except OSError:
            return lock  # a file system without locks


def _is_there(path: Path, expected: dict) -> bool:
    """Whether a chain is done; one of another card, or a damaged one, is made anew."""
    try:
        check_data_set(path, expected)
    except InputError:
        return False
    return True


def _to_root(communicator, mine: np.ndarray | None, rank: int, shape: tuple[int, ...]) -> np.ndarray | None:
    """The chain of a rank, on rank 0."""
    if rank == 0 or communicator.rank not in (0, rank):
        return mine if communicator.rank == 0 else None
    if communicator.rank == rank:
        send_array(communicator, mine, 0)
        return None
    return receive_array(communicator, np.empty(shape), rank)
