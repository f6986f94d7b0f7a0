"""CPU device: NumPy arrays, kernels compiled by the machine's C++ compiler, OpenMP threads."""

import ctypes
import mmap
import os
import platform
from pathlib import Path

import numpy as np

from slhmc.backend.compiler import compile_host, default_lanes
from slhmc.backend.device import Device, Kernel, kernel_table
from slhmc.backend.messages import CompiledExchange, CompiledSums, ExchangeInPlace
from slhmc.backend.signatures import REDUCTION_BLOCK
from slhmc.backend.tape import Tape
from slhmc.errors import ComputationError

ALIGNMENT = 64
HUGE_PAGE = 1 << 21
HUGE = 1 << 22       # arrays from this size on ask for transparent huge pages: fewer TLB misses (+10-15%)

# Between tapes the threads of kernels/tape.cc wait in libgomp, by default without end; half a millisecond of spinning
# outlasts Python between two tapes and lets go soon. Must be set before the first kernel library loads libgomp.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
# Ranks of one node share its cores.
LOCAL_RANKS = ("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "SLURM_NTASKS_PER_NODE")


def _local_ranks() -> int:
    return max(1, next((int(os.environ[name]) for name in LOCAL_RANKS if os.environ.get(name, "").isdigit()), 1))


os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // _local_ranks())))
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container or a job, bytes or a word

PIECE_BYTES = 900 << 10  # of the second-level cache of a core, which has about 1 MiB


class HostDevice(Device):
    """Kernels on this machine's cores. `threads_geometry` builds the CUDA launch geometry as host loops (for tests)."""

    name = "cpu"

    def __init__(self, threads_geometry: bool = False):
        super().__init__()
        self.threads_geometry = threads_geometry
        self._replayer = None
        self._threads = self.thread_counts()[-1]

    def description(self):
        try:
            lines = Path("/proc/cpuinfo").read_text().splitlines()
            facts = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in reversed(lines))}
            return f"{facts['model name']} (family {facts['cpu family']}, model {facts['model']})"
        except (OSError, KeyError):
            return platform.processor() or platform.machine()

    def thread_counts(self):
        words = os.environ["OMP_NUM_THREADS"].split(",")[0].strip()
        return sorted({1, int(words) if words.isdigit() and int(words) else len(os.sched_getaffinity(0))})

    def use_threads(self, count):
        self._team().use_threads(count)
        self._threads = count

    def meeting_seconds(self):
        return self._team().meeting_seconds(1000)

    def memory_bytes(self, ranks):
        """The machine's, or what a container or a job may have of it, by the ranks on it: a process that takes more is killed."""
        found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        try:
            limit = MEMORY_LIMIT.read_text().strip()
        except OSError:
            limit = ""
        return min(found, int(limit) if limit.isdecimal() else found) // min(_local_ranks(), ranks)

    @property
    def piece_bytes(self):
        """Threads would meet after each piece, and find in it what others have just made: they share whole tiles."""
        return PIECE_BYTES if self._threads == 1 else 0

    def empty(self, shape, dtype):
        dtype = np.dtype(dtype)
        count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if count >= HUGE:
            # private: shared anonymous memory gets no huge pages
            try:
                pages = mmap.mmap(-1, count + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            except OSError as error:
                raise ComputationError(f"no memory for a field of {count / 2**20:.0f} MiB ({error.strerror}); use more nodes "
                                       "or a smaller lattice") from None
            if hasattr(mmap, "MADV_HUGEPAGE"):
                pages.madvise(mmap.MADV_HUGEPAGE)
            raw, alignment = np.frombuffer(pages, np.uint8), HUGE_PAGE
        else:
            raw, alignment = np.empty(count + ALIGNMENT, np.uint8), ALIGNMENT
        offset = -raw.ctypes.data % alignment
        return raw[offset:offset + count].view(dtype).reshape(shape)

    def to_host(self, array):
        return np.array(array)

    def assign(self, array, values):
        array[...] = values

    def pointer(self, array):
        return array.ctypes.data

    def torch_device(self):
        return "cpu"

    def exchange(self, communicator, send, receive, outgoing, incoming):
        return CompiledExchange(self, communicator, send, receive, outgoing, incoming)

    def exchange_in_place(self, communicator, dtype, outgoing, incoming):
        return ExchangeInPlace(communicator, dtype, outgoing, incoming)

    def rank_sums(self, communicator):
        return CompiledSums(self, communicator)

    def default_lanes(self, real):
        return default_lanes(real)

    def load(self, file, defines, lanes):
        if self.threads_geometry:
            defines = defines | {"HOST_THREADS": 1}
        library = ctypes.CDLL(str(compile_host(file, defines)))

        def find(name):
            function = getattr(library, name)
            function.restype = None
            function.argtypes = (ctypes.c_void_p, ctypes.c_long, ctypes.c_long)
            function.enough = ctypes.c_long.in_dll(library, f"{name}_enough").value
            if hasattr(library, f"{name}_chunk"):
                function.chunk = ctypes.c_long.in_dll(library, f"{name}_chunk").value
            return function
        return kernel_table(file, defines["REAL"], lanes, find)

    def summed_groups(self, kernel, lanes):
        return REDUCTION_BLOCK // lanes if self.threads_geometry else kernel.function.chunk

    def shares(self, kernel: Kernel, arguments) -> bool:
        """Whether a kernel is worth the meeting of all threads."""
        enough = kernel.function.enough
        return enough > 0 and (arguments.range.end - arguments.range.begin) * arguments.range.parities >= enough

    def execute(self, kernel: Kernel, arguments):
        if self.shares(kernel, arguments):
            self._team().execute(kernel.function, ctypes.addressof(arguments))
        else:
            kernel.function(ctypes.addressof(arguments), 0, 1)

    def synchronize(self):
        """Host kernels are done when they return."""

    def replay(self, tape: Tape):
        stopped = self._team().replay(tape.compiled(), len(tape.steps))
        if stopped:
            raise tape.error_at(stopped - 1)

    def _team(self):
        """The threads that run tapes and kernels (kernels/tape.cc)."""
        if self._replayer is None:
            self._replayer = library = ctypes.CDLL(str(compile_host("tape.cc", {})))
            library.replay.restype, library.replay.argtypes = ctypes.c_long, (ctypes.c_void_p, ctypes.c_long)
            library.execute.restype, library.execute.argtypes = None, (ctypes.c_void_p, ctypes.c_void_p)
            library.meeting_seconds.restype, library.meeting_seconds.argtypes = ctypes.c_double, (ctypes.c_long,)
            library.use_threads.restype, library.use_threads.argtypes = None, (ctypes.c_int,)
        return self._replayer
