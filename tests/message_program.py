"""What three ranks check about messages, for test_messages.py: `python -m mpi4py message_program.py`."""

import gc
from types import SimpleNamespace

import numpy as np
import pytest
from mpi4py import MPI

from slhmc.backend import Device, HostDevice, messages
from slhmc.errors import ComputationError
from slhmc.lattice import (
    AlgebraField,
    Draws,
    FermionField,
    GaugeField,
    Lattice,
    communicator,
    halo,
    line_trace,
    plaquette_sum,
    rectangle_sum,
)
from slhmc.updates import HeatBath

WORLD = MPI.COMM_WORLD
RANK, SIZE = WORLD.rank, WORLD.size


class Interpreted(HostDevice):
    """The host with the messages of a device that stages them."""

    exchange, exchange_in_place, rank_sums = Device.exchange, Device.exchange_in_place, Device.rank_sums

    def staging(self, buffer):
        return np.empty(buffer.shape, buffer.dtype)

    def stage_out(self, buffer, host):
        host[...] = buffer

    def stage_in(self, host, buffer):
        buffer[...] = host


def ring(device, receive_count=3):
    """An exchange with both neighbours in a ring: 2 rows go up, 1 row goes down; receive_count: rows that come in."""
    send, receive = device.zeros((3, 2), np.float64), device.zeros((receive_count, 2), np.float64)
    up, down = (RANK + 1) % SIZE, (RANK - 1) % SIZE
    outgoing = [(0, 2, up, 0), (2, 3, down, 1)]
    incoming = [(0, receive_count - 1, down, 0), (receive_count - 1, receive_count, up, 1)]
    return device.exchange(WORLD, send, receive, outgoing, incoming)


def rows(rank, turn):
    return np.arange(6.0).reshape(3, 2) + 100 * (rank % SIZE) + 1000 * turn


def check_messages_travel_many_times():
    for device in (HostDevice(), Interpreted()):
        exchange = ring(device)
        with device.record() as tape:
            for function in 2 * (exchange.start, exchange.finish):
                device.call(function)
        runs = [(exchange.start, exchange.finish), (tape.run,), (exchange.start, exchange.finish), (tape.run,)]
        for turn, functions in enumerate(runs):
            exchange.send[...], exchange.receive[...] = rows(RANK, turn), np.nan
            for function in functions:
                function()
            np.testing.assert_array_equal(exchange.receive[:2], rows(RANK - 1, turn)[:2])
            np.testing.assert_array_equal(exchange.receive[2:], rows(RANK + 1, turn)[2:])


def ring_in_place(dtype=np.float64, received=2):
    """In fields of 10: reals 0 to 3 go up, 3 to 5 down, into 5 to 8 and 8 to 8 + `received` of the neighbours."""
    up, down = (RANK + 1) % SIZE, (RANK - 1) % SIZE
    outgoing, incoming = [(0, 3, up, 0), (3, 5, down, 1)], [(5, 8, down, 0), (8, 8 + received, up, 1)]
    return HostDevice().exchange_in_place(WORLD, dtype, outgoing, incoming)


def check_parts_of_fields_travel_in_place():
    """Any field, of both precisions, run at once and from a tape."""
    for dtype in (np.float64, np.float32):
        exchange, device = ring_in_place(dtype), HostDevice()
        for turn in (1, 2):
            for recorded in (False, True):
                field = (np.arange(10) + 100 * RANK + 1000 * turn).astype(dtype)
                before = [(np.arange(10) + 100 * ((RANK + k) % SIZE) + 1000 * turn).astype(dtype) for k in (-1, 1)]
                field[5:] = -1
                with device.record() as tape:
                    device.call(exchange.start(field))
                    device.call(exchange.finish(field))
                if recorded:
                    tape.run()
                else:
                    exchange.start(field)()
                    exchange.finish(field)()
                np.testing.assert_array_equal(field[5:], [*before[0][:3], *before[1][3:5]])
                WORLD.Barrier()


def check_sums_are_in_the_order_of_ranks():
    parts = np.array([[1e16, 1.0, 0.1], [-1e16, 1e-16, 0.2], [1.0, 1e-16, 0.3]])  # another order has other bits
    expected = parts[0] + parts[1] + parts[2]
    assert (expected != parts[2] + parts[1] + parts[0]).all()
    for device in (HostDevice(), Interpreted()):
        sums = device.rank_sums(WORLD)
        arrays = [device.from_host(parts[RANK]), device.from_host(parts[RANK, :1])]
        with device.record() as tape:
            for array in arrays:
                device.call(sums.of(array))
        tape.run()
        for array, count in zip(arrays, (3, 1), strict=True):
            np.testing.assert_array_equal(array, expected[:count])
    with pytest.raises(TypeError, match="of a float32 array: expected contiguous doubles"):
        HostDevice().rank_sums(WORLD).of(np.zeros(1, np.float32))


def check_a_failing_function_of_mpi_is_an_error():
    device, array, real = HostDevice(), np.zeros(1), messages._mpi()
    fail = messages.ctypes.CFUNCTYPE(messages.ctypes.c_int)(lambda: MPI.ERR_INTERN)
    address = messages.ctypes.cast(fail, messages.ctypes.c_void_p).value
    for name, mpi_name in (("start_all", "MPI_Startall"), ("wait_all", "MPI_Waitall"), ("allgather", "MPI_Allgather"),
                           ("receive", "MPI_Irecv")):
        messages._mpi = lambda name=name: SimpleNamespace(**vars(real) | {name: address})
        exchange, add, in_place = ring(device), device.rank_sums(WORLD).of(array), ring_in_place().start(np.zeros(10))
        step = {"start_all": exchange.start, "wait_all": exchange.finish, "allgather": add, "receive": in_place}[name]
        after = []
        with device.record() as tape:
            device.call(step)
            device.call(lambda: after.append(1))  # noqa: B023 - run in this round
        for run in (tape.run, step):
            with pytest.raises(ComputationError, match=rf"{mpi_name} failed \(.*(ERR_INTERN|nternal)") as caught:
                run()
            assert "slhmc resume" in str(caught.value)
        assert not after
    messages._mpi = lambda: real


def check_a_message_that_is_too_long_is_an_error():
    """A real one: 2 rows come where 1 is expected; what is wrong is in a status."""
    for device in (HostDevice(), Interpreted()):
        exchange = ring(device, receive_count=2)
        exchange.start()
        with pytest.raises(ComputationError, match=r"MPI_Waitall failed \(.*runca"):
            exchange.finish()
        WORLD.Barrier()
    field, exchange = np.zeros(10), ring_in_place(received=1)
    exchange.start(field)()
    with pytest.raises(ComputationError, match=r"MPI_Waitall failed \(.*runca"):
        exchange.finish(field)()
    WORLD.Barrier()


class SendAndReceive:
    """A communicator without pickles, which notes the sizes of its messages."""

    rank, size = RANK, SIZE

    def __init__(self):
        self.sizes = []

    def Send(self, array, to, tag):  # noqa: N802 - mpi4py's name
        self.sizes.append(array.nbytes)
        WORLD.Send(array, to, tag)

    def Recv(self, array, source, tag):  # noqa: N802 - mpi4py's name
        WORLD.Recv(array, source, tag)


def check_arrays_go_in_chunks():
    communicator.CHUNK = 1000
    world = SendAndReceive()
    lattice = Lattice((4, 4, 6), HostDevice(), world)
    numbers = np.random.default_rng(1)
    for field in (AlgebraField(lattice, 3), FermionField(lattice, 2, "both", "float")):
        values = numbers.normal(size=(6, 4, 4, field.component_count))
        field.scatter_reals(values if RANK == 0 else None)
        found = field.gather_reals()
        assert (found is None) == (RANK > 0)
        if RANK == 0:
            np.testing.assert_array_equal(found, values.astype(field.layout.dtype))
    # algebra 32 sites x 24 doubles = 6 x 1000 + 144 bytes, colour vectors 32 x 4 floats = 512 bytes
    once = [1000] * 6 + [144, 512]
    assert sorted(world.sizes) == sorted(once * (2 if RANK == 0 else 1))  # rank 0 sends each rank its own part, no more


def check_links_travel_once_and_no_deeper_than_they_are_read():
    """The bytes that leave a rank with 4 x 4 x 4 sites, 16 on each face in t."""
    lattice, plan_start, sent = Lattice((4, 4, 12), HostDevice(), WORLD, (1, 1, 3)), halo._Plan.start, []

    def counted(plan, array):
        sent.append(plan.send.nbytes)
        plan_start(plan, array)
    halo._Plan.start = counted
    U, link = GaugeField(lattice, 2), 4 * 8
    all_links = 16 * 3 + 16 * 2  # up all; down those across, which staples at t + 1 hold
    HeatBath(2.0, 0).heat_bath_sweep(U, Draws(1, 1))
    assert sum(sent) == 2 * all_links * link  # all before the first visit; then those of each visit
    sent.clear()
    plaquette_sum(U)
    assert not sent
    U.changed()
    rectangle_sum(U)
    assert sum(sent) == 2 * 2 * 16 * 3 * link  # all, both ways, two sites deep
    sent.clear()
    plaquette_sum(U)
    for mu in range(3):
        line_trace(U, mu)
    assert sent == 11 * [16 * link]  # 12 steps in t
    halo._Plan.start = plan_start


def check_requests_are_freed():
    exchange = ring(HostDevice())
    requests = exchange.requests
    with exchange.device.record() as tape:
        exchange.device.call(exchange.start)
    del exchange
    gc.collect()
    assert all(request != MPI.REQUEST_NULL for request in requests)  # the tape needs them
    del tape
    gc.collect()
    assert all(request == MPI.REQUEST_NULL for request in requests)
    alive = ring(HostDevice())
    MPI.Finalize()
    assert all(request == MPI.REQUEST_NULL for request in alive.requests) and not alive.free.alive


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            if RANK == 0:
                print(name, flush=True)
