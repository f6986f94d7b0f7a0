"""From the tables of a card to the objects of the engine."""

import math
from types import SimpleNamespace

from slhmc.actions import RECTANGLE_COEFFICIENTS, CompositeAction, GaugeAction
from slhmc.backend import Device, HostDevice
from slhmc.backend.compiler import compile_host
from slhmc.errors import InputError
from slhmc.lattice import Lattice
from slhmc.observables import Observable, Plaquette, PolyakovLoop, Rectangle
from slhmc.runcard import RunCard
from slhmc.simulation.quarks import QUARKS, condensate, mesons, quark_actions, quark_kernels, residual_mass
from slhmc.updates import HMC, HeatBath, TimeScale

PHASES = {"periodic": 1, "antiperiodic": -1}
QUARK_OBSERVABLES = {"chiral_condensate": condensate, "mesons": mesons, "residual_mass": residual_mass}  # keys of [measure]


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
        try:
            made = quark_actions(quark, boundary_phases(card), card.solver, lattice)
        except InputError as error:  # what only the numbers tell: a rational approximation that cannot be had
            raise InputError(f"quarks.{number}: {error}") from None
        parts |= {f"quarks.{number}" + f".{factor}" * (len(made) > 1): part for factor, part in enumerate(made)}
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


def make_observables(card: RunCard, lattice: Lattice) -> list[tuple[Observable, int]]:
    """(observable, every) of [measure]; those of quarks for each measured quark: NAME, NAME_2, ..."""
    measure = card.measure
    observables: list[tuple[Observable, int]] = [(kind(), getattr(measure, kind.name).every)
                                                 for kind in (Plaquette, PolyakovLoop, Rectangle)
                                                 if getattr(measure, kind.name) is not None]
    for name, make in QUARK_OBSERVABLES.items():
        if (table := getattr(measure, name)) is not None:
            for number, quark in enumerate(card.measured_quarks, 1):
                made = make(quark, boundary_phases(card), table, card.solver, lattice, name + f"_{number}" * (number > 1))
                observables += [(made, table.every)] * (made is not None)
    return observables


def kernel_units(card: RunCard, lattice: Lattice) -> list[tuple]:
    """(file, real, lanes, colours, dimensions, Ls) of all kernels that the card needs on this lattice."""
    colors, dimensions = card.lattice.colors, lattice.dimensions
    gauge = ["gauge.cc", "links.cc"] + ["heat_bath.cc"] * (card.heat_bath is not None)
    plain = ["linear_algebra.cc"] + ["bicgstab.cc"] * _measures_by_bicgstab(card)
    units = [(file, "double", lattice.layout("double").lanes, colors, dimensions, 0) for file in gauge]
    quarks = (*card.quarks, *card.measure.quarks)
    for real in ["double"] + ["float"] * (bool(quarks) and card.solver.precision == "mixed"):
        lanes = lattice.layout(real).lanes
        spinors = {entry for quark in quarks for entry in quark_kernels(quark, real)}
        units += [(file, real, lanes, colors, dimensions, Ls) for file, Ls in sorted(spinors)]
        units += [(file, real, lanes, 0, 0, 0) for file in (*plain, *["random.cc"] * (real == "double"))]
    return units


def _measures_by_bicgstab(card: RunCard) -> bool:
    measures = card.measure.chiral_condensate is not None or card.measure.mesons is not None
    return measures and any(QUARKS[quark.operator].method == "bicgstab" for quark in card.measured_quarks)


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
