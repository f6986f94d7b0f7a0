"""Timings on all ranks of a communicator together: hopping terms and whole trajectories."""

import statistics
import time
from collections.abc import Callable

from slhmc.actions import CompositeAction, GaugeAction, PseudofermionAction
from slhmc.bench.cases import Workbench
from slhmc.bench.spinors import wilson_hop
from slhmc.dirac import StaggeredDirac, StaggeredNormal
from slhmc.lattice import GaugeField, Lattice
from slhmc.solvers import ConjugateGradient
from slhmc.updates import HMC, TimeScale

MEASUREMENTS = 5
STEPS = {"gauge": 4, "staggered": 2}


def scaling_seconds(lattice: Lattice, colors: int = 3, target: float = 0.1) -> dict[str, float]:
    """Seconds of half hops of both operators and precisions, and of two trajectories, the slowest rank's. Collective.

    target: seconds of one measurement of a hop.
    """
    bench = Workbench(lattice.device, lattice.extent, colors, lattice)
    found = {}
    for real in ("double", "float"):
        cases = [bench.hopping_case(real), *([wilson_hop(bench, real)] if lattice.dimensions == 4 else [])]
        for case in cases:
            found[f"{case.name}, {'double' if real == 'double' else 'single'}"] = _seconds_of_kernels(lattice, case.work, target)
    for name, (action, length) in _trajectories(lattice).items():
        found[name] = _seconds_of_trajectories(lattice, colors, action, length)
    return found


def _seconds_of_kernels(lattice: Lattice, work: Callable[[], None], target: float) -> float:
    """Of recorded kernels; rank 0 decides how often they run, so that all do the same."""
    with lattice.device.record() as tape:
        work()

    def run(calls: int) -> float:
        lattice.device.synchronize()
        lattice.communicator.Barrier()
        begun = time.perf_counter()
        for _ in range(calls):
            tape.run()
        lattice.device.synchronize()
        return max(lattice.communicator.allgather(time.perf_counter() - begun))
    run(2)
    calls = max(1, round(4 * target / run(4)))
    return statistics.median(run(calls) for _ in range(MEASUREMENTS)) / calls


def _trajectories(lattice: Lattice) -> dict[str, tuple[CompositeAction, int]]:
    """Short ones: their parts are those of long ones."""
    gauge = CompositeAction({"gauge": GaugeAction(6.0)})
    solvers = (ConjugateGradient(lattice, tolerance) for tolerance in (1e-8, 1e-10))
    boundary = [1] * (lattice.dimensions - 1) + [-1]
    quarks = PseudofermionAction(lambda U: StaggeredNormal(StaggeredDirac(U, 0.1, boundary)), *solvers)
    return {f"pure gauge trajectory, {STEPS['gauge']} omelyan2 steps": (gauge, STEPS["gauge"]),
            f"staggered trajectory, m 0.1, {STEPS['staggered']} omelyan2 steps": (
                CompositeAction({"gauge": GaugeAction(5.6), "quarks": quarks}), STEPS["staggered"])}


def _seconds_of_trajectories(lattice: Lattice, colors: int, action: CompositeAction, steps: int) -> float:
    hmc, U, times = HMC(action, [TimeScale(action, "omelyan2", steps)], 0.1 * steps), GaugeField(lattice, colors), []
    for trajectory in range(1 + MEASUREMENTS):  # the first one records
        lattice.communicator.Barrier()
        begun = time.perf_counter()
        hmc.step(U, 1, trajectory)
        times.append(max(lattice.communicator.allgather(time.perf_counter() - begun)))
    return statistics.median(times[1:])

