"""Learned flows of a card with a [fit]: the flow itself, what measures with it, and the network of a guide that it stands for.

torch is imported when a flow is made: runs without one do not need it.
"""

from math import pi
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slhmc.errors import ComputationError, InputError
from slhmc.io import Weights, load_model
from slhmc.lattice import GaugeField, field_strength_sums, plaquette_sum
from slhmc.networks import Network, make_network
from slhmc.observables import Observable
from slhmc.runcard import RunCard, card_text, parse_card

if TYPE_CHECKING:
    from slhmc.networks.flow import LearnedFlow

PREFIX = "flow."  # of the tensors of a flow in the file of a fit


def pack_links(U: GaugeField) -> np.ndarray | None:
    """Links as networks take them, float64 [mu, real, site], x fastest; None on ranks that are not the root. Collective."""
    reals = U.gather_reals()
    if reals is None:
        return None
    return np.ascontiguousarray(reals.reshape(U.lattice.sites, U.lattice.dimensions, -1).transpose(1, 2, 0))


def unpack_links(U: GaugeField, packed: np.ndarray | None) -> None:
    """Inverse of `pack_links`: `packed` on the root rank. Collective."""
    reals = None if packed is None else np.ascontiguousarray(packed.transpose(2, 0, 1)).reshape(*U.lattice.extent[::-1], -1)
    U.scatter_reals(reals)
    U.changed()


def make_flow(card: RunCard, real: str) -> "LearnedFlow":
    """The flow of [model] with its first weights, to the time data.flow_time. real: "double" or "float"."""
    from slhmc.networks.flow import LCNNGenerator, LearnedFlow, LoopGenerator, MLPGenerator
    from slhmc.networks.lcnn import Layer

    table, common = card.model, (card.lattice.colors, len(card.lattice.extent))
    last = {"real": real, "seed": card.run.seed}
    if table.generator == "mlp":
        generator = MLPGenerator(*common, table.nodes, table.activation or "tanh", table.time_degree > 0, **last)
    elif table.generator == "loops":
        step = card.data.flow_time / table.steps if table.step_weights else None
        generator = LoopGenerator(*common, table.loops, table.time_degree, **last, step=step, steps=table.steps)
    else:
        layers = [Layer(**layer.model_dump()) for layer in table.layers]
        generator = LCNNGenerator(*common, layers, table.convention, table.weights, table.polyakov, table.time_degree, **last)
    return LearnedFlow(generator, card.data.flow_time, table.steps, table.scheme, table.gradient)


def load_flow(path: str | Path) -> tuple[dict[str, np.ndarray], RunCard]:
    """Tensors by their names in a LearnedFlow, and the card, of the flow that a fit has left in `path` (weights.h5).

    Raises InputError if the file is missing, damaged or of another network.
    """
    tensors, text, _ = load_model(path)
    card = parse_card(text, f"card in {path}")
    if card.model is None or card.model.kind != "flow":
        found = card.model.kind if card.model is not None else "no"
        raise InputError(f'{path}: a fitted model of kind = "{found}" found, which moves no links; one of kind = "flow" '
                         "expected")
    return {name.removeprefix(PREFIX): values for name, values in tensors.items()}, card


def flow_network(tensors: dict[str, np.ndarray], card: RunCard) -> Network | None:
    """The stout network whose layers are the steps of a fitted flow: the same map by the engine's kernels.

    None where there is none: of generators other than loops, of schemes other than Euler's. Raises InputError for weights of
    another shape.
    """
    model, length = card.model, card.data.flow_time / card.model.steps
    if model.generator != "loops" or model.scheme != "euler":
        return None
    rows = tensors["generator.weight"].astype(float)
    if not model.step_weights:
        rows = (length * np.arange(model.steps))[:, None] ** np.arange(len(rows)) @ rows
    return make_network("stout", card.lattice.colors, len(card.lattice.extent), model.steps, model.loops, length * rows)


def guide_weights(path: str | Path, quarks: int) -> Weights:
    """The network of kind "flow" that does what the fitted flow in `path` does, for a guide of so many quarks.

    The fitted dU/dt = Q U from 0 to T, rho_i(t) = sum_k a_ik t^k, is that of the network, from 0 to 1, with a_ik T^(k + 1). The
    engine integrates it by as many Euler steps at half times, whatever the scheme of the fit. A flow with weights of its own for
    each step is a network of kind "stout". Raises InputError as `load_flow`, and for generators whose forces the engine does not
    have.
    """
    tensors, card = load_flow(path)
    model, time = card.model, card.data.flow_time
    if model.generator != "loops":
        why = ("is not covariant: molecular dynamics would depend on the gauge" if model.generator == "mlp"
               else "has no forces in the engine, which differentiates smearing by loops alone")
        raise InputError(f'{path}: a flow with generator = "{model.generator}" found, which {why}; as guide.network give a fit '
                         'with generator = "loops"')
    if model.step_weights:
        network = flow_network(tensors, card)
    else:
        rows = tensors["generator.weight"].astype(float)
        rows = rows * time ** np.arange(1, len(rows) + 1)[:, None]
        network = make_network("flow", card.lattice.colors, len(card.lattice.extent), model.steps, model.loops, rows,
                               model.time_degree)
    numbers = dict(zip(network.parameter_names, network.parameters.tolist(), strict=True))
    return Weights(network.table(), numbers, quarks, card_text(card))


class LearnedFlowEnd(Observable):
    """What links have at the end of the flow that a fit has learned: real [quantity].

    E per site from plaquettes; in four dimensions Q from clovers (docs/conventions.md, "Gradient flow"). A flow that is a
    network of the engine (`flow_network`) is one; of others rank 0 computes, by torch. Raises InputError as `load_flow`, or if
    the flow is of another group or lattice.
    """

    name = "learned_flow"

    def __init__(self, path: str | Path, lattice, colors: int):
        tensors, card = load_flow(path)
        if (colors, lattice.dimensions) != (card.lattice.colors, len(card.lattice.extent)):
            raise InputError(f"{path}: the flow is for SU({card.lattice.colors}) in {len(card.lattice.extent)} dimensions, found "
                             f"SU({colors}) links on {'x'.join(map(str, lattice.extent))}")
        self.network = flow_network(tensors, card)
        if self.network is None:
            self._load_flow(path, tensors, card, lattice, colors)
        self.channels = ("energy_plaquette", "charge_clover")[:1 + (lattice.dimensions == 4)]

    def _load_flow(self, path, tensors: dict[str, np.ndarray], card: RunCard, lattice, colors: int) -> None:
        """The flow in torch."""
        import torch

        self.flow = make_flow(card, "double")
        try:
            self.flow.load_state_dict({name: torch.from_numpy(np.array(values)).double() for name, values in tensors.items()})
        except RuntimeError:
            raise InputError(f"{path}: its tensors are not those of the network of its card; train anew with this "
                             "version") from None
        self.flow.check(lattice.extent, colors)
        self.flow.to(lattice.device.torch_device())

    def measure(self, U, draws):
        if self.network is not None:
            values = self._values_of(self.network.smear(U))
        else:
            packed = pack_links(U)
            values = U.lattice.communicator.bcast(None if packed is None else self._values(U, packed))
        if not np.isfinite(values).all():
            raise ComputationError(f"{self.name}: numbers that are not finite; the links are damaged")
        return values

    def _values_of(self, links: GaugeField) -> np.ndarray:
        """By the engine."""
        lattice = links.lattice
        found = [2 * (lattice.planes * links.colors - float(plaquette_sum(links)) / lattice.sites)]
        if len(self.channels) > 1:
            found.append(float(lattice.device.to_host(field_strength_sums(links))[1]) / (8 * pi**2))
        return np.array(found)

    def _values(self, U, packed: np.ndarray) -> np.ndarray:
        """By torch."""
        import torch

        from slhmc.networks.flow import clover_charge
        from slhmc.networks.lcnn import LinkBatch
        from slhmc.networks.lcnn.loops import wilson_loops

        with torch.no_grad():
            ended = self.flow(LinkBatch(U.lattice.device, packed[None], U.lattice.extent, U.colors))
            found = [float(2 * U.colors * (1 - wilson_loops(ended, 1, 1)).sum(-1).mean())]
            if len(self.channels) > 1:
                found.append(float(clover_charge(ended)[0]))
        return np.array(found)
