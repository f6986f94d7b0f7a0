"""Rational pseudofermion actions: any power of a determinant, det A^p with 0 < p <= 1 (RHMC).

S = phi^+ r(A) phi with r(x) = a_0 + sum_k a_k / (x + s_k) close to x^-p on the spectrum of A. With X_k = (A + s_k)^-1 phi,
dS = -sum_k a_k X_k^+ dA X_k: one multi-shift solve a force. phi = A^(p/2) eta = A r'(A) eta with r'(x) close to x^(p/2 - 1),
whose partial fractions are positive, so no digits are lost (Clark and Kennedy, Phys. Rev. Lett. 98 (2007) 051601).
"""

from collections.abc import Callable
from dataclasses import dataclass

from slhmc.actions.pseudofermion import QuarkAction
from slhmc.errors import ComputationError
from slhmc.lattice.random import Purpose
from slhmc.solvers import MultiShiftConjugateGradient, extreme_eigenvalues, rational_approximation


@dataclass(frozen=True)
class RationalSettings:
    """Range of the spectrum of A, relative errors of action and force, poles of the action (None: as few as it takes).

    The spectrum is compared with the range before trajectory 1, 1 + check_every, 1 + 2 check_every ...
    """

    lowest: float
    highest: float
    accuracy: float = 1e-12
    force_accuracy: float = 1e-6
    order: int | None = None
    check_every: int = 10


class RationalAction(QuarkAction):
    """S = phi^+ r(A) phi, r(x) ~ x^-power on [settings.lowest, settings.highest], for det A^power in the ensemble.

    make_operator(U) -> normal operator A on U (field, in_precision, prepare, apply, add_forces, as slhmc.dirac.NormalOperator).
    The force has an approximation of its own, coarser as a rule. guides: it only drives molecular dynamics, so that a spectrum
    outside the range costs acceptance and does no harm to the chain. Raises InputError if settings.order is too low for
    settings.accuracy.
    """

    def __init__(self, make_operator: Callable, power: float, settings: RationalSettings,
                 force_solver: MultiShiftConjugateGradient, action_solver: MultiShiftConjugateGradient, guides: bool = False):
        super().__init__((make_operator,), force_solver, action_solver)
        self.power, self.settings, self.guides = float(power), settings, guides
        self._inspected = None
        s = settings
        self.of_action = rational_approximation(self.power, s.lowest, s.highest, s.accuracy, s.order)
        self.of_heat_bath = rational_approximation(1 - self.power / 2, s.lowest, s.highest, s.accuracy, s.order)
        self.of_force = rational_approximation(self.power, s.lowest, s.highest, s.force_accuracy)

    def _shifted_solutions(self, U, count: int) -> list:
        return [self._field(k, U) for k in range(count)]

    def refresh(self, U, draws, phi=None):
        """phi = A^(power/2) eta with <eta eta^+> = 1: covariance A^power."""
        operator, r = self.operator(U), self.of_heat_bath
        phi = phi or operator.field("double")
        eta, y = self._field("eta", U), self._field("sum", U)
        eta.draw_gaussian(draws.next(Purpose.PSEUDOFERMION), 0.5**0.5)
        self.action_solver.apply(operator, r, eta, y, self._shifted_solutions(U, r.order))
        operator.apply(y, phi)
        return phi

    def action(self, U, phi):
        y, r = self._field("sum", U), self.of_action
        self.action_solver.apply(self.operator(U), r, phi, y, self._shifted_solutions(U, r.order))
        return phi.inner(y)

    def add_force(self, U, phi, force, weight):
        operator, r = self.operator(U), self.of_force
        solutions = self._shifted_solutions(U, r.order)
        self.force_solver.solve(operator, r.shifts, phi, solutions)
        operator.add_forces(solutions, force, [-weight * residue for residue in r.residues])

    def inspect(self, U, draws):
        """Compare the spectrum of A with the range, at every check_every-th trajectory, once for each `draws`.

        Skipped where bounds of the operator for any links lie in the range. Raises ComputationError if an eigenvalue is outside.
        """
        if self._inspected is draws:
            return
        self._inspected = draws
        operator, s = self.operator(U), self.settings
        low, high = getattr(operator, "bounds", (0.0, float("inf")))
        if (draws.trajectory - 1) % s.check_every or (s.lowest <= low and high <= s.highest):
            return
        found = extreme_eigenvalues(operator, draws.next(Purpose.SPECTRUM))
        if found.lowest < s.lowest or found.highest > s.highest:
            whose, harm, key = "", "the chain would be biased; begin it anew", "rational"
            if self.guides:
                whose, harm, key = "guide's ", "its forces would be worthless; begin the chain anew", "guide.quarks.N.rational"
            raise ComputationError(
                f"eigenvalues of the {whose}quark operator from {found.lowest:.4g} to {found.highest:.4g} found, but its "
                f"rational approximation holds from {s.lowest:.4g} to {s.highest:.4g}: {harm} with "
                f"{key}.lowest = {found.lowest / 2:.1e} and {key}.highest = {found.highest * 1.2:.1e}, or a wider range")
