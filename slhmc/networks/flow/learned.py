"""`LearnedFlow`: links carried along dU/dt = Q(U, theta, t) U, with gradients by back-propagation or by the adjoint equation."""

from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from slhmc.errors import InputError
from slhmc.networks.flow.algebra import bracket, moved, times_links
from slhmc.networks.flow.schemes import SCHEMES, advance, combined, stages
from slhmc.networks.lcnn.batch import LinkBatch
from slhmc.networks.lcnn.functions import Exponential

GRADIENTS = ("backpropagation", "adjoint")


class LearnedFlow(nn.Module):
    """U(0) -> U(time) in `steps` equal steps of a scheme of SCHEMES.

    gradient: "backpropagation", the exact derivative of the discrete map, each step made again on the way back, so that memory
    grows by one field of links a step; "adjoint", the adjoint equation integrated backwards beside the links, with memory that
    does not grow: exact up to the error of the scheme. Raises InputError for unknown names, times or steps that are not positive.
    """

    def __init__(self, generator: nn.Module, time: float, steps: int, scheme: str = "munthe_kaas_4",
                 gradient: str = "backpropagation"):
        super().__init__()
        if scheme not in SCHEMES or gradient not in GRADIENTS:
            raise InputError(f"scheme {scheme!r}, gradient {gradient!r}; schemes are {', '.join(SCHEMES)}, gradients "
                             f"{', '.join(GRADIENTS)}")
        if steps < 1 or not time > 0:
            raise InputError(f"{steps} steps to time {time}: both must be positive")
        self.generator, self.time, self.steps, self.scheme, self.gradient = generator, time, steps, scheme, gradient

    @property
    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def check(self, extent, colors: int) -> None:
        """InputError unless the generator can act on links of that lattice and group."""
        self.generator.check(extent, colors)

    def field_rms(self, batch: LinkBatch) -> list[float]:
        """Root mean square of |Q| at the beginning and in the end."""
        with torch.no_grad():
            batch = self.generator.prepared(batch)
            ends = (batch, 0.0), (self(batch), self.time)
            return [float(self.generator(*end).square().sum(2).mean().sqrt()) for end in ends]

    def forward(self, batch: LinkBatch, time: float | None = None) -> LinkBatch:
        """The links at `time`, by as many equal steps as come nearest to the usual size, one at least."""
        time = self.time if time is None else time
        steps = max(1, round(time * self.steps / self.time))
        self.check(batch.extent, batch.colors)
        batch = self.generator.prepared(batch)
        if self.gradient == "adjoint" and torch.is_grad_enabled():
            return batch.with_links(AdjointFlow.apply(batch.links, batch, self, time, steps, *self.parameters()))
        step = time / steps
        for number in range(steps):
            batch = self._step(batch, number * step, step)
        return batch

    def links(self, batch: LinkBatch, time: float | None = None) -> torch.Tensor:
        """The packed links at `time`, (sample, site, mu x real): what a fit compares."""
        flowed = self.generator.packed(self(batch, time))
        return flowed.permute(0, 3, 1, 2).flatten(2)

    def _step(self, batch: LinkBatch, time: float, step: float) -> LinkBatch:
        if not torch.is_grad_enabled():
            return advance(SCHEMES[self.scheme], batch, time, step, self.generator)
        return batch.with_links(checkpoint(partial(self._links_after, batch, time, step), batch.links, use_reentrant=False))

    def _links_after(self, batch: LinkBatch, time: float, step: float, links):
        return advance(SCHEMES[self.scheme], batch.with_links(links), time, step, self.generator).links


class AdjointFlow(torch.autograd.Function):
    """The flow with its gradient by the adjoint equation on the group.

    A change exp(e) U of the links obeys de/dt = DQ e + [Q, e], D the derivative with respect to such changes. So with L_a =
    dL/de_a: dL/dt = -(DQ)^T L + [Q, L], where [Q, L], the coadjoint term, is there because e lives at a point of the group that
    moves; and dL/dtheta = int L dQ/dtheta dt. All are integrated back in time by the scheme of the flow.
    """

    @staticmethod
    def forward(ctx, links, batch, flow, time, steps, *parameters):
        step = time / steps
        at = batch.with_links(links)
        for number in range(steps):
            at = advance(SCHEMES[flow.scheme], at, number * step, step, flow.generator)
        ctx.batch, ctx.flow, ctx.time, ctx.steps, ctx.parameters = batch.bare(), flow, time, steps, parameters
        ctx.save_for_backward(at.links)
        return at.links

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *gradients):
        batch = ctx.batch.with_links(ctx.saved_tensors[0].detach())
        covector = algebra_gradient(batch, gradients[0])
        totals = [torch.zeros_like(parameter) for parameter in ctx.parameters]
        step = ctx.time / ctx.steps
        for number in reversed(range(ctx.steps)):
            batch, covector = step_back(ctx.flow, batch, covector, totals, (number + 1) * step, step, ctx.parameters)
        # a gradient in the reals of links whose components along T_a U are L_a
        norm = 4 if batch.algebra == "quaternion" else 2
        with torch.no_grad():
            return norm * times_links(batch, covector), None, None, None, None, *totals


def algebra_gradient(batch: LinkBatch, gradient) -> torch.Tensor:
    """dL/de of exp(e) U at e = 0, from dL/dU."""
    with torch.enable_grad():
        e = batch.links.new_zeros(*batch.links.shape[:2], batch.colors**2 - 1, *batch.links.shape[3:]).requires_grad_()
        return torch.autograd.grad(Exponential.apply(e, batch.links, batch), e, gradient.contiguous())[0]


def step_back(flow: LearnedFlow, batch, covector, totals, time: float, step: float, parameters):
    """Links and covector at time - step; adds dL/dtheta of the step to `totals`."""
    scheme, slopes, covector_slopes = SCHEMES[flow.scheme], [], []

    def at_stage(stage, stage_time):
        factors = scheme.a[len(slopes)]
        here = covector - step * sum((f * k for f, k in zip(factors, covector_slopes, strict=False)), torch.zeros_like(covector))
        with torch.enable_grad():
            e = torch.zeros_like(covector).requires_grad_()
            q = flow.generator(moved(stage, e), stage_time)
            found = torch.autograd.grad(q, [e, *parameters], here, allow_unused=True)
        q = q.detach()
        pulled = torch.zeros_like(covector) if found[0] is None else found[0]
        covector_slopes.append(bracket(q, here, batch.colors) - pulled)
        weight = step * scheme.b[len(slopes)]
        for total, part in zip(totals, found[1:], strict=True):
            if part is not None:
                total.add_(part, alpha=weight)
        slopes.append(q)
        return q
    with torch.no_grad():
        moved_by, _ = stages(scheme, batch, time, -step, at_stage)
        before = combined(scheme, batch, -step, scheme.b, moved_by)[0]
        change = sum((f * k for f, k in zip(scheme.b, covector_slopes, strict=True)), torch.zeros_like(covector))
    return before, covector - step * change
