"""Generators Q(U, theta, t) of learned flows: coefficients (block, mu, a, site, lane) of su(N) matrices at each link."""

from itertools import pairwise

import torch
from torch import nn

from slhmc.errors import InputError
from slhmc.networks.flow.algebra import coefficients_of_link
from slhmc.networks.flow.schemes import chebyshev_lengths
from slhmc.networks.lcnn.batch import TORCH_TYPES, LinkBatch, check_weights
from slhmc.networks.lcnn.layers import ACTIVATIONS, algebra_coefficients
from slhmc.networks.lcnn.loops import link_product, path
from slhmc.networks.lcnn.network import LCNN, Weights
from slhmc.networks.loops import shape_of, weight_mask

SHAPES = ("plaquette", "rectangle", "polyakov")
WILSON_RATE = 4  # largest rate of the linear Wilson flow, for each dimension
REACHED = 0.8  # of the time that Chebyshev's steps can reach: beyond, the longest ones grow without bounds


class Generator(nn.Module):
    """What generators share: the lattice and the group they are for."""

    def __init__(self, colors: int, dimensions: int, real: str):
        super().__init__()
        self.colors, self.dimensions, self.real = colors, dimensions, real
        self.algebra = "quaternion" if colors == 2 else "matrix"

    def check(self, extent, colors: int) -> None:
        """InputError unless this acts on links of that lattice and group."""
        if colors != self.colors or len(extent) != self.dimensions:
            raise InputError(f"the flow is for SU({self.colors}) in {self.dimensions} dimensions, found SU({colors}) links on "
                             f"{'x'.join(map(str, extent))}")

    def prepared(self, batch: LinkBatch) -> LinkBatch:
        """The links in the form in which this works."""
        return batch.in_algebra(self.algebra)

    def packed(self, batch: LinkBatch) -> torch.Tensor:
        """Links as (sample, mu, real, site), four reals of an SU(2) link."""
        reals = 4 if self.colors == 2 else 18
        return batch.links_of_samples()[:, :, :reals]


class MLPGenerator(Generator):
    """A multi-layer perceptron on each link alone: 2 Nc^2 reals of U_mu -> hidden layers -> a complex matrix M, Q = i [M]_ah.

    Not covariant under gauge transformations. nodes: of the hidden layers; with biases. timed: t is one more input.
    """

    def __init__(self, colors: int, dimensions: int, nodes=(16, 64, 32, 16), activation: str = "tanh", timed: bool = False,
                 real: str = "double", seed: int = 1):
        super().__init__(colors, dimensions, real)
        if activation not in ACTIVATIONS or not nodes or min(nodes) < 1:
            raise InputError(f"nodes {tuple(nodes)}, activation {activation!r}: one or more positive numbers, and one of "
                             f"{', '.join(ACTIVATIONS)}")
        self.algebra, self.activation, self.timed = "matrix", activation, timed
        reals = 2 * colors**2
        sizes = [reals + timed, *nodes, reals]
        for shape in pairwise(sizes):
            check_weights(shape)
        self.linear = nn.ModuleList(nn.Linear(n, m, dtype=TORCH_TYPES[real]) for n, m in pairwise(sizes))
        weights = Weights("real", real, seed)
        with torch.no_grad():
            for layer in self.linear:
                layer.weight.copy_(weights.draw(layer.weight.shape, layer.in_features))
                layer.bias.zero_()

    def forward(self, batch: LinkBatch, time: float) -> torch.Tensor:
        x = batch.links.movedim(2, -1)
        if self.timed:
            x = torch.cat([x, x.new_full((*x.shape[:-1], 1), time)], -1)
        for layer in self.linear[:-1]:
            x = ACTIVATIONS[self.activation](layer(x))
        table = coefficients_of_link("matrix", self.colors).to(x)
        return (self.linear[-1](x) @ table.T).movedim(-1, 2).contiguous()


class LoopGenerator(Generator):
    """A stout layer in the continuum limit: Q = 2 TA(C U^+), C = sum_i rho_i(t) C_i, rho_i(t) = sum_k a_ik t^k.

    loops: names of a network of kind "flow" (docs/conventions.md, "Networks"), of plaquettes, rectangles and Polyakov loops;
    the weights are those of such a network, so that a trained flow can be the network of a guide. weights (degree + 1, loops).
    step: length of the steps of the flow, if each of `steps` has a row of weights of its own, rho_i(t) = a_ki, k = t / step; the
    flow is then a stout network of as many layers. First weights are small; of plaquettes alone with steps of their own, those of
    Chebyshev's steps of the Wilson flow, from which better ones are found, while steps that begin alike part slowly.
    """

    def __init__(self, colors: int, dimensions: int, loops=("plaquette",), time_degree: int = 0, real: str = "double",
                 seed: int = 1, step: float | None = None, steps: int = 1):
        super().__init__(colors, dimensions, real)
        unknown = [loop for loop in loops if shape_of(loop) not in SHAPES]
        if unknown or not loops or time_degree < 0:
            raise InputError(f"loops {list(loops)}, time_degree {time_degree}: loops of {', '.join(SHAPES)}, one or more, and a "
                             "degree of 0 or more")
        self.loops, self.step = tuple(loops), step
        masks = torch.stack([torch.as_tensor(weight_mask(loop, dimensions)) for loop in loops]).to(TORCH_TYPES[real])
        self.register_buffer("masks", masks, persistent=False)
        rows = time_degree + 1 if step is None else steps
        check_weights((rows, len(loops)))
        self.weight = nn.Parameter(0.01 * Weights("real", real, seed).draw((rows, len(loops)), 1))
        if step is not None and all(shape_of(loop) == "plaquette" for loop in loops):
            with torch.no_grad():
                self.weight += self._chebyshev_weights(steps)

    def _chebyshev_weights(self, steps: int) -> torch.Tensor:
        """Half of the lengths of steps over that of a step (the Wilson flow has 1/2 throughout)."""
        largest, time = WILSON_RATE * self.dimensions, self.step * steps
        reached = min(time, REACHED * 2 * steps**2 / largest)  # by so few steps
        return self.weight.new_tensor(chebyshev_lengths(reached, steps, largest))[:, None] / (2 * self.step)

    def weights_at(self, time: float) -> torch.Tensor:
        """rho of each loop."""
        if self.step is not None:
            return self.weight[min(round(time / self.step), len(self.weight) - 1)]
        return self.weight.new_tensor([time**k for k in range(len(self.weight))]) @ self.weight

    def forward(self, batch: LinkBatch, time: float) -> torch.Tensor:
        rho = self.weights_at(time) @ self.masks  # a table: D x D of plaquettes, then D of each further shape
        d = self.dimensions
        plaquettes, rectangles, lines = rho[:d * d].view(d, d), rho[d * d:d * d + d], rho[d * d + 2 * d:]
        total = [self._of_link(batch, mu, plaquettes[mu], rectangles[mu], lines[mu]) for mu in range(d)]
        table = 2 * coefficients_of_link(batch.algebra, batch.colors).to(batch.links)
        return torch.einsum("ar,bmrsl->bmasl", table, torch.stack(total, 1))

    def _of_link(self, batch: LinkBatch, mu: int, plaquettes, rectangle, line):
        """C U^+ of one direction; the adjoint of loops that begin with U_mu: Q = -2 TA of these."""
        shapes = {shape_of(loop) for loop in self.loops}
        total = 0
        for nu in range(self.dimensions):
            if nu != mu and "plaquette" in shapes:
                total = total - plaquettes[nu] * sum(closed(batch, mu, walk) for walk in plaquette_walks(mu, nu))
            if nu != mu and "rectangle" in shapes:
                total = total - rectangle * sum(closed(batch, mu, walk) for walk in rectangle_walks(mu, nu))
        if "polyakov" in shapes:
            total = total - line * path(batch, mu, batch.extent[mu])
        return total


def plaquette_walks(mu: int, nu: int) -> list[list[tuple[int, int]]]:
    """Steps (direction, sign) that close the plaquettes through U_mu, after U_mu."""
    return [[(nu, s), (mu, -1), (nu, -s)] for s in (1, -1)]


def rectangle_walks(mu: int, nu: int) -> list[list[tuple[int, int]]]:
    """The same of 2 x 1 and 1 x 2 rectangles, U_mu at each of its places."""
    return [walk for s in (1, -1) for walk in (
        [(nu, s), (nu, s), (mu, -1), (nu, -s), (nu, -s)], [(mu, 1), (nu, s), (mu, -1), (mu, -1), (nu, -s)],
        [(nu, s), (mu, -1), (mu, -1), (nu, -s), (mu, 1)])]


def closed(batch: LinkBatch, mu: int, walk) -> torch.Tensor:
    """U_mu(x) and the links of the walk after it, back to x."""
    def make():
        product, position = batch.links[:, mu], {mu: 1}
        for direction, sign in walk:
            if sign < 0:
                position[direction] = position.get(direction, 0) - 1
            steps = tuple((axis, count) for axis, count in sorted(position.items()) if count)
            product = link_product(batch, product, batch.links[:, direction], right_steps=steps, right_adjoint=sign < 0)
            if sign > 0:
                position[direction] = position.get(direction, 0) + 1
        return product
    return batch.derived(("closed", mu, tuple(walk)), make)


class LCNNGenerator(Generator):
    """Q_mu = i sum_i beta_{mu i}(t) [W_i]_ah of the last field W of an L-CNN, beta_{mu i}(t) = sum_k b_{k mu i} t^k, real.

    layers, convention, weights, polyakov: of LCNN. Covariant. With a symmetric L-CB of width 2 the Wilson flow is among them.
    """

    def __init__(self, colors: int, dimensions: int, layers, convention: str = "arxiv_v1", weights: str | None = None,
                 polyakov: bool = False, time_degree: int = 0, real: str = "double", seed: int = 1):
        super().__init__(colors, dimensions, real)
        self.network = LCNN(colors, dimensions, layers, convention, weights, polyakov, real=real, seed=seed)
        if any(layer.kind == "lexp" for layer in layers):
            raise InputError("an L-Exp inside the generator of a flow: the flow itself moves links; leave it out")
        self.algebra, channels = self.network.algebra, self.network.head.in_features // 2
        self.network.head = None
        shape = (time_degree + 1, dimensions, channels)
        check_weights(shape)
        self.weight = nn.Parameter(0.1 * Weights("real", real, seed + 2).draw(shape, channels))

    def check(self, extent, colors: int) -> None:
        super().check(extent, colors)
        self.network.check(extent, colors)

    def forward(self, batch: LinkBatch, time: float) -> torch.Tensor:
        fields, _ = self.network.fields(batch)
        powers = self.weight.new_tensor([time**k for k in range(len(self.weight))])
        beta = torch.einsum("k,kmi->mi", powers, self.weight)
        table = algebra_coefficients(batch.algebra, batch.colors).to(fields[-1])
        return torch.einsum("mi,ac,bicsl->bmasl", beta, table, fields[-1])
