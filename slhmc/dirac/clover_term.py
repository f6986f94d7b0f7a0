"""The clover term A = 4 + m + c_sw (i/4) sum_{mu nu} sigma_{mu nu} F_{mu nu}: blocks, inverse, determinant, force.

Two Hermitian blocks a site, of the chiralities of gamma_5, in the packed form of kernels/clover.h.
"""

import numpy as np

from slhmc.errors import ComputationError, InputError
from slhmc.lattice import AlgebraField, FermionField, GaugeField, Scalar
from slhmc.lattice.fields import Field, convert

INSERTION_PLANES = 6


def blocks_reals(colors: int) -> int:
    """Reals of the two packed blocks of a site."""
    return 2 * (2 * colors) ** 2


class CloverTerm(Field):
    """A on both parities, kept for one gauge field; follow it by `of`.

    Raises InputError unless Nc is 2 or 3.
    """

    def __init__(self, U: GaugeField, mass: float, c_sw: float, real: str):
        if U.colors not in (2, 3):
            raise InputError(f"clover quarks with {U.colors} colours: the clover kernels know 2 and 3")
        super().__init__(U.lattice.layout(real), (blocks_reals(U.colors),))
        self.mass, self.c_sw, self.version = mass, c_sw, -1

    @classmethod
    def of(cls, U: GaugeField, mass: float, c_sw: float, real: str) -> "CloverTerm":
        """The clover term of U, made once and shared by all operators on U, brought up to date. Collective."""
        term = _derived(U, ("clover term", mass, c_sw, real), lambda: cls(U, mass, c_sw, real))
        if _is_old(term, U):
            term._rebuild(U)
        return term

    def _rebuild(self, U: GaugeField) -> None:
        if self.layout.real == "double":
            U.update_halo()
            kernel = U.kernel("clover_term.cc", "clover_blocks")
            self.layout.launch(kernel, self.layout.geometry, U.pointer, self.pointer, 4 + self.mass, 0.5 * self.c_sw,
                               keep=(U, self))
        else:
            convert(CloverTerm.of(U, self.mass, self.c_sw, "double"), self)
        self.version = U.version

    def parity_pointer(self, parity: str) -> int:
        """Address of the blocks of one parity."""
        return self.pointer + (parity == "odd") * self.parity_bytes


class CloverInverse(Field):
    """A_oo^-1, and log det A_oo summed over the lattice; kept like the clover term.

    Raises ComputationError where A_oo is not positive, inside a tape after the tape has run.
    """

    def __init__(self, U: GaugeField, mass: float, c_sw: float, real: str):
        super().__init__(U.lattice.layout(real), (blocks_reals(U.colors),), "odd")
        self.mass, self.c_sw, self.version = mass, c_sw, -1
        self.sums = self.lattice.device.zeros((2,), np.float64)      # log det, sites that are not positive
        self.failures = self.lattice.device.zeros((1,), np.float64)  # such sites since the last check

    @classmethod
    def of(cls, U: GaugeField, mass: float, c_sw: float, real: str) -> "CloverInverse":
        """The inverse for U, made once, brought up to date. Collective."""
        inverse = _derived(U, ("clover inverse", mass, c_sw, real), lambda: cls(U, mass, c_sw, real))
        if _is_old(inverse, U):
            inverse._rebuild(U)
        return inverse

    def _rebuild(self, U: GaugeField) -> None:
        if self.layout.real == "double":
            term = CloverTerm.of(U, self.mass, self.c_sw, "double")
            self.layout.reduce(U.kernel("clover_term.cc", "clover_inverse"), self.sums, term.parity_pointer("odd"), self.pointer,
                               leading=(self.layout.geometry,), parity=1, parities=1, keep=(term, self))
            self._count_failures()
        else:
            convert(CloverInverse.of(U, self.mass, self.c_sw, "double"), self)
        self.version = U.version

    def _count_failures(self) -> None:
        device = self.lattice.device
        kernel = self.layout.kernel("linear_algebra.cc", "combine_scalars")
        pointers = device.pointer(self.failures), device.pointer(self.sums[1:]), device.pointer(self.failures)
        device.launch(kernel, kernel.structure(*pointers, 1.0, 1.0, 0.0), self.failures, self.sums)
        device.after_run(self.check)

    def check(self) -> None:
        """Raise ComputationError if a block was not positive since the last check."""
        device = self.lattice.device
        failures = device.to_host(self.failures)[0]
        if failures != 0:
            device.assign(self.failures, np.zeros(1))
            raise ComputationError(
                f"exceptional configuration: the clover term with mass = {self.mass:g}, c_sw = {self.c_sw:g} is not positive on "
                f"{failures:.0f} odd sites, so its determinant may change sign; use smoother links (larger beta), a larger mass "
                "or smaller molecular-dynamics steps")

    def log_determinant(self) -> Scalar:
        """log det A_oo of the lattice when it is called."""
        return Scalar(self.lattice, self.sums[:1]) * 1.0


def forget_clover_terms(U: GaugeField, masses) -> None:
    """Give back the memory of what is kept for these masses, on links that go through many; what still needs it makes it anew."""
    for key in [key for key in U.derived if str(key[0]).startswith("clover ") and key[1] in masses]:
        del U.derived[key]


def _derived(U: GaugeField, key: tuple, make):
    if key not in U.derived:
        U.derived[key] = make()
    return U.derived[key]


def _is_old(derived, U: GaugeField) -> bool:
    if derived.version == U.version:
        return False
    if U.lattice.device.in_loop:
        raise RuntimeError("the clover term would be rebuilt in the body of a loop: call prepare() before the loop")
    return True


class CloverForce:
    """Derivatives of the clover term: insertions into the leaves, one field for each of their two sources.

    With G = sum over spins of the blocks' variation, 2 Re Y^+ dA X or tr A^-1 dA is
    -(c_sw / 8) sum_{x, mu < nu} Re tr dQ_{mu nu} Lambda_{mu nu}, Lambda anti-Hermitian (kernels/clover_term.cc).
    """

    def __init__(self, U: GaugeField, mass: float, c_sw: float):
        self.U, self.mass, self.c_sw = U, mass, c_sw
        self._insertions: dict[str, Field] = {}

    def gather_outer(self, Y: FermionField, X: FermionField, weight: float, first: bool) -> None:
        """Insertions of weight 2 Re Y^+ A X, for X and Y on both parities in double precision, the first or one more."""
        U, insertions = self.U, self._field("outer")
        U.layout.launch(U.kernel("clover_term.cc", "clover_outer"), U.layout.geometry, X.pointer, Y.pointer, insertions.pointer,
                        weight, int(not first), keep=(X, Y, insertions))

    def add_gathered(self, force: AlgebraField) -> None:
        """force += (-d_a) of what gather_outer has gathered. Collective."""
        self._add_force(self._field("outer"), force, 1.0)

    def add_determinant_force(self, force: AlgebraField, weight: float) -> None:
        """force += weight (-d_a) log det A_oo. Collective."""
        U, insertions = self.U, self._field("determinant")  # even sites have none
        inverse = CloverInverse.of(U, self.mass, self.c_sw, "double")
        U.layout.launch(U.kernel("clover_term.cc", "clover_determinant"), U.layout.geometry, inverse.pointer, insertions.pointer,
                        parity=1, parities=1, keep=(inverse, insertions))
        self._add_force(insertions, force, weight)

    def _field(self, name: str) -> Field:
        if name not in self._insertions:
            self._insertions[name] = Field(self.U.layout, (INSERTION_PLANES, self.U.colors**2))
        return self._insertions[name]

    def _add_force(self, insertions: Field, force: AlgebraField, weight: float) -> None:
        """Re tr T_a M = -c_a(M) / 2, so -d_a of the sum is -(c_sw / 16) c_a(U staples with insertions)."""
        U = self.U
        U.update_halo()
        U.layout.halo.all_links(insertions.array, insertions.component_count)
        U.layout.launch(U.kernel("clover_term.cc", "clover_force"), U.layout.geometry, U.pointer, insertions.pointer,
                        force.pointer, -weight * self.c_sw / 16, keep=(U, insertions, force))
