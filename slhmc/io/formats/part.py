"""The links of one rank: consecutive slices of the last direction, with what its neighbours must know."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from slhmc.errors import InputError, SlhmcError
from slhmc.io.formats.description import SINGLE
from slhmc.io.formats.matrices import plaquette_of_slice
from slhmc.lattice.communicator import SerialCommunicator, receive_array, send_array

Result = TypeVar("Result")


class Part:
    """`links` [t, z, y, x, mu, row, column] of slices begin ... end - 1 of a lattice, in single or double precision.

    communicator: mpi4py's, whose ranks hold the other slices in their order; None for a process that holds all.
    """

    def __init__(self, links: np.ndarray, slices: int, communicator: Any = None):
        self.links, self.slices = links, slices
        self.communicator = SerialCommunicator() if communicator is None else communicator
        self.begin, self.end = share(slices, self.communicator)

    @property
    def extent(self) -> tuple[int, ...]:
        """Of the whole lattice, x first."""
        return (*reversed(self.links.shape[1:-3]), self.slices)

    @property
    def colors(self) -> int:
        return self.links.shape[-1]

    def previous(self) -> np.ndarray:
        """The slice before the first one: the last of another rank, or one's own. Collective."""
        return self._slice_of(-1)

    def next(self) -> np.ndarray:
        """The slice after the last one. Collective."""
        return self._slice_of(1)

    def averages(self) -> tuple[float, float]:
        """Mean plaquette and mean of Re tr U / Nc, the same bits on any number of ranks. Collective."""
        ahead = [*self.links[1:], self.next()]
        sums = [(plaquette_of_slice(here, up), _trace(here)) for here, up in zip(self.links, ahead, strict=True)]
        everyone = np.array([entry for entries in self.communicator.allgather(sums) for entry in entries]).sum(0)
        dimensions = self.links.shape[-3]
        sites = np.prod(self.extent, dtype=float)
        return everyone[0] / (sites * dimensions * (dimensions - 1) / 2), everyone[1] / (sites * dimensions)

    def in_precision(self, precision: str) -> "Part":
        """The same links rounded to a precision; itself if they are in it."""
        links = self.links.astype(np.complex64 if precision == SINGLE else np.complex128, copy=False)
        return Part(links, self.slices, self.communicator)

    def gather(self) -> np.ndarray | None:
        """All links on rank 0, None elsewhere. Collective."""
        communicator = self.communicator
        if communicator.size == 1:
            return self.links
        if communicator.rank:
            send_array(communicator, np.ascontiguousarray(self.links), 0)
            return None
        whole = np.empty((self.slices, *self.links.shape[1:]), self.links.dtype)
        whole[:self.end] = self.links
        for rank in range(1, communicator.size):
            receive_array(communicator, whole[slice(*share(self.slices, communicator, rank))], rank)
        return whole

    def _slice_of(self, step: int) -> np.ndarray:
        communicator = self.communicator
        mine = np.ascontiguousarray(self.links[0 if step > 0 else -1])
        if communicator.size == 1:
            return mine
        to, source = ((communicator.rank + way) % communicator.size for way in (-step, step))
        theirs = np.empty_like(mine)
        chunks = range(0, mine.nbytes, 1 << 30)
        out, into = (array.reshape(-1).view(np.uint8) for array in (mine, theirs))
        for begin in chunks:
            communicator.Sendrecv(out[begin:begin + (1 << 30)], to, 0, into[begin:begin + (1 << 30)], source, 0)
        return theirs


def share(slices: int, communicator: Any, rank: int | None = None) -> tuple[int, int]:
    """Which slices are those of a rank, one's own unless told; InputError if there are more ranks than slices."""
    size = communicator.size
    if size > slices:
        raise InputError(f"{size} MPI ranks for {slices} slices of the last direction; each needs one: use fewer ranks")
    rank = communicator.rank if rank is None else rank
    return slices * rank // size, slices * (rank + 1) // size


def together(communicator: Any, function: Callable[[], Result]) -> Result:
    """function() on each rank; an error of any is an error of all, that of the lowest rank. Collective."""
    error, result = None, None
    try:
        result = function()
    except SlhmcError as caught:
        error = caught
    if first := next(filter(None, communicator.allgather(error)), None):
        raise first
    return result


def _trace(links: np.ndarray) -> float:
    return float(np.einsum("...ii->...i", links).real.sum(dtype=np.float64)) / links.shape[-1]
