"""[smearing], [network] and [guide]: smeared links, the network of self-learning HMC, and the action that guides."""

from typing import Annotated, Any, Literal

from pydantic import Field

from slhmc.runcard.base import Accuracy, Count, Finite, Mass, NaturalRepeats, Positive, Scheme, Table, Tolerance
from slhmc.runcard.quarks import QuarkTable, RationalTable

Loop = Literal[
    "plaquette", "plaquette_ss", "plaquette_st", "plaquette_ts", "rectangle", "rectangle_s", "rectangle_t", "chair", "chair_s",
    "chair_t", "polyakov", "polyakov_s", "polyakov_t",
]
Row = Annotated[tuple[Finite, ...], Field(strict=False)]


class NetworkTable(Table):
    """[smearing] and [network]: layers that replace links by smeared ones, with one weight for each loop of each layer."""

    kind: Literal["stout", "ape", "flow", "attention"] = Field(
        "stout", description="stout: exp(Q) U; ape: projection of a sum on SU(Nc); flow: stout with weights of time; attention: "
                             "stout with weights of each link's surroundings")
    layers: NaturalRepeats = Field(1, description="layers, one after the other; 0 leaves the links as they are")
    loops: Annotated[tuple[Loop, ...], Field(strict=False)] = Field(
        ("plaquette",), description="loop shapes, one weight each; the ending is the direction of the link that is smeared")
    weights: Annotated[tuple[Row, ...], Field(strict=False)] | None = Field(
        None, description="a row for each layer, a number for each loop; flow: a row for each power of time; attention: four "
                          "rows for each layer, rho, query, key and value; zeros if left out")
    time_degree: NaturalRepeats = Field(0, description="flow: degree of the polynomial in time that each weight is")

    @property
    def rows(self) -> int:
        """Rows of weights."""
        return {"flow": self.time_degree + 1, "attention": 4 * self.layers}.get(self.kind, self.layers)


class GuideRationalTable(RationalTable):
    """[guide.quarks.rational]: keys that replace the target's; none has a default of its own."""

    accuracy: Accuracy | None = Field(None, description="relative error in energies")
    force_accuracy: Accuracy | None = Field(None, description="relative error during molecular dynamics")
    check_every: Count | None = Field(None, description="trajectories between comparisons of the spectrum with its ends")


class GuideQuarkTable(Table):
    """[[guide.quarks]]: keys of one quark of the guide that replace the target's."""

    mass: Mass | None = Field(None, description="bare quark mass in lattice units")
    kappa: Positive | None = Field(None, description="hopping parameter in place of mass; wilson, clover")
    c_sw: Finite | None = Field(None, description="Sheikholeslami-Wohlert coefficient; clover")
    Ls: Annotated[int, Field(ge=2, le=128)] | None = Field(
        None, description="extent of the fifth dimension, even, at most the target's; domain_wall, moebius")
    M5: Annotated[float, Field(gt=0, lt=2)] | None = Field(None, description="domain-wall height; domain_wall, moebius")
    b5: Positive | None = Field(None, description="Moebius coefficient b; moebius")
    c5: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(None, description="Moebius coefficient c; moebius")
    rational: GuideRationalTable | None = Field(None, description="rational approximation, where the target has one")
    hasenbusch: Annotated[tuple[Mass, ...], Field(strict=False)] | None = Field(
        None, description="masses of the ratios, as many as the target has")
    factor: Positive | None = Field(None, description="factor of the guide's pseudofermion actions of this quark; 1 if left out")


class GuideSolverTable(Table):
    """[guide.solver]: keys of the guide's solver that replace those of [solver]."""

    precision: Literal["mixed", "double"] | None = Field(None, description="mixed: single, corrected in double")
    force_tolerance: Tolerance | None = Field(None, description="residual during molecular dynamics")
    max_iterations: Count | None = Field(None, description="iterations after which the run stops with an error")
    start: Literal["zero", "chronological"] | None = Field(
        None, description="first guess; chronological is reversible only up to force_tolerance")


class CorrectionTable(Table):
    """[guide.correction]: kicks by target minus guide on a slower time scale than [hmc]."""

    every: Count = Field(description="steps of [hmc] for each drift between these kicks; 1 is plain HMC by the target")
    scheme: Scheme = Field("leapfrog", description="integration scheme of these kicks")


class GuideTable(Table):
    """[guide]: the action that drives molecular dynamics; the target alone decides in the Metropolis step."""

    network: str | None = Field(
        None, min_length=1, description="file of trained weights, relative to the card; if left out, [network], or thin links")
    quarks: Annotated[tuple[GuideQuarkTable, ...], Field(strict=False)] = Field(
        (), description="one entry for each [[quarks]], with keys that replace the target's; none: the target's quarks")
    beta: Positive | None = Field(None, description="inverse coupling in place of the target's")
    solver: GuideSolverTable | None = Field(None, description="solver in place of [solver]")
    correction: CorrectionTable | None = Field(None, description="nested correction; none: the guide alone moves the links")


def merged_quark(target: Any, own: Any) -> QuarkTable:
    """The guide's quark: the target's keys with those of [[guide.quarks]] in their place; mass and kappa replace each other.

    `factor` is no key of a quark: see RunCard.guide_factors.
    """
    given, keys = _given(own), _given(target)
    given.pop("factor", None)
    if {"mass", "kappa"} & given.keys():
        keys = {key: value for key, value in keys.items() if key not in ("mass", "kappa")}
    if "rational" in given:
        of_target = {} if keys.get("rational") is None else _given(keys["rational"])
        given["rational"] = RationalTable.model_construct(**of_target | _given(given["rational"]))
    return QuarkTable.model_construct(**keys | given)


def merged_solver(solver: Any, own: Any) -> Any:
    """[solver] with the keys of [guide.solver] in their place."""
    return solver if own is None else solver.model_copy(update=_given(own))


def _given(table: Any) -> dict[str, Any]:
    """Keys that a table was given, without those that are None."""
    return {key: getattr(table, key) for key in table.model_fields_set if getattr(table, key) is not None}
