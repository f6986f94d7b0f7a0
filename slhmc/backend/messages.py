"""Messages between ranks that travel any number of times, and sums over ranks.

`Exchange` and `RankSums` go through the interpreter and through the staging memory of any device. `CompiledExchange` and
`CompiledSums` do the same on the host's own arrays in compiled code (kernels/messages.cc), for tapes without the interpreter.
The communicator is mpi4py's.
"""

import ctypes
import weakref
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace

import numpy as np

from slhmc.backend.compiler import compile_host
from slhmc.backend.tape import CompiledCall
from slhmc.errors import ComputationError


def message_error(function: str, code: int, statuses=()) -> ComputationError:
    """What to raise when MPI reports an error. If it says that the error is in a status, the first that has one is told."""
    from mpi4py import MPI

    try:
        if MPI.Get_error_class(code) == MPI.ERR_IN_STATUS:
            found = [status.Get_error() for status in statuses]
            code = next((error for error in found if error not in (MPI.SUCCESS, MPI.ERR_PENDING)), code)
        words = MPI.Get_error_string(code)
    except MPI.Exception:
        words = f"error code {code}"
    return ComputationError(f"messages between ranks: {function} failed ({words}); a node or the network may be down: see the "
                            "job's output, then go on from the last checkpoint by `slhmc resume`")


@contextmanager
def _explained(function: str, statuses=()):
    from mpi4py import MPI

    try:
        yield
    except MPI.Exception as error:
        raise message_error(function, error.Get_error_code(), statuses) from None


# ---- requests and the end of MPI
_in_use: "weakref.WeakSet[Exchange]" = weakref.WeakSet()


@cache
def _free_before_finalize() -> None:
    """MPI_Finalize begins with the attributes of COMM_SELF, so what is attached there is called while MPI still works."""
    from mpi4py import MPI

    def free_all(*_):
        for exchange in list(_in_use):
            exchange.free()
    MPI.COMM_SELF.Set_attr(MPI.Comm.Create_keyval(delete_fn=free_all), True)


def _free(requests) -> None:
    for request in requests:
        request.Free()


class Exchange:
    """Messages of one pattern, by persistent requests; `start` and `finish` are for `Device.call`, in turn.

    send, receive: device arrays; outgoing, incoming: [(begin, end, rank, tag)], parts of their first axes. The requests are
    freed with the object, when the interpreter ends, or when MPI does.
    """

    def __init__(self, device, communicator, send, receive, outgoing, incoming):
        self.device, self.send, self.receive = device, send, receive
        self.send_host, self.receive_host = device.staging(send), device.staging(receive)
        with _explained("making persistent requests"):
            self.requests = [communicator.Recv_init(self.receive_host[begin:end], rank, tag)
                             for begin, end, rank, tag in incoming]
            self.requests += [communicator.Send_init(self.send_host[begin:end], rank, tag) for begin, end, rank, tag in outgoing]
        self.free = weakref.finalize(self, _free, self.requests)
        _in_use.add(self)
        _free_before_finalize()

    def start(self) -> None:
        """Send what lies in `send`. Collective."""
        from mpi4py import MPI

        self.device.stage_out(self.send, self.send_host)
        with _explained("MPI_Startall"):
            MPI.Prequest.Startall(self.requests)

    def finish(self) -> None:
        """Wait until all has come into `receive`. Collective."""
        from mpi4py import MPI

        statuses = [MPI.Status() for _ in self.requests]
        with _explained("MPI_Waitall", statuses):
            MPI.Prequest.Waitall(self.requests, statuses)
        self.device.stage_in(self.receive_host, self.receive)


class RankSums:
    """Sums of small device arrays of doubles over all ranks, in the order of ranks, so that every rank has the same bits."""

    def __init__(self, device, communicator):
        self.device, self.communicator = device, communicator

    def of(self, array):
        """What to hand to `Device.call` to add up `array`, in place. Collective."""
        device, communicator = self.device, self.communicator

        def add():
            local = device.to_host(array)
            parts = np.empty((communicator.size, *local.shape))
            with _explained("MPI_Allgather"):
                communicator.Allgather(local, parts)
            total = parts[0].copy()
            for part in parts[1:]:
                total += part
            device.assign(array, total)
        return add


# ---- compiled
_int, _pointer = ctypes.c_int, ctypes.c_void_p


class _Messages(ctypes.Structure):
    _fields_ = [*((name, _pointer) for name in ("start_all", "wait_all", "requests", "statuses")),
                ("count", _int), ("error", _int)]


class _Part(ctypes.Structure):
    _fields_ = [("offset", ctypes.c_long), *((name, _int) for name in ("count", "rank", "tag", "incoming"))]


class _Parts(ctypes.Structure):
    _fields_ = [*((name, _pointer) for name in ("send", "receive", "wait_all", "real", "communicator", "field", "parts",
                                                "requests", "statuses")),
                *((name, _int) for name in ("request_bytes", "count", "error"))]


class _Sum(ctypes.Structure):
    _fields_ = [*((name, _pointer) for name in ("allgather", "real", "communicator", "values", "parts")),
                *((name, _int) for name in ("count", "ranks", "error"))]


@cache
def _mpi() -> SimpleNamespace:
    """Addresses of MPI's functions in the library that mpi4py has loaded."""
    from mpi4py import MPI

    library = ctypes.CDLL(MPI.__file__)  # a look-up there searches what it is linked with too
    names = {"start_all": "MPI_Startall", "wait_all": "MPI_Waitall", "allgather": "MPI_Allgather", "send": "MPI_Isend",
             "receive": "MPI_Irecv"}
    return SimpleNamespace(**{key: ctypes.cast(getattr(library, name), _pointer).value for key, name in names.items()})


@cache
def _functions() -> SimpleNamespace:
    library = ctypes.CDLL(str(compile_host("messages.cc", {})))
    functions = {name: getattr(library, name) for name in (
        "start_messages", "finish_messages", "sum_over_ranks", "start_parts", "finish_parts")}
    for function in functions.values():
        function.restype, function.argtypes = ctypes.c_long, (_pointer,)
    return SimpleNamespace(**functions)


def handle_word(handle: int, size: int) -> int:
    """A handle of `size` bytes as a word: an int (MPICH) sign-extended, as calling conventions have it."""
    return _int(handle).value if size == ctypes.sizeof(_int) else handle


def _word(handle) -> int:
    from mpi4py import MPI

    return handle_word(MPI._handleof(handle), MPI._sizeof(handle))


def _statuses(raw: bytes) -> list:
    """MPI's statuses that lie one after the other."""
    from mpi4py import MPI

    size, statuses = MPI._sizeof(MPI.Status), []
    for begin in range(0, len(raw), size):
        statuses.append(MPI.Status())
        ctypes.memmove(MPI._addressof(statuses[-1]), raw[begin:begin + size], size)
    return statuses


class CompiledExchange(Exchange):
    """As Exchange, for arrays that MPI reads where they are: `start` and `finish` are compiled."""

    def __init__(self, device, communicator, send, receive, outgoing, incoming):
        from mpi4py import MPI

        super().__init__(device, communicator, send, receive, outgoing, incoming)
        size, count = MPI._sizeof(MPI.Request), len(self.requests)
        self.handles = ctypes.create_string_buffer(size * count)
        for number, request in enumerate(self.requests):
            ctypes.memmove(ctypes.addressof(self.handles) + size * number, MPI._addressof(request), size)
        self.statuses = ctypes.create_string_buffer(MPI._sizeof(MPI.Status) * count)
        self.arguments = _Messages(_mpi().start_all, _mpi().wait_all, ctypes.addressof(self.handles),
                                   ctypes.addressof(self.statuses), count, 0)

    @property
    def start(self) -> CompiledCall:
        return CompiledCall(_functions().start_messages, self.arguments, self._start_error)

    @property
    def finish(self) -> CompiledCall:
        return CompiledCall(_functions().finish_messages, self.arguments, self._finish_error)

    def _start_error(self):
        return message_error("MPI_Startall", self.arguments.error)

    def _finish_error(self):
        return message_error("MPI_Waitall", self.arguments.error, _statuses(self.statuses.raw))


class ExchangeInPlace:
    """Messages of one pattern from and into fields of one shape, without buffers, for arrays that MPI reads where they are.

    outgoing, incoming: [(begin, end, rank, tag)], in reals of the field. `start(array)` and `finish(array)` are for
    `Device.call`, in turn.
    """

    def __init__(self, communicator, dtype, outgoing, incoming):
        from mpi4py import MPI

        self.communicator, self.dtype, size = communicator, np.dtype(dtype), np.dtype(dtype).itemsize
        parts = [(*part, True) for part in incoming] + [(*part, False) for part in outgoing]
        self.parts = (_Part * len(parts))(*((begin * size, end - begin, rank, tag, coming)
                                            for begin, end, rank, tag, coming in parts))
        self.requests, self.statuses = (ctypes.create_string_buffer(MPI._sizeof(kind) * len(parts))
                                        for kind in (MPI.Request, MPI.Status))

    def start(self, array) -> CompiledCall:
        """Send what others need of a field. Collective."""
        return self._call("start_parts", "MPI_Isend or MPI_Irecv", array)

    def finish(self, array) -> CompiledCall:
        """Wait until all has come into the field. Collective."""
        return self._call("finish_parts", "MPI_Waitall", array)

    def _call(self, name: str, function: str, array) -> CompiledCall:
        from mpi4py import MPI

        real = MPI.DOUBLE if self.dtype == np.float64 else MPI.FLOAT
        arguments = _Parts(_mpi().send, _mpi().receive, _mpi().wait_all, _word(real), _word(self.communicator), array.ctypes.data,
                           ctypes.addressof(self.parts), ctypes.addressof(self.requests), ctypes.addressof(self.statuses),
                           MPI._sizeof(MPI.Request), len(self.parts), 0)

        def failure():
            return message_error(function, arguments.error, _statuses(self.statuses.raw))
        return CompiledCall(getattr(_functions(), name), arguments, failure, keep=(array, self))


class CompiledSums(RankSums):
    """As RankSums, for arrays in host memory: the sum is compiled."""

    def __init__(self, device, communicator):
        super().__init__(device, communicator)
        self._parts: dict[int, np.ndarray] = {}

    def of(self, array):
        from mpi4py import MPI

        if array.dtype != np.float64 or not array.flags.c_contiguous:
            raise TypeError(f"a sum over ranks of a {array.dtype} array: expected contiguous doubles")
        count, ranks = array.size, self.communicator.size
        parts = self._parts.setdefault(count, np.empty((ranks, count)))  # one sum at a time, so one buffer serves all
        arguments = _Sum(_mpi().allgather, _word(MPI.DOUBLE), _word(self.communicator), self.device.pointer(array),
                         self.device.pointer(parts), count, ranks, 0)

        def failure():
            return message_error("MPI_Allgather", arguments.error)
        return CompiledCall(_functions().sum_over_ranks, arguments, failure, keep=(array, parts))
