"""Conjugate gradient with reliable updates: the recurrence in one precision, the true residual in double.

The loop is recorded and replayed by the device, so an iteration costs its kernels and nothing else. An operator offers
`field(real)` on one parity, `in_precision(real)`, `prepare()`, `apply(psi, out, dot=None)` and `vectors`, the right-hand sides in
a field; see `slhmc.dirac.StaggeredNormal`.
"""

import numpy as np

from slhmc.backend.signatures import SolverState as State
from slhmc.lattice.fields import convert
from slhmc.solvers.krylov import REDUCTION, KrylovSolver


def block_sizes(count: int, most: int) -> list[int]:
    """So many right-hand sides in as few blocks of up to `most` as will do, alike as can be."""
    return [len(part) for part in np.array_split(np.arange(count), -(-count // most))] if count else []


class ConjugateGradient(KrylovSolver):
    """Solves A x = b for Hermitian positive A; tolerance, precision, history and errors as of KrylovSolver."""

    name, file, State, vectors = "conjugate gradient", "linear_algebra.cc", State, "p q x"

    def solve_blocks(self, operator, sources, solutions) -> None:
        """solutions[k] <- A^-1 sources[k], up to operator.most_vectors at once, each to the solver's tolerance; not on a tape.
        Collective.

        One recurrence for a block, as A acts on its vectors alike: sources of norm 1, and |r| <= tolerance |b| / sqrt(n) of the
        block, so that no vector's residual is above the tolerance.
        """
        begin = 0
        for size in block_sizes(len(sources), operator.most_vectors):
            self._solve_block(operator, sources[begin:begin + size], solutions[begin:begin + size])
            begin += size

    def _solve_block(self, operator, sources, solutions) -> None:
        if len(sources) == 1:
            self.solve_many(operator, sources, solutions)
            return
        block = operator.block(len(sources))
        packed, unpacked = block.field("double"), block.field("double")
        norms = [float(source.inner(source))**0.5 or 1.0 for source in sources]
        for s, (source, norm) in enumerate(zip(sources, norms, strict=True)):
            packed.insert(s, source, 1 / norm)
        self.solve_many(block, [packed], [unpacked])
        for s, (solution, norm) in enumerate(zip(solutions, norms, strict=True)):
            unpacked.extract(s, solution, norm)

    # ---- pieces
    def _stalled_advice(self):
        words = "rounding keeps the residual from falling further: loosen the tolerance"
        return words + ' or use precision = "double"' * (self.precision == "mixed")

    def _begin(self, work, b, x, guess=False):
        b.inner_into(b, self._cell(State.SOURCE))
        self._scalar("cg_start", self.tolerance / work.operators["double"].vectors**0.5)
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
