"""`CNN`: the convolutional network without gauge symmetry that L-CNNs are measured against (arXiv:2012.12901)."""

from collections.abc import Sequence
from math import prod, sqrt

import torch
from torch import nn

from slhmc.errors import InputError
from slhmc.networks.lcnn import LinkBatch
from slhmc.networks.lcnn.batch import SU2_MATRIX, TORCH_TYPES, check_weights
from slhmc.networks.lcnn.loops import planes, plaquettes

ACTIVATIONS = {"relu": nn.functional.relu, "leaky_relu": nn.functional.leaky_relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}
CONVOLUTIONS = {2: nn.functional.conv2d, 3: nn.functional.conv3d}


class CNN(nn.Module):
    """One number for a configuration: convolutions with circular padding, average over sites, linear map; (sample, 1, outputs).

    layers: (kernel size, channels) of each convolution, an activation after each. Input are the real and imaginary parts of all
    entries of links and plaquettes U_mu(x) U_nu(x+mu) U_mu(x+nu)^+ U_nu(x)^+, 2 Nc^2 (D + D (D-1) / 2) channels. Weights and
    biases begin uniform in +-1 / sqrt(inputs of a sum), from `seed`. Equivariant under translations, not under gauge
    transformations. Raises InputError for what cannot be built: two and three dimensions are.
    """

    def __init__(self, colors: int, dimensions: int, layers: Sequence[tuple[int, int]], activation: str = "relu",
                 outputs: int = 1, real: str = "float", seed: int = 1):
        super().__init__()
        _check(colors, dimensions, layers, activation, real)
        self.colors, self.dimensions, self.real, self.activation = colors, dimensions, real, activation
        self.kernels = [kernel for kernel, _ in layers]
        generator = torch.Generator().manual_seed(seed)
        widths = [2 * colors**2 * (dimensions + len(planes(dimensions))), *(channels for _, channels in layers)]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for kernel, before, after in zip(self.kernels, widths[:-1], widths[1:], strict=True):
            self.weights.append(_uniform((after, before, *[kernel] * dimensions), before * kernel**dimensions, real, generator))
            self.biases.append(_uniform((after,), before * kernel**dimensions, real, generator))
        self.head_weight = _uniform((outputs, widths[-1]), widths[-1], real, generator)
        self.head_bias = _uniform((outputs,), widths[-1], real, generator)

    @property
    def parameter_count(self) -> int:
        """Weights and biases."""
        return sum(parameter.numel() for parameter in self.parameters())

    def check(self, extent: Sequence[int], colors: int) -> None:
        """InputError unless the network can act on links of that lattice and group."""
        shape = "x".join(map(str, extent))
        if colors != self.colors or len(extent) != self.dimensions:
            raise InputError(f"the network is for SU({self.colors}) in {self.dimensions} dimensions, found SU({colors}) links on "
                             f"{shape}")
        if max(self.kernels, default=1) > min(extent):
            raise InputError(f"a kernel of the network has {max(self.kernels)} sites, too wide for {shape}; narrow it or take a "
                             f"lattice of {max(self.kernels)} sites or more in each direction")

    def forward(self, batch: LinkBatch) -> torch.Tensor:
        pooled = self.fields(batch)[-1].flatten(2).mean(2)
        return (pooled @ self.head_weight.T + self.head_bias)[:, None]

    def fields(self, batch: LinkBatch) -> list[torch.Tensor]:
        """What goes into the first layer and comes out of each, (sample, channel, ..., y, x)."""
        self.check(batch.extent, batch.colors)
        found = [input_channels(batch)]
        convolution, activation = CONVOLUTIONS[self.dimensions], ACTIVATIONS[self.activation]
        for kernel, weight, bias in zip(self.kernels, self.weights, self.biases, strict=True):
            around = [(kernel - 1) // 2, kernel // 2] * self.dimensions
            found.append(activation(convolution(nn.functional.pad(found[-1], around, mode="circular"), weight, bias)))
        return found

    def field_rms(self, batch: LinkBatch) -> list[float]:
        """Root mean square of the input and of what each layer makes of it."""
        with torch.no_grad():
            return [float(field.square().mean().sqrt()) for field in self.fields(batch)]


def input_channels(batch: LinkBatch) -> torch.Tensor:
    """Entries of links, then of plaquettes, row by row, real and imaginary part side by side: (sample, channel, ..., y, x)."""
    matrices = torch.cat([batch.links, plaquettes(batch)], 1)
    if batch.colors == 2:
        matrices = torch.einsum("rq,bmqsl->bmrsl", torch.as_tensor(SU2_MATRIX).to(matrices), matrices)
    found = batch.of_samples(matrices.flatten(1, 2)).movedim(1, -1)
    return found.unflatten(-1, tuple(reversed(batch.extent)))


def _uniform(shape: tuple[int, ...], inputs: int, real: str, generator: torch.Generator) -> nn.Parameter:
    """InputError for too many. Drawn in double, so that networks of one seed begin alike in both precisions."""
    check_weights(shape)
    drawn = 2 * torch.rand(prod(shape), generator=generator, dtype=torch.float64) - 1
    return nn.Parameter((drawn.reshape(shape) / sqrt(inputs)).to(TORCH_TYPES[real]))


def _check(colors: int, dimensions: int, layers: Sequence[tuple[int, int]], activation: str, real: str) -> None:
    if colors not in (2, 3) or dimensions not in CONVOLUTIONS:
        raise InputError(f"CNNs are built for Nc = 2 and 3 in 2 and 3 dimensions, found Nc = {colors} in {dimensions}")
    for word, value, known in (("activation", activation, ACTIVATIONS), ("precision", real, TORCH_TYPES)):
        if value not in known:
            raise InputError(f"{word} {value!r}; known are {', '.join(known)}")
    for number, layer in enumerate(layers, 1):
        if min(layer) < 1:
            raise InputError(f"layer {number}: kernel and channels are 1 or more, found {layer[0]} and {layer[1]}")
