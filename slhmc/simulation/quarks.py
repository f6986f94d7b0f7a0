"""From an entry of [[quarks]] to operators, actions, condensates and kernels: what each operator's name stands for."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from slhmc import dirac
from slhmc.actions import (
    LogDeterminantAction,
    PseudofermionAction,
    RatioAction,
    RationalAction,
    RationalSettings,
    StaggeredRatioAction,
)
from slhmc.observables import (
    Propagator,
    ResidualMass,
    StaggeredCondensate,
    StaggeredMesons,
    WilsonCondensate,
    WilsonMesons,
)
from slhmc.runcard.quarks import FIELD_FLAVORS
from slhmc.solvers import ConjugateGradient, MultiShiftConjugateGradient


@dataclass(frozen=True)
class QuarkKind:
    """What belongs to one operator's name in a card.

    make(U, quark, mass, boundary) -> normal operator of the quark with that mass; kernels: files that know its spinors, in each
    precision; force_kernels: in double alone; link_kernels: in double, and know no spinors. heaviest: mass of the field that the
    last factor is divided by, None for no division; method: of the propagator.
    """

    make: Callable
    ratio: type
    kernels: tuple[str, ...]
    force_kernels: tuple[str, ...] = ()
    link_kernels: tuple[str, ...] = ("hopping.cc",)
    heaviest: float | None = None
    method: str = "bicgstab"


def _staggered(U, quark, mass, boundary):
    return dirac.StaggeredNormal(dirac.StaggeredDirac(U, mass, boundary))


def _wilson(U, quark, mass, boundary):
    return dirac.WilsonDirac(U, mass, boundary).even_odd().normal


def _clover(U, quark, mass, boundary):
    return dirac.CloverDirac(U, mass, quark.c_sw, boundary).even_odd().normal


def _domain_wall(U, quark, mass, boundary):
    return dirac.DomainWallDirac(U, domain_wall_parameters(quark, mass), boundary).even_odd().normal


def domain_wall_parameters(quark, mass: float) -> dirac.DomainWall:
    """The domain-wall operator of a quark with another mass."""
    b5, c5 = (1.0, 0.0) if quark.operator == "domain_wall" else (quark.b5, quark.c5)
    return dirac.DomainWall(mass, quark.Ls, quark.M5, b5, c5)


_DOMAIN_WALL = QuarkKind(_domain_wall, RatioAction, ("domain_wall.cc",), ("wilson.cc",), heaviest=1.0, method="cg")
QUARKS = {
    "staggered": QuarkKind(_staggered, StaggeredRatioAction, ("staggered.cc",), method="cg"),
    "wilson": QuarkKind(_wilson, RatioAction, ("wilson.cc",)),
    "clover": QuarkKind(_clover, RatioAction, ("clover.cc", "wilson.cc"), link_kernels=("hopping.cc", "clover_term.cc")),
    "domain_wall": _DOMAIN_WALL,
    "moebius": _DOMAIN_WALL,
}


def maker(quark, mass: float, boundary) -> Callable:
    """U -> normal operator of the quark with another mass."""
    return lambda U: QUARKS[quark.operator].make(U, quark, mass, boundary)


def quark_actions(quark, boundary, solver_table, lattice, guides: bool = False) -> list[tuple]:
    """(action, level) of each factor of the quark's determinant, the lightest masses first, determinants of site blocks last.

    The factors share their two solvers. guides: of a guide, whose faults are not the target's.
    """
    actions = _factors(quark, boundary, solver_table, lattice) if not quark.rooted else [
        _rational_action(quark, boundary, solver_table, lattice, guides)]
    parts = list(zip(actions, quark.levels, strict=True))
    if quark.operator == "clover":  # of the quark's own mass, as the factors' odd-site blocks are not in their ratios
        make, flavors = maker(quark, quark.bare_mass, boundary), FIELD_FLAVORS["clover"] * quark.power
        parts.append((LogDeterminantAction(lambda U: make(U).factor, flavors), quark.levels[-1]))
    return parts


def _factors(quark, boundary, solver_table, lattice) -> list:
    """Action of each factor of the whole determinant, the lightest masses first."""
    kind, solvers = QUARKS[quark.operator], _solvers(ConjugateGradient, solver_table, lattice)
    masses, actions = [quark.bare_mass, *quark.hasenbusch, kind.heaviest], []
    for light, heavy in itertools.pairwise(masses):
        if heavy is None:
            action = PseudofermionAction(maker(quark, light, boundary), *solvers, solver_table.start)
        else:
            action = kind.ratio(maker(quark, light, boundary), maker(quark, heavy, boundary), *solvers, solver_table.start)
        actions.append(action)
    return actions


def _solvers(kind, table, lattice) -> list:
    """Solvers of forces and of energies."""
    return [kind(lattice, tolerance, table.max_iterations, table.precision)
            for tolerance in (table.force_tolerance, table.action_tolerance)]


def _rational_action(quark, boundary, solver_table, lattice, guides: bool) -> RationalAction:
    """The root of a determinant; bounds of the staggered spectrum where the card has none."""
    mass, given = quark.bare_mass, {} if quark.rational is None else quark.rational.model_dump(exclude_none=True)
    bounds = {"lowest": mass**2, "highest": mass**2 + lattice.dimensions**2} if quark.operator == "staggered" else {}
    return RationalAction(maker(quark, mass, boundary), quark.power, RationalSettings(**bounds | given),
                          *_solvers(MultiShiftConjugateGradient, solver_table, lattice), guides)


def condensate(quark, boundary, table, solver_table, lattice, name: str):
    """The chiral condensate of a quark; table: [measure.chiral_condensate]."""
    kind, make = QUARKS[quark.operator], maker(quark, quark.bare_mass, boundary)
    settings = (table.tolerance, solver_table.max_iterations, solver_table.precision)
    if quark.operator == "staggered":
        return StaggeredCondensate(make, table.noise, ConjugateGradient(lattice, *settings), name)
    return WilsonCondensate(make, table.noise, Propagator(lattice, *settings, kind.method), name)


def mesons(quark, boundary, table, solver_table, lattice, name: str):
    """The meson correlators of a quark; table: [measure.mesons]."""
    kind, make = QUARKS[quark.operator], maker(quark, quark.bare_mass, boundary)
    settings = (table.tolerance, solver_table.max_iterations, solver_table.precision)
    if quark.operator == "staggered":
        return StaggeredMesons(make, ConjugateGradient(lattice, *settings), table.source, table.noise, name)
    return WilsonMesons(make, Propagator(lattice, *settings, kind.method), table.source, table.noise, name)


def residual_mass(quark, boundary, table, solver_table, lattice, name: str):
    """The residual mass of a domain-wall quark, None for others; table: [measure.residual_mass]."""
    if QUARKS[quark.operator] is not _DOMAIN_WALL:
        return None
    return ResidualMass(lattice, domain_wall_parameters(quark, quark.bare_mass), boundary, table.noise, table.tolerance,
                        solver_table.max_iterations, solver_table.precision, name)


def quark_kernels(quark, real: str) -> list[tuple[str, int]]:
    """(file, Ls) of the kernels that a quark needs in one precision; Ls 0 where they are not told it."""
    kind, Ls = QUARKS[quark.operator], 0 if quark.operator == "staggered" else quark.Ls or 1
    files = [(file, Ls) for file in (*kind.kernels, *kind.force_kernels * (real == "double"))]
    return files + [(file, 0) for file in kind.link_kernels * (real == "double")]
