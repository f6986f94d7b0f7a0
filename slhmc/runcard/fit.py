"""[data], [model], [fit]: a function of links that a network learns from labelled configurations; what must hold between them."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from slhmc.runcard.base import Count, Extent, Finite, NaturalNumber, Positive, Table

Fault = tuple[tuple[str | int, ...], str]
Activation = Literal["relu", "leaky_relu", "tanh", "sigmoid", "identity"]
CNN_KEYS = ("kernel", "channels")
_SWITCHES = ("first", "last", "count")


def _beta_values(value: Any) -> Any:
    """{ first, last, count } as the list that it stands for: equal steps, both ends in it."""
    if not isinstance(value, dict):
        return value
    first, last, count = (value.get(key) for key in _SWITCHES)
    numbers = all(isinstance(number, (int, float)) and not isinstance(number, bool) for number in (first, last))
    if set(value) != set(_SWITCHES) or not numbers or type(count) is not int or count < 2:
        raise PydanticCustomError("betas", "expected a list of numbers, or { first = 0.1, last = 6.0, count = 10 }")
    return [first + (last - first) * step / (count - 1) for step in range(count - 1)] + [last]


_NUMBERS = {"type": "array", "minItems": 1, "items": {"type": "number", "exclusiveMinimum": 0}}
_RANGE = {"type": "object", "required": list(_SWITCHES), "additionalProperties": False,
          "properties": {"first": {"type": "number"}, "last": {"type": "number"}, "count": {"type": "integer", "minimum": 2}}}
Betas = Annotated[tuple[Positive, ...], Field(strict=False, min_length=1), BeforeValidator(_beta_values),
                  WithJsonSchema({"anyOf": [_NUMBERS, _RANGE]})]
Extents = Annotated[tuple[Extent, ...], Field(strict=False, min_length=2, max_length=4)]


class DataTable(Table):
    """[data]: configurations and their labels; independent chains for each beta, for training, validation and test."""

    label: Literal["wilson_loop", "topological_charge"] = Field(
        description="what is learned at each site: wilson_loop, Re tr of it / Nc, mean over planes mu < nu; topological_charge, "
        "its density by plaquettes"
    )
    loop: Annotated[tuple[Count, ...], Field(strict=False, min_length=2, max_length=2)] | None = Field(
        None, description="sites along mu and nu > mu of the wilson_loop"
    )
    scale: Finite = Field(1.0, description="factor of the label")
    betas: Betas | None = Field(
        None, description="inverse couplings: a list, or { first = 0.1, last = 6.0, count = 10 }; gauge.beta if left out"
    )
    training: Count = Field(description="configurations of each beta that are trained on")
    validation: Count = Field(description="configurations of each beta that choose the best epoch")
    test: Count = Field(description="configurations of each beta and test extent")
    test_extents: Annotated[tuple[Extents, ...], Field(strict=False, min_length=1)] | None = Field(
        None, description="lattices of the test; lattice.extent if left out"
    )
    thermalization: NaturalNumber = Field(200, description="trajectories before the first configuration of a chain")
    spacing: Count = Field(5, description="trajectories from one configuration to the next")
    directory: str | None = Field(
        None, min_length=1, description="where data sets are kept and found again, relative to the card; if left out, data/ of "
        "the training's own directory"
    )
    seed: int = Field(1, ge=0, le=2**32 - 1, description="seed of the chains")


class LayerTable(Table):
    """[[model.layers]]: one layer."""

    kind: Literal["lcb", "lconv", "lbl", "lact", "lexp"] = Field(
        "lcb", description="lcb: bilinear of local and transported channels; lconv, lbl: its two halves; lact: activation; lexp: "
        "new links"
    )
    channels: Count = Field(2, description="channels that leave it")
    kernel: Count = Field(2, description="sites of its kernel in each direction, the origin counted")
    dilation: NaturalNumber | None = Field(None, description="distance of its sites; that of the convention if left out")
    symmetric: bool = Field(False, description="a kernel to both sides, not only forward")
    activation: Activation = Field("relu", description="of lact")


class ModelTable(Table):
    """[model]: the network."""

    kind: Literal["lcnn", "cnn"] = Field("lcnn", description="lcnn: gauge equivariant; cnn: of the numbers of links")
    convention: Literal["arxiv_v1", "prl_2022"] = Field("arxiv_v1", description="which of the two published forms of lcb")
    layers: Annotated[tuple[LayerTable, ...], Field(strict=False)] = Field((), description="layers, the first one first")
    activation: Activation = Field("relu", description="between the layers of a cnn")
    weights: Literal["real", "complex"] | None = Field(
        None, description="of an lcnn; if left out, real for two colours, complex for three"
    )
    polyakov: bool = Field(False, description="Polyakov loops beside the plaquettes as input of an lcnn")
    precision: Literal["single", "double"] = Field("single", description="of the training; tests are in double")


class FitTable(Table):
    """[fit]: how `slhmc train` fits [model] to the labels of [data]; the loss is the mean square deviation at a site."""

    optimizer: Literal["adamw", "adam"] = Field("adamw", description="torch.optim.AdamW or Adam")
    amsgrad: bool = Field(True, description="with the largest of the running squares so far")
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(0.0, description="decay of the weights")
    learning_rate: Positive = Field(1e-3, description="step of the optimizer in the first epoch")
    decay: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="factor of learning_rate after each epoch")
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="cosine: learning_rate falls along half a cosine to 0 at the last epoch's end"
    )
    batch: Count = Field(50, description="configurations of a step")
    epochs: Count = Field(20, description="passes through the training set")
    patience: NaturalNumber = Field(0, description="epochs without a lower validation loss after which training stops; 0: never")


def fit_faults(card: Any) -> Iterator[Fault]:
    """(path of the key to mend, words) of what [data], [model], [fit] and the other tables do not agree on."""
    yield from _couplings(card)
    if card.fit is None:
        for name, table in (("data", card.data), ("model", card.model)):
            if table is not None:
                yield (name,), "belongs to a [fit], which the card lacks; add one (it may be empty), or leave it out"
        if card.run is not None and "trajectories" not in card.run.model_fields_set:
            yield ("run", "trajectories"), "missing: trajectories of production"
        return
    for name, table, words in (("data", card.data, "what is learned from"), ("model", card.model, "the network")):
        if table is None:
            yield ("fit",), f"needs [{name}], {words}"
    yield from _strangers(card)
    if card.data is not None:
        yield from _data(card.data, card.lattice)
    if card.model is not None:
        yield from _model(card.model, card.lattice)


def _couplings(card: Any) -> Iterator[Fault]:
    """Exactly one of gauge.beta and data.betas."""
    if card.gauge is None:
        return
    listed = card.fit is not None and card.data is not None and "betas" in card.data.model_fields_set
    if "beta" not in card.gauge.model_fields_set and not listed:
        more = ", or data.betas" if card.fit is not None else ""
        yield ("gauge", "beta"), f"missing: inverse coupling beta{more}"
    if listed and card.gauge.beta is not None:
        yield ("data", "betas"), "gauge.beta and data.betas are both given; keep one"


def _strangers(card: Any) -> Iterator[Fault]:
    """What has no meaning beside a [fit]."""
    for name in ("train", "guide", "network"):
        if getattr(card, name) is not None:
            yield (name,), "is of self-learning HMC, [fit] of labels; keep one of them"
    if card.run is not None:
        if card.run.thermalization:
            yield ("run", "thermalization"), "chains of a [fit] thermalize by data.thermalization; leave it out"
        if card.run.start == "file":
            yield ("run", "start"), 'each chain of a [fit] begins anew: "hot" or "cold", found "file"'
    if card.lattice is not None:
        for key in ("ranks", "lanes"):
            if getattr(card.lattice, key) is not None:
                yield ("lattice", key), "chains of a [fit] are of many lattices, each on one rank; leave it out"


def _data(data: Any, lattice: Any) -> Iterator[Fault]:
    extent = tuple(lattice.extent or ()) if lattice is not None else ()
    if lattice is not None and lattice.colors is not None and lattice.colors not in (2, 3):
        yield ("lattice", "colors"), f"a [fit] needs 2 or 3 colors, found {lattice.colors}"
    if data.label == "wilson_loop" and "loop" not in data.model_fields_set:
        yield ("data", "loop"), "missing: sites of the loop in both directions, such as [1, 2]"
    if data.label == "topological_charge":
        if data.loop is not None:
            yield ("data", "loop"), 'has a meaning only with label = "wilson_loop", found label = "topological_charge"'
        if extent and len(extent) != 4:
            yield ("data", "label"), f'"topological_charge" needs four directions, lattice.extent has {len(extent)}'
    for path, lengths in _lattices(data, extent):
        if extent and len(lengths) != len(extent):
            yield path, f"{len(lengths)} directions found, lattice.extent has {len(extent)}"
        elif data.label == "wilson_loop" and data.loop and lengths and max(data.loop) >= min(lengths):
            yield path, f"a loop of {data.loop[0]} x {data.loop[1]} needs more than {max(data.loop)} sites in each direction"


def _lattices(data: Any, extent: tuple) -> Iterator[tuple[tuple, tuple]]:
    yield ("lattice", "extent"), extent
    for number, lengths in enumerate(data.test_extents or ()):
        yield ("data", "test_extents", number), lengths


def _model(model: Any, lattice: Any) -> Iterator[Fault]:
    colors = lattice.colors if lattice is not None else None
    if model.kind == "lcnn" and model.weights == "real" and colors == 3:
        yield ("model", "weights"), ('"real" is for two colours, whose matrices stay real quaternions; three need "complex", or '
                                     "leave it out")
    if model.kind == "lcnn" and _chosen(model, "activation"):
        yield ("model", "activation"), 'is of kind = "cnn"; an lcnn has layers of kind = "lact"'
    if model.kind != "cnn":
        return
    for key in ("convention", "weights", "polyakov"):
        if _chosen(model, key):
            yield ("model", key), 'is of kind = "lcnn", found kind = "cnn"'
    for number, layer in enumerate(model.layers or ()):
        layer = LayerTable.model_construct(**layer) if isinstance(layer, dict) else layer
        for key in set(LayerTable.model_fields) - set(CNN_KEYS):
            if _chosen(layer, key):
                yield ("model", "layers", number, key), f"a layer of a cnn has {' and '.join(CNN_KEYS)} only"


def _chosen(table: Table, key: str) -> bool:
    """Whether a key has another value than its default; a faulty value is None."""
    return getattr(table, key) not in (None, type(table).model_fields[key].default)
