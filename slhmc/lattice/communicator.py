"""One process as a communicator: the calls of mpi4py that the engine uses, for a world of one rank."""


class SerialCommunicator:
    """A world of one rank. `Lattice` never sends to itself, so only collectives are needed."""

    rank = 0
    size = 1

    def bcast(self, value, root=0):
        return value

    def gather(self, value, root=0):
        return [value]

    def allgather(self, value):
        return [value]

    def Barrier(self):  # noqa: N802 - mpi4py's name
        pass
