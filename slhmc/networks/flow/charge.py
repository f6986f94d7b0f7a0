"""The topological charge from clovers as a function of links that torch can differentiate."""

from math import pi

import torch

from slhmc.errors import InputError
from slhmc.networks.flow.algebra import coefficients_of_link
from slhmc.networks.lcnn.batch import LinkBatch
from slhmc.networks.lcnn.loops import link_product

_PAIRS = (((0, 1), (2, 3), 1), ((0, 2), (1, 3), -1), ((0, 3), (1, 2), 1))


def clover_charge(batch: LinkBatch) -> torch.Tensor:
    """Q = (1 / 8 pi^2) sum_x (G_xy.G_zt - G_xz.G_yt + G_xt.G_yz), (sample); G^a = c_a of the four plaquettes of a clover / 4.

    docs/conventions.md, "Gradient flow". Raises InputError unless there are four dimensions.
    """
    if batch.dimensions != 4:
        raise InputError(f"the topological charge needs 4 dimensions, found {batch.dimensions}")
    total = 0
    for first, second, sign in _PAIRS:
        total = total + sign * (field_strength(batch, *first) * field_strength(batch, *second)).sum((1, 2))
    return total.flatten()[:batch.samples] / (8 * pi**2)


def field_strength(batch: LinkBatch, mu: int, nu: int) -> torch.Tensor:
    """G^a_{mu nu}, (block, a, site, lane)."""
    along, up = batch.links[:, mu], batch.links[:, nu]
    lower = link_product(batch, along, up, right_steps=[(mu, 1)])  # x, x + mu, x + mu + nu
    upper = link_product(batch, up, along, right_steps=[(nu, 1)])  # x, x + nu, x + mu + nu
    left = link_product(batch, up, upper, right_steps=[(mu, -1)], right_adjoint=True)
    below = link_product(batch, up, lower, [(nu, -1)], [(nu, -1)], left_adjoint=True)
    back = [(mu, -1), (nu, -1)]
    clover = (link_product(batch, lower, upper, right_adjoint=True)
              + link_product(batch, left, along, right_steps=[(mu, -1)])
              + link_product(batch, upper, lower, back, back, left_adjoint=True)
              + link_product(batch, below, along, right_adjoint=True))
    table = coefficients_of_link(batch.algebra, batch.colors).to(clover)
    return torch.einsum("ar,brsl->basl", table, clover) / 4
