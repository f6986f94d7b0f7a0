"""What a device is: arrays, kernels, tapes. Algorithms above know only this interface."""

import ctypes
import os
from abc import ABC, abstractmethod
from contextlib import contextmanager

import numpy as np

from slhmc.backend import signatures
from slhmc.backend.messages import Exchange, ExchangeInPlace, RankSums
from slhmc.backend.tape import REPEAT, SKIP, Tape


class Kernel:
    """One compiled kernel: `structure(...)` makes its arguments, `Device.launch` runs it."""

    __slots__ = ("function", "kind", "lanes", "name", "structure")

    def __init__(self, name: str, kind, function, structure: type, lanes: int):
        self.name, self.kind, self.function, self.structure, self.lanes = name, kind, function, structure, lanes


class Device(ABC):
    """Arrays and kernels of one CPU or GPU. Abstract; leaves: HostDevice, CudaDevice."""

    name: str
    least_sites = 0  # a launch for fewer sites leaves most of the device idle
    tile_bytes = 8 << 20  # steps go through the lattice in tiles of one to two times as many
    piece_bytes = 0  # and through a tile in pieces of about as many; 0: all of it at once

    def __init__(self):
        self.tape: Tape | None = None
        self._loops = 0
        self._units: dict[tuple, dict[str, Kernel]] = {}

    @abstractmethod
    def description(self) -> str:
        """The processor by its name."""

    def thread_counts(self) -> list[int]:
        """Numbers of host threads worth comparing; one entry where threads are not ours to choose."""
        return [1]

    def use_threads(self, count: int) -> None:
        """Run kernels on so many host threads from now on."""

    def meeting_seconds(self) -> float:
        """What host threads take to meet after a kernel, now; 0 where they need not."""
        return 0.0

    def memory_bytes(self, ranks: int) -> int | None:
        """What the fields of one of so many ranks may take at most; None where an array that has no place says so by itself."""
        return None

    # ---- arrays
    @abstractmethod
    def empty(self, shape, dtype):
        """Uninitialised array, aligned for vectors."""

    @abstractmethod
    def to_host(self, array) -> np.ndarray:
        """A NumPy copy."""

    @abstractmethod
    def assign(self, array, values: np.ndarray) -> None:
        """Copy host values into a device array."""

    @abstractmethod
    def pointer(self, array) -> int:
        """Address of the first element."""

    @abstractmethod
    def torch_device(self):
        """Where torch keeps tensors that kernels of this device read by their addresses."""

    def zeros(self, shape, dtype):
        array = self.empty(shape, dtype)
        array.fill(0)
        return array

    def from_host(self, values: np.ndarray):
        """A device copy of a host array."""
        array = self.empty(values.shape, values.dtype)
        self.assign(array, values)
        return array

    # ---- messages
    def staging(self, buffer):
        """Host memory that stands for a message buffer; the buffer itself where the device is the host."""
        return buffer

    def stage_out(self, buffer, host) -> None:
        """Make a packed buffer visible to MPI in its staging memory."""

    def stage_in(self, host, buffer) -> None:
        """Bring a received message from its staging memory to the device."""

    def exchange(self, communicator, send, receive, outgoing, incoming) -> Exchange:
        """Messages from the device array `send` into `receive`, any number of times: see Exchange. Collective."""
        return Exchange(self, communicator, send, receive, outgoing, incoming)

    def exchange_in_place(self, communicator, dtype, outgoing, incoming) -> ExchangeInPlace | None:
        """Messages between parts of fields: see ExchangeInPlace. None where MPI does not read the device's memory."""
        return None

    def rank_sums(self, communicator) -> RankSums:
        """Sums of device arrays over the ranks of mpi4py's communicator."""
        return RankSums(self, communicator)

    # ---- kernels
    @abstractmethod
    def default_lanes(self, real: str) -> int:
        """The number of lanes that suits this device for real = "double" or "float"."""

    @abstractmethod
    def load(self, file: str, defines: dict, lanes: int) -> dict[str, Kernel]:
        """Compile (or take from the cache) one kernel file and bind its kernels."""

    @abstractmethod
    def summed_groups(self, kernel: Kernel, lanes: int) -> int:
        """How many lane groups, one after the other, a reduction kernel adds up to one partial sum."""

    @abstractmethod
    def execute(self, kernel: Kernel, arguments: ctypes.Structure) -> None:
        """Run a kernel now."""

    @abstractmethod
    def replay(self, tape: Tape) -> None:
        """Run a tape."""

    def unit(self, file: str, real: str, lanes: int, colors: int = 0, dimensions: int = 0, Ls: int = 0) -> dict[str, Kernel]:
        """Kernels of one file, specialised; loaded once. 0: the file does not know this number."""
        key = (file, real, lanes, colors, dimensions, Ls)
        if key not in self._units:
            defines = {"REAL": real, "LANES": lanes}
            defines |= {"COLORS": colors} if colors else {}
            defines |= {"DIMENSIONS": dimensions} if dimensions else {}
            defines |= {"LS": Ls} if Ls else {}
            self._units[key] = self.load(file, defines, lanes)
        return self._units[key]

    def prepare(self, units) -> None:
        """Load units (file, real, lanes, colours, dimensions, Ls) ahead of use, compiling side by side."""
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            list(pool.map(lambda unit: self.unit(*unit), units))

    def launch(self, kernel: Kernel, arguments: ctypes.Structure, *keep) -> None:
        """Run a kernel, or write it down while recording; `keep` are the arrays that must outlive the tape."""
        if self.tape is None:
            self.execute(kernel, arguments)
        else:
            self.tape.add(0, kernel, arguments, keep=keep)

    def call(self, function) -> None:
        """Run a function of Python or a CompiledCall (messages) in order with the kernels around it."""
        if self.tape is None:
            self.synchronize()
            function()
        else:
            self.tape.add_callback(function)

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until all launched kernels are done."""

    # ---- tapes
    @contextmanager
    def record(self):
        """Write kernels down instead of running them; yields the Tape."""
        if self.tape is not None:
            raise RuntimeError("a tape is already being recorded; record one tape at a time")
        self.tape = tape = Tape(self)
        try:
            yield tape
        finally:
            self.tape = None

    def repeat_while(self, cell: int, body) -> None:
        """While the double at address `cell` is not 0, do body(). The body is traced once."""
        if self.tape is None:
            with self.record() as tape:
                self.repeat_while(cell, body)
            self.replay(tape)
            return
        tape = self.tape
        skip = len(tape.steps)
        tape.add(SKIP, None, cell)
        self._loops += 1
        try:
            body()
        finally:
            self._loops -= 1
        tape.add(REPEAT, None, cell, skip + 1)
        tape.steps[skip] = (SKIP, None, cell, len(tape.steps))

    @property
    def in_loop(self) -> bool:
        """Whether the body of a loop is being traced: what is recorded now runs any number of times, or never."""
        return self._loops > 0

    def after_run(self, check) -> None:
        """Look at results now, or, while recording, after each run of the tape."""
        if self.tape is None:
            check()
        else:
            self.tape.check(check)


def kernel_table(file: str, real: str, lanes: int, find) -> dict[str, Kernel]:
    """Kernels of a file with `find(name)` as their functions."""
    table = signatures.KERNELS[file]
    return {name: Kernel(name, kind, find(name), signatures.structure(file, name, real), lanes)
            for name, (kind, _) in table.items()}
