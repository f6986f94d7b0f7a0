"""What the engine computes, as torch sees it: each value with its derivative from the kernels.

Numbers of torch are the same on all ranks. Functions of theta take a `TrainableGuide` and a `Sample`.
"""

import numpy as np
import torch

from slhmc.lattice import AlgebraField
from slhmc.learning.guide import TrainableGuide
from slhmc.learning.samples import Sample

DISPLACEMENT = 5e-3  # of a link, root mean square, in the finite differences of the force loss


class _Known(torch.autograd.Function):
    """A number whose gradient, if it is wanted, was computed with it; `evaluate(theta, wanted)` -> (number, gradient)."""

    @staticmethod
    def forward(ctx, theta, evaluate):
        value, gradient = evaluate(theta.detach().numpy(), ctx.needs_input_grad[0])
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(torch.from_numpy(np.ascontiguousarray(gradient)))
        return theta.new_tensor(value)

    @staticmethod
    def backward(ctx, outer):
        (gradient,) = ctx.saved_tensors
        return outer * gradient, None


def difference(theta: torch.Tensor, guide: TrainableGuide, sample: Sample) -> torch.Tensor:
    """D = S_theta(U, phi) - S(U, phi). Collective."""
    def evaluate(values, wanted):
        guide.set(values)
        value, gradient = guide.value_and_gradient(sample.U, sample.phi, wanted)
        return value - sample.action, gradient
    return _Known.apply(theta, evaluate)


def force_distance(theta: torch.Tensor, guide: TrainableGuide, sample: Sample) -> torch.Tensor:
    """|F_theta - F|^2 per link: the mean over links of sum_a (F_theta - F)_a^2. Collective.

    With v = F_theta - F held fixed, its gradient is 2 <v, dF_theta / dtheta> = -2 d/ds dS_theta / dtheta (exp(s v) U):
    derivatives of second order come from a difference of those of first order.
    """
    U, links = sample.U, sample.U.lattice.sites * sample.U.lattice.dimensions

    def evaluate(values, wanted):
        guide.set(values)
        v = AlgebraField(U.lattice, U.colors)
        sample.target.begin_trajectory()
        sample.target.add_force(U, sample.phi, v, -1.0)
        guide.add_force(U, sample.phi, v, 1.0)
        square = float(v.inner(v))
        if not wanted or square == 0.0 or not np.isfinite(square):
            return square / links, np.zeros_like(values)
        step = DISPLACEMENT / (square / links) ** 0.5
        return square / links, -2 / links * guide.gradient_along(U, sample.phi, v, step)
    return _Known.apply(theta, evaluate)


def trajectory_difference(theta: torch.Tensor, guide: TrainableGuide, sample: Sample) -> torch.Tensor:
    """D_end - D_start of a trajectory from the sample along the guide of this theta: -dH, but for errors of integration.

    The gradient is that of D at both ends; that the end moves with theta is left out. Collective.
    """
    def evaluate(values, wanted):
        guide.set(values)
        before, first = guide.value_and_gradient(sample.U, sample.phi, wanted)
        U = sample.trajectory(guide.dynamics())
        after, last = guide.value_and_gradient(U, sample.phi, wanted)
        change = float(sample.target.action(U, sample.phi)) - sample.action
        return after - before - change, last - first
    return _Known.apply(theta, evaluate)


class SmearedLinks(torch.autograd.Function):
    """V = network(U; weights), links as complex tensors [t, z, y, x, mu, row, column].

    SmearedLinks.apply(links, weights, network, U) with U a GaugeField to work on. The gradient for links is the Riemannian one on
    the group: 2 sum_a g_a T_a U, whose real inner product with T_a U is g_a, the derivative along exp(s T_a) U. For one rank.
    """

    @staticmethod
    def forward(ctx, links, weights, network, U):
        U.from_sites(links.detach().numpy())
        network.set_parameters(weights.detach().numpy())
        ctx.network, ctx.U = network, U
        smeared = torch.from_numpy(network.smear(U).to_sites())
        ctx.save_for_backward(links, weights, smeared)
        return smeared

    @staticmethod
    def backward(ctx, outer):
        links, weights, smeared = ctx.saved_tensors
        network, U, generators = ctx.network, ctx.U, _generators(ctx.U.colors)
        U.from_sites(links.detach().numpy())  # others may have used it since
        network.set_parameters(weights.detach().numpy())
        network.smear(U)
        force, smeared_force = (AlgebraField(U.lattice, U.colors) for _ in range(2))
        product = smeared.numpy() @ outer.resolve_conj().numpy().conj().swapaxes(-1, -2)
        coefficients = -np.einsum("aij,...ji->...a", generators, product).real  # minus the derivative along T_a V
        smeared_force.scatter_reals(coefficients.reshape(*coefficients.shape[:-2], -1))
        network.pull_back(U, smeared_force, force)
        values = force.gather_reals().reshape(coefficients.shape)
        gradient = -2 * np.einsum("...a,aij->...ij", values, generators) @ links.detach().numpy()
        return torch.from_numpy(gradient), torch.from_numpy(network.parameter_gradient(U, smeared_force)), None, None


def _generators(colors: int) -> np.ndarray:
    """T_a = (i/2) lambda_a in the order of docs/conventions.md: pairs i < j, symmetric and antisymmetric, then diagonal ones."""
    result = []
    for i in range(colors):
        for j in range(i + 1, colors):
            unit = np.zeros((colors, colors), complex)
            unit[i, j] = 0.5
            result += [1j * (unit + unit.T), unit - unit.T]
    for n in range(1, colors):
        diagonal = np.array([1.0] * n + [-n] + [0.0] * (colors - n - 1))
        result.append(0.5j * np.sqrt(2 / (n * (n + 1))) * np.diag(diagonal))
    return np.array(result)
