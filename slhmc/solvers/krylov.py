"""What iterative solvers share: a loop that the device records and replays, scalars that stay there, failures told at the end.

A solver's `State` numbers its scalars as in its kernel file; RESIDUAL, OUTER, ITERATIONS, TARGET, SOURCE, TRUE_RESIDUAL,
TOTAL_ITERATIONS, FAILURES, FAILED_RESIDUAL, FAILED_ITERATIONS have the same meaning in all of them.
"""

from abc import ABC, abstractmethod

import numpy as np

from slhmc.errors import ComputationError, InputError, SolverNotConverged
from slhmc.lattice.fields import convert

# Relative fall of the residual after which the recurrence is corrected by the true residual (reliable update).
REDUCTION = {"mixed": 1e-4, "double": 0.0}


class Workspace:
    """Vectors of a solve, kept from call to call: of the true residual in double, of the recurrence in `inner_real`."""

    def __init__(self, operator, real: str, names: str):
        self.operators = {"double": operator.in_precision("double"), real: operator.in_precision(real)}
        self.inner_real = real
        self.residual, self.product = (operator.field("double") for _ in range(2))
        self.vectors = {name: operator.field(real) for name in names.split()}
        self.r = self.residual if real == "double" else operator.field(real)

    def __getattr__(self, name: str):
        return self.__dict__["vectors"][name]


class KrylovSolver(ABC):
    """Solves an equation to |b - A x| <= tolerance |b|, the residual recomputed in double at the end. Abstract.

    Leaves: ConjugateGradient, BiCGStab. precision: "mixed" (recurrence in single) or "double". Raises SolverNotConverged after
    max_iterations or when the true residual stops falling, ComputationError when it is not a number; inside a tape, after the
    tape has run. history: keep |r|/|b| of each iteration for `history`.
    """

    name: str
    file: str  # of its kernels
    State: type
    vectors: str  # names of the recurrence's vectors, beside the residual

    def __init__(self, lattice, tolerance: float, max_iterations: int = 20000, precision: str = "mixed", history: bool = False):
        self.lattice, self.tolerance, self.max_iterations, self.precision = lattice, tolerance, max_iterations, precision
        self.layout = lattice.layout("double")
        self.state = lattice.device.zeros((max(self.State) + 1,), np.float64)
        self._history = lattice.device.zeros((max_iterations + 1,), np.float64) if history else None
        self._workspaces: dict[int, tuple] = {}

    def solve(self, operator, b, x, guess: bool = False) -> None:
        """x <- A^-1 b; with `guess`, x is the start vector, otherwise 0. Collective."""
        work = self._workspace(operator)
        exact, inner = work.operators["double"], work.operators[work.inner_real]
        exact.prepare()
        inner.prepare()
        self._begin(work, b, x, guess)
        self.lattice.device.repeat_while(self._address(self.State.OUTER), lambda: self._outer(work, exact, inner, b, x))
        self.lattice.device.after_run(self.check)

    def solve_many(self, operator, sources, solutions) -> None:
        """solutions[k] <- A^-1 sources[k], one after the other by one recorded solve; not on a tape. Collective."""
        b, x = operator.field("double"), operator.field("double")
        for used in self._workspace(operator).operators.values():
            used.prepare()  # what the links give is made once, not once a source
        with self.lattice.device.record() as tape:
            self.solve(operator, b, x)
        for source, solution in zip(sources, solutions, strict=True):
            b.assign(source)
            tape.run()
            solution.assign(x)

    def history(self) -> np.ndarray:
        """|r|/|b| at the start of the last solve and after each iteration: of the recurrence, and true where that was computed.

        Raises InputError if it was not asked for.
        """
        if self._history is None:
            raise InputError("this solver keeps no history; make it with history=True")
        device = self.lattice.device
        device.synchronize()
        return device.to_host(self._history)[:int(device.to_host(self.state)[self.State.ITERATIONS]) + 1]

    def take_iterations(self) -> int:
        """Iterations since the last call, over all solves."""
        host = self.lattice.device.to_host(self.state)
        total, host[self.State.TOTAL_ITERATIONS] = int(host[self.State.TOTAL_ITERATIONS]), 0
        self.lattice.device.assign(self.state, host)
        return total

    def check(self) -> None:
        """Raise if a solve since the last check did not reach its tolerance."""
        State, host = self.State, self.lattice.device.to_host(self.state)
        if host[State.FAILURES] == 0:
            return
        reached = np.sqrt(host[State.FAILED_RESIDUAL])
        host[State.FAILURES] = 0
        self.lattice.device.assign(self.state, host)
        if not np.isfinite(reached):
            raise ComputationError(f"{self.name} met a number that is not finite; the links or the source are broken: "
                                   "use smaller molecular-dynamics steps or restart from an earlier configuration")
        iterations = int(host[State.FAILED_ITERATIONS])
        exhausted = iterations >= self.max_iterations
        advice = f"raise max_iterations (now {self.max_iterations}) or the quark mass" if exhausted else self._stalled_advice()
        raise SolverNotConverged(f"{self.name} ({self.precision}) stopped after {iterations} iterations at |r|/|b| = "
                                 f"{reached:.1e}, wanted {self.tolerance:.1e}; {advice}")

    # ---- pieces
    @abstractmethod
    def _stalled_advice(self) -> str:
        """What to do when the true residual stops falling."""

    @abstractmethod
    def _begin(self, work, b, x, guess: bool = False) -> None:
        """Scalars, vectors and first residual of a solve."""

    @abstractmethod
    def _after_residual(self, work) -> None:
        """Judge the residual in work.residual: scalars of the loop, and the recurrence's copy of it."""

    @abstractmethod
    def _outer(self, work, exact, inner, b, x) -> None:
        """The recurrence until it may no longer be trusted, and the true residual after it."""

    def _workspace(self, operator) -> Workspace:
        key = id(operator)
        if key not in self._workspaces:
            real = "float" if self.precision == "mixed" else "double"
            self._workspaces[key] = (operator, Workspace(operator, real, self.vectors))
        return self._workspaces[key][1]

    def _first_residual(self, work, b, x, guess: bool) -> None:
        if guess:
            self._true_residual(work, work.operators["double"], b, x)
            return
        x.clear()
        work.residual.assign(b)
        self._after_residual(work)

    def _true_residual(self, work, exact, b, x) -> None:
        exact.apply(x, work.product)
        work.residual.assign_combination(1.0, b, -1.0, work.product)
        self._after_residual(work)

    def _copy_residual(self, work) -> None:
        """The true residual, in the precision of the recurrence."""
        if work.r is not work.residual:
            convert(work.residual, work.r)

    def _keep_history(self) -> None:
        if self._history is None:
            return
        device, State = self.lattice.device, self.State
        kernel = self.layout.kernel("linear_algebra.cc", "residual_history")
        device.launch(kernel, kernel.structure(device.pointer(self.state), device.pointer(self._history), self.max_iterations + 1,
                                               State.RESIDUAL, State.SOURCE, State.ITERATIONS), self.state, self._history)

    def _cell(self, item, count: int = 1):
        return self.state[item:item + count]

    def _address(self, item) -> int:
        return self.lattice.device.pointer(self.state) + 8 * item

    def _scalar(self, name: str, *arguments) -> None:
        kernel = self.layout.kernel(self.file, name)
        device = self.lattice.device
        device.launch(kernel, kernel.structure(device.pointer(self.state), *arguments), self.state)

    def _vector(self, name: str, *fields) -> None:
        """A kernel on vectors; the last argument is the state."""
        layout = fields[0].layout
        kernel = layout.kernel(self.file, name)
        layout.launch(kernel, *[f.pointer for f in fields], self.lattice.device.pointer(self.state),
                      end=self._length(fields[0]), parities=1, keep=(*fields, self.state))

    def _sums(self, name: str, cell, *fields) -> None:
        """A reduction on vectors into cells of the state, its last argument."""
        layout = fields[0].layout
        layout.reduce(layout.kernel(self.file, name), cell, *[f.pointer for f in fields], self.lattice.device.pointer(self.state),
                      spans=[(0, self._length(fields[0]))], parities=1, keep=(*fields, self.state))

    def _length(self, field) -> int:
        """How many elements a linear kernel runs over: vectors of lanes."""
        return field.layout.groups * field.component_count
