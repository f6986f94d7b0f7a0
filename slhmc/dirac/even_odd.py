"""Even-odd preconditioning: what solvers and actions ask of a Dirac operator D with D_ee, D_oo local to a site.

D = A - H / 2 with a local A; M = A_ee - H_eo A_oo^-1 H_oe / 4 on even sites, det D = det A_oo det M.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cached_property

from slhmc.lattice import Draws, FermionField
from slhmc.lattice.random import Purpose


class EvenOddOperator(ABC):
    """M of one Dirac operator. Abstract; leaves: WilsonEvenOdd and its kin. All methods are collective.

    U, real: links and precision of its fields.
    """

    def __init__(self, U, real: str):
        self.U, self.real = U, real
        self._fields: dict[str, FermionField] = {}

    @abstractmethod
    def field(self, real: str = "double", parity: str = "even") -> FermionField:
        """A zero field of the operator's space."""

    @abstractmethod
    def in_precision(self, real: str) -> "EvenOddOperator":
        """The same operator on fields of another precision."""

    @abstractmethod
    def prepare(self) -> None:
        """What `apply` derives from the links, brought up to date; before loops, not in their bodies."""

    @abstractmethod
    def apply(self, psi: FermionField, out: FermionField, adjoint: bool = False, norm=None) -> None:
        """out <- M psi, or M^+ psi; norm: device array of one double for |out|^2."""

    @abstractmethod
    def extend(self, x: FermionField, full: FermionField, adjoint: bool = False) -> None:
        """full <- x on even sites and A_oo^-1 H_oe x / 2 on odd ones (adjoint: of A^+ and H^+)."""

    @abstractmethod
    def prepare_source(self, b: FermionField) -> FermionField:
        """The right-hand side of M x = ... on even sites for D psi = b on both parities. Collective."""

    @abstractmethod
    def reconstruct(self, x: FermionField, b: FermionField) -> FermionField:
        """psi on both parities with D psi = b, from the solution x on even sites of M x = prepare_source(b). Collective."""

    def solve(self, solver, b: FermionField) -> FermionField:
        """psi with D psi = b on both parities, by conjugate gradient on M^+ M x = M^+ prepare_source(b). Collective."""
        right, x = self.kept("right-hand side"), self.kept("solution")
        self.apply(self.prepare_source(b), right, adjoint=True)
        solver.solve(self.normal, right, x)
        return self.reconstruct(x, b)

    @abstractmethod
    def add_full_force(self, Y: FermionField, X: FermionField, force, weight: float, first: bool = True) -> None:
        """force += weight (-d_a) 2 Re Y^+ D X, for X and Y on both parities, the first of a sum or one more.

        What costs no more for a sum than for one term may be left to finish_force.
        """

    def finish_force(self, force) -> None:
        """force += what add_full_force has left. Collective."""

    @cached_property
    def normal(self) -> "NormalOperator":
        """M^+ M."""
        return NormalOperator(self)

    @property
    def determinant(self):
        """log det A_oo of one flavour, or None where it does not depend on the links.

        It has `value()` -> Scalar and `add_force(force, weight)`: force += weight (-d_a) log det A_oo, both collective.
        """
        return None

    def add_force(self, Y: FermionField, X: FermionField, force, weight: float) -> None:
        """force += weight (-d_a) 2 Re Y^+ M X. Collective."""
        self.add_forces([(Y, X, weight)], force)

    def add_forces(self, terms: Iterable[tuple[FermionField, FermionField, float]], force) -> None:
        """force += the sum of weight (-d_a) 2 Re Y^+ M X over the terms (Y, X, weight), taken one after the other. Collective.

        With both extended to odd sites, Y^+ dM X = Y^+ dD X.
        """
        full_x, full_y = self.kept("X", parity="both"), self.kept("Y", parity="both")
        for number, (Y, X, weight) in enumerate(terms):
            self.extend(X, full_x)
            self.extend(Y, full_y, adjoint=True)
            self.add_full_force(full_y, full_x, force, weight, first=number == 0)
        self.finish_force(force)

    def kept(self, name: str, parity: str = "even") -> FermionField:
        """A work field, made once."""
        if name not in self._fields:
            self._fields[name] = self.field(self.real, parity)
        return self._fields[name]


class NormalOperator:
    """A = M^+ M: Hermitian and positive; what conjugate gradient solves and pseudofermions are drawn for."""

    vectors = 1  # right-hand sides that a field holds

    def __init__(self, factor: EvenOddOperator):
        self.factor = factor

    @property
    def U(self):  # noqa: N802 - the field's letter
        return self.factor.U

    def field(self, real: str = "double") -> FermionField:
        """A zero field of the operator's space."""
        return self.factor.field(real)

    def in_precision(self, real: str) -> "NormalOperator":
        """The same operator on fields of another precision."""
        return self if real == self.factor.real else NormalOperator(self.factor.in_precision(real))

    def prepare(self) -> None:
        """What `apply` derives from the links, brought up to date. Collective."""
        self.factor.prepare()

    def apply(self, psi: FermionField, out: FermionField, dot=None) -> None:
        """out <- A psi; dot: device array for <psi, A psi> = |M psi|^2. Collective."""
        between = self.factor.kept("M psi")
        self.factor.apply(psi, between, norm=dot)
        self.factor.apply(between, out, adjoint=True)

    def draw(self, phi: FermionField, draws: Draws) -> None:
        """phi <- M^+ eta with <eta eta^+> = 1, so that <phi phi^+> = A. Collective."""
        eta = self.factor.kept("eta")
        eta.draw_gaussian(draws.next(Purpose.PSEUDOFERMION), 0.5**0.5)
        self.factor.apply(eta, phi, adjoint=True)

    def add_force(self, X: FermionField, force, weight: float) -> None:
        """force += weight (-d_a) X^+ A X at fixed X. Collective."""
        self.add_forces([X], force, [weight])

    def add_forces(self, solutions: Iterable[FermionField], force, weights: Iterable[float]) -> None:
        """force += sum_k weights_k (-d_a) X_k^+ A X_k at fixed X_k. Collective."""
        y = self.factor.kept("M X")

        def terms():
            for X, weight in zip(solutions, weights, strict=True):
                self.factor.apply(X, y)
                yield y, X, weight
        self.factor.add_forces(terms(), force)
