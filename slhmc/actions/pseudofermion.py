"""Pseudofermions of any operator whose normal operator is Hermitian and positive: two flavours of M^+ M, four of staggered.

S = phi^+ A^-1 phi. With X = A^-1 phi, dS = -X^+ dA X: the force is minus that of X^+ A X at fixed X.
"""

from collections.abc import Callable

from slhmc.actions.action import Action
from slhmc.lattice import FermionField


class QuarkAction(Action):
    """What pseudofermion actions share: operators and work fields for each gauge field, start vectors. Abstract.

    Leaves: PseudofermionAction, RatioAction, StaggeredRatioAction, RationalAction. makers: functions U -> operator like
    slhmc.dirac.NormalOperator or StaggeredNormal; forces solve with the first.
    force_solver and action_solver: ConjugateGradient. start: "zero", or "chronological" (2 X_1 - X_2 of the last two
    solutions of this trajectory): the past makes the start vector differ between a trajectory and its reverse, so
    reversibility then holds to the force tolerance, not to rounding; the history is dropped at each trajectory's start. Each
    gauge field has its own: a nested correction asks for forces on thin and on smeared links in turn.
    """

    def __init__(self, makers: tuple[Callable, ...], force_solver, action_solver, start: str = "zero"):
        self.makers, self.start = makers, start
        self.force_solver, self.action_solver = force_solver, action_solver
        self._operators: dict[int, tuple] = {}
        self._fields: dict[tuple, FermionField] = {}  # of the links that _operators keeps alive
        self._solutions: dict[int, int] = {}  # of this trajectory, on each of these links

    def operators(self, U) -> tuple:
        """The operators on the links U, made once."""
        key = id(U)
        if key not in self._operators:
            self._operators[key] = (U, tuple(make(U) for make in self.makers))
        return self._operators[key][1]

    def operator(self, U):
        """The operator that forces solve with."""
        return self.operators(U)[0]

    def _field(self, name: str, U, parity: str | None = None) -> FermionField:
        """A work field on the operators' parity, or on another one."""
        key = (name, id(U))
        if key not in self._fields:
            field = self.operator(U).field("double")
            self._fields[key] = field if parity is None else field.like(parity)
        return self._fields[key]

    def begin_trajectory(self):
        self._solutions.clear()

    def _solve(self, U, b) -> FermionField:
        """A^-1 b to the tolerance of forces."""
        x = self._field("solution", U)
        if self.start == "zero":
            self.force_solver.solve(self.operator(U), b, x)
            return x
        last, before = self._field("last solution", U), self._field("solution before", U)
        known = self._solutions.get(id(U), 0)
        if known >= 2:
            x.assign_combination(2.0, last, -1.0, before)
        self.force_solver.solve(self.operator(U), b, x, guess=known > 0)
        before.assign(last)
        last.assign(x)
        self._solutions[id(U)] = known + 1
        return x

    def _exact_solution(self, U, operator, b) -> FermionField:
        """operator^-1 b to the tolerance of the action."""
        x = self._field("action solution", U)
        self.action_solver.solve(operator, b, x)
        return x

    def solvers(self):
        return [self.force_solver, self.action_solver]


class PseudofermionAction(QuarkAction):
    """S = phi^+ A^-1 phi, for det A in the ensemble; make_operator(U) -> A. Solvers and start: QuarkAction."""

    def __init__(self, make_operator: Callable, force_solver, action_solver, start: str = "zero"):
        super().__init__((make_operator,), force_solver, action_solver, start)

    def refresh(self, U, draws, phi=None):
        """phi = M^+ eta with <eta eta^+> = 1: covariance A."""
        phi = phi or self.operator(U).field("double")
        self.operator(U).draw(phi, draws)
        return phi

    def action(self, U, phi):
        return phi.inner(self._exact_solution(U, self.operator(U), phi))

    def add_force(self, U, phi, force, weight):
        self.operator(U).add_force(self._solve(U, phi), force, -weight)
