"""Pseudofermions of any operator whose normal operator is Hermitian and positive: two flavours of M^+ M, four of staggered.

S = phi^+ A^-1 phi. With X = A^-1 phi, dS = -X^+ dA X: the force is minus that of X^+ A X at fixed X.
"""

from slhmc.actions.action import Action
from slhmc.lattice import FermionField


class PseudofermionAction(Action):
    """S = phi^+ A^-1 phi.

    make_operator(U) -> A, an operator like slhmc.dirac.NormalOperator or StaggeredNormal.
    force_solver and action_solver: ConjugateGradient. start: "zero", or "chronological" (2 X_1 - X_2 of the last two
    solutions of this trajectory): the past makes the start vector differ between a trajectory and its reverse, so
    reversibility then holds to the force tolerance, not to rounding; the history is dropped at each trajectory's start.
    """

    def __init__(self, make_operator, force_solver, action_solver, start: str = "zero"):
        self.make_operator, self.start = make_operator, start
        self.force_solver, self.action_solver = force_solver, action_solver
        self._operators: dict[int, tuple] = {}
        self._fields: dict[tuple, FermionField] = {}  # of the links that _operators keeps alive
        self._solutions = 0

    def operator(self, U):
        """A on the links U, made once."""
        key = id(U)
        if key not in self._operators:
            self._operators[key] = (U, self.make_operator(U))
        return self._operators[key][1]

    def _field(self, name: str, U) -> FermionField:
        key = (name, id(U))
        if key not in self._fields:
            self._fields[key] = self.operator(U).field()
        return self._fields[key]

    def refresh(self, U, draws, phi=None):
        phi = phi or self.operator(U).field()
        self.operator(U).draw(phi, draws)
        return phi

    def action(self, U, phi):
        x = self._field("action solution", U)
        self.action_solver.solve(self.operator(U), phi, x)
        return phi.inner(x)

    def begin_trajectory(self):
        self._solutions = 0

    def _solve(self, U, phi) -> FermionField:
        x = self._field("solution", U)
        if self.start == "zero":
            self.force_solver.solve(self.operator(U), phi, x)
            return x
        last, before = self._field("last solution", U), self._field("solution before", U)
        if self._solutions >= 2:
            x.assign_combination(2.0, last, -1.0, before)
        self.force_solver.solve(self.operator(U), phi, x, guess=self._solutions > 0)
        before.assign(last)
        last.assign(x)
        self._solutions += 1
        return x

    def add_force(self, U, phi, force, weight):
        self.operator(U).add_force(self._solve(U, phi), force, -weight)

    def solvers(self):
        return [self.force_solver, self.action_solver]
