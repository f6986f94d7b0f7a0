"""Ranks in groups of equal size, each of which works on configurations of its own."""

from collections.abc import Callable, Iterator
from typing import Any

from slhmc.errors import InputError
from slhmc.simulation.simulation import on_root


class Farm:
    """`count` groups of consecutive ranks; `group` is the communicator of this rank's, `everyone` that of all.

    Work is done in rounds, one share for each group, which meet after each. Raises InputError if the ranks cannot be split so.
    """

    def __init__(self, communicator: Any, count: int):
        if count < 1 or communicator.size % count:
            ranks = f"{communicator.size} MPI rank{'s' * (communicator.size > 1)}"
            raise InputError(f"--farm {count}: {ranks} cannot be split into {count} groups of equal size; give a divisor of the "
                             "number of ranks, and start more by `slhmc launch -n N measure ...` or mpiexec")
        self.everyone, self.count = communicator, count
        self.number = communicator.rank // (communicator.size // count)
        self.group = communicator if count == 1 else communicator.Split(self.number, communicator.rank)

    def shares(self, work: list) -> Iterator[Any]:
        """This group's entry of each round, None where there are fewer entries than groups."""
        for begin in range(0, len(work), self.count):
            place = begin + self.number
            yield work[place] if place < len(work) else None

    def gather(self, outcome: Any) -> list:
        """What the groups have found in a round, in their order, without None. Collective over all ranks."""
        outcomes = self.everyone.allgather(outcome if self.group.rank == 0 else None)
        return [entry for entry in outcomes if entry is not None]


def on_root_alone(communicator: Any, function: Callable[[], Any]) -> Any:
    """function() on rank 0, None elsewhere; its error on all ranks. For what is too large to share. Collective."""
    result = None

    def call():
        nonlocal result
        result = function()
    on_root(communicator, call)
    return result
