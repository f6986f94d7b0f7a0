"""The tables of a run card and their keys; every key has its type, range, default and one line of words."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from slhmc.runcard.checks import cross_faults


def _not_bool(value: Any) -> Any:
    """`True == 1`, so a choice between integers would take it."""
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "expected an integer")
    return value


def _positive_mass(mass: float) -> float:
    if mass <= 0:
        raise PydanticCustomError(
            "massless", "must be greater than 0: a massless staggered operator has near-zero modes, no solver converges"
        )
    return mass


def _without_default(schema: dict) -> None:
    schema.pop("default", None)


Count = Annotated[int, Field(ge=1)]
NaturalNumber = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Tolerance = Annotated[float, Field(gt=0, lt=1)]
Mass = Annotated[
    float, Field(allow_inf_nan=False, json_schema_extra={"exclusiveMinimum": 0}), AfterValidator(_positive_mass)
]
Extent = Annotated[int, Field(ge=2, multiple_of=2)]
Accuracy = Annotated[float, Field(ge=1e-15, lt=1)]
Flavors = Annotated[int, Field(ge=1, le=4)]
Lanes = Annotated[Literal[1, 2, 4, 8, 16, 32], BeforeValidator(_not_bool)]
Scheme = Literal["leapfrog", "omelyan2", "omf4"]
Boundary = Literal["periodic", "antiperiodic"]
# TOML has lists; a frozen card holds tuples
PerDirection = Field(strict=False, min_length=2, max_length=4)


class Table(BaseModel):
    """One TOML table: immutable, unknown keys refused, types strict (an integer is a number, a bool never is)."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class LatticeTable(Table):
    """[lattice]: extents, gauge group, boundary conditions and how the sites are spread over ranks and lanes."""

    extent: Annotated[tuple[Extent, ...], PerDirection] = Field(
        description="sites per direction, x, y, z, t (the last is time); 2 to 4 even numbers"
    )
    colors: int = Field(3, ge=2, le=6, description="Nc of the gauge group SU(Nc)")
    fermion_boundary: Annotated[tuple[Boundary, ...], Field(strict=False)] = Field(
        (),
        description="boundary condition of quarks per direction; if left out, antiperiodic in the last, else periodic",
        json_schema_extra=_without_default,
    )
    ranks: Annotated[tuple[Count, ...], PerDirection] | None = Field(
        None, description="MPI ranks per direction; chosen by the program if left out"
    )
    lanes: Lanes | None = Field(None, description="sub-lattices per vector; chosen by the program if left out")

    @model_validator(mode="before")
    @classmethod
    def _default_boundary(cls, table: Any) -> Any:
        if not isinstance(table, dict) or "fermion_boundary" in table:
            return table
        extent = table.get("extent")
        directions = len(extent) if isinstance(extent, (list, tuple)) else 0
        return table | {"fermion_boundary": (["periodic"] * (directions - 1) + ["antiperiodic"]) if directions else []}


class GaugeTable(Table):
    """[gauge]: S = beta [c0 sum (1 - Re tr plaquette / Nc) + c1 sum (1 - Re tr rectangle / Nc)], c0 = 1 - 8 c1."""

    action: Literal["wilson", "symanzik", "iwasaki", "dbw2", "custom"] = Field(description="gauge action; it fixes c1")
    beta: Positive = Field(description="inverse coupling beta")
    c1: Finite | None = Field(None, description='rectangle coefficient, only with action = "custom"')
    level: NaturalNumber = Field(0, description="time scale it is integrated on: 0 is [hmc], k the k-th [[hmc.inner]]")


class RationalTable(Table):
    """[quarks.rational]: r(x) = a_0 + sum_k a_k / (x + s_k) close to x^-p on the spectrum of the normal operator (RHMC)."""

    lowest: Positive | None = Field(None, description="lower end of the spectrum; mass^2, a bound, if left out")
    highest: Positive | None = Field(
        None, description="upper end of the spectrum; mass^2 + D^2 in D dimensions, a bound, if left out"
    )
    accuracy: Accuracy = Field(1e-12, description="relative error in the Metropolis energies and the pseudofermion draw")
    force_accuracy: Accuracy = Field(1e-6, description="relative error during molecular dynamics")
    order: Count | None = Field(None, description="poles in the Metropolis energies; as few as accuracy takes if left out")
    check_every: Count = Field(10, description="trajectories between comparisons of the spectrum with lowest and highest")


class QuarkTable(Table):
    """[[quarks]]: one pseudofermion field. An operator with other keys becomes a second type, told by `operator`."""

    operator: Literal["staggered"] = Field(description="lattice Dirac operator")
    mass: Mass = Field(description="bare quark mass in lattice units, > 0")
    flavors: Flavors = Field(4, description="flavours of this mass: 4, or 1 to 3 by a rational approximation of the root")
    rational: RationalTable | None = Field(None, description="rational approximation; its defaults hold if it is left out")
    level: NaturalNumber = Field(0, description="time scale it is integrated on: 0 is [hmc], k the k-th [[hmc.inner]]")


class SolverTable(Table):
    """[solver]: conjugate gradient; tolerances are |r|/|b|."""

    precision: Literal["mixed", "double"] = Field("mixed", description="mixed: single, corrected in double")
    force_tolerance: Tolerance = Field(1e-10, description="residual during molecular dynamics")
    action_tolerance: Tolerance = Field(1e-12, description="residual in the Metropolis energies")
    max_iterations: Count = Field(20000, description="iterations after which the run stops with an error")
    start: Literal["zero", "chronological"] = Field(
        "zero", description="first guess; chronological is reversible only up to force_tolerance"
    )


class InnerTable(Table):
    """[[hmc.inner]]: one faster time scale, `steps` steps for each drift of the level above."""

    scheme: Scheme = Field(description="integration scheme")
    steps: Count = Field(description="steps per drift of the level above")


class HMCTable(Table):
    """[hmc]: molecular dynamics of one trajectory."""

    scheme: Scheme = Field(description="integration scheme")
    length: Positive = Field(1.0, description="molecular-dynamics time of a trajectory")
    steps: Count = Field(description="steps per trajectory")
    inner: Annotated[tuple[InnerTable, ...], Field(strict=False)] = Field((), description="levels 1, 2 ...")


class HeatBathTable(Table):
    """[heat_bath]: a trajectory is one heat-bath sweep and `over_relaxation` over-relaxation sweeps."""

    over_relaxation: NaturalNumber = Field(3, description="over-relaxation sweeps after each heat-bath sweep")


class RunTable(Table):
    """[run]: where the chain starts, how long it is, what is kept."""

    start: Literal["hot", "cold", "file"] = Field("hot", description="start links: random, unit, from start_file")
    start_file: str | None = Field(None, min_length=1, description="configuration to start from, relative to the card")
    thermalization: NaturalNumber = Field(0, description="trajectories before production; not analysed")
    trajectories: Count = Field(description="trajectories of production")
    seed: int = Field(ge=0, le=2**32 - 1, description="seed of all random numbers")
    checkpoint_every: Count = Field(50, description="trajectories between checkpoints")
    save_every: NaturalNumber = Field(0, description="trajectories between kept configurations; 0 keeps none")
    time_limit: Positive | None = Field(None, description="seconds after which the run stops with a checkpoint")
    max_delta_h: Positive = Field(1000.0, description="|dH| above which the run stops as a runaway")


class CadenceTable(Table):
    """[measure.NAME] of an observable that needs nothing but its cadence."""

    every: Count = Field(1, description="trajectories between measurements")


class CondensateTable(CadenceTable):
    """[measure.chiral_condensate]: stochastic (1/V) Tr (D+m)^-1."""

    noise: Count = Field(4, description="noise vectors per measurement")
    tolerance: Tolerance = Field(1e-10, description="residual of the solver")


class MeasureTable(Table):
    """[measure.NAME]: what is measured on the links, and how often."""

    plaquette: CadenceTable = Field(CadenceTable(), description="mean Re tr plaquette / Nc")
    polyakov_loop: CadenceTable = Field(CadenceTable(), description="Polyakov loop in each direction, trace / Nc")
    rectangle: CadenceTable | None = Field(None, description="mean Re tr (2x1 loop) / Nc")
    chiral_condensate: CondensateTable | None = Field(None, description="chiral condensate of each quark")


class ReferenceValue(Table):
    """[reference.NAME]: one published value."""

    value: Finite = Field(description="published mean, in the normalisation of `slhmc summary`")
    error: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(description="its error; 0 for an exact value")
    note: str | None = Field(None, description="where it stands, or how it was converted")


class ReferenceTable(Table):
    """[reference]: published values, one sub-table for each observable of `slhmc summary`."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, ReferenceValue]

    source: str = Field(description="the publication")

    @property
    def observables(self) -> dict[str, ReferenceValue]:
        """Published values by observable name."""
        return dict(self.__pydantic_extra__)


class RunCard(Table):
    """A whole run card. Built from TOML by `load_card`; the same cross-checks hold however it is built."""

    lattice: LatticeTable = Field(description="extents, gauge group, boundaries")
    gauge: GaugeTable = Field(description="gauge action")
    quarks: Annotated[tuple[QuarkTable, ...], Field(strict=False)] = Field((), description="dynamical quarks")
    solver: SolverTable = Field(SolverTable(), description="conjugate gradient")
    hmc: HMCTable | None = Field(None, description="hybrid Monte Carlo; this or [heat_bath]")
    heat_bath: HeatBathTable | None = Field(None, description="heat bath and over-relaxation; this or [hmc]")
    run: RunTable = Field(description="start, length and bookkeeping of the chain")
    measure: MeasureTable = Field(MeasureTable(), description="observables")
    reference: ReferenceTable | None = Field(None, description="published values to compare with")

    @model_validator(mode="after")
    def _consistent(self) -> "RunCard":
        faults = list(cross_faults(self))
        if faults:
            words = "; ".join(f"{'.'.join(map(str, path))}: {message}" for path, message in faults)
            raise PydanticCustomError("inconsistent", "{words}", {"words": words})
        return self


def json_schema() -> dict:
    """JSON schema of a run card, for editors that check TOML while it is written."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | RunCard.model_json_schema()
