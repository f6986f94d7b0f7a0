"""BiCGStab for operators that are not Hermitian, with reliable updates: Wilson and clover quarks' M x = b.

H. A. van der Vorst, SIAM J. Sci. Stat. Comput. 13 (1992) 631; reliable updates: Sleijpen and van der Vorst, Computing 56
(1996) 141.
An operator offers `field(real)` on one parity, `in_precision(real)`, `prepare()` and `apply(psi, out)`; see
`slhmc.dirac.EvenOddOperator`.
"""

from slhmc.backend.signatures import BiCGStabState as State
from slhmc.lattice.fields import convert
from slhmc.solvers.krylov import REDUCTION, KrylovSolver


class BiCGStab(KrylovSolver):
    """Solves M x = b for a general M; tolerance, precision, history and errors as of KrylovSolver.

    It begins afresh, from the true residual, where a scalar product that it divides by vanishes, where the residual grows
    beyond measure, and where it has not fallen for some hundred iterations.
    """

    name, file, State, vectors = "BiCGStab", "bicgstab.cc", State, "shadow p v t x"

    def _stalled_advice(self):
        return ("the residual falls no further: M is close to singular (a zero mode at this mass), or rounding forbids this "
                "tolerance; raise the quark mass, loosen the tolerance, or use conjugate gradient on M^+ M")

    def _begin(self, work, b, x, guess=False):
        b.inner_into(b, self._cell(State.SOURCE))
        self._scalar("bicgstab_start", self.tolerance)
        self._first_residual(work, b, x, guess)

    def _after_residual(self, work):
        work.residual.inner_into(work.residual, self._cell(State.TRUE_RESIDUAL))
        self._scalar("bicgstab_outer", REDUCTION[self.precision], self.max_iterations)
        self._keep_history()
        self._copy_residual(work)
        self._vector("bicgstab_restart", work.shadow, work.r)
        self._sums("bicgstab_product", self._cell(State.NEXT_RHO, 2), work.shadow, work.r)

    def _outer(self, work, exact, inner, b, x):
        work.x.clear()
        self.lattice.device.repeat_while(self._address(State.INNER), lambda: self._inner(work, inner))
        convert(work.x, x, 1.0)
        self._true_residual(work, exact, b, x)

    def _inner(self, work, inner) -> None:
        self._scalar("bicgstab_beta")
        self._vector("bicgstab_direction", work.p, work.r, work.v)
        inner.apply(work.p, work.v)
        self._sums("bicgstab_product", self._cell(State.PRODUCT, 2), work.shadow, work.v)
        self._scalar("bicgstab_alpha")
        self._vector("bicgstab_half", work.r, work.v)
        inner.apply(work.r, work.t)
        self._sums("bicgstab_overlap", self._cell(State.OVERLAP, 3), work.t, work.r)
        self._scalar("bicgstab_omega")
        self._sums("bicgstab_update", self._cell(State.NEXT_RHO, 3), work.x, work.r, work.p, work.t, work.shadow)
        self._scalar("bicgstab_next", self.max_iterations)
        self._keep_history()

    def _length(self, field):
        return super()._length(field) // 2
