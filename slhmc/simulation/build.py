"""From the tables of a card to the objects of the engine."""

import math
from types import SimpleNamespace

from slhmc.actions import (
    RECTANGLE_COEFFICIENTS,
    Action,
    CompositeAction,
    GaugeAction,
    RationalAction,
    RationalSettings,
    StaggeredAction,
)
from slhmc.backend import Device, HostDevice
from slhmc.backend.compiler import compile_host
from slhmc.dirac import StaggeredDirac, StaggeredNormal
from slhmc.lattice import Lattice
from slhmc.observables import ChiralCondensate, Observable, Plaquette, PolyakovLoop, Rectangle
from slhmc.runcard import RunCard
from slhmc.solvers import ConjugateGradient, MultiShiftConjugateGradient
from slhmc.updates import HMC, HeatBath, TimeScale

STAGGERED_FLAVORS = 4  # of one field
PHASES = {"periodic": 1, "antiperiodic": -1}


def make_lattice(card: RunCard, device: Device, communicator=None) -> Lattice:
    """The lattice of [lattice] on a device and a communicator."""
    table = card.lattice
    return Lattice(table.extent, device, communicator, table.ranks, table.lanes)


def boundary_phases(card: RunCard) -> tuple[int, ...]:
    """+1 or -1 for each direction."""
    return tuple(PHASES[word] for word in card.lattice.fermion_boundary)


def make_update(card: RunCard, lattice: Lattice):
    """The update of the chain: HMC of [hmc], or HeatBath of [heat_bath]."""
    if card.heat_bath is not None:
        return HeatBath(card.gauge.beta, card.heat_bath.over_relaxation)
    parts = {"gauge": (make_gauge_action(card), card.gauge.level)}
    for number, quark in enumerate(card.quarks):
        parts[f"quarks.{number}"] = (make_quark_action(card, quark, lattice), quark.level)
    target = CompositeAction({name: action for name, (action, _) in parts.items()})
    guide = []
    for level, table in enumerate((card.hmc, *card.hmc.inner)):
        actions = {name: action for name, (action, on) in parts.items() if on == level}
        guide.append(TimeScale(CompositeAction(actions), table.scheme, table.steps))
    return HMC(target, guide, card.hmc.length, card.run.max_delta_h)


def make_gauge_action(card: RunCard) -> GaugeAction:
    """The action of [gauge]."""
    c1 = card.gauge.c1 if card.gauge.action == "custom" else RECTANGLE_COEFFICIENTS[card.gauge.action]
    return GaugeAction(card.gauge.beta, c1)


def make_quark_action(card: RunCard, quark, lattice: Lattice) -> Action:
    """The action of one entry of [[quarks]]: rational where the card asks for it, or for fewer than the field's four flavours."""
    boundary = boundary_phases(card)
    if quark.rational is not None or quark.flavors < STAGGERED_FLAVORS:
        low, high = quark.mass**2, quark.mass**2 + lattice.dimensions**2
        settings = rational_settings(quark, low, high)

        def operator(U):
            return StaggeredNormal(StaggeredDirac(U, quark.mass, boundary))
        return RationalAction(operator, quark.flavors / STAGGERED_FLAVORS, settings,
                              *_solvers(card, lattice, MultiShiftConjugateGradient))
    return StaggeredAction(quark.mass, boundary, *_solvers(card, lattice, ConjugateGradient), card.solver.start)


def rational_settings(quark, lowest: float, highest: float) -> RationalSettings:
    """[quarks.rational] with bounds of the spectrum where the card has none."""
    given = {} if quark.rational is None else quark.rational.model_dump(exclude_none=True)
    return RationalSettings(**{"lowest": lowest, "highest": highest} | given)


def _solvers(card: RunCard, lattice: Lattice, kind):
    """Solvers of forces and of energies."""
    return [kind(lattice, tolerance, card.solver.max_iterations, card.solver.precision)
            for tolerance in (card.solver.force_tolerance, card.solver.action_tolerance)]


def make_observables(card: RunCard, lattice: Lattice) -> list[tuple[Observable, int]]:
    """(observable, every) of [measure]; one chiral condensate for each quark."""
    measure = card.measure
    observables: list[tuple[Observable, int]] = [(Plaquette(), measure.plaquette.every),
                                                 (PolyakovLoop(), measure.polyakov_loop.every)]
    if measure.rectangle is not None:
        observables.append((Rectangle(), measure.rectangle.every))
    if (table := measure.chiral_condensate) is not None:
        for number, quark in enumerate(card.quarks):
            name = "chiral_condensate" if number == 0 else f"chiral_condensate_{number + 1}"
            condensate = ChiralCondensate(lattice, quark.mass, boundary_phases(card), table.noise, table.tolerance,
                                          card.solver.max_iterations, card.solver.precision, name)
            observables.append((condensate, table.every))
    return observables


def kernel_units(card: RunCard, lattice: Lattice) -> list[tuple]:
    """(file, real, lanes, colours, dimensions) of all kernels that the card needs on this lattice."""
    colors, dimensions = card.lattice.colors, lattice.dimensions
    wide = ["gauge.cc", "links.cc"] + ["heat_bath.cc"] * (card.heat_bath is not None)
    wide += ["hopping.cc", "staggered.cc"] * bool(card.quarks)
    lanes = lattice.layout("double").lanes
    units = [(file, "double", lanes, colors, dimensions) for file in wide]
    units += [(file, "double", lanes, 0, 0) for file in ("linear_algebra.cc", "random.cc")]
    if card.quarks and card.solver.precision == "mixed":
        lanes = lattice.layout("float").lanes
        units += [("staggered.cc", "float", lanes, colors, dimensions), ("linear_algebra.cc", "float", lanes, 0, 0)]
    return units


def build(card: RunCard, ranks: int | None = None) -> None:
    """Compile the CPU kernels that a card needs on so many ranks into the cache, for nodes without a compiler.

    ranks: None for the number of [lattice] ranks, one without it. Raises InputError if the lattice does not fit on them.
    """
    device = HostDevice()
    size = math.prod(card.lattice.ranks or (1,)) if ranks is None else ranks
    first_rank = SimpleNamespace(rank=0, size=size)  # sends nothing: all ranks have the lane widths of the first
    device.prepare(kernel_units(card, make_lattice(card, device, first_rank)))
    for file in ("tape.cc", "messages.cc"):
        compile_host(file, {})
