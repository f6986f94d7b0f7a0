"""[data], [model], [fit]: a function of links that a network learns from labelled configurations."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from slhmc.runcard.base import STEPS_SCHEMA, Count, Extent, Finite, FlowTime, NaturalNumber, Positive, Table, equal_steps
from slhmc.runcard.guide import Loop

Activation = Literal["relu", "leaky_relu", "tanh", "sigmoid", "identity"]


def _beta_values(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return equal_steps(value, "a list of numbers, or { first = 0.1, last = 6.0, count = 10 }")


_NUMBERS = {"type": "array", "minItems": 1, "items": {"type": "number", "exclusiveMinimum": 0}}
Betas = Annotated[tuple[Positive, ...], Field(strict=False, min_length=1), BeforeValidator(_beta_values),
                  WithJsonSchema({"anyOf": [_NUMBERS, STEPS_SCHEMA]})]
Extents = Annotated[tuple[Extent, ...], Field(strict=False, min_length=2, max_length=4)]


class DataTable(Table):
    """[data]: configurations and their labels; independent chains for each beta, for training, validation and test."""

    label: Literal["wilson_loop", "topological_charge", "flowed_links", "square_trace_flow", "flowed_charge"] = Field(
        description="what is learned at each site: wilson_loop, Re tr of it / Nc, mean over planes mu < nu; topological_charge, "
        "its density by plaquettes; by a model of kind flow: flowed_links, links at flow_time; square_trace_flow, the exact flow "
        "of Re tr U^2 of each link; flowed_charge, the charge from clovers of flowed links"
    )
    ensemble: Literal["chains", "haar"] = Field(
        "chains", description="chains of the card's update, or links drawn from the Haar measure"
    )
    flow_time: FlowTime | None = Field(None, description="flow time of the label, in units of a^2")
    flow_action: Literal["wilson", "symanzik", "zeuthen"] = Field("wilson", description="action whose gradient flow is the label")
    later_times: Annotated[tuple[FlowTime, ...], Field(strict=False)] = Field(
        (), description="more flow times of the test, beyond that of the training"
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
    test: Count = Field(description="configurations of each beta and test lattice")
    test_extents: Annotated[tuple[Extents, ...], Field(strict=False, min_length=1)] | None = Field(
        None, description="lattices of the test; lattice.extent if left out"
    )
    test_betas: Annotated[tuple[Positive, ...], Field(strict=False)] = Field(
        (), description="more inverse couplings of the test, each a set of its own on every test lattice"
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

    kind: Literal["lcnn", "cnn", "flow"] = Field(
        "lcnn", description="lcnn: gauge equivariant; cnn: of the numbers of links; flow: links moved along dU/dt = Q(U, t) U"
    )
    generator: Literal["mlp", "loops", "lcnn"] | None = Field(
        None, description="Q of a flow: mlp, a perceptron on each link; loops, stout smearing; lcnn, the field of an lcnn"
    )
    nodes: Annotated[tuple[Count, ...], Field(strict=False, min_length=1)] = Field(
        (16, 64, 32, 16), description="hidden layers of an mlp"
    )
    loops: Annotated[tuple[Loop, ...], Field(strict=False, min_length=1)] = Field(
        ("plaquette",), description="loops of a generator of loops, as in [network]; plaquettes, rectangles, Polyakov loops"
    )
    time_degree: NaturalNumber = Field(
        0, description="degree of the polynomial in time that each weight of a generator is; of an mlp 1: time is an input"
    )
    step_weights: bool = Field(
        False, description="weights of its own for each step of a generator of loops, in place of a polynomial in time"
    )
    scheme: Literal["euler", "munthe_kaas_2", "munthe_kaas_3", "munthe_kaas_4", "crouch_grossman_3"] = Field(
        "munthe_kaas_4", description="integration of a flow"
    )
    steps: Count = Field(4, description="steps of a flow")
    gradient: Literal["backpropagation", "adjoint"] = Field(
        "backpropagation", description="derivative of a flow: of its steps, or by the adjoint equation"
    )
    convention: Literal["arxiv_v1", "prl_2022"] = Field("arxiv_v1", description="which of the two published forms of lcb")
    layers: Annotated[tuple[LayerTable, ...], Field(strict=False)] = Field((), description="layers, the first one first")
    activation: Activation | None = Field(None, description="between the layers of a cnn (relu) or an mlp (tanh)")
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
