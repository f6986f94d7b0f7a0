"""Whole trajectories: the runs that the speed goals are stated for."""

import statistics
import time

from slhmc.actions import CompositeAction, GaugeAction, PseudofermionAction
from slhmc.dirac import StaggeredDirac, StaggeredNormal
from slhmc.lattice import Draws, GaugeField, Lattice, Purpose
from slhmc.solvers import ConjugateGradient
from slhmc.updates import HMC, TimeScale


class TimedHMC(HMC):
    """HMC that notes how long its recorded kernels took."""

    def replay(self) -> None:
        begun = time.perf_counter()
        super().replay()
        self.replay_seconds = time.perf_counter() - begun


def pure_gauge(device, extent=(8, 8, 8, 8), colors: int = 3, beta: float = 6.0, trajectories: int = 7) -> dict:
    """Wilson gauge action, 20 Omelyan steps of length 1, from cold: the run that Grid is timed with."""
    lattice = Lattice(extent, device)
    action = GaugeAction(beta)
    hmc = TimedHMC(action, [TimeScale(action, "omelyan2", 20)], 1.0)
    return _timed(hmc, GaugeField(lattice, colors), f"pure gauge HMC SU({colors}), 20 omelyan2 steps", trajectories, 2)


def staggered_card(device, trajectories: int = 50) -> dict:
    """run_cards/su2_staggered_hmc.toml: SU(2), 4^4, beta 2.7, m 0.3, 10 Omelyan steps, 1e-10 force, 1e-12 action."""
    lattice = Lattice((4, 4, 4, 4), device)
    U = GaugeField(lattice, 2)
    U.randomize(Draws(1, 0).next(Purpose.START))
    force, action = (ConjugateGradient(lattice, tolerance) for tolerance in (1e-10, 1e-12))
    quarks = PseudofermionAction(lambda U: StaggeredNormal(StaggeredDirac(U, 0.3, (1, 1, 1, -1))), force, action)
    target = CompositeAction({"gauge": GaugeAction(2.7), "quarks": quarks})
    hmc = TimedHMC(target, [TimeScale(target, "omelyan2", 10)], 1.0)
    return _timed(hmc, U, "staggered HMC SU(2), beta 2.7, m 0.3, 10 omelyan2 steps", trajectories, 60)


def _timed(hmc: TimedHMC, U: GaugeField, name: str, trajectories: int, warm_up: int) -> dict:
    """Median seconds of HMC.step, and the median share of it that its recorded kernels take."""
    whole, shares = [], []
    for trajectory in range(warm_up + trajectories):
        begun = time.perf_counter()
        transition = hmc.step(U, 1, trajectory)
        whole.append(time.perf_counter() - begun)
        shares.append(hmc.replay_seconds / whole[-1])
    return {"name": name, "lattice": "x".join(map(str, U.lattice.extent)), "seconds": statistics.median(whole[warm_up:]),
            "kernel_share": statistics.median(shares[warm_up:]), "iterations": transition.iterations}
