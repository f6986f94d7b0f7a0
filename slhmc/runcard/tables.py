"""The tables of a run card and their keys; every key has its type, range, default and one line of words."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from slhmc.runcard.base import (
    Boundary,
    Count,
    Extent,
    Finite,
    Lanes,
    NaturalNumber,
    NaturalRepeats,
    PerDirection,
    Positive,
    Repeats,
    Scheme,
    Table,
    Tolerance,
    refuse_faults,
    without_default,
)
from slhmc.runcard.checks import Fault, cross_faults
from slhmc.runcard.fit import DataTable, FitTable, ModelTable
from slhmc.runcard.flow import FlowTable, LearnedFlowTable
from slhmc.runcard.guide import GuideTable, NetworkTable, merged_quark, merged_solver
from slhmc.runcard.potential import StaticPotentialTable
from slhmc.runcard.quarks import QuarkTable
from slhmc.runcard.train import TrainTable


class LatticeTable(Table):
    """[lattice]: extents, gauge group, boundary conditions and how the sites are spread over ranks and lanes."""

    extent: Annotated[tuple[Extent, ...], PerDirection] = Field(
        description="sites per direction, x, y, z, t (the last is time); 2 to 4 even numbers"
    )
    colors: int = Field(3, ge=2, le=6, description="Nc of the gauge group SU(Nc)")
    fermion_boundary: Annotated[tuple[Boundary, ...], Field(strict=False)] = Field(
        (),
        description="boundary condition of quarks per direction; if left out, antiperiodic in the last, else periodic",
        json_schema_extra=without_default,
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
    beta: Positive | None = Field(None, description="inverse coupling beta; needed but for a [fit] with data.betas")
    c1: Finite | None = Field(None, description='rectangle coefficient, only with action = "custom"')
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
    steps: Repeats = Field(description="steps per drift of the level above")


class HMCTable(Table):
    """[hmc]: molecular dynamics of one trajectory."""

    scheme: Scheme = Field(description="integration scheme")
    length: Positive = Field(1.0, description="molecular-dynamics time of a trajectory")
    steps: Repeats = Field(description="steps per trajectory")
    inner: Annotated[tuple[InnerTable, ...], Field(strict=False)] = Field((), description="levels 1, 2 ...")


class HeatBathTable(Table):
    """[heat_bath]: a trajectory is one heat-bath sweep and `over_relaxation` over-relaxation sweeps."""

    over_relaxation: NaturalRepeats = Field(3, description="over-relaxation sweeps after each heat-bath sweep")


class RunTable(Table):
    """[run]: where the chain starts, how long it is, what is kept."""

    start: Literal["hot", "cold", "file"] = Field("hot", description="start links: random, unit, from start_file")
    start_file: str | None = Field(None, min_length=1, description="configuration to start from, relative to the card")
    thermalization: NaturalNumber = Field(0, description="trajectories before production; not analysed")
    trajectories: Count | None = Field(None, description="trajectories of production; needed but for a [fit]")
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

    noise: Repeats = Field(4, description="noise vectors per measurement")
    tolerance: Tolerance = Field(1e-10, description="residual of the solver")


class MesonsTable(CadenceTable):
    """[measure.mesons]: meson correlators of each quark."""

    source: Literal["point", "wall"] = Field("point", description="point: one site drawn at random; wall: noise on a time slice")
    noise: Repeats = Field(1, description="noise vectors of a wall source, each on a time slice of its own")
    tolerance: Tolerance = Field(1e-10, description="residual of the solver")


class ResidualMassTable(CadenceTable):
    """[measure.residual_mass]: stochastic, from all sites."""

    noise: Repeats = Field(4, description="noise vectors per measurement")
    tolerance: Tolerance = Field(1e-10, description="residual of the solver")


class MeasureTable(Table):
    """[measure.NAME]: what is measured on the links, and how often."""

    plaquette: CadenceTable = Field(CadenceTable(), description="mean Re tr plaquette / Nc")
    polyakov_loop: CadenceTable = Field(CadenceTable(), description="Polyakov loop in each direction, trace / Nc")
    rectangle: CadenceTable | None = Field(None, description="mean Re tr (2x1 loop) / Nc")
    chiral_condensate: CondensateTable | None = Field(None, description="chiral condensate of each quark")
    mesons: MesonsTable | None = Field(None, description="meson correlators of each quark")
    gradient_flow: FlowTable | None = Field(None, description="energy density and topological charge along the gradient flow")
    learned_flow: LearnedFlowTable | None = Field(None, description="energy density and topological charge behind a learned flow")
    static_potential: StaticPotentialTable | None = Field(None, description="Wilson loops of smeared lines: the static potential")
    residual_mass: ResidualMassTable | None = Field(None, description="residual mass of each domain-wall quark")
    quarks: Annotated[tuple[QuarkTable, ...], Field(strict=False)] = Field(
        (), description="valence quarks, to be measured in place of the dynamical ones"
    )


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
    smearing: NetworkTable | None = Field(None, description="smeared links that the target's quarks see; thin if left out")
    quarks: Annotated[tuple[QuarkTable, ...], Field(strict=False)] = Field((), description="dynamical quarks")
    solver: SolverTable = Field(SolverTable(), description="conjugate gradient")
    hmc: HMCTable | None = Field(None, description="hybrid Monte Carlo; this or [heat_bath]")
    heat_bath: HeatBathTable | None = Field(None, description="heat bath and over-relaxation; this or [hmc]")
    network: NetworkTable | None = Field(None, description="network of the guide: its shape, and fixed or first weights")
    guide: GuideTable | None = Field(None, description="self-learning HMC: the action that drives molecular dynamics")
    run: RunTable = Field(description="start, length and bookkeeping of the chain")
    measure: MeasureTable = Field(MeasureTable(), description="observables")
    reference: ReferenceTable | None = Field(None, description="published values to compare with")
    train: TrainTable | None = Field(None, description="training of the guide, by `slhmc train`")
    data: DataTable | None = Field(None, description="configurations and labels that [fit] learns from")
    model: ModelTable | None = Field(None, description="the network of [fit]")
    fit: FitTable | None = Field(None, description="regression of labels by a network, by `slhmc train`")

    @property
    def measured_quarks(self) -> tuple[QuarkTable, ...]:
        """The quarks that observables are of: valence quarks, or the dynamical ones."""
        return self.measure.quarks or self.quarks

    @property
    def guide_quarks(self) -> tuple[QuarkTable, ...]:
        """The quarks of the guide, each with the keys of its target that it does not replace."""
        if self.guide is None or not self.guide.quarks:
            return self.quarks
        return tuple(merged_quark(target, own) for target, own in zip(self.quarks, self.guide.quarks, strict=True))

    @property
    def guide_factors(self) -> tuple[float, ...]:
        """Factors of the pseudofermion actions of the guide's quarks."""
        if self.guide is None or not self.guide.quarks:
            return (1.0,) * len(self.quarks)
        return tuple(1.0 if own.factor is None else own.factor for own in self.guide.quarks)

    @property
    def guide_solver(self) -> SolverTable:
        """The solver of the guide."""
        return self.solver if self.guide is None else merged_solver(self.solver, self.guide.solver)

    @staticmethod
    def cross_faults(card: Any) -> Iterator[Fault]:
        """Faults between the keys of `card`, a RunCard or what is valid of one."""
        return cross_faults(card)

    @model_validator(mode="after")
    def _consistent(self) -> "RunCard":
        refuse_faults(self.cross_faults(self))
        return self
