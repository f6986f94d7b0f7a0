"""Domain-wall quarks, Shamir and Moebius: five-dimensional operator, its even-odd form, quarks at the walls.

D = A - H B / 2 with the Wilson hopping term H on each slice s; A and B act on a site: docs/conventions.md, "Domain-wall quarks".
"""

from dataclasses import dataclass
from functools import cached_property
from math import isfinite

from slhmc.dirac.even_odd import EvenOddOperator, NormalOperator
from slhmc.dirac.hopping import OPPOSITE
from slhmc.dirac.wilson import SPINS, WilsonHopping
from slhmc.errors import InputError
from slhmc.lattice import FermionField, GaugeField
from slhmc.lattice.fields import PARITIES


@dataclass(frozen=True)
class FifthDimension:
    """(p + q S)(1 - k S)^-1 on the Ls spinors of a site; (S psi)_s = P_- psi_{s+1} + P_+ psi_{s-1}, -m where s goes round."""

    p: float
    q: float
    k: float
    mass: float
    Ls: int

    @property
    def wall(self) -> float:
        """What a walk over s begins with, for each unit of what it would end with: -m / (1 + m k^Ls)."""
        return -self.mass / (1 + self.mass * self.k**self.Ls)

    def __rmul__(self, factor: float) -> "FifthDimension":
        return FifthDimension(factor * self.p, factor * self.q, self.k, self.mass, self.Ls)

    def arguments(self, adjoint: bool) -> tuple:
        """As the kernels take them; adjoint: of the adjoint operator."""
        return self.p, self.q, self.k, self.wall, int(adjoint)

    def apply(self, psi: FermionField, out: FermionField, adjoint: bool = False, parity: str | None = None) -> None:
        """out <- this operator (or its adjoint) on psi, on one parity of both, or on all that they hold; out is not psi."""
        layout, kernel = psi.layout, psi.layout.kernel("domain_wall.cc", "fifth_dimension", psi.colors, psi.Ls)
        pointers = [f.parity_pointer(parity) if parity else f.pointer for f in (psi, out)]
        layout.launch(kernel, layout.geometry, *pointers, *self.arguments(adjoint), keep=(psi, out),
                      parities=2 if parity is None and psi.parity == "both" else 1)


@dataclass(frozen=True)
class DomainWall:
    """Parameters of D = D_+ + D_- S, D_+ = b5 D_W(-M5) + 1, D_- = c5 D_W(-M5) - 1; Shamir: b5 = 1, c5 = 0.

    mass m >= 0 (1: Pauli and Villars), 0 < M5 < 2, b5 + c5 > 0, (c5 - b5)(4 - M5) < 2, Ls >= 2, even or odd: even and odd
    sites are those of four dimensions, so Ls may be either. Raises InputError for others.
    """

    mass: float
    Ls: int
    M5: float = 1.8
    b5: float = 1.0
    c5: float = 0.0

    def __post_init__(self):
        for name in ("mass", "M5", "b5", "c5"):
            if not isfinite(getattr(self, name)):
                raise InputError(f"{name} = {getattr(self, name)}: a finite number expected")
        if self.mass < 0:
            raise InputError(f"mass = {self.mass}: domain-wall quarks need mass >= 0")
        if self.Ls != int(self.Ls) or self.Ls < 2:
            raise InputError(f"Ls = {self.Ls}: a whole number of slices expected, 2 at least; 8 to 24 are usual")
        if not 0 < self.M5 < 2:
            raise InputError(f"M5 = {self.M5}: between 0 and 2 there is one light quark; 1.8 is usual")
        if self.b5 + self.c5 <= 0:
            raise InputError(f"b5 = {self.b5}, c5 = {self.c5}: b5 + c5 > 0 expected, the scale of the kernel; Shamir is b5 = 1, "
                             "c5 = 0, Moebius often b5 = 1.5, c5 = 0.5")
        if (self.c5 - self.b5) * (4 - self.M5) >= 2:
            raise InputError(f"b5 = {self.b5}, c5 = {self.c5}, M5 = {self.M5}: (c5 - b5)(4 - M5) < 2 expected, so that slices "
                             "decouple at a site; raise b5 or lower c5")

    def fifth(self, p: float, q: float, k: float = 0.0) -> FifthDimension:
        """(p + q S)(1 - k S)^-1 of this mass and Ls."""
        return FifthDimension(p, q, k, self.mass, self.Ls)

    @property
    def diagonal(self) -> tuple[float, float]:
        """(a, c) of A = a + c S: a = 1 + b5 (4 - M5), c = c5 (4 - M5) - 1."""
        return 1 + self.b5 * (4 - self.M5), self.c5 * (4 - self.M5) - 1

    @property
    def A(self) -> FifthDimension:  # noqa: N802 - the matrix's letter
        """A = a + c S, what D is on a site."""
        return self.fifth(*self.diagonal)

    @property
    def B(self) -> FifthDimension:  # noqa: N802 - the matrix's letter
        """B = b5 + c5 S, what H follows."""
        return self.fifth(self.b5, self.c5)

    @property
    def A_inverse(self) -> FifthDimension:  # noqa: N802 - the matrix's letter
        """A^-1."""
        a, c = self.diagonal
        return self.fifth(1 / a, 0.0, -c / a)

    @property
    def K(self) -> FifthDimension:  # noqa: N802 - the matrix's letter
        """K = A^-1 B = B A^-1."""
        a, c = self.diagonal
        return self.fifth(self.b5 / a, self.c5 / a, -c / a)


class DomainWallHopping(WilsonHopping):
    """The Wilson hopping term on Ls slices, followed by an operator of the fifth dimension. Three rows of links: read once for
    all slices, they cost little, and need not be completed for each."""

    def __init__(self, U: GaugeField, boundary, real: str, Ls: int):
        super().__init__(U, boundary, real, Ls, rows=3)

    def hop_and(self, fifth: FifthDimension, psi: FermionField, out: FermionField, parity: str, same: float = 0.0,
                psi_same: FermionField | None = None, adjoint: bool = False, norm=None, image=None) -> None:
        """out <- same psi_same + fifth H psi (adjoint: fifth^+ H^+ psi) on `parity`, psi read on the opposite one. Collective.

        norm: device array of one double for |out|^2. image: (operator, field), field <- operator^+ out (adjoint: operator out);
        it shares k with `fifth`.
        """
        links, opposite = self.prepare(), OPPOSITE[parity]
        layout, source = links.layout, psi.parity_array(OPPOSITE[parity])
        psi_same = psi_same or psi
        after, field = image or (fifth, None)
        arguments = (links.pointer, psi_same.parity_pointer(parity), psi.parity_pointer(opposite), out.parity_pointer(parity),
                     field and field.parity_pointer(parity), same, after.p, after.q, *fifth.arguments(adjoint))
        layout.halo.start_faces(source, PARITIES[opposite], psi.component_count)

        def finish():
            layout.halo.finish_faces(source, PARITIES[opposite], psi.component_count)
        name = "domain_wall_hop" if norm is None else "domain_wall_hop_norm"
        layout.launch_around(layout.kernel("domain_wall.cc", name, self.U.colors, self.Ls), finish, norm, *arguments,
                             parity=PARITIES[parity], keep=(links, psi, psi_same, out, field))


class DomainWallDirac:
    """D = A - H B / 2 on fields of Ls spinors a site, both parities; R gamma_5 D (R gamma_5) = D^+ for c5 = 0, R: s reversed."""

    def __init__(self, U: GaugeField, parameters: DomainWall, boundary, real: str = "double"):
        self.U, self.parameters, self.boundary = U, parameters, tuple(boundary)
        self.hopping = DomainWallHopping(U, boundary, real, parameters.Ls)

    def field(self, parity: str = "both") -> FermionField:
        """A zero field of the operator's space."""
        return self.hopping.field(parity)

    def __call__(self, psi: FermionField) -> FermionField:
        """D psi. Collective."""
        local, after_b, out = psi.like(), psi.like(), psi.like()
        self.parameters.A.apply(psi, local)
        self.parameters.B.apply(psi, after_b)
        for parity in ("even", "odd"):
            self.hopping.hop_and(self.parameters.fifth(-0.5, 0.0), after_b, out, parity, 1.0, local)
        return out

    def adjoint(self, psi: FermionField) -> FermionField:
        """D^+ psi = A^+ psi - B^+ H^+ psi / 2. Collective."""
        local, out = psi.like(), psi.like()
        self.parameters.A.apply(psi, local, adjoint=True)
        for parity in ("even", "odd"):
            self.hopping.hop_and(-0.5 * self.parameters.B, psi, out, parity, 1.0, local, adjoint=True)
        return out

    def normal(self, psi: FermionField) -> FermionField:
        """D^+ D psi. Collective."""
        return self.adjoint(self(psi))

    def even_odd(self) -> "DomainWallEvenOdd":
        """M = 1 - K H_eo K H_oe / 4."""
        return DomainWallEvenOdd(self)

    # ---- quarks of four dimensions
    def quark_field(self, parity: str = "both") -> FermionField:
        """A zero field of one spinor a site."""
        return FermionField(self.U.lattice, self.U.colors, parity, self.hopping.real, SPINS)

    def quark(self, psi: FermionField) -> FermionField:
        """q = P_- psi_0 + P_+ psi_{Ls-1}."""
        return self._slices(psi, right=self.parameters.Ls - 1, left=0)

    def midpoint(self, psi: FermionField) -> FermionField:
        """P_+ psi_{Ls/2-1} + P_- psi_{Ls/2}, the quark half-way, of which the anomalous current J5q is made."""
        half = self.parameters.Ls // 2
        return self._slices(psi, right=half - 1, left=half)

    def _slices(self, psi: FermionField, right: int, left: int) -> FermionField:
        q, layout = self.quark_field(psi.parity), psi.layout
        layout.launch(layout.kernel("domain_wall.cc", "extract_walls", self.U.colors, self.parameters.Ls), layout.geometry,
                      psi.pointer, q.pointer, right, left, parities=len(q.array), keep=(psi, q))
        return q

    def source(self, eta: FermionField) -> FermionField:
        """The source b of D psi = b for a source eta (both parities) of the quark: -D_- (P_+ eta at 0, P_- eta at Ls - 1).

        q of the solution is then (1 - m)^-1 (D_overlap^-1 - 1) eta. Collective.
        """
        spread, layout, parameters = self.field(eta.parity), eta.layout, self.parameters
        layout.launch(layout.kernel("domain_wall.cc", "insert_walls", self.U.colors, parameters.Ls), layout.geometry,
                      eta.pointer, spread.pointer, 0, parameters.Ls - 1, parities=len(eta.array), keep=(eta, spread))
        out = spread.like()
        for parity in ("even", "odd"):
            self.hopping.hop_and(parameters.fifth(0.5 * parameters.c5, 0.0), spread, out, parity, -parameters.diagonal[1], spread)
        return out


class DomainWallEvenOdd(EvenOddOperator):
    """M = 1 - K H_eo K H_oe / 4 on even sites, K = A^-1 B; det D = det A^2 det M with A on half of the sites.

    It is similar to A_ee^-1 (A_ee - H_eo B A_oo^-1 H_oe B / 4) where B has an inverse, and exists where B has none.
    """

    def __init__(self, dirac: DomainWallDirac):
        super().__init__(dirac.U, dirac.hopping.real)
        self.dirac, self.hopping, self.parameters = dirac, dirac.hopping, dirac.parameters

    def field(self, real="double", parity="even"):
        return self.hopping.field(parity, real)

    def in_precision(self, real):
        if real == self.real:
            return self
        return DomainWallDirac(self.U, self.parameters, self.hopping.boundary, real).even_odd()

    def prepare(self):
        self.hopping.prepare()

    @cached_property
    def normal(self):
        """M^+ M."""
        return DomainWallNormal(self)

    def apply(self, psi, out, adjoint=False, norm=None):
        if adjoint:
            after_k = self.kept("K M psi")
            self.parameters.K.apply(psi, after_k, adjoint=True)
            self.apply_adjoint(psi, after_k, out, norm)
        else:
            self._apply(psi, out, norm)

    def _apply(self, psi, out, norm=None, image=None):
        between, K = self.kept("between", "odd"), self.parameters.K
        self.hopping.hop_and(K, psi, between, "odd")
        self.hopping.hop_and(-0.25 * K, between, out, "even", 1.0, psi, norm=norm, image=image)

    def apply_with_image(self, psi: FermionField, out: FermionField, after_k: FermionField, norm=None) -> None:
        """out <- M psi and after_k <- K^+ M psi, which M^+ needs first. Collective."""
        self._apply(psi, out, norm, (self.parameters.K, after_k))

    def apply_adjoint(self, psi: FermionField, after_k: FermionField, out: FermionField, norm=None) -> None:
        """out <- M^+ psi = psi - H^+ K^+ H^+ K^+ psi / 4, after_k = K^+ psi. Collective."""
        between = self.kept("between", "odd")
        self.hopping.hop_and(self.parameters.K, after_k, between, "odd", adjoint=True)
        self.hopping.hop_and(self.parameters.fifth(-0.25, 0.0), between, out, "even", 1.0, psi, adjoint=True, norm=norm)

    def extend(self, x, full, adjoint=False):
        """full <- (x, K H x / 2), or (z, K^+ H^+ z / 2) with z = K^+ x if adjoint: Y^+ dM X = -Y^+ dH X / 2 of full vectors."""
        if adjoint:
            self.parameters.K.apply(x, full, adjoint=True, parity="even")
        else:
            full.assign_parity(x)
        self.hopping.hop_and(0.5 * self.parameters.K, full, full, "odd", adjoint=adjoint)

    def add_full_force(self, Y, X, force, weight, first=True):
        """force += weight (-d_a) 2 Re Y^+ (-H / 2) X, for extended X and Y."""
        self.hopping.add_outer_force(Y, X, force, weight)

    def prepare_source(self, b):
        """K (b_e + H_eo K b_o / 2)."""
        after_k, source, K = b.like(), self.field(self.real), self.parameters.K
        K.apply(b, after_k)
        self.hopping.hop_and(0.5 * K, after_k, source, "even", 1.0, after_k)
        return source

    def reconstruct(self, x, b):
        """psi_o = A^-1 (b_o + H x / 2), psi_e = A^-1 (b_e + H B psi_o / 2), as M solves for x = B psi_e."""
        local, psi, after_b, parameters = b.like(), b.like(), b.like(), self.parameters
        parameters.A_inverse.apply(b, local)
        self.hopping.hop_and(0.5 * parameters.A_inverse, x, psi, "odd", 1.0, local)
        parameters.B.apply(psi, after_b, parity="odd")
        self.hopping.hop_and(0.5 * parameters.A_inverse, after_b, psi, "even", 1.0, local)
        return psi


class DomainWallNormal(NormalOperator):
    """A = M^+ M in four hops: the K^+ that M^+ begins with is written by the hop before it."""

    def in_precision(self, real):
        return self if real == self.factor.real else DomainWallNormal(self.factor.in_precision(real))

    def apply(self, psi, out, dot=None):
        y = self.factor.kept("M psi")
        self.factor.apply_with_image(psi, y, out, norm=dot)  # out holds K^+ M psi meanwhile
        self.factor.apply_adjoint(y, out, out)


def take_wall_slices(psi: FermionField, out: FermionField) -> None:
    """out <- the lowest and the highest slices of psi, half of out's even Ls each; parities as both have them."""
    layout = psi.layout
    layout.launch(layout.kernel("domain_wall.cc", "wall_slices", psi.colors, out.Ls), layout.geometry, psi.pointer, out.pointer,
                  psi.Ls, parities=len(out.array), keep=(psi, out))
