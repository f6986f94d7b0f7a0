"""[[quarks]]: the tables of one quark, and which of its keys belong to which operator."""

from typing import Annotated, Literal

from pydantic import Field

from slhmc.runcard.base import Accuracy, Count, Finite, Flavors, Levels, Mass, Positive, Spectrum, Table

# keys of an operator beside those of every operator; it must have all but OPTIONAL_KEYS
OPERATOR_KEYS = {
    "staggered": ("mass", "flavors", "rational"),
    "wilson": ("mass", "kappa", "flavors", "rational"),
    "clover": ("mass", "kappa", "c_sw", "flavors", "rational"),
    "domain_wall": ("mass", "Ls", "M5"),
    "moebius": ("mass", "Ls", "M5", "b5", "c5"),
}
OPTIONAL_KEYS = ("mass", "kappa", "flavors", "rational")  # mass or kappa: one of them
COMMON_KEYS = ("operator", "hasenbusch", "level")
FIELD_FLAVORS = {"staggered": 4, "wilson": 2, "clover": 2, "domain_wall": 2, "moebius": 2}  # of det A, A the normal operator


class RationalTable(Table):
    """[quarks.rational]: r(x) = a_0 + sum_k a_k / (x + s_k) close to x^-p on the spectrum of the normal operator (RHMC)."""

    lowest: Spectrum | None = Field(None, description="lower end of the spectrum; staggered: mass^2, a bound, if left out")
    highest: Spectrum | None = Field(
        None, description="upper end of the spectrum; staggered: mass^2 + D^2 in D dimensions, a bound, if left out"
    )
    accuracy: Accuracy = Field(1e-12, description="relative error in the Metropolis energies and the pseudofermion draw")
    force_accuracy: Accuracy = Field(1e-6, description="relative error during molecular dynamics")
    order: Annotated[int, Field(ge=1, le=40)] | None = Field(
        None, description="poles in the Metropolis energies; as few as accuracy takes if left out")
    check_every: Count = Field(10, description="trajectories between comparisons of the spectrum with lowest and highest")


class QuarkTable(Table):
    """[[quarks]]: a quark, its operator and its pseudofermion fields: one, and one more for each Hasenbusch mass."""

    operator: Literal["staggered", "wilson", "clover", "domain_wall", "moebius"] = Field(
        description="lattice Dirac operator; staggered means four flavours, the others two"
    )
    mass: Mass | None = Field(None, description="bare quark mass in lattice units")
    kappa: Positive | None = Field(None, description="hopping parameter 1 / (2 (4 + mass)) in place of mass; wilson, clover")
    c_sw: Finite | None = Field(None, description="Sheikholeslami-Wohlert coefficient; clover")
    Ls: Annotated[int, Field(ge=2, le=128)] | None = Field(
        None, description="extent of the fifth dimension; domain_wall, moebius")
    M5: Annotated[float, Field(gt=0, lt=2)] | None = Field(None, description="domain-wall height; domain_wall, moebius")
    b5: Positive | None = Field(None, description="Moebius coefficient b, 1 for domain_wall; moebius")
    c5: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        None, description="Moebius coefficient c, 0 for domain_wall; moebius"
    )
    flavors: Flavors | None = Field(
        None, description="staggered: 4, or 1 to 3 by a rational approximation; wilson, clover: 2, or 1; the largest if left out"
    )
    rational: RationalTable | None = Field(None, description="rational approximation; staggered quarks have defaults for it")
    hasenbusch: Annotated[tuple[Mass, ...], Field(strict=False)] = Field(
        (), description="masses that split the determinant into ratios, heavier and heavier"
    )
    level: Levels = Field(
        0, description="time scale: 0 is [hmc], k the k-th [[hmc.inner]]; or a list, one for each factor, lightest first"
    )

    @property
    def bare_mass(self) -> float:
        """The mass, also where kappa is given: mass = 1 / (2 kappa) - 4."""
        return self.mass if self.kappa is None else 0.5 / self.kappa - 4

    @property
    def power(self) -> float:
        """The power of the normal operator's determinant: `flavors` over the flavours of one field."""
        return 1.0 if self.flavors is None else self.flavors / FIELD_FLAVORS[self.operator]

    @property
    def rooted(self) -> bool:
        """Whether the determinant is taken by a rational approximation."""
        return self.rational is not None or self.power != 1

    @property
    def levels(self) -> tuple[int, ...]:
        """The time scale of each factor of the determinant, lightest first."""
        factors = len(self.hasenbusch) + 1
        return (self.level,) * factors if isinstance(self.level, int) else self.level
