"""Multi-shift conjugate gradient: (A + s_k) x_k = b for all k in one Krylov space, each solution verified in double.

The residuals of all shifts are parallel, r_k = zeta_k r, so the products with A that solve the smallest shift solve all of them
(Frommer et al., Int. J. Mod. Phys. C 6 (1995) 627; Jegerlehner, hep-lat/9612014). A shift that has converged leaves the updates.
Then each shift's true residual is computed in double; ordinary conjugate gradient goes on from x_k where it misses its tolerance.
"""

from itertools import pairwise

import numpy as np

from slhmc.errors import InputError
from slhmc.lattice.fields import convert
from slhmc.solvers.conjugate_gradient import ConjugateGradient, State
from slhmc.solvers.rational import RationalApproximation

# |r|/|b| at which the common recurrence stops; in single precision rounding would keep it from meaning more
FLOOR = {"mixed": 1e-7, "double": 0.0}
AIM = 0.5  # of the tolerance, so that rounding does not leave a shift just above it


class Shifted:
    """A + shift of a normal operator A; `shift` may be set anew, a recorded solve keeps the one it was recorded with."""

    def __init__(self, operator, origin: "Shifted | None" = None):
        self.operator, self.origin, self.shift = operator, origin or self, 0.0
        self.vectors = operator.vectors

    def field(self, real: str):
        """A zero field of the operator's space."""
        return self.operator.field(real)

    def in_precision(self, real: str) -> "Shifted":
        """The same operator, which follows this one's shift, on fields of another precision."""
        return Shifted(self.operator.in_precision(real), self.origin)

    def prepare(self) -> None:
        """What `apply` derives from the links, brought up to date. Collective."""
        self.operator.prepare()

    def apply(self, psi, out, dot=None) -> None:
        """out <- (A + shift) psi; dot: device array for <psi, (A + shift) psi>. Collective."""
        shift = self.origin.shift
        if shift == 0:
            self.operator.apply(psi, out, dot)
            return
        self.operator.apply(psi, out)
        if dot is None:
            out.assign_combination(1.0, out, shift, psi)
            return
        layout = psi.layout
        layout.reduce(layout.kernel("linear_algebra.cc", "add_shift"), dot, psi.pointer, out.pointer, shift,
                      spans=[(0, layout.groups * psi.component_count)], parities=1, keep=(psi, out))


class _Workspace:
    """Vectors of a solve for one operator, as many as the most shifts so far need."""

    def __init__(self, operator, real: str):
        self.operator, self.inner = operator, operator.in_precision(real)
        self.shifted, self.real = Shifted(operator), real
        self.r, self.p, self.q = (self.inner.field(real) for _ in range(3))
        self.directions, self.solutions = [], []
        self.tables: dict[tuple, object] = {}

    def reserve(self, count: int) -> None:
        """Directions for `count` shifts, and solutions in single precision."""
        while len(self.directions) < count:
            self.directions.append(self.inner.field(self.real))
            if self.real == "float":
                self.solutions.append(self.inner.field(self.real))

    def pointers(self, fields):
        """Device array of the fields' addresses."""
        key = tuple(field.pointer for field in fields)
        if key not in self.tables:
            self.tables[key] = fields[0].lattice.device.from_host(np.array(key, np.uint64))
        return self.tables[key]


class MultiShiftConjugateGradient:
    """Solves (A + s_k) x_k = b for Hermitian positive A and s_k >= 0 to |b - (A + s_k) x_k| <= tolerance |b|, each in double.

    precision: "mixed" (common recurrence in single, then each shift refined) or "double" (the other way only where rounding
    asks for it). history: keep |r_k|/|b| of each iteration of the common recurrence for `history`. Raises what
    ConjugateGradient raises, if a shift does not meet its tolerance.
    """

    def __init__(self, lattice, tolerance: float, max_iterations: int = 20000, precision: str = "mixed", history: bool = False):
        self.lattice, self.tolerance, self.max_iterations, self.precision = lattice, tolerance, max_iterations, precision
        self.real = "float" if precision == "mixed" else "double"
        self.layout = lattice.layout("double")
        self.polish = ConjugateGradient(lattice, tolerance, max_iterations, precision)
        self.state = lattice.device.zeros((len(State),), np.float64)
        self._tables: dict[tuple, object] = {}
        self._workspaces: dict[int, _Workspace] = {}
        self._weights: dict[RationalApproximation, object] = {}
        self._keeps_history, self._history, self._shifts = history, None, 0

    def solve(self, operator, shifts, b, solutions) -> None:
        """solutions[k] <- (A + shifts[k])^-1 b; shifts rise. Collective.

        Raises InputError if there is none, if they do not rise, or if one is negative.
        """
        shifts = self._checked(shifts, solutions)
        work = self._workspace(operator, len(shifts))
        work.operator.prepare()
        work.inner.prepare()
        inside = work.solutions[:len(shifts)] if self.real == "float" else solutions
        self._common(work, self._table(shifts), b, inside)
        for shift, x, y in zip(shifts, inside, solutions, strict=True):
            if x is not y:
                convert(x, y)
            work.shifted.shift = shift
            self.polish.solve(work.shifted, b, y, guess=True)

    def apply(self, operator, r: RationalApproximation, b, out, solutions) -> None:
        """out <- r(A) b = constant b + sum_k residues_k (A + shifts_k)^-1 b; the solutions stay in `solutions`. Collective."""
        solutions = solutions[:r.order]
        self.solve(operator, r.shifts, b, solutions)
        work, device, layout = self._workspace(operator, r.order), self.lattice.device, b.layout
        if r not in self._weights:
            self._weights[r] = device.from_host(np.array(r.residues))
        pointers, weights = work.pointers(solutions), self._weights[r]
        layout.launch(layout.kernel("linear_algebra.cc", "weighted_sum"), b.pointer, device.pointer(pointers),
                      device.pointer(weights), out.pointer, r.constant, r.order, end=layout.groups * b.component_count,
                      parities=1, keep=(b, out, pointers, weights, *solutions))

    def take_iterations(self) -> int:
        """Iterations since the last call, over all solves: of the common recurrence and of those that refine."""
        host = self.lattice.device.to_host(self.state)
        total, host[State.TOTAL_ITERATIONS] = int(host[State.TOTAL_ITERATIONS]), 0
        self.lattice.device.assign(self.state, host)
        return total + self.polish.take_iterations()

    def history(self) -> np.ndarray:
        """|r_k|/|b| of the common recurrence of the last solve, shape (iterations + 1, shifts); a shift that is done, roughly.

        Raises InputError if it was not asked for.
        """
        if self._history is None:
            raise InputError("this solver keeps no history; make it with history=True, and solve")
        device = self.lattice.device
        device.synchronize()
        iterations = int(device.to_host(self.state)[State.ITERATIONS])
        return device.to_host(self._history)[:(iterations + 1) * self._shifts].reshape(-1, self._shifts)

    # ---- pieces
    @staticmethod
    def _checked(shifts, solutions) -> tuple[float, ...]:
        shifts = tuple(float(shift) for shift in shifts)
        if not shifts or len(shifts) != len(solutions):
            raise InputError(f"{len(shifts)} shifts for {len(solutions)} solutions; give a field for each of at least one shift")
        if shifts[0] < 0 or any(not a < b for a, b in pairwise(shifts)):
            raise InputError(f"shifts {', '.join(f'{shift:g}' for shift in shifts)}: distinct, rising and not negative expected")
        return shifts

    def _workspace(self, operator, count: int) -> _Workspace:
        key = id(operator)
        if key not in self._workspaces:
            self._workspaces[key] = _Workspace(operator, self.real)
        self._workspaces[key].reserve(count)
        return self._workspaces[key]

    def _table(self, shifts: tuple[float, ...]):
        """Rows SHIFT, SHIFT_ALPHA, SHIFT_BETA, ZETA, RATIO of kernels/linear_algebra.cc."""
        if shifts not in self._tables:
            self._tables[shifts] = self.lattice.device.from_host(np.array([shifts] + [[0.0] * len(shifts)] * 4))
        return self._tables[shifts]

    def _common(self, work: _Workspace, table, b, solutions) -> None:
        """The recurrence of all shifts, in the precision of `solutions`."""
        count, device = len(solutions), self.lattice.device
        pointers = [work.pointers(fields) for fields in (solutions, work.directions[:count])]
        addresses = [device.pointer(array) for array in pointers]
        keep = (*pointers, *solutions, *work.directions, work.p, work.r)
        b.inner_into(b, self._cell(State.SOURCE))
        self._scalar("multi_shift_start", table, max(AIM * self.tolerance, FLOOR[self.precision]))
        self._keep_history(table)
        if b.layout is work.r.layout:
            work.r.assign(b)
        else:
            convert(b, work.r)

        def iteration():
            self._vector(work, "multi_shift_direction", table, *addresses, work.p.pointer, work.r.pointer, keep=keep)
            work.inner.apply(work.p, work.q, dot=self._cell(State.CURVATURE))
            self._scalar("multi_shift_alpha", table)
            layout = work.r.layout
            layout.reduce(layout.kernel("linear_algebra.cc", "cg_residual"), self._cell(State.NEW_RESIDUAL), work.r.pointer,
                          work.q.pointer, device.pointer(self.state), spans=[(0, layout.groups * work.r.component_count)],
                          parities=1, keep=(work.r, work.q, self.state))
            self._scalar("multi_shift_beta", table, self.max_iterations)
            self._keep_history(table)
        device.repeat_while(device.pointer(self.state) + 8 * State.INNER, iteration)
        self._vector(work, "multi_shift_finish", table, *addresses, keep=keep)

    def _cell(self, item: State):
        return self.state[item:item + 1]

    def _scalar(self, name: str, table, *arguments) -> None:
        kernel, device = self.layout.kernel("linear_algebra.cc", name), self.lattice.device
        structure = kernel.structure(device.pointer(self.state), device.pointer(table), table.shape[1], *arguments)
        device.launch(kernel, structure, self.state, table)

    def _vector(self, work: _Workspace, name: str, table, *arguments, keep) -> None:
        layout, device = work.r.layout, self.lattice.device
        layout.launch(layout.kernel("linear_algebra.cc", name), device.pointer(self.state), device.pointer(table), table.shape[1],
                      *arguments, end=layout.groups * work.r.component_count, parities=1, keep=(*keep, self.state, table))

    def _keep_history(self, table) -> None:
        if not self._keeps_history:
            return
        length, self._shifts = self.max_iterations + 1, table.shape[1]
        if self._history is None or self._history.size < length * self._shifts:
            self._history = self.lattice.device.zeros((length * self._shifts,), np.float64)
        self._scalar("multi_shift_history", table, self.lattice.device.pointer(self._history), length)
