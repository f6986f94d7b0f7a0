"""`LCNN`: a stack of layers from links to one or more numbers a site."""

from dataclasses import dataclass
from math import sqrt

import torch
from torch import nn

from slhmc.errors import InputError
from slhmc.networks.lcnn.batch import REALS, TORCH_TYPES, LinkBatch, check_weights
from slhmc.networks.lcnn.layers import ACTIVATIONS, CONVENTIONS, LBL, LCB, LAct, LConv, LExp, first_field, traces

KINDS = ("lcb", "lconv", "lbl", "lact", "lexp")


@dataclass(frozen=True)
class Layer:
    """One layer: kind, output channels, width of its kernel (origin counted), dilation, symmetric or one-sided.

    dilation None: none, which is 0 in the convention arxiv_v1 and 1 elsewhere. activation: of "lact".
    """

    kind: str = "lcb"
    channels: int = 2
    kernel: int = 2
    dilation: int | None = None
    symmetric: bool = False
    activation: str = "relu"


class Weights:
    """How weights are made: real or complex, normal with variance 1 / (number of terms of a sum), from one seed."""

    def __init__(self, kind: str, real: str, seed: int):
        self.complex, self.type = kind == "complex", TORCH_TYPES[real]
        self.generator = torch.Generator().manual_seed(seed)

    def draw(self, shape, terms: int) -> torch.Tensor:
        """In double first, so that single and double networks of one seed begin alike."""
        drawn = torch.randn(shape, generator=self.generator, dtype=torch.complex128 if self.complex else torch.float64)
        return (drawn / sqrt(terms)).to(self.type.to_complex() if self.complex else self.type)

    def parameter(self, *shape: int) -> nn.Parameter:
        """Weights [output, ...]: sums run over all other indices. InputError for too many."""
        check_weights(shape)
        return nn.Parameter(self.draw(shape, torch.Size(shape[1:]).numel()))


class LCNN(nn.Module):
    """Plaq (and Poly), layers, Trace, and a linear map of Re tr and Im tr at each site: y(x) of shape (sample, site, outputs).

    colors 2 or 3; convention of L-CB: "arxiv_v1" or "prl_2022"; weights "real" (SU(2) then in quaternions) or "complex"; real:
    "double" or "float". Layers commute with gauge transformations, so y is invariant. Raises InputError for what cannot be built.
    """

    def __init__(self, colors: int, dimensions: int, layers, convention: str = "arxiv_v1", weights: str | None = None,
                 polyakov: bool = False, outputs: int = 1, real: str = "double", seed: int = 1):
        super().__init__()
        weights = weights or ("real" if colors == 2 else "complex")
        _check(colors, dimensions, layers, convention, weights, real)
        self.colors, self.dimensions, self.real, self.polyakov = colors, dimensions, real, polyakov
        self.algebra = "quaternion" if colors == 2 and weights == "real" else "matrix"
        field = Weights(weights, real, seed)
        channels = before = dimensions * (dimensions - 1) // 2 + dimensions * polyakov
        first = channels
        self.layers = nn.ModuleList()
        for layer in layers:
            built = _build(layer, dimensions, channels, before, convention, polyakov, field)
            self.layers.append(built)
            after = {"lact": channels, "lexp": first}.get(layer.kind, layer.channels)
            before = channels if layer.kind in ("lcb", "lconv") else after
            channels = after
        self.head = nn.Linear(2 * channels, outputs, dtype=TORCH_TYPES[real])
        with torch.no_grad():
            real_weights = Weights("real", real, seed + 1)
            self.head.weight.copy_(real_weights.draw((outputs, 2 * channels), 2 * channels))
            self.head.bias.zero_()

    @property
    def parameter_count(self) -> int:
        """Numbers to be found, a complex one counted once."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def reach(self) -> int:
        """The largest distance, in sites, over which one layer transports."""
        return max((layer.reach for layer in self.layers), default=0)

    def check(self, extent, colors: int) -> None:
        """InputError unless the network can act on links of that lattice and group."""
        shape = "x".join(map(str, extent))
        if colors != self.colors or len(extent) != self.dimensions:
            raise InputError(f"the network is for SU({self.colors}) in {self.dimensions} dimensions, found SU({colors}) links on "
                             f"{shape}")
        if self.reach >= min(extent):
            raise InputError(f"a kernel of the network reaches {self.reach} sites, too wide for {shape}; narrow it (kernel, "
                             f"dilation) or take a lattice of {self.reach + 1} sites or more in each direction")

    def forward(self, batch: LinkBatch) -> torch.Tensor:
        fields, batch = self.fields(batch)
        real, imaginary = traces(fields[-1], batch)
        linear = torch.einsum("oi,bisl->bosl", self.head.weight, torch.cat([real, imaginary], 1))
        return batch.of_samples(linear + self.head.bias[:, None, None])

    def fields(self, batch: LinkBatch) -> tuple[list[torch.Tensor], LinkBatch]:
        """The fields between the layers, the first and the last too, and the links behind the last."""
        self.check(batch.extent, batch.colors)
        batch = batch.in_algebra(self.algebra)
        field, before = first_field(batch, self.polyakov), None
        found = [field]
        for layer in self.layers:
            field, batch, before = layer(field, batch, before)
            found.append(field)
        return found, batch

    def field_rms(self, batch: LinkBatch) -> list[float]:
        """Root mean square of |W| / sqrt(Nc) between the layers: where it grows or dies, training will."""
        with torch.no_grad():
            found, batch = self.fields(batch)
            norm = 2 if batch.algebra == "quaternion" else 1
            return [float((norm * field.square().sum(2).mean() / self.colors).sqrt()) for field in found]


def _check(colors, dimensions, layers, convention, weights, real) -> None:
    if colors not in REALS or not 2 <= dimensions <= 4:
        raise InputError(f"networks are built for Nc = 2 and 3 in 2 to 4 dimensions, found Nc = {colors} in {dimensions}")
    for word, value, known in (("convention", convention, CONVENTIONS), ("weights", weights, ("real", "complex")),
                               ("precision", real, tuple(TORCH_TYPES))):
        if value not in known:
            raise InputError(f"{word} {value!r}; known are {', '.join(known)}")
    for number, layer in enumerate(layers):
        if layer.kind not in KINDS or layer.activation not in ACTIVATIONS:
            raise InputError(f"layer {number + 1}: kind {layer.kind!r}, activation {layer.activation!r}; known kinds are "
                             f"{', '.join(KINDS)}, activations {', '.join(ACTIVATIONS)}")
        if layer.channels < 1 or layer.kernel < 1 or (layer.dilation is not None and layer.dilation < 0):
            raise InputError(f"layer {number + 1}: channels and kernel are 1 or more, dilation is 0 or more, found {layer}")


def _build(layer: Layer, dimensions, channels, before, convention, polyakov, field) -> nn.Module:
    if layer.kind == "lcb":
        return LCB(dimensions, channels, layer.channels, layer.kernel, convention=convention, dilation=layer.dilation,
                   symmetric=layer.symmetric, field=field)
    if layer.kind == "lconv":
        return LConv(dimensions, channels, layer.channels, layer.kernel, dilation=layer.dilation, symmetric=layer.symmetric,
                     field=field)
    if layer.kind == "lbl":
        return LBL(channels, before, layer.channels, field=field)
    if layer.kind == "lact":
        return LAct(layer.activation)
    return LExp(dimensions, channels, polyakov_loops=polyakov, field=field)
