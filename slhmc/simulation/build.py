"""From the tables of a card to the objects of the engine."""

import math
from types import SimpleNamespace

from slhmc.backend import Device, HostDevice
from slhmc.backend.compiler import compile_host
from slhmc.dirac import StaggeredNormal
from slhmc.errors import InputError
from slhmc.lattice import Lattice
from slhmc.lattice.fields import algebra_dimension, link_reals
from slhmc.networks import kernel_files
from slhmc.observables import FlowedLinks, Observable, OnSmearedLinks, Plaquette, PolyakovLoop, Rectangle, StaticPotential
from slhmc.runcard import FluxCard, RunCard, potential_choices
from slhmc.simulation.guide import (
    boundary_phases,
    has_network,
    molecular_dynamics,
    network_kinds,
    on_links,
    smearing_network,
    target_parts,
)
from slhmc.simulation.learned_flow import LearnedFlowEnd
from slhmc.simulation.quarks import QUARKS, condensate, mesons, quark_kernels, residual_mass
from slhmc.solvers import block_sizes
from slhmc.updates import HMC, HeatBath

QUARK_OBSERVABLES = {"chiral_condensate": condensate, "mesons": mesons, "residual_mass": residual_mass}  # keys of [measure]


def make_lattice(card: RunCard, device: Device, communicator=None) -> Lattice:
    """The lattice of [lattice] on a device and a communicator."""
    table = card.lattice
    return Lattice(table.extent, device, communicator, table.ranks, table.lanes)


def make_update(card: RunCard, lattice: Lattice, network=None, weights=None):
    """The update of the chain: HMC of [hmc], by [guide] if there is one, or HeatBath of [heat_bath].

    weights: what guide.network holds, read by `read_weights` on rank 0. network: for the guide in place of the card's.
    """
    if card.heat_bath is not None:
        return HeatBath(card.gauge.beta, card.heat_bath.over_relaxation)
    parts, smearing = target_parts(card, lattice), smearing_network(card)
    target = on_links({name: action for name, (action, _) in parts.items()}, smearing)
    return HMC(target, molecular_dynamics(card, lattice, parts, smearing, network, weights), card.hmc.length,
               card.run.max_delta_h, guided=card.guide is not None)


def check_memory(card: RunCard, device: Device, size: int) -> None:
    """InputError if the links of a rank, with the trial links, momenta and forces of HMC, are more than its machine has."""
    extent, memory = card.lattice.extent, device.memory_bytes(size)
    reals = link_reals(card.lattice.colors) * (1 + (card.hmc is not None))
    reals += 2 * algebra_dimension(card.lattice.colors) * (card.hmc is not None)
    needed = math.prod(extent) * len(extent) * reals * 8 // size
    if memory is not None and needed > memory:
        raise InputError(f"lattice.extent = {list(extent)}: fields of links and momenta take {needed / 2**30:.4g} GiB a rank, "
                         f"{memory / 2**30:.4g} GiB of memory found; use a smaller lattice, or more ranks on more nodes")


def make_observables(card: RunCard, lattice: Lattice) -> list[tuple[Observable, int]]:
    """(observable, every) of [measure]; those of quarks for each measured quark: NAME, NAME_2, ..., on their links."""
    measure, network = card.measure, smearing_network(card)
    observables: list[tuple[Observable, int]] = [(kind(), getattr(measure, kind.name).every)
                                                 for kind in (Plaquette, PolyakovLoop, Rectangle)
                                                 if getattr(measure, kind.name) is not None]
    if (table := measure.gradient_flow) is not None:
        flowed = FlowedLinks(lattice, card.lattice.colors, table.action, table.t_max, table.points, **table.control)
        observables.append((flowed, table.every))
    if (table := measure.learned_flow) is not None:
        observables.append((LearnedFlowEnd(table.weights, lattice, card.lattice.colors), table.every))
    if (table := measure.static_potential) is not None:
        loops = potential_choices(table, card.lattice.extent)
        observables.append((StaticPotential(lattice, card.lattice.colors, loops.r_max, loops.t_max, loops.levels, table.rho),
                            table.every))
    for name, make in QUARK_OBSERVABLES.items():
        if (table := getattr(measure, name)) is not None:
            for number, quark in enumerate(card.measured_quarks, 1):
                made = make(quark, boundary_phases(card), table, card.solver, lattice, name + f"_{number}" * (number > 1))
                if made is not None:
                    observables.append((made if network is None else OnSmearedLinks(network, made), table.every))
    return observables


def kernel_units(card: RunCard, lattice: Lattice) -> list[tuple]:
    """(file, real, lanes, colours, dimensions, Ls) of all kernels that the card needs on this lattice."""
    colors, dimensions = card.lattice.colors, lattice.dimensions
    gauge = ["gauge.cc", "links.cc"] + ["heat_bath.cc"] * (card.heat_bath is not None)
    if has_network(card) or card.measure.learned_flow is not None:
        gauge += sorted({*kernel_files(network_kinds(card))} - {*gauge})
    gauge += ["flow.cc"] + ["topology.cc"] * (dimensions == 4) if card.measure.gradient_flow is not None else []
    gauge += ["static_potential.cc"] * (card.measure.static_potential is not None)
    forms = ("matrix", "quaternion")[:1 + (colors == 2)] if card.measure.learned_flow is not None else ()
    plain = ["linear_algebra.cc"] + ["bicgstab.cc"] * _measures_by_bicgstab(card)
    units = [(file, "double", lattice.layout("double").lanes, colors, dimensions, 0) for file in gauge]
    units += [(f"lcnn_{form}.cc", "double", 1, colors, 0, 0) for form in forms]  # of one configuration
    quarks = (*card.quarks, *card.guide_quarks, *card.measure.quarks)
    mixed = "mixed" in (card.solver.precision, card.guide_solver.precision)
    for real in ["double"] + ["float"] * (bool(quarks) and mixed):
        lanes = lattice.layout(real).lanes
        spinors = {entry for quark in quarks for entry in quark_kernels(quark, real)}
        units += [(file, real, lanes, colors, dimensions, Ls) for file, Ls in sorted(spinors)]
        units += [("staggered.cc", real, lanes, colors, dimensions, vectors) for vectors in _staggered_blocks(card)]
        units += [(file, real, lanes, 0, 0, 0) for file in (*plain, *["random.cc"] * (real == "double"))]
    return units


def _staggered_blocks(card: RunCard) -> list[int]:
    """Right-hand sides, where there are several at once, of measurements of staggered quarks."""
    if all(quark.operator != "staggered" for quark in card.measured_quarks):
        return []
    condensate, mesons = card.measure.chiral_condensate, card.measure.mesons
    counts = [condensate.noise] if condensate is not None else []
    counts += [card.lattice.colors if mesons.source == "point" else mesons.noise] if mesons is not None else []
    return sorted({size for count in counts for size in block_sizes(count, StaggeredNormal.most_vectors)} - {1})


def _measures_by_bicgstab(card: RunCard) -> bool:
    measures = card.measure.chiral_condensate is not None or card.measure.mesons is not None
    return measures and any(QUARKS[quark.operator].method == "bicgstab" for quark in card.measured_quarks)


def fit_units(card: RunCard, device: Device) -> list[tuple]:
    """As kernel_units, of a card with a [fit]: chains on all its lattices, each on one rank; labels, training and tests."""
    colors, extents = card.lattice.colors, dict.fromkeys((card.lattice.extent, *(card.data.test_extents or ())))
    units = [unit for extent in extents for unit in kernel_units(card, Lattice(extent, device))]
    if card.data.label in ("flowed_links", "flowed_charge"):
        lanes = [Lattice(extent, device).layout("double").lanes for extent in extents]
        units += [("flow.cc", "double", width, colors, len(card.lattice.extent), 0) for width in lanes]
    full = card.model.weights == "complex" or card.model.generator == "mlp"
    forms = {"quaternion" if colors == 2 else "matrix", "matrix" if full else None} - {None}
    for real in {"double", "float" if card.model.precision == "single" else "double"}:
        lanes = [1 << k for k in range(device.default_lanes(real).bit_length())]
        units += [(f"lcnn_{form}.cc", real, width, colors, 0, 0) for form in sorted(forms) for width in lanes]
    return list(dict.fromkeys(units))


def check_ranks(card: RunCard, ranks: int) -> None:
    """InputError if the lattice of a card does not fit on so many ranks of CPUs; nothing is compiled."""
    _lattice_of_first(card, HostDevice(), ranks).lane_grid()


def _lattice_of_first(card: RunCard, device: Device, size: int) -> Lattice:
    """What the first of `size` ranks has; it sends nothing. All ranks have its lane widths."""
    return make_lattice(card, device, SimpleNamespace(rank=0, size=size))


def build(card: RunCard, ranks: int | None = None) -> None:
    """Compile the CPU kernels that a card needs on so many ranks into the cache, for nodes without a compiler.

    ranks: None for the number of [lattice] ranks, one without it. Raises InputError if the lattice does not fit on them.
    """
    device = HostDevice()
    if isinstance(card, FluxCard):
        device.prepare([("worm.cc", "double", 1, 0, 0, 0)])
        return
    size = math.prod(card.lattice.ranks or (1,)) if ranks is None else ranks
    fits = card.fit is not None
    device.prepare(fit_units(card, device) if fits else kernel_units(card, _lattice_of_first(card, device, size)))
    for file in ("tape.cc", "messages.cc"):
        compile_host(file, {})
