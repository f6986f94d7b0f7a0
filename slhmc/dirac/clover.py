"""Wilson-clover Dirac operator (kernels/clover.cc), and its even-odd preconditioned form."""

from slhmc.dirac.clover_term import CloverForce, CloverInverse, CloverTerm
from slhmc.dirac.even_odd import EvenOddOperator
from slhmc.dirac.hopping import OPPOSITE
from slhmc.dirac.wilson import WilsonDirac
from slhmc.lattice import FermionField, GaugeField, Scalar


class CloverDirac(WilsonDirac):
    """D = 4 + m + c_sw (i/4) sum_{mu nu} sigma_{mu nu} F_{mu nu} - H / 2, on fields of both parities; D^+ = gamma_5 D gamma_5.

    F = (Q - Q^+) / 8 with the clover leaves Q: Sheikholeslami and Wohlert, Nucl. Phys. B 259 (1985) 572; Luescher et al.,
    hep-lat/9605038. c_sw = 1 at tree level. Raises InputError unless the lattice has four dimensions and Nc is 2 or 3.
    """

    def __init__(self, U: GaugeField, mass: float, c_sw: float, boundary, real: str = "double", rows: int = 3):
        super().__init__(U, mass, boundary, real, rows)
        self.c_sw = float(c_sw)

    def term(self) -> CloverTerm:
        """A = 4 + m + clover term, brought up to date with U. Collective."""
        return CloverTerm.of(self.U, self.mass, self.c_sw, self.hopping.real)

    def inverse(self) -> CloverInverse:
        """A_oo^-1, brought up to date with U. Collective."""
        return CloverInverse.of(self.U, self.mass, self.c_sw, self.hopping.real)

    def hop(self, psi: FermionField, out: FermionField, parity: str, other: float, psi_same: FermionField | None = None,
            adjoint: bool = False, norm=None) -> None:
        """out <- A psi_same + other H psi on `parity`, H^+ if adjoint. Collective.

        Without psi_same, on odd sites: out <- A^-1 other H psi. norm: device array of one double for |out|^2.
        """
        links = self.hopping.prepare()
        if psi_same:
            blocks = self.term()
            blocks_pointer, same_pointer = blocks.parity_pointer(parity), psi_same.parity_pointer(parity)
        else:
            blocks = self.inverse()
            blocks_pointer, same_pointer = blocks.pointer, None
        arguments = (links.pointer, *links.phase_pointers, blocks_pointer, same_pointer, psi.parity_pointer(OPPOSITE[parity]),
                     out.parity_pointer(parity), other, int(adjoint), self.hopping.rows)
        self.hopping.stencil("clover.cc", "clover_hop", psi, parity, norm, arguments, keep=(links, blocks, psi, psi_same, out))

    def solve_odd(self, b: FermionField, out: FermionField) -> None:
        """out <- A_oo^-1 b_o, b on both parities: a hop with the inverse blocks and no weight on the neighbours. Collective."""
        links, inverse = self.hopping.prepare(), self.inverse()
        arguments = (links.pointer, *links.phase_pointers, inverse.pointer, b.parity_pointer("odd"), b.parity_pointer("even"),
                     out.parity_pointer("odd"), 0.0, 0, self.hopping.rows)
        self.hopping.stencil("clover.cc", "clover_hop", b, "odd", None, arguments, keep=(links, inverse, b, out))

    def _full(self, psi, adjoint):
        out = psi.like()
        for parity in ("even", "odd"):
            self.hop(psi, out, parity, other=-0.5, psi_same=psi, adjoint=adjoint)
        return out

    def even_odd(self) -> "CloverEvenOdd":
        """M = A_ee - H_eo A_oo^-1 H_oe / 4."""
        return CloverEvenOdd(self)


class CloverEvenOdd(EvenOddOperator):
    """M = A_ee - H_eo A_oo^-1 H_oe / 4 on even sites; det D = det A_oo det M.

    All methods raise ComputationError where A_oo is not positive.
    """

    def __init__(self, dirac: CloverDirac):
        super().__init__(dirac.U, dirac.hopping.real)
        self.dirac = dirac
        self.force = CloverForce(dirac.U, dirac.mass, dirac.c_sw)

    def field(self, real="double", parity="even"):
        return self.dirac.hopping.field(parity, real)

    def in_precision(self, real):
        if real == self.real:
            return self
        dirac = self.dirac
        return CloverDirac(self.U, dirac.mass, dirac.c_sw, dirac.hopping.boundary, real, dirac.hopping.rows).even_odd()

    def prepare(self):
        self.dirac.hopping.prepare()
        self.dirac.term()
        self.dirac.inverse()

    def apply(self, psi, out, adjoint=False, norm=None):
        between = self.kept("between", "odd")
        self.dirac.hop(psi, between, "odd", other=1.0, adjoint=adjoint)
        self.dirac.hop(between, out, "even", other=-0.25, psi_same=psi, adjoint=adjoint, norm=norm)

    def extend(self, x, full, adjoint=False):
        full.assign_parity(x)
        self.dirac.hop(x, full, "odd", other=0.5, adjoint=adjoint)

    def prepare_source(self, b):
        """b_e + H_eo A_oo^-1 b_o / 2."""
        source, solved = self.field(self.real), self.kept("A_oo^-1 b_o", "odd")
        self.dirac.solve_odd(b, solved)
        self.dirac.hopping.hop(solved, source, "even", other=0.5, same=1.0, psi_same=b)
        return source

    def reconstruct(self, x, b):
        """psi_o = A_oo^-1 (b_o + H x / 2)."""
        psi, odd, solved = b.like(), self.kept("A_oo^-1 H x / 2", "odd"), self.kept("A_oo^-1 b_o", "odd")
        self.dirac.hop(x, odd, "odd", other=0.5)
        self.dirac.solve_odd(b, solved)
        odd.assign_combination(1.0, odd, 1.0, solved)
        psi.assign_parity(x)
        psi.assign_parity(odd)
        return psi

    def add_full_force(self, Y, X, force, weight, first=True):
        self.dirac.hopping.add_outer_force(Y, X, force, weight)
        self.force.gather_outer(Y, X, weight, first)

    def finish_force(self, force):
        self.force.add_gathered(force)

    @property
    def determinant(self):
        return CloverDeterminant(self)


class CloverDeterminant:
    """log det A_oo of a CloverEvenOdd and its force."""

    def __init__(self, operator: CloverEvenOdd):
        self.operator = operator

    def value(self) -> Scalar:
        """log det A_oo. Collective."""
        dirac = self.operator.dirac
        return CloverInverse.of(dirac.U, dirac.mass, dirac.c_sw, "double").log_determinant()

    def add_force(self, force, weight: float) -> None:
        """force += weight (-d_a) log det A_oo. Collective."""
        self.operator.force.add_determinant_force(force, weight)
