"""The layers of L-CNNs: maps of fields W and links that commute with gauge transformations (arXiv:2012.12901, arXiv:2303.11448).

A field is a tensor (block, channel, component, site, lane) in the components of kernels/lcnn.h. Layers take and give
(W, batch, the W before the last transport).
"""

from functools import cache
from math import sqrt

import numpy as np
import torch
from torch import nn

from slhmc.errors import InputError
from slhmc.networks.lcnn.batch import LinkBatch
from slhmc.networks.lcnn.functions import Exponential, MultiplyChannels, Shape, TransportAndMultiply
from slhmc.networks.lcnn.loops import paths, plaquettes, polyakov

CONVENTIONS = ("arxiv_v1", "prl_2022")
ACTIVATIONS = {"relu": torch.relu, "leaky_relu": nn.functional.leaky_relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid,
               "identity": lambda x: x}


def shifts_of(dimensions: int, kernel: int, step: int, symmetric: bool) -> tuple[tuple[int, int], ...]:
    """(mu, steps) of the other sites of a kernel of width `kernel`, the origin counted: 1 .. kernel - 1 times step, mu by mu."""
    signs, lengths = (1, -1) if symmetric else (1,), [k * step for k in range(1, kernel)]
    return tuple((mu, sign * length) for mu in range(dimensions) for sign in signs for length in lengths)


class LCB(nn.Module):
    """L-CB: W''_i = sum a_ijk A_j T_k, A = (W_j, W_j^+, 1), T = (the W_j transported to x by all shifts, their W^+, 1).

    convention: "arxiv_v1": T has no W(x) unless the kernel is 1, dilation counts from 0; "prl_2022": T begins with W(x), dilation
    counts from 1. weights [outputs, 2 channels + 1, 2 channels s + 1], s = number of transported sites, real or complex.
    """

    def __init__(self, dimensions, channels, outputs, kernel, *, convention, dilation, symmetric, field):
        super().__init__()
        first = CONVENTIONS.index(convention)
        step = 1 if dilation is None else dilation + 1 - first
        if kernel < 1 or step < 1:
            raise InputError(f"kernel {kernel} with dilation {dilation}: a kernel is 1 or more, a dilation {first} or more "
                             f"in the convention {convention}")
        self.reach = (kernel - 1) * step
        sites = transported_sites(dimensions, kernel, convention, symmetric)
        self.weight = field.parameter(outputs, 2 * channels + 1, 2 * channels * sites + 1)
        shifts = shifts_of(dimensions, kernel, step, symmetric)
        local = convention == "prl_2022" or not shifts
        self.shape = Shape(channels, outputs, shifts, local, unit=True, daggers=True, one=True)
        if self.shape.transported != channels * sites:
            raise AssertionError(f"weights for {sites} sites, {self.shape.transported} matrices: the layer was built wrongly")

    def forward(self, field, batch: LinkBatch, before=None):
        n = self.shape.transported
        rows = self.weight.flatten(0, 1)
        return transport_and_multiply(field, batch, self.shape, rows[:, :n], rows[:, n:2 * n], rows[:, 2 * n:]), batch, field


def transported_sites(dimensions: int, kernel: int, convention: str, symmetric: bool) -> int:
    """How many sites the transported list of L-CB has matrices of."""
    others = (2 if symmetric else 1) * dimensions * (kernel - 1)
    return 1 + others if convention == "prl_2022" else max(1, others)


class LConv(nn.Module):
    """L-Conv: W'_i = sum w_{i mu k j} U_{x, k mu} W_j(x + k mu) U^+, with W_j(x) among them. weights [outputs, s channels]."""

    def __init__(self, dimensions, channels, outputs, kernel, *, dilation, symmetric, field):
        super().__init__()
        step = 1 if dilation is None else dilation
        if step < 1:
            raise InputError(f"an L-Conv with dilation {dilation}: 1 or more expected, the distance of its sites")
        self.reach = (kernel - 1) * step
        self.weight = field.parameter(outputs, channels * transported_sites(dimensions, kernel, "prl_2022", symmetric))
        shifts = shifts_of(dimensions, kernel, step, symmetric)
        self.shape = Shape(channels, outputs, shifts, local=True, unit=False, bilinear=False)

    def forward(self, field, batch: LinkBatch, before=None):
        return transport_and_multiply(field, batch, self.shape, self.weight), batch, field


class LBL(nn.Module):
    """L-BL: W''_i = sum a_ijk W_j W'_k, W' what comes in, W what went into the L-Conv or L-CB just before, or W' where there
    is none.

    weights [outputs, channels of W, channels of W'].
    """

    def __init__(self, channels, before, outputs, *, field):
        super().__init__()
        self.reach, self.channels = 0, channels
        self.shape = Shape(channels, outputs * before, (), local=True, unit=False, bilinear=False)
        self.product = Shape(before, outputs, (), local=False, unit=False)
        self.weight = field.parameter(outputs, before, channels)

    def forward(self, field, batch: LinkBatch, before=None):
        before = field if before is None else before
        mixed = transport_and_multiply(field, batch, self.shape, self.weight.flatten(0, 1))
        return MultiplyChannels.apply(before, mixed, batch, self.product), batch, None


class LAct(nn.Module):
    """L-Act: W'_i = a(Re tr W_i) W_i."""

    def __init__(self, activation: str):
        super().__init__()
        self.reach, self.activation = 0, activation

    def forward(self, field, batch: LinkBatch, before=None):
        return ACTIVATIONS[self.activation](traces(field, batch)[0])[:, :, None] * field, batch, None


class LExp(nn.Module):
    """L-Exp: U'_mu = exp(i sum_i beta_{mu i} [W_i]_ah) U_mu, [C]_ah = (C - C^+)/2i - trace, Hermitian: beta is real.

    What comes behind sees plaquettes (and Polyakov loops) of U'. weights [dimensions, channels].
    """

    def __init__(self, dimensions, channels, *, polyakov_loops: bool, field):
        super().__init__()
        self.reach, self.polyakov = 0, polyakov_loops
        self.weight = nn.Parameter(field.draw((dimensions, channels), channels).real)

    def forward(self, field, batch: LinkBatch, before=None):
        matrix = algebra_coefficients(batch.algebra, batch.colors).to(field)
        coefficients = torch.einsum("mi,ac,bicsl->bmasl", self.weight, matrix, field)
        moved = batch.with_links(Exponential.apply(coefficients, batch.links, batch))
        return first_field(moved, self.polyakov), moved, None


# ---------------------------------------------------------------- pieces
def transport_and_multiply(field, batch: LinkBatch, shape: Shape, raw, daggered=None, unit=None):
    """The mixtures sum raw_k T_k + daggered_k T_k^+ + unit, and the products of `shape` with them.

    T = H + A in Hermitian and anti-Hermitian part: real weights act on H by raw + daggered and on A by raw - daggered.
    """
    plus, minus = (raw, raw) if daggered is None else (raw + daggered, raw - daggered)
    with_unit = plus if unit is None else torch.cat([plus, unit], 1)
    if raw.is_complex():
        if unit is not None:
            minus = torch.cat([minus, unit], 1)
        mixing = (complex_mixing(with_unit, minus),)
    else:
        mixing = (with_unit.contiguous(), minus.contiguous())
    links = paths(batch, shape.shifts) if shape.shifts else field.new_empty(0)
    return TransportAndMultiply.apply(field, links, batch, shape, *mixing)


def complex_mixing(plus, minus):
    """Real matrix on (H_k, A_k / i) of p H + m A: (Re p, -Im m; Im p, Re m), rows and columns in pairs."""
    rows = torch.stack([torch.stack([plus.real, -minus.imag], -1), torch.stack([plus.imag, minus.real], -1)], 1)
    return rows.flatten(2).flatten(0, 1).contiguous()


def first_field(batch: LinkBatch, polyakov_loops: bool = False) -> torch.Tensor:
    """Plaq, and Poly: the channels that a network begins with."""
    def make():
        matrices = plaquettes(batch)
        if polyakov_loops:
            matrices = torch.cat([matrices, polyakov(batch)], 1)
        if batch.algebra == "quaternion":
            return matrices
        return torch.einsum("cr,bmrsl->bmcsl", components_of_matrix(batch.colors).to(matrices), matrices)
    return batch.derived(("first", polyakov_loops), make)


def traces(field, batch: LinkBatch):
    """Re tr W and Im tr W, each (block, channel, site, lane)."""
    if batch.algebra == "quaternion":
        real = 2 * field[:, :, 0]
        return real, torch.zeros_like(real)
    n = batch.colors
    return field[:, :, :n].sum(2), field[:, :, n * n:n * n + n].sum(2)


@cache
def components_of_matrix(colors: int) -> torch.Tensor:
    """Components (kernels/lcnn.h) of a matrix from its reals, an orthogonal matrix [2 Nc^2, 2 Nc^2]."""
    n, half = colors, sqrt(0.5)
    table = np.zeros((2, n * n, n, n, 2))  # part, component, i, j, re / im
    for i in range(n):
        table[0, i, i, i, 0] = table[1, i, i, i, 1] = 1
    k = n
    for i in range(n):
        for j in range(i + 1, n):
            for first, second, value in (((0, k), (i, j, 0), half), ((0, k), (j, i, 0), half), ((0, k + 1), (i, j, 1), half),
                                         ((0, k + 1), (j, i, 1), -half), ((1, k), (i, j, 1), half), ((1, k), (j, i, 1), half),
                                         ((1, k + 1), (j, i, 0), half), ((1, k + 1), (i, j, 0), -half)):
                table[first + second] = value
            k += 2
    return torch.as_tensor(table.reshape(2 * n * n, 2 * n * n))


@cache
def algebra_coefficients(algebra: str, colors: int) -> torch.Tensor:
    """c_a of the traceless anti-Hermitian part of W = sum_a c_a T_a + ... from components, [Nc^2 - 1, components].

    Order and norm of T_a as in docs/conventions.md: pairs i < j (symmetric, antisymmetric), then the diagonal ones.
    """
    if algebra == "quaternion":
        return 2 * torch.eye(4, dtype=torch.float64)[[3, 2, 1]]
    n = colors
    table = np.zeros((n * n - 1, 2 * n * n))
    pairs = n * (n - 1)
    for k in range(0, pairs, 2):
        table[k, n * n + n + k] = sqrt(2)           # Im W_ij + Im W_ji
        table[k + 1, n * n + n + k + 1] = -sqrt(2)  # Re W_ij - Re W_ji
    for m in range(1, n):
        row = pairs + m - 1
        table[row, n * n:n * n + m] = sqrt(2 / (m * (m + 1)))
        table[row, n * n + m] = -m * sqrt(2 / (m * (m + 1)))
    return torch.as_tensor(table)
