"""Hybrid Monte Carlo: molecular dynamics by a guide, Metropolis by the target. Plain HMC is guided by its target."""

from dataclasses import dataclass
from math import isfinite, log

from slhmc.actions import Action
from slhmc.errors import ComputationError
from slhmc.lattice import AlgebraField, Draws, GaugeField
from slhmc.lattice.random import Purpose
from slhmc.updates.integrators import schedule


@dataclass(frozen=True)
class TimeScale:
    """One level of molecular dynamics: an action (of the guide), and the scheme and steps it is integrated with."""

    action: Action
    scheme: str
    steps: int


@dataclass(frozen=True)
class Transition:
    """What one trajectory did."""

    accepted: bool
    delta_h: float
    iterations: int = 0


class HMC:
    """Metropolis on `target` after molecular dynamics along `guide`, a list of TimeScales, slowest first.

    Momenta and pseudofermions are drawn for the target and shared with the guide; each TimeScale's action takes the
    target's phi (a dictionary where the target is a CompositeAction). The whole trajectory is recorded at first use and
    replayed after, so that no interpreter stands between its kernels. Collective.
    """

    def __init__(self, target: Action, guide: list[TimeScale], length: float, max_delta_h: float = 1000.0,
                 guided: bool = False):
        self.target, self.guide, self.length, self.max_delta_h = target, guide, length, max_delta_h
        self.moves = schedule([(level.scheme, level.steps) for level in guide], length)
        self.solvers = {id(s): s for a in (target, *(level.action for level in guide)) for s in a.solvers()}
        self.guided = guided  # by forces that are not the target's, which messages have to say
        self._tape = None

    def step(self, U: GaugeField, seed: int, trajectory: int) -> Transition:
        """One trajectory; U changes if it is accepted.

        Raises ComputationError if the energy is not finite or runs away beyond max_delta_h, SolverNotConverged if a solver
        fails; U is unchanged then.
        """
        draws = Draws(seed, trajectory)
        if self._tape is None or self._recorded_for is not U:
            self._prepare(U)
        self.work.assign(U)
        try:
            for action in (self.target, *(level.action for level in self.guide)):
                action.inspect(self.work, draws)
            self.momenta.draw_gaussian(draws.next(Purpose.MOMENTA))
            self.phi = self.target.refresh(self.work, draws, self.phi)
            if self._tape is None:
                self._record()
            self.replay()
        except ComputationError as error:
            cause = "; in a trajectory of the guide, whose network or quarks may be the cause: see [guide]" if self.guided else ""
            raise type(error)(f"trajectory {trajectory}: {error}{cause}") from None
        self.work.changed()
        delta_h = float(self.delta_h)
        self._check(delta_h, trajectory)
        accepted = log(U.lattice.uniform(draws.next(Purpose.ACCEPT))) < -delta_h
        if accepted:
            U.assign(self.work)
        return Transition(accepted, delta_h, sum(s.take_iterations() for s in self.solvers.values()))

    def replay(self) -> None:
        """Run the recorded trajectory: energies, molecular dynamics, energies. Collective."""
        self._tape.run()

    def integrate(self, U: GaugeField, P: AlgebraField, phi) -> None:
        """Molecular dynamics of (U, P) along the guide, in place."""
        for level in self.guide:
            level.action.begin_trajectory()
        for kind, time in self.moves:
            if kind == "U":
                U.drift(P, time)
            else:
                self.guide[kind].action.add_force(U, phi, P, time)

    def _prepare(self, U: GaugeField) -> None:
        self._recorded_for, self._tape, self.phi = U, None, None
        self.work = GaugeField(U.lattice, U.colors)
        self.momenta = AlgebraField(U.lattice, U.colors)

    def _energy(self):
        return self.momenta.kinetic_energy() + self.target.action(self.work, self.phi)

    def _record(self) -> None:
        with self.work.lattice.device.record() as tape:
            self.work.changed()  # nothing derived from earlier links may be taken for granted by the tape
            before = self._energy()
            self.integrate(self.work, self.momenta, self.phi)
            self.work.reunitarize()
            self.delta_h = self._energy() - before
        self._tape = tape

    def _check(self, delta_h: float, trajectory: int) -> None:
        remedy = ("the guide leads far from what the target allows: use other weights or another [guide], add "
                  "[guide.correction], or ") if self.guided else ""
        if not isfinite(delta_h):
            raise ComputationError(f"trajectory {trajectory}: the energy change is not a number; {remedy}"
                                   f"{'' if remedy else 'the molecular-dynamics steps are too long for these links: '}"
                                   "raise [hmc] steps in a new run")
        if abs(delta_h) > self.max_delta_h:
            after = "if such trajectories are to be rejected" if remedy else "if the start is far from equilibrium"
            raise ComputationError(f"trajectory {trajectory}: dH = {delta_h:.4g} is beyond [run] max_delta_h = "
                                   f"{self.max_delta_h:g}; {remedy}raise [hmc] steps in a new run, or max_delta_h by "
                                   f"`slhmc resume --set` {after}")
