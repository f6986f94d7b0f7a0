"""Staggered Dirac operator, even-odd, on hopping links that hold phases and both directions (kernels/staggered.cc)."""

from slhmc.dirac.hopping import OPPOSITE, HoppingLinks
from slhmc.lattice import FermionField, GaugeField
from slhmc.lattice.fields import PARITIES
from slhmc.lattice.random import Purpose


class StaggeredDirac:
    """D = m + H / 2, H psi(x) = sum_mu eta_mu(x) [U_mu(x) psi(x+mu) - U_mu(x-mu)^+ psi(x-mu)].

    eta_mu = (-1)^(x_0 + ... + x_{mu-1}); boundary[mu] = +1 (periodic) or -1 (antiperiodic). H is anti-Hermitian, so
    D^+ = m - H / 2. Fields: colour vectors; one field on one parity describes four flavours.
    """

    def __init__(self, U: GaugeField, mass: float, boundary, real: str = "double"):
        self.U, self.mass, self.boundary, self.real = U, float(mass), tuple(boundary), real

    def prepare(self) -> HoppingLinks:
        """Hopping links brought up to date with U. A loop must call this before it begins, not in its body. Collective."""
        return HoppingLinks.of(self.U, self.boundary, self.real, "staggered")

    def hop(self, psi: FermionField, out: FermionField, parity: str, other: float = 1.0,
            same: float = 0.0, psi_same: FermionField | None = None, dot=None) -> None:
        """out <- same psi_same + other H psi on `parity`, psi read on the opposite one. Collective.

        dot: device array of one double for Re <psi_same, out>. Core groups are computed while the faces travel. All fields have
        the same Ls, colour vectors that are hopped side by side.
        """
        links = self.prepare()
        layout = links.layout
        opposite, n = OPPOSITE[parity], psi.component_count
        source = psi.parity_array(opposite)
        psi_same = psi if psi_same is None else psi_same
        arguments = (links.pointer, *links.phase_pointers, psi_same.parity_pointer(parity), psi.parity_pointer(opposite),
                     out.parity_pointer(parity), same, other)
        keep = (links, psi, psi_same, out)
        layout.halo.start_faces(source, PARITIES[opposite], n)

        def finish():
            layout.halo.finish_faces(source, PARITIES[opposite], n)
        vectors = psi.Ls if psi.Ls > 1 else 0  # one vector is what the kernels are made for unless told otherwise
        kernel = layout.kernel("staggered.cc", "staggered_hop" if dot is None else "staggered_hop_dot", self.U.colors, vectors)
        layout.launch_around(kernel, finish, dot, *arguments, parity=PARITIES[parity], keep=keep)

    def add_outer_force(self, z: FermionField, force, weight: float) -> None:
        """force_a(x, mu) += weight s(x) eta_mu(x) c_a(U_mu(x) z(x+mu) z(x)^+), s = +1 (even), -1 (odd). Collective."""
        links, U = HoppingLinks.of(self.U, self.boundary, "double", "staggered"), self.U
        z.update_halo()
        U.layout.launch(U.kernel("staggered.cc", "staggered_force"), U.layout.geometry, U.pointer, z.pointer, force.pointer,
                        *links.phase_pointers, weight, keep=(U, z, force, links))

    def _full(self, psi: FermionField, sign: float) -> FermionField:
        out = psi.like()
        for parity in ("even", "odd"):
            self.hop(psi, out, parity, other=0.5 * sign, same=self.mass, psi_same=psi)
        return out

    def __call__(self, psi: FermionField) -> FermionField:
        """D psi for a field on both parities. Collective."""
        return self._full(psi, +1.0)

    def adjoint(self, psi: FermionField) -> FermionField:
        """D^+ psi. Collective."""
        return self._full(psi, -1.0)

    def normal(self, psi: FermionField) -> FermionField:
        """D^+ D psi. Collective."""
        return self.adjoint(self(psi))


class StaggeredNormal:
    """(D^+ D) on one parity: A = m^2 - H_eo H_oe / 4, Hermitian and positive; what conjugate gradient solves.

    vectors: colour vectors that a field of its space holds, all of which A acts on: a block of right-hand sides.
    """

    most_vectors = 3  # links are read for a third of them; the neighbours of more leave the second-level cache on 16^4

    def __init__(self, dirac: StaggeredDirac, parity: str = "even", vectors: int = 1):
        self.dirac, self.parity, self.vectors = dirac, parity, vectors
        self._between: FermionField | None = None
        self._full: FermionField | None = None
        self._blocks: dict[int, StaggeredNormal] = {1: self}

    @property
    def U(self) -> GaugeField:  # noqa: N802 - the field's letter
        return self.dirac.U

    def field(self, real: str) -> FermionField:
        """A zero field of the operator's space."""
        return FermionField(self.U.lattice, self.U.colors, self.parity, real, Ls=self.vectors)

    def block(self, vectors: int) -> "StaggeredNormal":
        """The same operator on blocks of so many vectors."""
        if vectors not in self._blocks:
            self._blocks[vectors] = StaggeredNormal(self.dirac, self.parity, vectors)
        return self._blocks[vectors]

    def in_precision(self, real: str) -> "StaggeredNormal":
        """The same operator on fields of another precision."""
        if real == self.dirac.real:
            return self
        dirac = StaggeredDirac(self.U, self.dirac.mass, self.dirac.boundary, real)
        return StaggeredNormal(dirac, self.parity, self.vectors)

    def prepare(self) -> None:
        """What `apply` derives from the links, brought up to date. Collective."""
        self.dirac.prepare()

    def apply(self, psi: FermionField, out: FermionField, dot=None) -> None:
        """out <- A psi; dot: device array for <psi, A psi>. Collective."""
        if self._between is None:
            self._between = psi.like(parity=OPPOSITE[self.parity])
        self.dirac.hop(psi, self._between, OPPOSITE[self.parity])
        self.dirac.hop(self._between, out, self.parity, other=-0.25, same=self.dirac.mass**2, psi_same=psi, dot=dot)

    @property
    def bounds(self) -> tuple[float, float]:
        """m^2 and m^2 + D^2 enclose the spectrum for any links: H/2 is half a sum of 2 D unitary hops."""
        return self.dirac.mass**2, self.dirac.mass**2 + self.U.lattice.dimensions**2

    def _both(self) -> FermionField:
        """Scratch on both parities."""
        if self._full is None:
            self._full = FermionField(self.U.lattice, self.U.colors)
        return self._full

    def draw(self, phi: FermionField, draws) -> None:
        """phi <- m eta - H eta / 2, the part of D^+ eta on this parity, eta Gaussian on all sites, <eta eta^+> = 1: covariance A.

        Collective.
        """
        eta = self._both()
        eta.draw_gaussian(draws.next(Purpose.PSEUDOFERMION), 0.5**0.5)
        self.dirac.hop(eta, phi, self.parity, other=-0.5, same=self.dirac.mass, psi_same=eta)

    def add_force(self, X: FermionField, force, weight: float) -> None:
        """force_a += weight (-d_a)(X^+ A X), X on this parity and held fixed. Collective.

        A = m^2 - D_eo D_oe with D_eo = H_eo / 2 anti-Hermitian as a part of D, so X^+ dA X = -2 Re X^+ dD_eo Y, Y = D_oe X. With
        Z = X on this parity and Y on the other, d_a (X^+ A X) = -s(x) eta_mu(x) Re tr T_a U_mu(x) Z(x+mu) Z(x)^+, s = +1 on this
        parity and -1 on the other.
        """
        z, sign = self._both(), 1.0 if self.parity == "even" else -1.0
        z.assign_parity(X)
        self.dirac.hop(X, z, OPPOSITE[self.parity], other=0.5)
        self.dirac.add_outer_force(z, force, -0.5 * sign * weight)

    def add_forces(self, solutions, force, weights) -> None:
        """force += sum_k weights_k (-d_a)(X_k^+ A X_k). Collective."""
        for X, weight in zip(solutions, weights, strict=True):
            self.add_force(X, force, weight)
