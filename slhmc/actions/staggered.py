"""Staggered quarks: four flavours per pseudofermion field, no rooting.

S = phi^+ A^-1 phi, A = (D^+ D)_ee = m^2 - D_eo D_oe with D_eo = H_eo / 2. With X = A^-1 phi on even and Y = D_oe X on odd sites,
dS = -X^+ dA X = 2 Re X^+ dD_eo Y, hence for Z = X on even and Y on odd sites, s(x) = +1 (even), -1 (odd):
d_a S = s(x) eta_mu(x) Re tr[T_a U_mu(x) Z(x+mu) Z(x)^+], boundary phase in eta.
"""

from slhmc.actions.action import Action
from slhmc.dirac import StaggeredDirac, StaggeredNormal
from slhmc.lattice import FermionField
from slhmc.solvers import ConjugateGradient


class StaggeredAction(Action):
    """S = phi^+ (D^+ D)_ee^-1 phi, phi on even sites.

    force_solver and action_solver: ConjugateGradient. start: "zero", or "chronological" (2 X_1 - X_2 of the last two
    solutions of this trajectory): the past makes the start vector differ between a trajectory and its reverse, so
    reversibility then holds to the force tolerance, not to rounding; the history is dropped at each trajectory's start.
    """

    def __init__(self, mass: float, boundary, force_solver: ConjugateGradient, action_solver: ConjugateGradient,
                 start: str = "zero"):
        self.mass, self.boundary, self.start = mass, tuple(boundary), start
        self.force_solver, self.action_solver = force_solver, action_solver
        self._operators: dict[int, tuple] = {}
        self._fields: dict[tuple, FermionField] = {}  # of the links that _operators keeps alive
        self._solutions = 0

    def _operator(self, U) -> StaggeredNormal:
        key = id(U)
        if key not in self._operators:
            self._operators[key] = (U, StaggeredNormal(StaggeredDirac(U, self.mass, self.boundary), "even"))
        return self._operators[key][1]

    def _field(self, name: str, U, parity: str) -> FermionField:
        key = (name, id(U))
        if key not in self._fields:
            self._fields[key] = FermionField(U.lattice, U.colors, parity)
        return self._fields[key]

    def refresh(self, U, draws, phi=None):
        """phi = (D^+ eta)_e = m eta_e - D_eo eta_o with <eta eta^+> = 1: covariance A."""
        phi = phi or FermionField(U.lattice, U.colors, "even")
        self._operator(U).draw(phi, draws)
        return phi

    def action(self, U, phi):
        x = self._field("action solution", U, "even")
        self.action_solver.solve(self._operator(U), phi, x)
        return phi.inner(x)

    def begin_trajectory(self):
        self._solutions = 0

    def _solve(self, U, phi) -> FermionField:
        x = self._field("solution", U, "even")
        if self.start == "zero":
            self.force_solver.solve(self._operator(U), phi, x)
            return x
        last, before = self._field("last solution", U, "even"), self._field("solution before", U, "even")
        if self._solutions >= 2:
            x.assign_combination(2.0, last, -1.0, before)
        self.force_solver.solve(self._operator(U), phi, x, guess=self._solutions > 0)
        before.assign(last)
        last.assign(x)
        self._solutions += 1
        return x

    def add_force(self, U, phi, force, weight):
        self._operator(U).add_force(self._solve(U, phi), force, -weight)

    def solvers(self):
        return [self.force_solver, self.action_solver]
