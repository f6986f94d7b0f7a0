"""The kernels of kernels/lcnn.h as differentiable functions of torch."""

from dataclasses import dataclass
from typing import Any

import torch

from slhmc.networks.lcnn.batch import LinkBatch

WORKSPACE_BYTES = 1 << 21  # of a chunk of sites: transported and mixed matrices, which should stay in the cache


class LinkProduct(torch.autograd.Function):
    """C(x) = A(x + s) B(x + t), A^+ and B^+ where asked; A, B: (block, real, site, lane), possibly one of several of a tensor.

    s, t: tables of `LinkBatch.targets`.
    """

    @staticmethod
    def forward(ctx: Any, left, right, batch: LinkBatch, s, t, left_adjoint: bool, right_adjoint: bool):
        batch.expect(left=(left, (batch.link_reals,)), right=(right, (batch.link_reals,)))
        out = torch.empty(left.shape, dtype=left.dtype, device=left.device)
        ctx.batch, ctx.options = batch.bare(), (s, t, left.stride(0), right.stride(0), left_adjoint, right_adjoint, batch.sites)
        ctx.save_for_backward(left, right)
        batch.launch("lcnn_link_product", batch.blocks * batch.sites, left, right, out, *ctx.options)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients):
        left, right = ctx.saved_tensors
        batch, gradient = ctx.batch, gradients[0].contiguous()
        dleft, dright = torch.empty_like(gradient), torch.empty_like(gradient)
        batch.launch("lcnn_link_product_back", batch.blocks * batch.sites, left, right, gradient, dleft, dright, *ctx.options)
        return dleft, dright, None, None, None, None, None


class Exponential(torch.autograd.Function):
    """U' = exp(sum_a q_a T_a) U; q: (block, mu, a, site, lane), U: (block, mu, real, site, lane)."""

    @staticmethod
    def forward(ctx: Any, coefficients, links, batch: LinkBatch):
        coefficients, links, d = coefficients.contiguous(), links.contiguous(), batch.dimensions
        batch.expect(coefficients=(coefficients, (d, batch.colors**2 - 1)), links=(links, (d, batch.link_reals)))
        out = torch.empty_like(links)
        ctx.batch = batch.bare()
        ctx.save_for_backward(coefficients, links)
        batch.launch("lcnn_exponential", batch.blocks * batch.dimensions * batch.sites, coefficients, links, out, batch.sites)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients):
        coefficients, links = ctx.saved_tensors
        dq, du = torch.empty_like(coefficients), torch.empty_like(links)
        batch = ctx.batch
        batch.launch("lcnn_exponential_back", batch.blocks * batch.dimensions * batch.sites, coefficients, links,
                     gradients[0].contiguous(), dq, du, batch.sites)
        return dq, du, None


@dataclass(frozen=True)
class Shape:
    """What a layer of transports and products does: `local` W_j(x) among what is mixed, with a `unit` there, `shifts` to other
    sites; products with W_j, with `daggers` with W_j^+, with `one` with the unit matrix; `bilinear` False: no products at all.
    """

    channels: int
    outputs: int
    shifts: tuple[tuple[int, int], ...]  # (mu, steps)
    local: bool
    unit: bool
    bilinear: bool = True
    daggers: bool = False
    one: bool = False

    @property
    def rows(self) -> int:
        """Mixed matrices."""
        return self.outputs * (self.channels * (1 + self.daggers) + self.one if self.bilinear else 1)

    @property
    def transported(self) -> int:
        """Matrices that are mixed, without the unit."""
        return self.channels * (len(self.shifts) + self.local)


class TransportAndMultiply(torch.autograd.Function):
    """out_i = sum_j W_j M_ij + ..., M = mixtures of the transported T (`Shape`, kernels/lcnn.h).

    field W: (block, channel, component, site, lane); paths: links of the shifts, (block, shift, real, site, lane). mixing: real
    weights: (rows, transported + unit) for the Hermitian components and (rows, transported) for the others; complex ones: one
    matrix (2 rows, 2 (transported + unit)) for both parts of each. T and M are made chunk by chunk and again on the way back.
    """

    @staticmethod
    def forward(ctx: Any, field, paths, batch: LinkBatch, shape: Shape, *mixing):
        field = field.contiguous()
        batch.expect(field=(field, (shape.channels, batch.components)))
        if shape.shifts:
            batch.expect(paths=(paths, (len(shape.shifts), batch.link_reals)))
        ctx.batch, ctx.shape = batch.bare(), shape
        ctx.save_for_backward(field, paths, *mixing)
        out = field.new_empty(batch.blocks, shape.outputs, *field.shape[2:])
        chunks = Chunks(batch, shape, field, mixing)
        for block in range(batch.blocks):
            for begin, count in chunks.ranges():
                chunks.mix(field, paths, block, begin, count)
                if shape.bilinear:
                    batch.launch("lcnn_bilinear", count, field[block], chunks.mixed, out[block], *chunks.products(count),
                                 begin=begin)
                else:
                    out[block, :, :, begin:begin + count] = chunks.of_mixed(count)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients):
        field, paths, *mixing = ctx.saved_tensors
        batch, shape, gradient = ctx.batch, ctx.shape, gradients[0].contiguous()
        need_paths = ctx.needs_input_grad[1]
        dfield = torch.zeros_like(field)
        dpaths = torch.zeros_like(paths) if need_paths else None
        chunks = Chunks(batch, shape, field, mixing)
        dmixing = [torch.zeros_like(matrix) for matrix in mixing]
        for block in range(batch.blocks):
            for begin, count in chunks.ranges():
                if shape.bilinear or any(ctx.needs_input_grad[4:]):
                    chunks.mix(field, paths, block, begin, count)
                if shape.bilinear:
                    batch.launch("lcnn_bilinear_back", count, field[block], gradient[block], chunks.mixed, dfield[block],
                                 *chunks.products(count), begin=begin)
                else:
                    chunks.of_mixed(count)[...] = gradient[block, :, :, begin:begin + count]
                chunks.add_mixing_gradient(dmixing, count)
                chunks.unmix(count)
                chunks.transport_back(field, paths, dfield, dpaths, block, begin, count)
        return dfield, dpaths, None, None, *dmixing


class MultiplyChannels(torch.autograd.Function):
    """out_i(x) = sum_j W_j(x) M_ij(x); W: (block, channel, component, site, lane), M: (block, outputs x channels, ...)."""

    @staticmethod
    def forward(ctx: Any, left, mixed, batch: LinkBatch, shape: Shape):
        left, mixed = left.contiguous(), mixed.contiguous()
        batch.expect(left=(left, (shape.channels, batch.components)), mixed=(mixed, (shape.rows, batch.components)))
        out = left.new_empty(batch.blocks, shape.outputs, *left.shape[2:])
        ctx.batch, ctx.shape = batch.bare(), shape
        ctx.save_for_backward(left, mixed)
        for block in range(batch.blocks):
            batch.launch("lcnn_bilinear", batch.sites, left[block], mixed[block], out[block], shape.channels, shape.outputs, 0, 0,
                         batch.sites, batch.sites, batch.components * batch.sites)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients):
        left, mixed = ctx.saved_tensors
        batch, shape, gradient = ctx.batch, ctx.shape, gradients[0].contiguous()
        dleft, dmixed = torch.zeros_like(left), mixed.clone()
        for block in range(batch.blocks):
            batch.launch("lcnn_bilinear_back", batch.sites, left[block], gradient[block], dmixed[block], dleft[block],
                         shape.channels, shape.outputs, 0, 0, batch.sites, batch.sites, batch.components * batch.sites)
        return dleft, dmixed, None, None


class Chunks:
    """Work arrays for a chunk of sites: T (transported + unit, component, site, lane) and M (rows, component, site, lane)."""

    def __init__(self, batch: LinkBatch, shape: Shape, field: torch.Tensor, mixing):
        self.batch, self.shape, self.mixing, self.item = batch, shape, mixing, field.element_size()
        self.inner = shape.transported + shape.unit
        # the two parts of complex mixtures are rows of their own, and must be equally far from each other
        self.gap = 1 if len(mixing) == 2 else 0
        per_site = (self.inner + shape.rows) * (batch.components + self.gap) * batch.lanes
        # Chunks of equal size: the last of unequal ones could be small
        parts = max(1, round(per_site * batch.sites * self.item / WORKSPACE_BYTES))
        self.size = -(-batch.sites // parts)
        work = field.new_empty(per_site * self.size)
        split = self.inner * (batch.components + self.gap) * batch.lanes * self.size
        self.transported, self.mixed = work[:split], work[split:]
        self.tables = [batch.targets(shift) for shift in shape.shifts]
        self.targets = torch.stack(self.tables) if self.tables else None
        self._unit_at = 0

    def ranges(self):
        """(first site, number of sites) of the chunks."""
        for begin in range(0, self.batch.sites, self.size):
            yield begin, min(self.size, self.batch.sites - begin)

    def products(self, count: int) -> tuple:
        """The last arguments of the kernels of products."""
        shape = self.shape
        return shape.channels, shape.outputs, shape.daggers, shape.one, self.batch.sites, count, self.length(count)

    def of_mixed(self, count: int) -> torch.Tensor:
        """M as (row, component, site, lane)."""
        return self._array(self.mixed, self.shape.rows, count).unflatten(1, (self.batch.components, count, self.batch.lanes))

    def mix(self, field, paths, block: int, begin: int, count: int) -> None:
        """T and M of a chunk."""
        shape, batch = self.shape, self.batch
        batch.launch("lcnn_transport", count, field[block], paths[block] if shape.shifts else None, self.targets,
                     self.transported, shape.channels, len(shape.shifts), shape.local, batch.sites, count, self.length(count),
                     begin=begin)
        if shape.unit and self._unit_at != count:
            self._set_unit(count)
        for matrix, transported, mixed in self._products(count):
            torch.mm(matrix, transported, out=mixed)

    def add_mixing_gradient(self, dmixing, count: int) -> None:
        """dmixing += dM T^+, dM in the place of M."""
        for total, (_, transported, mixed) in zip(dmixing, self._products(count), strict=True):
            total.addmm_(mixed, transported.t())

    def unmix(self, count: int) -> None:
        """dT in the place of T, from dM in that of M."""
        for matrix, transported, mixed in self._products(count):
            torch.mm(matrix.t(), mixed, out=transported)
        self._unit_at = 0  # overwritten

    def transport_back(self, field, paths, dfield, dpaths, block: int, begin: int, count: int) -> None:
        """dW and the gradient of the paths, from dT in the place of T."""
        shape, batch = self.shape, self.batch
        size = shape.channels * self.length(count) * batch.lanes
        first = 0
        if shape.local:
            batch.launch("lcnn_transport_back", count, field[block], None, None, self.transported, dfield[block], None,
                         shape.channels, batch.sites, count, self.length(count), begin=begin)
            first = 1
        for number, table in enumerate(self.tables):
            batch.launch("lcnn_transport_back", count, field[block], paths[block, number], table,
                         self.transported[(first + number) * size:], dfield[block],
                         None if dpaths is None else dpaths[block, number], shape.channels, batch.sites, count,
                         self.length(count), begin=begin)

    def length(self, count: int) -> int:
        """From a row of a work array to the next, in lane groups (kernels/lcnn.h, work_place)."""
        return self.batch.components * count + self.gap

    def _array(self, work, rows: int, count: int) -> torch.Tensor:
        row = self.length(count) * self.batch.lanes
        return work[:rows * row].view(rows, row)[:, :row - self.gap * self.batch.lanes]

    def _products(self, count: int):
        """(matrix, what it acts on, where its result goes) of the matrix products that make M of T."""
        batch, shape = self.batch, self.shape
        transported, mixed = self._array(self.transported, self.inner, count), self._array(self.mixed, shape.rows, count)
        if len(self.mixing) == 1:  # complex: both parts of a matrix are rows of their own
            yield self.mixing[0], transported.view(2 * self.inner, -1), mixed.view(2 * shape.rows, -1)
            return
        split = batch.hermitian * count * batch.lanes
        yield self.mixing[0], transported[:, :split], mixed[:, :split]
        yield self.mixing[1], transported[:shape.transported, split:], mixed[:, split:]

    def _set_unit(self, count: int) -> None:
        """The unit matrix as the last of T: with real weights it acts on Hermitian parts only."""
        unit = self._array(self.transported, self.inner, count)[-1].view(self.batch.components, -1)
        unit.zero_()
        unit[:1 if self.batch.algebra == "quaternion" else self.batch.colors] = 1
        self._unit_at = count
