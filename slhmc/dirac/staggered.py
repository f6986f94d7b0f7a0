"""Staggered Dirac operator, even-odd, on hopping links that hold phases and both directions (kernels/staggered.cc)."""

import numpy as np

from slhmc.errors import InputError
from slhmc.lattice import FermionField, GaugeField
from slhmc.lattice.fields import PARITIES, Field, convert
from slhmc.lattice.random import Purpose

HOPPING_REALS = {2: 4, 3: 12}
OPPOSITE = {"even": "odd", "odd": "even"}


def _phase_codes(layout, boundary) -> tuple[np.ndarray, np.ndarray]:
    """Signs of the hopping links as (codes (2, stride, 2D), table of lane vectors (2 + 4D, lanes)).

    Code 0 is +1, code 1 is -1; 2 + 2d (3 + 2d) is +1 (-1) times the boundary phase in the lanes that cross it in direction d.
    """
    blocks, dimensions = layout.blocks, layout.blocks.dimensions
    codes = np.empty((2, blocks.stride, 2 * dimensions), np.int8)
    signs = np.ones((2 + 4 * dimensions, blocks.lanes))
    signs[1] = -1
    for mu in range(dimensions):
        odd_eta = blocks.coordinates[:mu].sum(0) % 2  # eta_mu = (-1)^(x_0 + ... + x_{mu-1})
        for ahead, direction in ((True, mu), (False, mu + dimensions)):
            negative = odd_eta ^ (not ahead)
            edge_site = blocks.block[mu] - 1 if ahead else 0
            edge_lane = blocks.lane_grid[mu] - 1 if ahead else 0
            edge_rank = blocks.rank_grid[mu] - 1 if ahead else 0
            crossing = (blocks.coordinates[mu] == edge_site) & (blocks.rank_coordinates[mu] == edge_rank)
            codes[:, :, direction] = np.where(crossing, 2 + 2 * direction, 0) + negative
            lanes = np.where(blocks.lane_digits[mu] == edge_lane, float(boundary[mu]), 1.0)
            signs[2 + 2 * direction], signs[3 + 2 * direction] = lanes, -lanes
    return codes, signs.astype(layout.dtype)


class HoppingLinks(Field):
    """Links of a gauge field as the hopping term wants them; follow it by `update`."""

    def __init__(self, U: GaugeField, boundary, real: str):
        if U.colors not in HOPPING_REALS:
            raise InputError(f"staggered quarks with {U.colors} colours: the hopping kernels know 2 and 3")
        super().__init__(U.lattice.layout(real), (2 * U.lattice.dimensions, HOPPING_REALS[U.colors]))
        codes, signs = _phase_codes(self.layout, boundary)
        self.codes, self.signs = (self.lattice.device.from_host(table) for table in (codes, signs))
        self.phase_pointers = [self.lattice.device.pointer(table) for table in (self.codes, self.signs)]
        self.version = -1

    @classmethod
    def of(cls, U: GaugeField, boundary, real: str) -> "HoppingLinks":
        """The hopping links of U, made once and shared by all operators on U, brought up to date."""
        key = ("hopping", tuple(boundary), real)
        if key not in U.derived:
            U.derived[key] = cls(U, boundary, real)
        links = U.derived[key]
        links.update(U, boundary)
        return links

    def update(self, U: GaugeField, boundary) -> None:
        """Rebuild if U changed. Collective."""
        if self.version == U.version:
            return
        if self.lattice.device.in_loop:
            raise RuntimeError("hopping links would be rebuilt in the body of a loop: call prepare() before the loop")
        if self.layout.real == "double":
            U.update_halo()
            kernel = U.kernel("staggered.cc", "hopping_links")
            self.layout.launch(kernel, self.layout.geometry, U.pointer, self.pointer, *self.phase_pointers, keep=(U, self))
        else:
            convert(HoppingLinks.of(U, boundary, "double"), self)
        self.version = U.version


class StaggeredDirac:
    """D = m + H / 2, H psi(x) = sum_mu eta_mu(x) [U_mu(x) psi(x+mu) - U_mu(x-mu)^+ psi(x-mu)].

    eta_mu = (-1)^(x_0 + ... + x_{mu-1}); boundary[mu] = +1 (periodic) or -1 (antiperiodic). H is anti-Hermitian, so
    D^+ = m - H / 2. Fields: colour vectors; one field on one parity describes four flavours.
    """

    def __init__(self, U: GaugeField, mass: float, boundary, real: str = "double"):
        self.U, self.mass, self.boundary, self.real = U, float(mass), tuple(boundary), real

    def prepare(self) -> HoppingLinks:
        """Hopping links brought up to date with U. A loop must call this before it begins, not in its body. Collective."""
        return HoppingLinks.of(self.U, self.boundary, self.real)

    def hop(self, psi: FermionField, out: FermionField, parity: str, other: float = 1.0,
            same: float = 0.0, psi_same: FermionField | None = None, dot=None) -> None:
        """out <- same psi_same + other H psi on `parity`, psi read on the opposite one. Collective.

        dot: device array of one double for Re <psi_same, out>. Core groups are computed while the faces travel.
        """
        links = self.prepare()
        layout = links.layout
        opposite, n = OPPOSITE[parity], 2 * self.U.colors
        source = psi.parity_array(opposite)
        psi_same = psi if psi_same is None else psi_same
        arguments = (links.pointer, *links.phase_pointers, psi_same.parity_pointer(parity), psi.parity_pointer(opposite),
                     out.parity_pointer(parity), same, other)
        keep = (links, psi, psi_same, out)
        layout.halo.start_faces(source, PARITIES[opposite], n)
        spans = [(0, layout.core_groups), (layout.core_groups, layout.groups)]

        def finish():
            layout.halo.finish_faces(source, PARITIES[opposite], n)
        name = "staggered_hop" if dot is None else "staggered_hop_dot"
        kernel = layout.kernel("staggered.cc", name, self.U.colors)
        if dot is not None:
            layout.reduce(kernel, dot, *arguments, leading=(layout.geometry,), spans=spans, between=finish,
                          parity=PARITIES[parity], parities=1, keep=keep)
            return
        for number, (begin, end) in enumerate(spans):
            layout.launch(kernel, layout.geometry, *arguments, begin=begin, end=end, parity=PARITIES[parity], parities=1,
                          keep=keep)
            if number == 0:
                finish()

    def add_outer_force(self, z: FermionField, force, weight: float) -> None:
        """force_a(x, mu) += weight s(x) eta_mu(x) c_a(U_mu(x) z(x+mu) z(x)^+), s = +1 (even), -1 (odd). Collective."""
        links, U = HoppingLinks.of(self.U, self.boundary, "double"), self.U
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
    """(D^+ D) on one parity: A = m^2 - H_eo H_oe / 4, Hermitian and positive; what conjugate gradient solves."""

    def __init__(self, dirac: StaggeredDirac, parity: str = "even"):
        self.dirac, self.parity = dirac, parity
        self._between: FermionField | None = None
        self._full: FermionField | None = None

    @property
    def U(self) -> GaugeField:  # noqa: N802 - the field's letter
        return self.dirac.U

    def field(self, real: str) -> FermionField:
        """A zero field of the operator's space."""
        return FermionField(self.U.lattice, self.U.colors, self.parity, real)

    def in_precision(self, real: str) -> "StaggeredNormal":
        """The same operator on fields of another precision."""
        if real == self.dirac.real:
            return self
        return StaggeredNormal(StaggeredDirac(self.U, self.dirac.mass, self.dirac.boundary, real), self.parity)

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

        With Z = X and H X / 2 on the other parity, d_a (X^+ A X) = -s(x) eta_mu(x) Re tr T_a U_mu(x) Z(x+mu) Z(x)^+, s = +1 on
        this parity and -1 on the other.
        """
        z, sign = self._both(), 1.0 if self.parity == "even" else -1.0
        z.assign_parity(X)
        self.dirac.hop(X, z, OPPOSITE[self.parity], other=0.5)
        self.dirac.add_outer_force(z, force, -0.5 * sign * weight)
