"""`Convolutional`: a network of stages, built from a table: convolutions, pools, one global pool or flattening, linear maps."""

from collections.abc import Sequence
from math import prod, sqrt
from typing import NamedTuple

import torch
from torch import nn

from slhmc.errors import InputError
from slhmc.networks.lcnn.batch import TORCH_TYPES, check_weights

FAMILIES = ("equivariant", "strided", "flattening")
POOLS = {"average_pool": nn.functional.avg_pool2d, "max_pool": nn.functional.max_pool2d}
STRIDE = 2  # of a pool, and its window
ENDS = {"global_average": lambda field: field.mean((2, 3)), "global_sum": lambda field: field.sum((2, 3)),
        "global_max": lambda field: field.amax((2, 3)), "flatten": lambda field: field.flatten(1)}
ACTIVATIONS = {"leaky_relu": nn.functional.leaky_relu, "relu": nn.functional.relu, "tanh": torch.tanh, "abs": torch.abs}


class Stage(NamedTuple):
    """One stage. convolution: `channels` behind kernel x kernel sites; linear: `channels` numbers; others have neither."""

    kind: str
    channels: int = 0
    kernel: int = 1
    bias: bool = True


def family_of(stages: Sequence[Stage]) -> str:
    """flattening: numbers of a lattice are told apart by place; strided: pools of stride 2; equivariant: neither."""
    kinds = {stage.kind for stage in stages}
    return "flattening" if "flatten" in kinds else "strided" if kinds & set(POOLS) else "equivariant"


class Convolutional(nn.Module):
    """Numbers for a configuration, (sample, output), of channels on a lattice in two dimensions, (sample, channel, x_1, x_2).

    An activation follows every convolution and every linear map but the last. Padding is circular; a kernel of n sites covers
    x - floor(n/2), ..., x + floor((n-1)/2) along each direction, so that one of two sites has x and x - nu, as the divergence of
    fluxes needs. Pools have windows and strides of two sites: where an extent is odd, its last sites are left out. Weights
    and biases begin uniform in +-1 / sqrt(inputs of a sum), from `seed`. extent: of the lattice that a flattening network is tied
    to. Architectures: arXiv:2103.14686. Raises InputError for what cannot be built.
    """

    def __init__(self, stages: Sequence[Stage], inputs: int = 4, extent: Sequence[int] | None = None,
                 activation: str = "leaky_relu", real: str = "float", seed: int = 1):
        super().__init__()
        self.stages, self.inputs, self.activation, self.real = list(stages), inputs, activation, real
        self.family = family_of(self.stages)
        self.extent = None if self.family != "flattening" else tuple(extent or ())
        _check(self.stages, self.extent, activation, real)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        generator, width, sites = torch.Generator().manual_seed(seed), inputs, list(self.extent or ())
        for stage in self.stages:
            if stage.kind in POOLS:
                sites = [length // STRIDE for length in sites]
            elif stage.kind == "flatten":
                width *= prod(sites)
            elif stage.kind in ("convolution", "linear"):
                window = (stage.kernel,) * 2 if stage.kind == "convolution" else ()
                fan = width * prod(window)
                self.weights.append(_uniform((stage.channels, width, *window), fan, real, generator))
                self.biases.append(_uniform((stage.channels * stage.bias,), fan, real, generator))
                width = stage.channels
        self.outputs = width

    @property
    def parameter_count(self) -> int:
        """Weights and biases."""
        return sum(parameter.numel() for parameter in self.parameters())

    def check(self, extent: Sequence[int]) -> None:
        """InputError unless the network can act on that lattice."""
        words, sites = "x".join(map(str, extent)), list(extent)
        if self.extent is not None and tuple(extent) != self.extent:
            raise InputError(f"a network that flattens a lattice is tied to its extents: {'x'.join(map(str, self.extent))} "
                             f"expected, {words} found; end it with a global pool, or test it on its own lattice")
        for number, stage in enumerate(self.stages, 1):
            left = f"the {'x'.join(map(str, sites))} sites that are left of {words} there"
            if stage.kind == "convolution" and stage.kernel // 2 > min(sites):
                raise InputError(f"stage {number}: a kernel of {stage.kernel} sites goes around {left} more than once; narrow "
                                 "it, pool less, or take a larger lattice")
            if stage.kind in POOLS:
                if min(sites) < STRIDE:
                    raise InputError(f"stage {number}: nothing to pool on {left}; pool less, or take a larger lattice")
                sites = [length // STRIDE for length in sites]

    def forward(self, field: torch.Tensor) -> torch.Tensor:
        return self.fields(field)[-1]

    def fields(self, field: torch.Tensor) -> list[torch.Tensor]:
        """What goes in and what comes out of each stage: its maps, behind the activation."""
        found, number = [field], 0
        activation, last = ACTIVATIONS[self.activation], len(self.stages)
        for place, stage in enumerate(self.stages, 1):
            now = found[-1]
            if stage.kind in POOLS:
                now = POOLS[stage.kind](now, STRIDE)
            elif stage.kind in ENDS:
                now = ENDS[stage.kind](now)
            else:
                weight, bias = self.weights[number], self.biases[number] if stage.bias else None
                number += 1
                if stage.kind == "convolution":
                    around = (stage.kernel // 2, (stage.kernel - 1) // 2) * 2
                    now = activation(nn.functional.conv2d(nn.functional.pad(now, around, mode="circular"), weight, bias))
                else:
                    now = nn.functional.linear(now, weight, bias)
                    now = now if place == last else activation(now)
            found.append(now)
        return found

    def field_rms(self, field: torch.Tensor) -> list[float]:
        """Root mean square of the input and of what each stage makes of it."""
        with torch.no_grad():
            return [float(now.square().mean().sqrt()) for now in self.fields(field)]


def _uniform(shape: tuple[int, ...], inputs: int, real: str, generator: torch.Generator) -> nn.Parameter:
    """InputError for too many. Drawn in double, so that networks of one seed begin alike in both precisions."""
    check_weights(shape)
    drawn = 2 * torch.rand(prod(shape), generator=generator, dtype=torch.float64) - 1
    return nn.Parameter((drawn.reshape(shape) / sqrt(inputs)).to(TORCH_TYPES[real]))


def _check(stages: Sequence[Stage], extent: Sequence[int] | None, activation: str, real: str) -> None:
    """Convolutions and pools, one end, linear maps."""
    for word, value, known in (("activation", activation, ACTIVATIONS), ("precision", real, TORCH_TYPES)):
        if value not in known:
            raise InputError(f"{word} {value!r}; known are {', '.join(known)}")
    known = ("convolution", "linear", *POOLS, *ENDS)
    ends = [number for number, stage in enumerate(stages) if stage.kind in ENDS]
    for number, stage in enumerate(stages):
        if stage.kind not in known:
            raise InputError(f"stage {number + 1}: kind {stage.kind!r}; known are {', '.join(known)}")
        if stage.kind in ("convolution", "linear") and min(stage.channels, stage.kernel) < 1:
            raise InputError(f"stage {number + 1}: kernel and channels are 1 or more, found {stage.kernel} and {stage.channels}")
        if len(ends) == 1 and stage.kind not in ENDS and (number > ends[0]) != (stage.kind == "linear"):
            raise InputError(f"stage {number + 1}: {stage.kind} found; convolutions and pools are before the end of the lattice "
                             f"({stages[ends[0]].kind}), linear maps behind it")
    if len(ends) != 1:
        raise InputError(f"{len(ends)} ends of the lattice found, one expected: {', '.join(ENDS)}")
    if extent is not None and len(extent) != 2:
        raise InputError("a network that flattens a lattice is tied to its extents: give both of them")
