"""Data sets of a card of fluxes: chains of the worm algorithm for all couplings, with worms left open where that is learned."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from slhmc import __version__
from slhmc.backend import Device
from slhmc.errors import InputError
from slhmc.io import FluxSet, check_flux_set, save_flux_set
from slhmc.learning.datasets import SPLITS, take_lock
from slhmc.runcard import FluxCard
from slhmc.scalar import WormSampler
from slhmc.simulation.simulation import on_root

SWEEPS_AT_ONCE = 20  # between two looks at whether to stop


class FluxPart(NamedTuple):
    """One data set: a file of all couplings and numbers of open worms on a lattice."""

    split: str
    extent: tuple[int, int]

    @property
    def name(self) -> str:
        return "x".join(map(str, self.extent))

    def path(self, directory: Path) -> Path:
        return directory / f"fluxes_{self.split}_{self.name}.h5"


def flux_parts(card: FluxCard) -> list[FluxPart]:
    """Training, validation, then a test for each of its lattices."""
    extents = dict.fromkeys(card.data.test_extents or (card.lattice.extent,))
    own = tuple(card.lattice.extent)
    return [*(FluxPart(split, own) for split in SPLITS[:2]), *(FluxPart("test", extent) for extent in extents)]


def combinations(card: FluxCard, part: FluxPart) -> tuple[tuple, tuple]:
    """([eta, mu] of each chain, numbers of open worms) of a data set."""
    data = card.data
    if part.split == "test":
        return data.test_couplings or data.couplings, data.test_open_worms or data.open_worms
    return data.couplings, data.open_worms


def flux_origin(card: FluxCard, part: FluxPart) -> dict[str, Any]:
    """All that the configurations of a data set depend on, ready for JSON."""
    data, (couplings, counts) = card.data, combinations(card, part)
    return {"split": part.split, "extent": list(part.extent), "coupling": data.coupling,
            "couplings": [list(pair) for pair in couplings], "open_worms": list(counts),
            "configurations": getattr(data, part.split), "thermalization": data.thermalization, "spacing": data.spacing,
            "chains": data.chains, "worms": data.worms, "seed": data.seed}


class FluxMaker:
    """Finds or makes all data sets of a card in `directory`: rank 0 does, others wait for it."""

    def __init__(self, card: FluxCard, directory: Path, device: Device, communicator):
        self.card, self.directory, self.device, self.communicator = card, directory, device, communicator
        self.parts = flux_parts(card)

    def make(self, halt: Callable[[], bool], tell: Callable[[int, int], None]) -> bool:
        """Make what is missing; False if `halt` became true. tell(data sets done, data sets in all). Collective.

        Sets that are done stay when the others are interrupted. Other processes that want the same directory wait.
        """
        return on_root(self.communicator, lambda: self._make(halt, tell))

    def _make(self, halt: Callable[[], bool], tell: Callable[[int, int], None]) -> bool:
        if all(part.path(self.directory).exists() for part in self.parts):  # nothing to write, perhaps nowhere to write to
            self._check()
            return True
        with self._locked(halt, tell) as mine:
            if not mine:
                return False
            self._check()
            missing = [part for part in self.parts if not part.path(self.directory).exists()]
            for number, part in enumerate(missing, 1):
                made = make_flux_set(self.card, part, self.device, halt)
                if made is None:
                    return False
                save_flux_set(part.path(self.directory), made, __version__)
                tell(number, len(missing))
        return True

    def _check(self) -> None:
        """InputError if a file of another card is in the way."""
        for part in self.parts:
            if part.path(self.directory).exists():
                check_flux_set(part.path(self.directory), flux_origin(self.card, part))

    @contextmanager
    def _locked(self, halt: Callable[[], bool], tell: Callable[[int, int], None]) -> Iterator[bool]:
        lock = take_lock(self.directory, halt, lambda: tell(0, len(self.parts)))
        try:
            yield lock is not None
        finally:
            if lock is not None:
                os.close(lock)


def make_flux_set(card: FluxCard, part: FluxPart, device: Device, halt: Callable[[], bool]) -> FluxSet | None:
    """The configurations of a data set, for each coupling and number of open worms after the other; None if `halt` became true.

    Each coupling has data.chains chains. Every data.spacing sweeps the c-th chain gives the sample number s = c + chains * round
    of its coupling, with as many worms opened as the (s mod counts)-th number of the list says: on a copy, chains stay closed.
    """
    data, (couplings, counts) = card.data, combinations(card, part)
    each, chains = getattr(data, part.split), data.chains
    eta, mu = np.repeat(np.array(couplings, np.float64), chains, 0).T
    seed = int(np.random.SeedSequence([data.seed, SPLITS.index(part.split), *part.extent]).generate_state(1)[0])
    sampler = WormSampler(device, part.extent, eta, data.coupling, mu, len(eta), seed, data.worms)
    wanted = each * len(counts)
    fluxes = _empty(part, (len(couplings), wanted, 4, *part.extent))
    observables = np.full((len(couplings), wanted, 2), np.nan)
    if not _sweep(sampler, data.thermalization, halt):
        return None
    for begin in range(0, wanted, chains):
        if not _sweep(sampler, data.spacing, halt):
            return None
        number = begin + np.arange(min(chains, wanted - begin))
        opened = np.resize(np.array(counts), begin + chains)[begin:]
        k, l = sampler.open_worms(np.tile(opened, len(couplings))) if any(counts) else (sampler.k, sampler.l)  # noqa: E741
        found = np.concatenate([k, l], -1).transpose(0, 3, 2, 1)  # [chain, t, x, nu] -> [chain, channel, x, t]
        fluxes[:, number] = found.reshape(len(couplings), chains, *found.shape[1:])[:, :len(number)]
        if not any(counts):
            observables[:, number] = np.stack(sampler.observables(), -1).reshape(len(couplings), chains, 2)[:, :len(number)]
    return _sorted(card, part, fluxes, observables)


def _empty(part: FluxPart, shape: tuple[int, ...]) -> np.ndarray:
    """For all configurations; InputError, before they are made, if that is more than the memory has."""
    try:
        return np.empty(shape, np.int32)
    except (MemoryError, ValueError):
        raise InputError(f"data.{part.split}: {shape[0] * shape[1]} configurations of {part.name} take "
                         f"{4 * np.prod(shape, dtype=float):.2g} bytes, more than the memory has; lower it") from None


def _sorted(card: FluxCard, part: FluxPart, fluxes: np.ndarray, observables: np.ndarray) -> FluxSet:
    """Samples of one coupling and one number of open worms side by side."""
    couplings, counts = combinations(card, part)
    each = getattr(card.data, part.split)
    order = np.arange(each * len(counts)).reshape(each, len(counts)).T.reshape(-1)
    samples = len(couplings) * len(order)
    return FluxSet(fluxes[:, order].reshape(samples, *fluxes.shape[2:]),
                   np.repeat(np.array(couplings, np.float64), len(order), 0),
                   np.tile(np.repeat(np.array(counts, np.int64), each), len(couplings)),
                   observables[:, order].reshape(samples, 2), flux_origin(card, part))


def _sweep(sampler: WormSampler, sweeps: int, halt: Callable[[], bool]) -> bool:
    """False if `halt` became true on the way."""
    for begin in range(0, sweeps, SWEEPS_AT_ONCE):
        if halt():
            return False
        sampler.update(min(SWEEPS_AT_ONCE, sweeps - begin))
    return True
