"""The network of a card, and one that has been trained."""

from pathlib import Path

import numpy as np
import torch

from slhmc.errors import InputError
from slhmc.io import load_model
from slhmc.learning.flows import flow_model
from slhmc.learning.flux_task import flux_model
from slhmc.networks.lcnn import LCNN, Layer
from slhmc.runcard import FitCard, FluxCard, ModelTable, RunCard, parse_card

REALS = {"single": "float", "double": "double"}


def make_model(table: ModelTable, colors: int, dimensions: int, seed: int, precision: str | None = None) -> torch.nn.Module:
    """The network of [model], not a flow, with its first weights; precision: in place of the table's."""
    real = REALS[precision or table.precision]
    if table.kind == "cnn":
        from slhmc.learning.baseline import CNN

        return CNN(colors, dimensions, [(layer.kernel, layer.channels) for layer in table.layers],
                   activation=table.activation or "relu", outputs=1, real=real, seed=seed)
    weights = table.weights or ("real" if colors == 2 else "complex")
    layers = [Layer(**layer.model_dump()) for layer in table.layers]
    return LCNN(colors, dimensions, layers, convention=table.convention, weights=weights, polyakov=table.polyakov, outputs=1,
                real=real, seed=seed)


def model_of(card: RunCard | FluxCard, precision: str | None = None) -> torch.nn.Module:
    """The network of a card with a [fit]."""
    if isinstance(card, FluxCard):
        return flux_model(card, precision)
    if card.model.kind == "flow":
        return flow_model(card, REALS[precision or card.model.precision])
    return make_model(card.model, card.lattice.colors, len(card.lattice.extent), card.run.seed, precision)


def parameter_count(model: torch.nn.Module) -> int:
    """How many numbers are trained; a complex weight is two of them, or what the network says of itself."""
    if hasattr(model, "parameter_count"):
        return int(model.parameter_count)
    return sum(p.numel() * (2 if p.is_complex() else 1) for p in model.parameters())


def tensors(model: torch.nn.Module) -> dict[str, np.ndarray]:
    """All that a network has learned, by name."""
    return {name: values.detach().cpu().numpy().copy() for name, values in model.state_dict().items()}


def load_tensors(model: torch.nn.Module, values: dict[str, np.ndarray]) -> None:
    """Inverse of `tensors`, from any precision. ValueError if names or shapes are those of another network."""
    own = model.state_dict()
    if own.keys() != values.keys() or any(tuple(own[name].shape) != values[name].shape for name in own):
        raise ValueError("its tensors are not those of the network of its card")
    model.load_state_dict({name: torch.from_numpy(np.array(values[name])).to(own[name].dtype) for name in own})


def trained_model(path: str | Path, precision: str = "double") -> tuple[torch.nn.Module, RunCard]:
    """The network that a fit has left in `path` (weights.h5), and its card.

    Raises InputError if the file is missing, damaged, or not a trained network of this version.
    """
    values, text, _ = load_model(path)
    card = parse_card(text, f"card in {path}", kinds=FitCard)
    model = model_of(card, precision)
    try:
        load_tensors(model, values)
    except ValueError as error:
        raise InputError(f"{path}: {error}; train anew with this version") from None
    return model, card
