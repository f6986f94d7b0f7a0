"""From an entry of [[quarks]] to operators, actions, condensates and kernels: what each operator's name stands for."""

from collections.abc import Callable
from dataclasses import dataclass

from slhmc import dirac
from slhmc.actions import LogDeterminantAction, PseudofermionAction, RatioAction, StaggeredRatioAction
from slhmc.observables import Propagator, StaggeredCondensate, WilsonCondensate
from slhmc.solvers import ConjugateGradient


@dataclass(frozen=True)
class QuarkKind:
    """What belongs to one operator's name in a card.

    make(U, quark, mass, boundary) -> the normal operator of a quark with that mass; kernels: files that know spinors;
    heaviest: the mass of the field that the heaviest factor is divided by, None for no division; method: of the propagator.
    """

    make: Callable
    ratio: type
    kernels: tuple[str, ...]
    heaviest: float | None = None
    method: str = "bicgstab"


def _staggered(U, quark, mass, boundary):
    return dirac.StaggeredNormal(dirac.StaggeredDirac(U, mass, boundary))


def _wilson(U, quark, mass, boundary):
    return dirac.WilsonDirac(U, mass, boundary).even_odd().normal


def _clover(U, quark, mass, boundary):
    return dirac.CloverDirac(U, mass, quark.c_sw, boundary).even_odd().normal


QUARKS = {
    "staggered": QuarkKind(_staggered, StaggeredRatioAction, ("staggered.cc",), method="cg"),
    "wilson": QuarkKind(_wilson, RatioAction, ("wilson.cc",)),
    "clover": QuarkKind(_clover, RatioAction, ("wilson.cc", "clover.cc")),
}


def maker(quark, mass: float, boundary) -> Callable:
    """U -> normal operator of the quark with another mass."""
    return lambda U: QUARKS[quark.operator].make(U, quark, mass, boundary)


def quark_actions(quark, boundary, solver_table, lattice) -> list[tuple]:
    """(action, level) of each factor of the quark's determinant, the lightest masses first, determinants of site blocks last.

    The factors share their two solvers.
    """
    kind = QUARKS[quark.operator]
    solvers = [ConjugateGradient(lattice, tolerance, solver_table.max_iterations, solver_table.precision)
               for tolerance in (solver_table.force_tolerance, solver_table.action_tolerance)]
    masses = [quark.bare_mass, *quark.hasenbusch, kind.heaviest]
    actions = []
    for light, heavy in zip(masses, masses[1:], strict=False):
        if heavy is None:
            action = PseudofermionAction(maker(quark, light, boundary), *solvers, solver_table.start)
        else:
            action = kind.ratio(maker(quark, light, boundary), maker(quark, heavy, boundary), *solvers, solver_table.start)
        actions.append(action)
    parts = list(zip(actions, quark.levels, strict=True))
    if quark.operator == "clover":  # of the quark's own mass, as the factors' odd-site blocks are not in their ratios
        make = maker(quark, quark.bare_mass, boundary)
        parts.append((LogDeterminantAction(lambda U: make(U).factor), quark.levels[-1]))
    return parts


def condensate(quark, boundary, table, solver_table, lattice, name: str):
    """The chiral condensate of a quark; table: [measure.chiral_condensate]."""
    kind, make = QUARKS[quark.operator], maker(quark, quark.bare_mass, boundary)
    settings = (table.tolerance, solver_table.max_iterations, solver_table.precision)
    if quark.operator == "staggered":
        return StaggeredCondensate(make, table.noise, ConjugateGradient(lattice, *settings), name)
    return WilsonCondensate(make, table.noise, Propagator(lattice, *settings, kind.method), name)


def quark_kernels(quark) -> list[tuple[str, int]]:
    """(file, Ls) of the kernels that are made for the quark's spinors; Ls 0 where they are not told it."""
    Ls = 0 if quark.operator == "staggered" else quark.Ls or 1  # noqa: N806 - the extent's name
    return [(file, Ls) for file in QUARKS[quark.operator].kernels]
