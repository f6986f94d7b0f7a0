"""A stand-in for CuPy on a machine without a GPU: the calls that `slhmc.backend.cuda` makes, on host memory.

As on a GPU, work waits in the stream until somebody synchronizes, a capture runs nothing and forbids synchronizing,
kernel arguments are copied at the launch, copies from pinned memory read it late, NumPy does not take device arrays.
Kernels are the host build of the CUDA launch geometry (HOST_THREADS).
"""

import ctypes
import json
from contextlib import contextmanager
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np

from slhmc.backend import signatures
from slhmc.backend.compiler import compile_host

BLOCK = 128


class Pinned(np.ndarray):
    """Page-locked host memory."""


class Stream:
    """One queue for all streams; `launched` counts kernel launches and graph launches."""

    ptr = 7
    queue: list = []  # noqa: RUF012 - one for all on purpose
    capture: list | None = None
    launched: dict = {"kernel": 0, "graph": 0}  # noqa: RUF012

    def __init__(self, non_blocking=False):
        assert non_blocking

    def use(self):
        return self

    def synchronize(self):
        assert Stream.capture is None, "synchronized during a capture"
        while Stream.queue:
            Stream.queue.pop(0)()

    def begin_capture(self):
        assert Stream.capture is None
        Stream.capture = []

    def end_capture(self):
        captured, Stream.capture = Stream.capture, None

        def launch(stream):
            Stream.launched["graph"] += 1
            Stream.queue.extend(captured)
        return SimpleNamespace(launch=launch)


def enqueue(work):
    assert Stream.capture is None, "a copy during a capture"
    Stream.queue.append(work)


class Array:
    """Device memory: what cupy.ndarray offers to `slhmc`, no more."""

    def __init__(self, memory):
        self.memory = memory
        self.shape, self.dtype, self.size = memory.shape, memory.dtype, memory.size
        self.data = SimpleNamespace(ptr=memory.ctypes.data)

    def __array__(self, *_, **__):
        raise TypeError("implicit conversion of a device array to NumPy")

    def __getitem__(self, key):
        return Array(self.memory[key])

    def fill(self, value):
        enqueue(lambda: self.memory.fill(value))

    def get(self, stream, out=None):
        stream.synchronize()
        if out is None:
            return self.memory.copy()
        out[...] = self.memory
        return out

    def set(self, values, stream):
        assert isinstance(values, np.ndarray) and values.dtype == self.dtype and values.shape == self.shape
        if not isinstance(values, Pinned):
            values = values.copy()
        enqueue(lambda: np.copyto(self.memory, values))


ALLOCATED = []  # never freed: kernels hold addresses


def empty(shape, dtype):
    """Filled with what nobody should read: NaN, -1."""
    memory = np.empty(shape, dtype)
    memory.view(np.uint8).fill(0xFF)
    ALLOCATED.append(memory)
    return Array(memory)


class Function:
    """A kernel by number."""

    table: list = []  # noqa: RUF012

    def __init__(self, library, name, structure, lanes):
        self.call, self.structure, self.lanes = getattr(library, name), structure, lanes
        self.call.restype, self.call.argtypes = None, (ctypes.c_void_p, ctypes.c_long, ctypes.c_long)
        self.ptr = len(Function.table)
        Function.table.append(self)


class Module:
    def load(self, cubin):
        self.facts = json.loads(cubin)
        self.library = ctypes.CDLL(self.facts["path"])

    def get_function(self, name):
        structure = signatures.structure(self.facts["file"], name, self.facts["real"])
        return Function(self.library, name, structure, self.facts["lanes"])


def launch_kernel(function, x, y, z, threads, ty, tz, shared, stream, parameters, extra):
    kernel = Function.table[function]
    address = ctypes.cast(parameters, ctypes.POINTER(ctypes.c_void_p))[0]
    given = (ctypes.c_char * ctypes.sizeof(kernel.structure)).from_address(address)
    arguments = kernel.structure.from_buffer_copy(given)
    assert (y, z, ty, tz, shared, stream, extra) == (1, 1, 1, 1, 0, Stream.ptr, 0)
    if hasattr(arguments, "range"):
        span = arguments.range
        work = (span.end - span.begin) * span.parities * kernel.lanes
        assert threads == BLOCK and (x - 1) * BLOCK < work <= x * BLOCK
    else:
        assert x == 1 and threads in (1, BLOCK)
    Stream.launched["kernel"] += 1
    queue = Stream.queue if Stream.capture is None else Stream.capture
    queue.append(lambda: kernel.call(ctypes.addressof(arguments), 0, 1))


def memcpy_async(to, source, count, kind, stream):
    assert kind == 2 and stream == Stream.ptr
    enqueue(lambda: ctypes.memmove(to, source, count))


def compile_stand_in(file, defines, arch):
    path = str(compile_host(file, defines | {"HOST_THREADS": 1}))
    facts = {"path": path, "file": file, "real": defines["REAL"], "lanes": defines["LANES"]}
    return json.dumps(facts).encode(), ""


def module():
    """What `import cupy` gives."""
    runtime = SimpleNamespace(getDeviceCount=lambda: 1, memcpyAsync=memcpy_async, memcpyDeviceToHost=2,
                              CUDARuntimeError=RuntimeError)
    cuda = SimpleNamespace(
        runtime=runtime, Stream=Stream, driver=SimpleNamespace(launchKernel=launch_kernel),
        Device=lambda number: SimpleNamespace(id=number, use=lambda: None, compute_capability="90"),
        function=SimpleNamespace(Module=Module), memory=SimpleNamespace(OutOfMemoryError=MemoryError))
    return SimpleNamespace(cuda=cuda, empty=empty)


@contextmanager
def installed():
    """`slhmc.backend.cuda` sees the stand-in."""
    pinned = SimpleNamespace(empty_pinned=lambda shape, dtype: np.empty(shape, dtype).view(Pinned))
    nvrtc = SimpleNamespace(getSupportedArchs=lambda: (80, 90))
    with (patch.dict("sys.modules", cupy=module(), cupyx=pinned),
          patch("slhmc.backend.cuda.compile_cuda", compile_stand_in),
          patch("slhmc.backend.cuda.nvrtc_library", lambda: (nvrtc, (13, 0)))):
        yield
