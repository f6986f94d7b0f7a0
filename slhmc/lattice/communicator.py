"""One process as a communicator: the calls of mpi4py that the engine uses, for a world of one rank.

Arrays of any size go from rank to rank by `send_array` and `receive_array`.
"""

import numpy as np

CHUNK = 1 << 30  # bytes of one message: MPI counts are ints
ARRAY_TAG = 100  # not one of lattice/halo.py


class SerialCommunicator:
    """A world of one rank. `Lattice` never sends to itself, so only collectives are needed."""

    rank = 0
    size = 1

    def bcast(self, value, root=0):
        return value

    def allgather(self, value):
        return [value]

    def Barrier(self):  # noqa: N802 - mpi4py's name
        pass


def send_array(communicator, array: np.ndarray, to: int) -> None:
    """Send a contiguous array, of any size, for `receive_array`."""
    for chunk in _chunks(array):
        communicator.Send(chunk, to, ARRAY_TAG)


def receive_array(communicator, array: np.ndarray, source: int) -> np.ndarray:
    """Fill a contiguous array with what `send_array` sends on rank `source`; returns it."""
    for chunk in _chunks(array):
        communicator.Recv(chunk, source, ARRAY_TAG)
    return array


def _chunks(array: np.ndarray) -> list[np.ndarray]:
    flat = array.reshape(-1).view(np.uint8)
    return [flat[begin:begin + CHUNK] for begin in range(0, flat.size, CHUNK)]
