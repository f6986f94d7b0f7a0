"""Cards of fits on fluxes of the complex scalar field: [data] with kind = "fluxes", and tables of its own."""

from collections.abc import Iterator
from math import prod
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from slhmc.runcard.base import LARGEST, Count, Finite, NaturalNumber, Positive, Table, refuse_faults
from slhmc.runcard.fit import FitTable
from slhmc.runcard.scalar import MU_MAX, beyond, too_many_sites, too_many_worms

Fault = tuple[tuple[str | int, ...], str]
Sites = Annotated[int, Field(ge=2, le=LARGEST)]
Extents = Annotated[tuple[Sites, ...], Field(strict=False, min_length=2, max_length=2)]
Coupling = Annotated[tuple[Finite, ...], Field(strict=False, min_length=2, max_length=2)]
Couplings = Annotated[tuple[Coupling, ...], Field(strict=False, min_length=1)]
Counts = Annotated[tuple[NaturalNumber, ...], Field(strict=False, min_length=1)]
StageKind = Literal["convolution", "linear", "average_pool", "max_pool", "global_average", "global_sum", "global_max", "flatten"]
STAGES_WITH_CHANNELS = ("convolution", "linear")


class FluxLatticeTable(Table):
    """[lattice] of a fit on fluxes."""

    extent: Extents = Field(description="sites along x_1 and x_2 of training and validation; even or odd")


class FluxDataTable(Table):
    """[data] with kind = "fluxes": configurations of the worm algorithm, (k_1, k_2, l_1, l_2) at each site, and their labels."""

    kind: Literal["fluxes"] = Field(description="fluxes of the complex scalar field in two dimensions")
    label: Literal["observables", "violation", "open_worms"] = Field(
        description="what is learned of a configuration: observables, density n and |phi|^2; violation, whether the divergence "
        "of k is not 0 somewhere; open_worms, the number of worms that were left open"
    )
    coupling: Positive = Field(1.0, description="lambda of lambda |phi|^4")
    couplings: Couplings = Field(description="[eta, mu] of the chains; eta = 4 + m^2, mu the chemical potential")
    open_worms: Counts = Field((0,), description="numbers of open worms of training and validation, each with every coupling")
    training: Count = Field(description="configurations of each coupling and number of open worms that are trained on")
    validation: Count = Field(description="configurations of each that choose the best epoch")
    test: Count = Field(description="configurations of each, on each lattice of the test")
    subset: Count | None = Field(
        None, description="train on the first so many of `training`, validate on the same part of `validation`; all if left out"
    )
    test_couplings: Couplings | None = Field(None, description="[eta, mu] of the test; couplings if left out")
    test_open_worms: Counts | None = Field(None, description="numbers of open worms of the test; open_worms if left out")
    test_extents: Annotated[tuple[Extents, ...], Field(strict=False, min_length=1)] | None = Field(
        None, description="lattices of the test; lattice.extent if left out"
    )
    mu_ranges: Annotated[tuple[Coupling, ...], Field(strict=False)] = Field(
        (), description="ranges of mu, [first, last], that the test is summed up in beside all of it"
    )
    thermalization: NaturalNumber = Field(200, description="sweeps before the first configuration of a chain")
    spacing: Count = Field(5, description="sweeps from one configuration to the next")
    chains: Count = Field(50, description="chains of each coupling, side by side")
    worms: Count | None = Field(None, description="closed worms of a sweep; one for each 32 sites if left out")
    directory: str | None = Field(
        None, min_length=1, description="where data sets are kept and found again, relative to the card; if left out, data/ of "
        "the training's own directory"
    )
    seed: int = Field(1, ge=0, le=2**32 - 1, description="seed of the chains")


class StageTable(Table):
    """[[model.layers]] of a convolutional network: one stage."""

    kind: StageKind = Field(
        description="convolution, average_pool and max_pool of stride 2; one end of the lattice: global_average, global_sum, "
        "global_max or flatten; then linear"
    )
    channels: Count | None = Field(None, description="channels that leave a convolution or a linear stage")
    kernel: Count = Field(1, description="sites of a convolution's kernel along each direction")
    bias: bool = Field(True, description="whether a convolution or a linear stage has biases")


class FluxModelTable(Table):
    """[model] of a fit on fluxes: a published network, or one of layers."""

    kind: Literal["convolutional"] = Field("convolutional", description="stages on the lattice, then on numbers")
    published: str | None = Field(None, min_length=1, description='a network of arXiv:2103.14686, such as "counting_eq1"')
    layers: Annotated[tuple[StageTable, ...], Field(strict=False)] = Field((), description="stages, the first one first")
    activation: Literal["leaky_relu", "relu", "tanh", "abs"] = Field(
        "leaky_relu", description="behind every convolution and every linear stage but the last"
    )
    precision: Literal["single", "double"] = Field("single", description="of the training; tests are in double")


class FluxFitTable(FitTable):
    """[fit] of a fit on fluxes; the loss is the mean square deviation, or the cross entropy of a violation."""

    optimizer: Literal["adamw", "adam", "levenberg_marquardt"] = Field(
        "adamw", description="torch.optim.AdamW or Adam; levenberg_marquardt: damped least squares of batches, for small networks"
    )


class FluxRunTable(Table):
    """[run] of a fit on fluxes."""

    seed: int = Field(ge=0, le=2**32 - 1, description="seed of the first weights and of the order of samples")
    time_limit: Positive | None = Field(None, description="seconds after which the fit stops with a checkpoint")


class FluxSearchTable(Table):
    """[search] of a fit on fluxes: the budget of scripts/search_baseline.py for each family of networks."""

    trials: Count = Field(20, description="architectures that are trained")
    minutes: Positive = Field(30.0, description="after which no trial begins")


class FluxCard(Table):
    """A card of a fit on fluxes; `load_card` makes one of a card whose [data] has a `kind`."""

    lattice: FluxLatticeTable = Field(description="sites of training and validation")
    data: FluxDataTable = Field(description="configurations and labels that [fit] learns from")
    model: FluxModelTable = Field(description="the network")
    fit: FluxFitTable = Field(description="regression of labels by a network, by `slhmc train`")
    run: FluxRunTable = Field(description="seed and time limit")
    search: FluxSearchTable | None = Field(None, description="budget of a search for architectures")
    train: ClassVar[None] = None  # as a RunCard without a guide

    @staticmethod
    def cross_faults(card: Any) -> Iterator[Fault]:
        """Faults between the keys of `card`, a FluxCard or what is valid of one."""
        if card.data is not None:
            yield from _data(card.data, card.lattice and card.lattice.extent)
            yield from _limits(card.data, card.lattice and card.lattice.extent)
        if card.model is not None:
            yield from _model(card.model)
        if card.fit is not None and card.fit.optimizer == "levenberg_marquardt":
            yield from _least_squares(card)

    @model_validator(mode="after")
    def _consistent(self) -> "FluxCard":
        refuse_faults(self.cross_faults(self))
        return self


def _data(data: Any, extent: tuple[int, ...] | None) -> Iterator[Fault]:
    for key in ("open_worms", "test_open_worms"):
        counts = getattr(data, key)
        if data.label == "observables" and counts and any(counts):
            yield ("data", key), "n and |phi|^2 are of configurations without open worms: [0] expected; leave it out"
        if data.label in ("violation", "open_worms") and key == "open_worms" and counts and len(set(map(bool, counts))) < 2:
            yield ("data", key), f'label = "{data.label}" is learned from 0 open worms beside other numbers, found {list(counts)}'
        extents = [extent] if key == "open_worms" else [*(data.test_extents or [extent])]
        if None not in extents and counts and 2 * max(counts) > (sites := min(nx * nt for nx, nt in extents)):
            yield ("data", key), f"{max(counts)} open worms found; {sites} sites have room for the ends of {sites // 2} at most"
    if data.subset is not None and data.training is not None and data.subset > data.training:
        yield ("data", "subset"), f"{data.subset} configurations found, training has {data.training} of each"


def _limits(data: Any, extent: tuple[int, ...] | None) -> Iterator[Fault]:
    """Couplings without meaning, lattices and sweeps beyond all bounds."""
    for key in ("couplings", "test_couplings"):
        for number, (eta, mu) in enumerate(getattr(data, key) or ()):
            if eta <= 0:
                yield ("data", key, number), f"eta must be greater than 0, found {eta:g}"
            if abs(mu) > MU_MAX:
                yield ("data", key, number), f"mu {beyond(MU_MAX, mu)}"
    tested = data.test_couplings or data.couplings
    for number, (first, last) in enumerate(data.mu_ranges or ()):
        if tested and not any(first <= mu <= last for _, mu in tested):
            yield ("data", "mu_ranges", number), f"no coupling of the test has {first:g} <= mu <= {last:g}"
    chains, most = data.chains or 1, max(len(couplings or ()) for couplings in (data.couplings, tested))
    yield from too_many_worms(("data", "worms"), (data.worms or 0) * chains * most)
    yield from too_many_sites(("lattice", "extent"), prod(extent or (0,)) * chains * most)
    for number, lengths in enumerate(data.test_extents or ()):
        yield from too_many_sites(("data", "test_extents", number), prod(lengths) * chains * len(tested or ()))


def _least_squares(card: Any) -> Iterator[Fault]:
    if card.data is not None and card.data.label == "violation":
        yield ("fit", "optimizer"), '"levenberg_marquardt" is for mean squares, not for the cross entropy of a violation'
    for key in ("amsgrad", "weight_decay", "learning_rate", "decay", "schedule"):
        if getattr(card.fit, key) not in (None, FitTable.model_fields[key].default):
            yield ("fit", key), 'has no meaning with optimizer = "levenberg_marquardt", which finds its own steps; leave it out'


def _model(model: Any) -> Iterator[Fault]:
    if bool(model.layers) == (model.published is not None):
        yield ("model", "layers"), "the stages, or in their place model.published, the name of a network; give one of the two"
    for number, stage in enumerate(model.layers or ()):
        kind, channels = (stage.get("kind"), stage.get("channels")) if isinstance(stage, dict) else (stage.kind, stage.channels)
        if kind in STAGES_WITH_CHANNELS and channels is None:
            yield ("model", "layers", number, "channels"), f'missing: channels that leave a stage of kind = "{kind}"'
        if kind not in (*STAGES_WITH_CHANNELS, None) and channels is not None:
            yield ("model", "layers", number, "channels"), f'kind = "{kind}" keeps the channels that it gets; leave it out'
