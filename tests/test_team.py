"""The team of threads that runs tapes on a CPU: the same bits for any number of threads, one walk through the tape."""

import threading

import numpy as np
import pytest
from monte_carlo import staggered_action

from slhmc.actions import CompositeAction, GaugeAction
from slhmc.backend import HostDevice
from slhmc.dirac import StaggeredDirac
from slhmc.lattice import AlgebraField, Draws, FermionField, GaugeField, Lattice, Purpose, Scalar
from slhmc.solvers import ConjugateGradient
from slhmc.updates import HMC, TimeScale

BOUNDARY = (1, 1, 1, -1)
THREADS = (1, 2, 3, 8)  # more than a small machine has cores: then the team waits for whom the system lets run


@pytest.fixture
def host():
    """A CPU device whose number of threads is put back."""
    device = HostDevice()
    yield device
    device.use_threads(device.thread_counts()[-1])


def hot_links(device, colors, *extent):
    U = GaugeField(Lattice(extent, device), colors)
    U.randomize(Draws(1, 0).next(Purpose.START))
    return U


def shared_steps(tape):
    return sum(step.shared for step in tape.compiled()[:len(tape.steps)])


def trajectory(device, colors, extent):
    U = hot_links(device, colors, *extent)
    solvers = (ConjugateGradient(U.lattice, tolerance) for tolerance in (1e-8, 1e-10))
    target = CompositeAction({"gauge": GaugeAction(5.5, -1 / 12), "quarks": staggered_action(0.4, BOUNDARY, *solvers)})
    transition = HMC(target, [TimeScale(target, "omelyan2", 4)], 0.2).step(U, 1, 0)
    return U.to_sites(), transition.delta_h, transition.iterations


@pytest.mark.parametrize(("colors", "extent"), [(2, (4, 4, 4, 4)), (3, (4, 4, 4, 8)), (3, (8, 6, 4, 8))])
def test_a_trajectory_has_the_same_bits_for_any_number_of_threads(host, colors, extent):
    host.use_threads(1)
    links, *rest = trajectory(host, colors, extent)
    for threads in THREADS[1:]:
        host.use_threads(threads)
        others, *other_rest = trajectory(host, colors, extent)
        np.testing.assert_array_equal(others, links)
        assert other_rest == rest


def test_kernels_outside_a_tape_have_the_same_bits_for_any_number_of_threads(host):
    def values():
        U = hot_links(host, 3, 8, 4, 4, 6)
        momenta = AlgebraField(U.lattice, 3)
        momenta.draw_gaussian(Draws(2, 0).next(Purpose.MOMENTA))
        return U.to_sites(), momenta.gather_reals(), float(momenta.inner(momenta))
    host.use_threads(1)
    expected = values()
    for threads in THREADS[1:]:
        host.use_threads(threads)
        for value, one in zip(values(), expected, strict=True):
            np.testing.assert_array_equal(value, one)


class HoppingLoop:
    """A tape that hops `rounds` times forth and back, with a look at the vector after each: `seen` has copies."""

    def __init__(self, device, rounds):
        U = hot_links(device, 2, 8, 8, 8, 8)
        dirac = StaggeredDirac(U, 0.1, BOUNDARY)
        self.device, self.rounds, self.seen, self.where = device, rounds, [], []
        self.psi = FermionField(U.lattice, 2, "even")
        self.start = self.psi.like()
        self.start.draw_gaussian(Draws(3, 0).next(Purpose.NOISE))
        self.odd, self.left = self.psi.like(parity="odd"), Scalar(U.lattice)
        dirac.hop(self.psi, self.odd, "odd")  # makes the hopping links
        with device.record() as self.tape:
            self.psi.assign(self.start)
            device.repeat_while(device.pointer(self.left.array), lambda: self._round(dirac))
            self.psi.assign_combination(2.0, self.psi)

    def _round(self, dirac):
        dirac.hop(self.psi, self.odd, "odd")
        dirac.hop(self.odd, self.psi, "even")
        self.psi.assign_combination(0.1, self.psi)
        left = self.left - 1.0
        structure = left.array, self.left.array
        self.device.call(lambda: self._look(*structure))

    def _look(self, fewer, left):
        self.where.append(threading.get_ident())
        self.seen.append(self.psi.gather_reals().copy())
        left[...] = fewer

    def run(self):
        self.left.array[...] = self.rounds
        self.seen.clear()
        self.tape.run()
        return [*self.seen, self.psi.gather_reals()]


def test_loops_and_calls_into_python_stay_in_order(host):
    loop = HoppingLoop(host, 20)
    assert shared_steps(loop.tape) == len(loop.tape.steps) - 4  # but the loop's two ends, the scalar, the call
    host.use_threads(1)
    expected = loop.run()
    assert len(expected) == 21
    for threads in THREADS[1:]:
        host.use_threads(threads)
        np.testing.assert_array_equal(loop.run(), expected)
    assert set(loop.where) == {threading.get_ident()}


def test_a_loop_whose_flag_is_not_set_is_skipped(host):
    loop = HoppingLoop(host, 0)
    for threads in THREADS:
        host.use_threads(threads)
        np.testing.assert_array_equal(loop.run(), [2.0 * loop.start.gather_reals()])


@pytest.mark.parametrize("threads", THREADS)
def test_an_error_in_a_call_stops_the_tape(host, threads):
    loop = HoppingLoop(host, 3)
    host.use_threads(threads)
    whole = loop.run()
    look = loop._look

    def fail(*arguments):
        look(*arguments)
        if len(loop.seen) == 2:
            raise ValueError("the second message is lost")
    loop._look = fail
    with pytest.raises(ValueError, match="second message"):
        loop.run()
    assert len(loop.seen) == 2
    np.testing.assert_array_equal(loop.psi.gather_reals(), whole[1])  # neither a third round nor the last step
    loop._look = look
    np.testing.assert_array_equal(loop.run(), whole)


def test_what_a_meeting_of_threads_takes(host):
    """Nothing for one."""
    for threads in THREADS:
        host.use_threads(threads)
        assert (host.meeting_seconds() > 0) == (threads > 1)
