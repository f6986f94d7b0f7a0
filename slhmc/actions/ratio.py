"""Pseudofermions of ratios of determinants: Hasenbusch's factors, and the Pauli-Villars field of domain-wall quarks.

det A_m = [det A_m / det A_m1] [det A_m1 / det A_m2] ... det A_mk with m < m1 < ... < mk: each factor fluctuates less than the
whole, and each may have its own time scale (Hasenbusch, Phys. Lett. B 519 (2001) 177; Hasenbusch and Jansen, Nucl. Phys. B 659
(2003) 299).
"""

from collections.abc import Callable

from slhmc.actions.pseudofermion import QuarkAction
from slhmc.lattice.random import Purpose


class RatioAction(QuarkAction):
    """S = phi^+ M_b (M_a^+ M_a)^-1 M_b^+ phi, for det(M_a^+ M_a) / det(M_b^+ M_b) in the ensemble.

    make_light(U) -> M_a^+ M_a and make_heavy(U) -> M_b^+ M_b: slhmc.dirac.NormalOperator on one space. Solvers and start:
    QuarkAction.
    """

    def __init__(self, make_light: Callable, make_heavy: Callable, force_solver, action_solver, start: str = "zero"):
        super().__init__((make_light, make_heavy), force_solver, action_solver, start)

    def refresh(self, U, draws, phi=None):
        """phi = M_b^-+ M_a^+ eta with <eta eta^+> = 1, M_b^-+ = M_b (M_b^+ M_b)^-1."""
        light, heavy = self.operators(U)
        phi, source = phi or light.field("double"), self._field("source", U)
        light.draw(source, draws)
        heavy.factor.apply(self._exact_solution(U, heavy, source), phi)
        return phi

    def _source(self, U, phi):
        """M_b^+ phi."""
        source = self._field("source", U)
        self.operators(U)[1].factor.apply(phi, source, adjoint=True)
        return source

    def action(self, U, phi):
        source = self._source(U, phi)
        return source.inner(self._exact_solution(U, self.operator(U), source))

    def add_force(self, U, phi, force, weight):
        """With X = (M_a^+ M_a)^-1 M_b^+ phi: dS = -X^+ d(M_a^+ M_a) X + 2 Re phi^+ dM_b X."""
        light, heavy = self.operators(U)
        X = self._solve(U, self._source(U, phi))
        light.add_force(X, force, -weight)
        heavy.factor.add_force(phi, X, force, weight)


class StaggeredRatioAction(QuarkAction):
    """S = phi^+ A_b A_a^-1 phi = phi^+ phi + (m_b^2 - m_a^2) phi^+ A_a^-1 phi, for det A_a / det A_b in the ensemble.

    make_light(U) -> A_a and make_heavy(U) -> A_b: slhmc.dirac.StaggeredNormal on one parity, A = m^2 - H_eo H_oe / 4. Solvers and
    start: QuarkAction.
    """

    def __init__(self, make_light: Callable, make_heavy: Callable, force_solver, action_solver, start: str = "zero"):
        super().__init__((make_light, make_heavy), force_solver, action_solver, start)

    def refresh(self, U, draws, phi=None):
        """phi = [D_b^-+ D_a^+ eta] on one parity, <eta eta^+> = 1 on both.

        All D are functions of H, so the covariance A_a / A_b does not mix parities. With chi = D_a^+ eta,
        phi_e = A_b^-1 (m_b chi_e + H_eo chi_o / 2).
        """
        light, heavy = self.operators(U)
        phi, source = phi or light.field("double"), self._field("source", U)
        eta, chi = (self._field(name, U, "both") for name in ("eta", "chi"))
        eta.draw_gaussian(draws.next(Purpose.PSEUDOFERMION), 0.5**0.5)
        for parity in ("even", "odd"):
            light.dirac.hop(eta, chi, parity, other=-0.5, same=light.dirac.mass)
        heavy.dirac.hop(chi, source, heavy.parity, other=0.5, same=heavy.dirac.mass)
        self.action_solver.solve(heavy, source, phi)
        return phi

    def _mass_difference(self, U) -> float:
        """m_b^2 - m_a^2."""
        light, heavy = self.operators(U)
        return heavy.dirac.mass**2 - light.dirac.mass**2

    def action(self, U, phi):
        x = self._exact_solution(U, self.operator(U), phi)
        return phi.inner(phi) + self._mass_difference(U) * phi.inner(x)

    def add_force(self, U, phi, force, weight):
        """(m_b^2 - m_a^2) times the force of phi^+ A_a^-1 phi."""
        self.operator(U).add_force(self._solve(U, phi), force, -self._mass_difference(U) * weight)
