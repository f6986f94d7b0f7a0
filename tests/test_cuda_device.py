"""The CUDA device on a stand-in for CuPy: launches, stream order, tapes, messages, what is said without a GPU."""

import sys
from types import SimpleNamespace

import cupy_stand_in
import numpy as np
import pytest
from cupy_stand_in import Stream
from fluxes import same_chains
from monte_carlo import staggered_action

from slhmc.actions import CompositeAction, GaugeAction, RationalAction, RationalSettings
from slhmc.backend import HostDevice, cuda, open_device
from slhmc.backend.tape import CALL, REPEAT, SKIP, Loop, Straight, Tape
from slhmc.dirac import StaggeredDirac, StaggeredNormal
from slhmc.errors import ComputationError, InputError
from slhmc.lattice import Draws, GaugeField, Lattice, Purpose
from slhmc.solvers import ConjugateGradient, MultiShiftConjugateGradient
from slhmc.updates import HMC, TimeScale

BOUNDARY = (1, 1, 1, -1)


@pytest.fixture(autouse=True)
def stand_in():
    with cupy_stand_in.installed():
        yield


@pytest.fixture
def device(stand_in):
    return open_device("cuda")


def hmc_chain(device, colors, trajectories=3):
    """dH of some trajectories with quarks: nested loops, both precisions, reductions, random numbers."""
    lattice = Lattice((4, 4, 4, 4), device)
    U = GaugeField(lattice, colors)
    U.randomize(Draws(1, 0).next(Purpose.START))
    quarks = staggered_action(0.5, BOUNDARY, ConjugateGradient(lattice, 1e-10), ConjugateGradient(lattice, 1e-12))
    target = CompositeAction({"gauge": GaugeAction(5.5, -1 / 12), "quarks": quarks})
    hmc = HMC(target, [TimeScale(target, "leapfrog", 2)], 0.1)
    return [hmc.step(U, 7, k).delta_h for k in range(trajectories)], U.to_sites()


@pytest.mark.parametrize("colors", [2, 3])
def test_a_chain_is_that_of_the_cpu(device, colors):
    graphs = Stream.launched["graph"]
    energies, links = hmc_chain(device, colors)
    assert Stream.launched["graph"] > graphs
    expected_energies, expected_links = hmc_chain(HostDevice(), colors)
    np.testing.assert_allclose(energies, expected_energies, rtol=0, atol=1e-8)
    np.testing.assert_allclose(links, expected_links, rtol=0, atol=1e-8)


def test_worms_are_those_of_the_cpu(device):
    same_chains(device, HostDevice(), chains=5)


def test_a_rational_action_is_that_of_the_cpu(device):
    """Multi-shift solves, tables of addresses, Lanczos; on a tape that is run anew."""
    found = []
    for place in (device, HostDevice()):
        lattice = Lattice((4, 4, 4, 4), place)
        U = GaugeField(lattice, 3)
        U.randomize(Draws(1, 0).next(Purpose.START))
        quarks = RationalAction(lambda U: StaggeredNormal(StaggeredDirac(U, 0.5, BOUNDARY)), 0.5, RationalSettings(0.25, 12.0),
                                *(MultiShiftConjugateGradient(lattice, tolerance) for tolerance in (1e-10, 1e-12)))
        target = CompositeAction({"gauge": GaugeAction(5.5), "quarks": quarks})
        hmc = HMC(target, [TimeScale(target, "leapfrog", 2)], 0.1)
        found.append([hmc.step(U, 7, k).delta_h for k in (1, 2, 3)])
    np.testing.assert_allclose(*found, rtol=0, atol=1e-8)


def test_steps_become_nested_pieces():
    tape = Tape(None)

    def talk():
        pass
    tape.steps = [(CALL, "a", 1, 0), (CALL, "b", 2, 0),
                  (SKIP, None, 100, 9), (CALL, "c", 3, 0),
                  (SKIP, None, 200, 7), (CALL, "d", 4, 0), (REPEAT, None, 200, 5),
                  (CALL, "e", 5, 0), (REPEAT, None, 100, 3), (CALL, "f", 6, 0)]
    tape.add_callback(talk)
    inner = Loop(200, [Straight([("d", 4)])])
    outer = Loop(100, [Straight([("c", 3)]), inner, Straight([("e", 5)])])
    assert tape.pieces() == [Straight([("a", 1), ("b", 2)]), outer, Straight([("f", 6)]), talk]


def test_a_loop_runs_as_often_as_on_the_cpu(device):
    for counts in ([0], [1], [2], [7], [3, 0, 5]):
        assert loop_counts(device, counts) == loop_counts(HostDevice(), counts)


def loop_counts(device, counts):
    """How far a counter got that falls to 0 in a loop, from each of `counts`; a tape that runs once for each."""
    lattice = Lattice((4, 4), device)
    kernel = lattice.layout().kernel("linear_algebra.cc", "combine_scalars")
    left, passed = (device.zeros((1,), np.float64) for _ in range(2))

    def add(cell, amount):
        address = device.pointer(cell)
        device.launch(kernel, kernel.structure(address, address, address, 1.0, 0.0, amount), cell)

    def body():
        add(left, -1.0)
        add(passed, 1.0)
    with device.record() as tape:
        device.repeat_while(device.pointer(left), body)
        add(passed, 100.0)
    result = []
    for count in counts:
        device.assign(left, np.array([float(count)]))
        tape.run()
        result.append(float(device.to_host(passed)[0]))
    return result


def test_a_function_on_a_tape_sees_what_came_before_it(device):
    array, seen = device.zeros((4,), np.float64), []
    with device.record() as tape:
        device.call(lambda: seen.append(device.to_host(array)[0]))
    for value in (1.0, 2.0):
        device.assign(array, np.full(4, value))
        tape.run()
    assert seen == [1.0, 2.0]


def test_messages_go_through_pinned_memory(device):
    sent, received = (device.from_host(np.full((2, 3), value)) for value in (1.5, 0.0))
    host = device.staging(sent)
    assert isinstance(host, cupy_stand_in.Pinned)
    device.stage_out(sent, host)
    device.stage_in(host, received)
    np.testing.assert_array_equal(device.to_host(received), 1.5)


def test_messages_stay_on_the_gpu_if_mpi_can_read_it(monkeypatch):
    monkeypatch.setenv("SLHMC_GPU_AWARE_MPI", "1")
    device = open_device("cuda")
    buffer = device.zeros((2, 3), np.float64)
    assert device.staging(buffer) is buffer
    device.stage_out(buffer, buffer)
    device.stage_in(buffer, buffer)


_RANK = """
import sys
sys.path.insert(0, sys.argv[1])
import cupy_stand_in, test_cuda_device, slhmc.lattice
from mpi4py import MPI
from slhmc.backend import HostDevice, open_device
split = lambda extent, device: slhmc.lattice.Lattice(extent, device, MPI.COMM_WORLD)
test_cuda_device.Lattice = split
with cupy_stand_in.installed():
    mine = test_cuda_device.hmc_chain(open_device("cuda"), 3, 2)[0]
theirs = test_cuda_device.hmc_chain(HostDevice(), 3, 2)[0]
assert max(abs(a - b) for a, b in zip(mine, theirs)) < 1e-8, (mine, theirs)
"""


@pytest.mark.mpi
def test_two_ranks_exchange_halos_through_the_device(request):
    pytest.importorskip("mpi4py")
    from slhmc.cli.launch import run_ranks

    result = run_ranks(2, ["-c", _RANK, str(request.path.parent)], timeout=240)
    assert result.returncode == 0, result.stderr


# ---- the machine
@pytest.mark.parametrize(("variables", "rank"), [
    ({}, 0), ({"SLURM_LOCALID": "2"}, 2), ({"OMPI_COMM_WORLD_LOCAL_RANK": "3", "SLURM_LOCALID": "0"}, 3),
    ({"MPI_LOCALRANKID": "1", "SLURM_LOCALID": "0"}, 1), ({"PALS_LOCAL_RANKID": "2"}, 2), ({"FLUX_TASK_LOCAL_ID": "1"}, 1)])
def test_ranks_of_a_node_take_turns_over_its_gpus(monkeypatch, variables, rank):
    for name in cuda.LOCAL_RANK_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cuda.local_rank() == rank
    chosen = []
    cupy = sys.modules["cupy"]
    cupy.cuda.runtime.getDeviceCount = lambda: 2
    cupy.cuda.Device = lambda number: SimpleNamespace(use=lambda: chosen.append(number), compute_capability="80")
    assert open_device("cuda").arch == "sm_80"
    assert chosen == [rank % 2]


def refuse(error):
    def function(*_):
        raise error
    return function


def test_without_a_driver_the_message_says_what_to_look_at(monkeypatch):
    error = RuntimeError("cudaErrorInsufficientDriver")
    monkeypatch.setattr(sys.modules["cupy"].cuda.runtime, "getDeviceCount", refuse(error))
    with pytest.raises(InputError, match=r"no GPU can be used \(cudaErrorInsufficientDriver\).*nvidia-smi"):
        open_device("cuda")


def test_without_a_gpu_the_message_says_so(monkeypatch):
    monkeypatch.setattr(sys.modules["cupy"].cuda.runtime, "getDeviceCount", lambda: 0)
    with pytest.raises(InputError, match="no GPU is visible"):
        open_device("cuda")


def test_without_cupy_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(InputError, match=r"needs CuPy.*slhmc\[cuda13\].*slhmc\[cuda12\]"):
        open_device("cuda")


def test_a_gpu_too_old_for_the_compiler_is_refused(monkeypatch):
    old = SimpleNamespace(id=0, use=lambda: None, compute_capability="70")
    monkeypatch.setattr(sys.modules["cupy"].cuda, "Device", lambda number: old)
    with pytest.raises(InputError, match=r"compute capability 7\.0; NVRTC 13\.0"):
        open_device("cuda")


def test_a_full_memory_is_told(device, monkeypatch):
    monkeypatch.setattr(sys.modules["cupy"], "empty", refuse(MemoryError("8 GiB wanted")))
    with pytest.raises(ComputationError, match=r"memory is full \(8 GiB wanted\)"):
        device.empty((4,), np.float64)
