"""Conjugate gradient with reliable updates: the recurrence in one precision, the true residual in double.

The loop is recorded and replayed by the device, so an iteration costs its kernels and nothing else. An operator offers
`field(real)` on one parity, `in_precision(real)`, `prepare()` and `apply(psi, out, dot=None)`; see `slhmc.dirac.StaggeredNormal`.
"""

from slhmc.backend.signatures import SolverState as State
from slhmc.lattice.fields import convert
from slhmc.solvers.krylov import REDUCTION, KrylovSolver


class ConjugateGradient(KrylovSolver):
    """Solves A x = b for Hermitian positive A; tolerance, precision, history and errors as of KrylovSolver."""

    name, file, State, vectors = "conjugate gradient", "linear_algebra.cc", State, "p q x"

    # ---- pieces
    def _stalled_advice(self):
        words = "rounding keeps the residual from falling further: loosen the tolerance"
        return words + ' or use precision = "double"' * (self.precision == "mixed")

    def _begin(self, work, b, x, guess=False):
        b.inner_into(b, self._cell(State.SOURCE))
        self._scalar("cg_start", self.tolerance)
        self._first_residual(work, b, x, guess)
        work.p.clear()
        work.x.clear()

    def _after_residual(self, work):
        work.residual.inner_into(work.residual, self._cell(State.TRUE_RESIDUAL))
        self._scalar("cg_outer", REDUCTION[self.precision], self.max_iterations)
        self._keep_history()
        self._copy_residual(work)

    def _outer(self, work, exact, inner, b, x):
        work.x.clear()
        self.lattice.device.repeat_while(self._address(State.INNER), lambda: self._inner(work, inner))
        self._vector("cg_finish", work.x, work.p)
        convert(work.x, x, 1.0)
        self._true_residual(work, exact, b, x)

    def _inner(self, work, inner) -> None:
        self.turn_direction(work.x, work.p, work.r)
        inner.apply(work.p, work.q, dot=self._cell(State.CURVATURE))
        self._scalar("cg_alpha")
        self.lower_residual(work.r, work.q)
        self._scalar("cg_beta", self.max_iterations)
        self._keep_history()

    # ---- the recurrences, with alpha and beta of the state
    def turn_direction(self, x, p, r) -> None:
        """x <- x + alpha p, p <- r + beta p."""
        self._vector("cg_direction", x, p, r)

    def lower_residual(self, r, q) -> None:
        """r <- r - alpha q, and its square into the state. Collective."""
        self._sums("cg_residual", self._cell(State.NEW_RESIDUAL), r, q)
