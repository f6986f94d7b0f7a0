"""Conjugate gradient with reliable updates: the recurrence in one precision, the true residual in double.

The loop is recorded and replayed by the device, so an iteration costs its kernels and nothing else. An operator offers
`field(real)` on one parity, `in_precision(real)`, `prepare()` and `apply(psi, out, dot=None)`; see `slhmc.dirac.StaggeredNormal`.
"""

from enum import IntEnum

import numpy as np

from slhmc.errors import ComputationError, InputError, SolverNotConverged
from slhmc.lattice.fields import convert

# Relative fall of the residual after which the recurrence is corrected by the true residual (reliable update).
REDUCTION = {"mixed": 1e-4, "double": 0.0}


class State(IntEnum):
    """Scalars of a solve on the device, as in kernels/linear_algebra.cc."""

    RESIDUAL = 0
    CURVATURE = 1
    ALPHA = 2
    BETA = 3
    INNER = 4
    OUTER = 5
    ITERATIONS = 6
    TARGET = 7
    FLOOR = 8
    SOURCE = 9
    TRUE_RESIDUAL = 10
    RESTARTS = 11
    NEW_RESIDUAL = 12
    TOTAL_ITERATIONS = 13
    BEST = 14
    FAILURES = 15
    FAILED_RESIDUAL = 16
    FAILED_ITERATIONS = 17
    STALLS = 18
    ACTIVE = 19
    OWING = 20


class _Workspace:
    """Vectors of a solve, kept from call to call."""

    def __init__(self, operator, real: str):
        self.operators = {"double": operator.in_precision("double"), real: operator.in_precision(real)}
        self.inner_real = real
        self.residual, self.product = (operator.field("double") for _ in range(2))
        self.r, self.p, self.q, self.x = (operator.field(real) for _ in range(4))
        if real == "double":
            self.r = self.residual


class ConjugateGradient:
    """Solves A x = b for Hermitian positive A to |b - A x| <= tolerance |b|, the residual recomputed in double at the end.

    precision: "mixed" (recurrence in single) or "double". history: keep |r|/|b| of each iteration for `history`. Raises
    SolverNotConverged after max_iterations or when the true residual stops falling, ComputationError when it is not a number;
    inside a tape, after the tape has run.
    """

    def __init__(self, lattice, tolerance: float, max_iterations: int = 20000, precision: str = "mixed", history: bool = False):
        self.lattice, self.tolerance, self.max_iterations, self.precision = lattice, tolerance, max_iterations, precision
        self._history = lattice.device.zeros((max_iterations + 1,), np.float64) if history else None
        self.layout = lattice.layout("double")
        self.state = lattice.device.zeros((len(State),), np.float64)
        self._workspaces: dict[int, tuple] = {}

    def solve(self, operator, b, x, guess: bool = False) -> None:
        """x <- A^-1 b; with `guess`, x is the start vector, otherwise 0. Collective."""
        work = self._workspace(operator)
        exact, inner = work.operators["double"], work.operators[work.inner_real]
        exact.prepare()
        inner.prepare()
        self._begin(work, b, x, guess)
        self.lattice.device.repeat_while(self._address(State.OUTER), lambda: self._outer(work, exact, inner, b, x))
        self.lattice.device.after_run(self.check)

    def take_iterations(self) -> int:
        """Iterations since the last call, over all solves."""
        host = self.lattice.device.to_host(self.state)
        total, host[State.TOTAL_ITERATIONS] = int(host[State.TOTAL_ITERATIONS]), 0
        self.lattice.device.assign(self.state, host)
        return total

    def history(self) -> np.ndarray:
        """|r|/|b| at the start of the last solve and after each iteration: of the recurrence, and true where that was computed.

        Raises InputError if it was not asked for.
        """
        if self._history is None:
            raise InputError("this solver keeps no history; make it with history=True")
        device = self.lattice.device
        device.synchronize()
        return device.to_host(self._history)[:int(device.to_host(self.state)[State.ITERATIONS]) + 1]

    def check(self) -> None:
        """Raise if a solve since the last check did not reach its tolerance."""
        host = self.lattice.device.to_host(self.state)
        if host[State.FAILURES] == 0:
            return
        reached = np.sqrt(host[State.FAILED_RESIDUAL])
        host[State.FAILURES] = 0
        self.lattice.device.assign(self.state, host)
        if not np.isfinite(reached):
            raise ComputationError("conjugate gradient met a number that is not finite; the links or the source are broken: "
                                   "use smaller molecular-dynamics steps or restart from an earlier configuration")
        iterations = int(host[State.FAILED_ITERATIONS])
        if iterations >= self.max_iterations:
            advice = f"raise max_iterations (now {self.max_iterations}) or the quark mass"
        else:
            advice = "rounding keeps the residual from falling further: loosen the tolerance"
            advice += ' or use precision = "double"' if self.precision == "mixed" else ""
        raise SolverNotConverged(f"conjugate gradient ({self.precision}) stopped after {iterations} iterations at |r|/|b| = "
                                 f"{reached:.1e}, wanted {self.tolerance:.1e}; {advice}")

    # ---- pieces
    def _workspace(self, operator) -> _Workspace:
        key = id(operator)
        if key not in self._workspaces:
            real = "float" if self.precision == "mixed" else "double"
            self._workspaces[key] = (operator, _Workspace(operator, real))
        return self._workspaces[key][1]

    def _begin(self, work, b, x, guess: bool = False) -> None:
        b.inner_into(b, self._cell(State.SOURCE))
        self._scalar("cg_start", self.tolerance)
        if guess:
            self._true_residual(work, work.operators["double"], b, x)
        else:
            x.clear()
            work.residual.assign(b)
            self._after_residual(work)
        work.p.clear()
        work.x.clear()

    def _cell(self, item: State):
        return self.state[item:item + 1]

    def _address(self, item: State) -> int:
        return self.lattice.device.pointer(self.state) + 8 * item

    def _scalar(self, name: str, *arguments) -> None:
        kernel = self.layout.kernel("linear_algebra.cc", name)
        device = self.lattice.device
        device.launch(kernel, kernel.structure(device.pointer(self.state), *arguments), self.state)

    def _vector(self, name: str, *fields) -> None:
        layout = fields[0].layout
        kernel = layout.kernel("linear_algebra.cc", name)
        layout.launch(kernel, *[f.pointer for f in fields], self.lattice.device.pointer(self.state),
                      end=layout.groups * fields[0].component_count, parities=1, keep=(*fields, self.state))

    def _true_residual(self, work, exact, b, x) -> None:
        exact.apply(x, work.product)
        work.residual.assign_combination(1.0, b, -1.0, work.product)
        self._after_residual(work)

    def _after_residual(self, work) -> None:
        work.residual.inner_into(work.residual, self._cell(State.TRUE_RESIDUAL))
        self._scalar("cg_outer", REDUCTION[self.precision], self.max_iterations)
        self._keep_history()
        if work.r is not work.residual:
            convert(work.residual, work.r)

    def _outer(self, work, exact, inner, b, x) -> None:
        work.x.clear()
        self.lattice.device.repeat_while(self._address(State.INNER), lambda: self._inner(work, inner))
        self._vector("cg_finish", work.x, work.p)
        convert(work.x, x, 1.0)
        self._true_residual(work, exact, b, x)

    def _inner(self, work, inner) -> None:
        self._vector("cg_direction", work.x, work.p, work.r)
        inner.apply(work.p, work.q, dot=self._cell(State.CURVATURE))
        self._scalar("cg_alpha")
        layout = work.r.layout
        kernel = layout.kernel("linear_algebra.cc", "cg_residual")
        layout.reduce(kernel, self._cell(State.NEW_RESIDUAL), work.r.pointer, work.q.pointer,
                      self.lattice.device.pointer(self.state), spans=[(0, layout.groups * work.r.component_count)],
                      parities=1, keep=(work.r, work.q, self.state))
        self._scalar("cg_beta", self.max_iterations)
        self._keep_history()

    def _keep_history(self) -> None:
        if self._history is not None:
            self._scalar("cg_history", self.lattice.device.pointer(self._history), self.max_iterations + 1)
