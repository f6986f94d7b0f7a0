"""[measure.static_potential]: Wilson loops of smeared lines, and how the potential is read from them."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from slhmc.runcard.base import Count, NaturalNumber, NaturalRepeats, Positive, Table

# keys that say what is made of the loops, not which loops are measured
ANALYSIS_KEYS = ("t0", "plateau", "fit", "coulomb")
LEVELS = (5, 10, 20)
Pair = Annotated[tuple[NaturalNumber, NaturalNumber], Field(strict=False)]


class StaticPotentialTable(Table):
    """[measure.static_potential]: Wilson loops W_ij(r, t) of smeared lines in space; energies by the variational method."""

    every: Count = Field(1, description="trajectories between measurements")
    r_max: Count | None = Field(None, description="longest line in space; half the smallest extent if left out")
    t_max: Count | None = Field(None, description="longest line in time; half the extent of time if left out")
    levels: Annotated[tuple[NaturalRepeats, ...], Field(strict=False, min_length=1)] | None = Field(
        None, description="stout steps in space of each level of smeared lines, rising; 5, 10, 20 if left out, 0 in 2D")
    rho: Positive = Field(0.05, description="weight of a stout step, as of [smearing]; stable up to 1 / (4 (D - 1))")
    t0: NaturalNumber = Field(1, description="the variational method diagonalises W(t0 + 1) with respect to W(t0)")
    plateau: Pair | None = Field(
        None, description="first and last t of log W(t) / W(t + 1) that V(r) is the mean of; t0 + 1 to t0 + 3 if left out")
    fit: Pair | None = Field(
        None, description="first and last r of V = A - B / r + sigma r; 2 (1 if r_max < 4) and r_max if left out")
    coulomb: Literal["continuum", "lattice"] = Field(
        "continuum", description="1 / r of the fit, or what takes its place on the lattice; four dimensions")


class PotentialChoices(NamedTuple):
    """All of a table's choices on one lattice; `fit` is None where there are not three distances to fit."""

    r_max: int
    t_max: int
    levels: tuple[int, ...]
    plateau: tuple[int, int]
    fit: tuple[int, int] | None


def potential_choices(table: StaticPotentialTable, extent: tuple[int, ...]) -> PotentialChoices:
    """The keys of a table, with their defaults on a lattice where they are left out."""
    r_max, t_max = table.r_max or min(extent[:-1]) // 2, table.t_max or extent[-1] // 2
    levels = table.levels or (LEVELS if len(extent) > 2 else (0,))
    plateau = table.plateau or (min(table.t0 + 1, t_max - 1), min(table.t0 + 3, t_max - 1))
    fit = table.fit or (2 if r_max >= 4 else 1, r_max)
    return PotentialChoices(r_max, t_max, levels, plateau, fit if fit[1] - fit[0] >= 2 and len(extent) > 2 else None)


def potential_faults(table: Any, extent: tuple[int, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """What does not fit together, or not on a lattice; paths begin in the table. Values that are missing or faulty are None."""
    space, time = min(extent[:-1]), extent[-1]
    longest = {"r_max": space // 2, "t_max": time // 2}
    for key, most in longest.items():
        if (getattr(table, key) or 0) > most:
            yield (key,), f"at most {most} expected, half of lattice.extent, found {getattr(table, key)}"
            return
    if table.levels and len(extent) == 2 and any(table.levels):
        yield ("levels",), "in two dimensions there are no plaquettes in space to smear by; levels = [0]"
    if table.levels and list(table.levels) != sorted(set(table.levels)):
        yield ("levels",), f"expected rising numbers of steps, found {list(table.levels)}"
    if table.rho is not None and table.rho > 0.25 / (len(extent) - 1):
        most = 0.25 / (len(extent) - 1)
        yield ("rho",), f"at most 1 / (4 (D - 1)) = {most:.4g} expected, where smearing is stable, found {table.rho:g}"
    t_max, r_max = table.t_max or longest["t_max"], table.r_max or longest["r_max"]
    if "t0" not in table.model_fields_set and table.t0 + 1 > t_max:
        half = "" if table.t_max else f", half of lattice.extent {time},"
        yield ("t0",), f"missing: t_max = {t_max}{half} has no place for t0 = {table.t0}, the default; give t0 = {t_max - 1}"
    elif table.t0 is not None and table.t0 + 1 > t_max:
        yield ("t0",), f"at most t_max - 1 = {t_max - 1} expected, found {table.t0}"
    for key, least, most, apart in (("plateau", 0, t_max - 1, 0), ("fit", 1, r_max, 2)):
        pair = getattr(table, key)
        if pair and not (least <= pair[0] <= pair[1] - apart and pair[1] <= most):
            three = ", three distances or more" * bool(apart)
            yield (key,), f"expected [FIRST, LAST] from {least} to {most}{three}, found {list(pair)}"
    if table.coulomb == "lattice" and len(extent) != 4:
        yield ("coulomb",), f'"lattice" is known in four dimensions, lattice.extent has {len(extent)}; use "continuum"'
