"""What the tables of a card are made of: the base class and the types of keys."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError


def _integer(value: Any) -> Any:
    """`True == 1` and `8.0 == 8`, so a choice between integers would take them."""
    if isinstance(value, (bool, float)):
        raise PydanticCustomError("int_type", "expected an integer")
    return value


def _levels(value: Any) -> int | tuple[int, ...]:
    """A time scale, or a list of them."""
    entries = value if isinstance(value, (list, tuple)) else [value]
    if not entries or any(type(entry) is not int or entry < 0 for entry in entries):
        raise PydanticCustomError("levels", "expected a level (0, 1, 2 ...) or a list of them")
    return value if isinstance(value, int) else tuple(value)


STEPS = ("first", "last", "count")
MOST_STEPS = 10_000
STEPS_SCHEMA = {"type": "object", "required": list(STEPS), "additionalProperties": False,
                "properties": {"first": {"type": "number"}, "last": {"type": "number"},
                               "count": {"type": "integer", "minimum": 2, "maximum": MOST_STEPS}}}


def equal_steps(table: dict, expected: str) -> list[float]:
    """{ first, last, count } as the list that it stands for: equal steps, both ends in it. PydanticCustomError if it is none."""
    first, last, count = (table.get(key) for key in STEPS)
    numbers = all(isinstance(number, (int, float)) and not isinstance(number, bool) for number in (first, last))
    if set(table) != set(STEPS) or not numbers or type(count) is not int or count < 2:
        raise PydanticCustomError("equal_steps", "expected {expected}", {"expected": expected})
    if count > MOST_STEPS:
        raise PydanticCustomError("equal_steps", f"expected a count up to {MOST_STEPS}, not {count}")
    return [first + (last - first) * step / (count - 1) for step in range(count - 1)] + [last]


def without_default(schema: dict) -> None:
    schema.pop("default", None)


def refuse_faults(faults: Iterable[tuple[tuple[str | int, ...], str]]) -> None:
    """One error for all faults (path of a key, words) between the keys of a card; none if there are none."""
    if words := "; ".join(f"{'.'.join(map(str, path))}: {message}" for path, message in faults):
        raise PydanticCustomError("inconsistent", "{words}", {"words": words})


LARGEST = 2**31 - 1  # of an int of a kernel
Count = Annotated[int, Field(ge=1, le=LARGEST)]
NaturalNumber = Annotated[int, Field(ge=0, le=LARGEST)]
# steps, sweeps, vectors: what is done so many times before a signal to stop is heeded
MOST_REPEATS = 10_000
Repeats = Annotated[int, Field(ge=1, le=MOST_REPEATS)]
NaturalRepeats = Annotated[int, Field(ge=0, le=MOST_REPEATS)]
FlowTime = Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
LARGEST_MASS = 1e6
Mass = Annotated[float, Field(ge=-LARGEST_MASS, le=LARGEST_MASS, allow_inf_nan=False)]
Spectrum = Annotated[float, Field(ge=1e-20, le=1e20, allow_inf_nan=False)]
Tolerance = Annotated[float, Field(gt=0, lt=1)]
Levels = Annotated[
    int | tuple[int, ...],
    PlainValidator(_levels),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "array", "items": {"type": "integer", "minimum": 0}}]}),
]
Extent = Annotated[int, Field(ge=2, le=LARGEST, multiple_of=2)]
Accuracy = Annotated[float, Field(ge=1e-15, lt=1)]
Flavors = Annotated[int, Field(ge=1, le=4)]
Lanes = Annotated[Literal[1, 2, 4, 8, 16, 32], BeforeValidator(_integer)]
Scheme = Literal["leapfrog", "omelyan2", "omf4"]
Boundary = Literal["periodic", "antiperiodic"]
# TOML has lists; a frozen card holds tuples
PerDirection = Field(strict=False, min_length=2, max_length=4)


class Table(BaseModel):
    """One TOML table: immutable, unknown keys refused, types strict (an integer is a number, a bool never is)."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")
