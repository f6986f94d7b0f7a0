"""[measure.gradient_flow] and [measure.learned_flow]: what is measured along the gradient flow, or behind a learned one."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from slhmc.runcard.base import Count, FlowTime, Positive, Table, Tolerance

MOST_STEPS = 10_000_000
TOLERANCE = 3e-4


class FlowTable(Table):
    """[measure.gradient_flow]: energy density and topological charge along the gradient flow."""

    every: Count = Field(1, description="trajectories between measurements")
    action: Literal["wilson", "symanzik", "zeuthen"] = Field("wilson", description="action whose gradient the flow follows")
    t_max: FlowTime | None = Field(
        None, description="last flow time, in lattice units; L^2 / 32 with the smallest extent L if left out: sqrt(8 t) = L / 2"
    )
    points: Annotated[int, Field(ge=1, le=100_000)] = Field(
        20, description="equally spaced flow times at which is measured, besides 0"
    )
    tolerance: Tolerance | None = Field(
        None, description=f"distance of a step to the one of second order, for the choice of steps; {TOLERANCE:g} if left out")
    step: Positive | None = Field(None, description="fixed length of steps, in place of tolerance")

    @model_validator(mode="before")
    @classmethod
    def _one_control(cls, table: Any) -> Any:
        if isinstance(table, dict) and table.get("step") is not None and table.get("tolerance") == TOLERANCE:
            # nothing else than without it; cards of runs have had it beside a step
            return {key: value for key, value in table.items() if key != "tolerance"}
        return table

    @property
    def control(self) -> dict[str, float]:
        """What chooses the steps: step, or tolerance."""
        return {"tolerance": self.tolerance or TOLERANCE} if self.step is None else {"step": self.step}


def flow_faults(table: Any, extent: tuple[int, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Steps that are fixed and chosen, or would never end; paths begin in the table. Values missing or faulty are None."""
    if table.step is not None and table.tolerance is not None:
        yield ("step",), (f"step fixes the steps, tolerance chooses them; give one of the two, found step = {table.step:g} and "
                          f"tolerance = {table.tolerance:g}")
    last = table.t_max or min(extent) ** 2 / 32
    if table.step is not None and last / table.step > MOST_STEPS:
        yield ("step",), (f"{last / table.step:.3g} steps to t_max = {last:g} found, at most {MOST_STEPS} expected; "
                          "take longer steps, or leave step out")


class LearnedFlowTable(Table):
    """[measure.learned_flow]: energy density and topological charge of links behind a flow that `slhmc train` has fitted."""

    every: Count = Field(1, description="trajectories between measurements")
    weights: str = Field(min_length=1, description="weights.h5 of the fit, relative to the card")
