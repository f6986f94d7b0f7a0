"""Wilson Dirac operator on hopping links (kernels/wilson.cc), and its even-odd preconditioned form."""

from slhmc.dirac.even_odd import EvenOddOperator
from slhmc.dirac.hopping import OPPOSITE, HoppingLinks
from slhmc.errors import InputError
from slhmc.lattice import FermionField, GaugeField
from slhmc.lattice.fields import PARITIES

SPINS = 4


class WilsonHopping:
    """H psi(x) = sum_mu [(1 - gamma_mu) U_mu(x) psi(x+mu) + (1 + gamma_mu) U_mu(x-mu)^+ psi(x-mu)], Ls spinors a site.

    boundary[mu] = +1 (periodic) or -1 (antiperiodic). rows: of SU(3) hopping links; two need a third less memory and take
    about the same time beyond the cache, more within.
    Raises InputError where the lattice has not four dimensions.
    """

    def __init__(self, U: GaugeField, boundary, real: str = "double", Ls: int = 1, rows: int = 3):
        if U.lattice.dimensions != 4:
            raise InputError(f"Wilson quarks on {U.lattice.dimensions} dimensions: their spinors need 4; use staggered quarks "
                             "or a lattice of four extents")
        self.U, self.boundary, self.real, self.Ls = U, tuple(boundary), real, Ls
        self.rows = rows

    def field(self, parity: str, real: str | None = None) -> FermionField:
        """A zero field of Ls spinors a site."""
        return FermionField(self.U.lattice, self.U.colors, parity, real or self.real, SPINS, self.Ls)

    def prepare(self) -> HoppingLinks:
        """Hopping links brought up to date with U. A loop must call this before it begins, not in its body. Collective."""
        return HoppingLinks.of(self.U, self.boundary, self.real, "none", self.rows)

    def hop(self, psi: FermionField, out: FermionField, parity: str, other: float = 1.0, same: float = 0.0,
            psi_same: FermionField | None = None, adjoint: bool = False, norm=None) -> None:
        """out <- same psi_same + other H psi (or H^+ psi) on `parity`, psi read on the opposite one. Collective.

        norm: device array of one double for |out|^2. Core groups are computed while the faces travel.
        """
        links, psi_same = self.prepare(), psi_same or psi
        arguments = (links.pointer, *links.phase_pointers, psi_same.parity_pointer(parity),
                     psi.parity_pointer(OPPOSITE[parity]), out.parity_pointer(parity), same, other, int(adjoint), self.rows)
        self.stencil("wilson.cc", "wilson_hop", psi, parity, norm, arguments, keep=(links, psi, psi_same, out))

    def stencil(self, file: str, name: str, psi: FermionField, parity: str, norm, arguments: tuple, keep: tuple) -> None:
        """Run a kernel on `parity` that reads psi on the opposite one, NAME_norm if there is a norm. Collective."""
        opposite, layout = OPPOSITE[parity], psi.layout
        source = psi.parity_array(opposite)
        layout.halo.start_faces(source, PARITIES[opposite], psi.component_count)

        def finish():
            layout.halo.finish_faces(source, PARITIES[opposite], psi.component_count)
        kernel = layout.kernel(file, name if norm is None else f"{name}_norm", self.U.colors, self.Ls)
        layout.launch_around(kernel, finish, norm, *arguments, parity=PARITIES[parity], keep=keep)

    def add_outer_force(self, Y: FermionField, X: FermionField, force, weight: float) -> None:
        """force += weight (-d_a) 2 Re Y^+ (-H / 2) X, for X and Y on both parities in double precision. Collective.

        -d_a = -(1/2) c_a(U (1 - gamma) X(x+mu) Y(x)^+ + U (1 + gamma) Y(x+mu) X(x)^+), boundary factor in it.
        """
        U, links = self.U, HoppingLinks.of(self.U, self.boundary, "double", "none", self.rows)
        for z in (X, Y):
            z.update_halo()
        kernel = U.layout.kernel("wilson.cc", "wilson_force", U.colors, self.Ls)
        U.layout.launch(kernel, U.layout.geometry, U.pointer, X.pointer, Y.pointer, force.pointer, *links.phase_pointers,
                        -0.5 * weight, keep=(U, X, Y, force, links))


class WilsonDirac:
    """D = 4 + m - H / 2, on fields of both parities; D^+ = gamma_5 D gamma_5."""

    def __init__(self, U: GaugeField, mass: float, boundary, real: str = "double", rows: int = 3):
        self.U, self.mass = U, float(mass)
        self.hopping = WilsonHopping(U, boundary, real, rows=rows)

    def field(self, parity: str = "both") -> FermionField:
        """A zero field of the operator's space."""
        return self.hopping.field(parity)

    def _full(self, psi: FermionField, adjoint: bool) -> FermionField:
        out = psi.like()
        for parity in ("even", "odd"):
            self.hopping.hop(psi, out, parity, other=-0.5, same=4 + self.mass, adjoint=adjoint)
        return out

    def __call__(self, psi: FermionField) -> FermionField:
        """D psi. Collective."""
        return self._full(psi, False)

    def adjoint(self, psi: FermionField) -> FermionField:
        """D^+ psi. Collective."""
        return self._full(psi, True)

    def normal(self, psi: FermionField) -> FermionField:
        """D^+ D psi. Collective."""
        return self.adjoint(self(psi))

    # ---- quarks of four dimensions; trivial here, not for domain walls
    def quark_field(self, parity: str = "both") -> FermionField:
        """A zero field of one spinor a site."""
        return self.field(parity)

    def quark(self, psi: FermionField) -> FermionField:
        """The quark of a solution psi of D psi = source(eta)."""
        return psi

    def source(self, eta: FermionField) -> FermionField:
        """The source of D psi = source(eta) for a source eta of the quark."""
        return eta

    def even_odd(self) -> "WilsonEvenOdd":
        """M = (4 + m) - H_eo H_oe / (4 (4 + m))."""
        return WilsonEvenOdd(self)


class WilsonEvenOdd(EvenOddOperator):
    """M = (4 + m) - H_eo H_oe / (4 (4 + m)) on even sites; det D = (4 + m)^(4 Nc V/2) det M."""

    def __init__(self, dirac: WilsonDirac):
        super().__init__(dirac.U, dirac.hopping.real)
        self.dirac, self.hopping = dirac, dirac.hopping
        self.diagonal = 4 + dirac.mass

    def field(self, real="double", parity="even"):
        return self.hopping.field(parity, real)

    def in_precision(self, real):
        if real == self.real:
            return self
        return WilsonDirac(self.U, self.dirac.mass, self.hopping.boundary, real, self.hopping.rows).even_odd()

    def prepare(self):
        self.hopping.prepare()

    def apply(self, psi, out, adjoint=False, norm=None):
        between = self.kept("between", "odd")
        self.hopping.hop(psi, between, "odd", adjoint=adjoint)
        self.hopping.hop(between, out, "even", other=-0.25 / self.diagonal, same=self.diagonal, psi_same=psi,
                         adjoint=adjoint, norm=norm)

    def extend(self, x, full, adjoint=False):
        full.assign_parity(x)
        self.hopping.hop(x, full, "odd", other=0.5 / self.diagonal, adjoint=adjoint)

    def add_full_force(self, Y, X, force, weight, first=True):
        self.hopping.add_outer_force(Y, X, force, weight)

    def prepare_source(self, b):
        """b_e + H_eo b_o / (2 (4 + m))."""
        source = self.field(self.real)
        self.hopping.hop(b, source, "even", other=0.5 / self.diagonal, same=1.0)
        return source

    def reconstruct(self, x, b):
        """psi_o = (b_o + H x / 2) / (4 + m)."""
        psi = b.like()
        psi.assign_parity(x)
        self.hopping.hop(x, psi, "odd", other=0.5 / self.diagonal, same=1 / self.diagonal, psi_same=b)
        return psi
