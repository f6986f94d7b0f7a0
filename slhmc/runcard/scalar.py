"""Cards of the complex scalar field: [scalar] in place of [gauge], chains side by side, sweeps in place of trajectories."""

from collections.abc import Iterator
from math import cosh, prod
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from slhmc.runcard.base import STEPS_SCHEMA, Count, Finite, NaturalNumber, Positive, Table, equal_steps, refuse_faults
from slhmc.runcard.checks import Fault

# what can be squared, and what exp() can be taken of
MASS_MAX, MU_MAX = 1e150, 700
SITES_MAX = 1 << 28  # four fluxes of four bytes each: 4 GiB, and a sweep of seconds
WORMS_MAX = SITES_MAX // 32  # as many as these have where a card does not say how many


def _values(value: Any) -> Any:
    """A number as a list of one; equal steps to twelve digits."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return [value]
    if not isinstance(value, dict):
        return value
    steps = equal_steps(value, "a number, a list of them, or { first = 0.8, last = 1.3, count = 11 }")
    return [round(number, 12) for number in steps]


_SCHEMA = WithJsonSchema({"anyOf": [
    {"type": "number"}, {"type": "array", "minItems": 1, "items": {"type": "number"}}, STEPS_SCHEMA]})
Values = Annotated[tuple[Finite, ...], Field(strict=False, min_length=1), BeforeValidator(_values), _SCHEMA]


class ScalarLatticeTable(Table):
    """[lattice] of a scalar field: two directions, periodic."""

    extent: Annotated[tuple[Count, ...], Field(strict=False, min_length=2, max_length=2)] = Field(
        description="sites in x and t, in this order: the 60 x 4 = Nt x Nx of the literature is [4, 60]"
    )


class ScalarTable(Table):
    """[scalar]: S = sum (eta |phi|^2 + lambda |phi|^4) - hopping with chemical potential mu; eta = 4 + mass^2."""

    eta: Values | None = Field(None, description="eta, a number or several: a list, or { first, last, count }; this or mass")
    mass: Values | None = Field(None, description="bare mass in lattice units, in place of eta = 4 + mass^2; one or several")
    coupling: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(description="lambda of |phi|^4")
    mu: Values = Field(description="chemical potential, one or several: a list, or { first = 0.8, last = 1.3, count = 11 }")
    chains: Count = Field(1, description="independent chains of each pair of eta and mu")
    worms: Count | None = Field(None, description="closed worms of a sweep; one for each 32 sites if left out")

    @property
    def etas(self) -> tuple[float, ...]:
        """The values of eta."""
        return self.eta or tuple(4 + mass**2 for mass in self.mass or ())


class ScalarRunTable(Table):
    """[run] of a scalar field: how long the chains are, what is kept. Chains begin with k = l = 0."""

    thermalization: NaturalNumber = Field(0, description="sweeps before production; not analysed")
    sweeps: Count = Field(description="sweeps of production: worms, then one proposal for every l")
    seed: int = Field(ge=0, le=2**32 - 1, description="seed of all random numbers")
    measure_every: Count = Field(1, description="sweeps between measurements of n and |phi|^2")
    save_every: NaturalNumber = Field(0, description="sweeps between kept configurations, k and l of all chains; 0 keeps none")
    checkpoint_every: Count = Field(500, description="sweeps between checkpoints")
    time_limit: Positive | None = Field(None, description="seconds after which the run stops with a checkpoint")


class ScalarCard(Table):
    """A card of the complex scalar field in 1+1 dimensions, for `slhmc run`."""

    lattice: ScalarLatticeTable = Field(description="extents")
    scalar: ScalarTable = Field(description="the complex scalar field: couplings and chains")
    run: ScalarRunTable = Field(description="length and bookkeeping of the chains")

    @staticmethod
    def cross_faults(card: Any) -> Iterator[Fault]:
        """Faults between the keys of `card`, a ScalarCard or what is valid of one."""
        if card.scalar is not None:
            yield from _scalar_faults(card.scalar)
            if card.lattice is not None:
                yield from _size_faults(card)

    @model_validator(mode="after")
    def _consistent(self) -> "ScalarCard":
        refuse_faults(self.cross_faults(self))
        return self


def _size_faults(card: Any) -> Iterator[Fault]:
    extent, chains = card.lattice.extent or (), card.scalar.chains
    couplings = [len(_numbers(values)) for values in (card.scalar.mu, card.scalar.eta or card.scalar.mass)]
    counts = [*extent, chains, *couplings]
    if all(isinstance(count, int) for count in counts):
        yield from too_many_sites(("lattice", "extent"), prod(counts))
        yield from too_many_worms(("scalar", "worms"), (card.scalar.worms or 0) * prod(counts[2:]))


def too_many_sites(path: tuple, sites: int) -> Iterator[Fault]:
    """Of all chains."""
    if sites > SITES_MAX:
        yield path, f"at most {SITES_MAX} sites of all chains together, found {sites}"


def too_many_worms(path: tuple, worms: int) -> Iterator[Fault]:
    """In a sweep of all chains."""
    if worms > WORMS_MAX:
        yield path, f"at most {WORMS_MAX} worms of all chains together in a sweep, found {worms}"


def _scalar_faults(scalar: ScalarTable) -> Iterator[Fault]:
    given = scalar.model_fields_set
    if not given & {"eta", "mass"}:
        yield ("scalar", "eta"), "missing: eta, or mass with eta = 4 + mass^2"
    if {"eta", "mass"} <= given:
        yield ("scalar", "mass"), "eta = 4 + mass^2 and mass are both given; keep one"
    eta, mass, mu = (_numbers(value) for value in (scalar.eta, scalar.mass, scalar.mu))
    for key, values in (("eta", eta), ("mass", mass), ("mu", mu)):
        if len(set(values)) < len(values):
            yield ("scalar", key), "a value is given twice; give more chains"
    if any(value <= 0 for value in eta):
        yield ("scalar", "eta"), f"must be greater than 0, found {min(eta):g}, where the recursion for W(f) is not stable"
    for key, values, most in (("mass", mass, MASS_MAX), ("mu", mu, MU_MAX)):
        if any(abs(value) > most for value in values):
            yield ("scalar", key), beyond(most, max(values, key=abs))
            return
    lowest = min(eta or tuple(4 + value**2 for value in mass), default=None)
    if scalar.coupling == 0 and lowest is not None and mu and lowest <= (limit := 2 + 2 * cosh(max(map(abs, mu)))):
        yield ("scalar", "coupling"), (f"without interaction Z exists only for eta > 2 + 2 cosh(mu) = {limit:.6g}, found "
                                       f"eta = {lowest:g}; give coupling > 0")


def beyond(most: float, found: float) -> str:
    return f"must lie between -{most:g} and {most:g}, found {found:g}"


def _numbers(value: Any) -> tuple[float, ...]:
    """Of a card with faults a value may be as it stands in the card."""
    try:
        return tuple(float(number) for number in _values(value) or ())
    except (TypeError, ValueError, PydanticCustomError):
        return ()
