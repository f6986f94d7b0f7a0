"""Products of links of a `LinkBatch`: paths along which layers transport, loops that they begin with, labels made of loops."""

from itertools import permutations
from math import pi, prod

import torch

from slhmc.errors import InputError
from slhmc.networks.lcnn.batch import LinkBatch
from slhmc.networks.lcnn.functions import LinkProduct


def link_product(batch: LinkBatch, left, right, left_steps=(), right_steps=(), left_adjoint=False, right_adjoint=False):
    """C(x) = A(x + s) B(x + t), A^+ and B^+ where asked; A, B (block, real, site, lane), s and t steps (mu, how many)."""
    tables = batch.targets(*left_steps), batch.targets(*right_steps)
    # a matrix of a site must lie as it does in a field; the stride from block to block may be any
    left, right = (x if x[0].is_contiguous() else x.contiguous() for x in (left, right))
    return LinkProduct.apply(left, right, batch, *tables, left_adjoint, right_adjoint)


def path(batch: LinkBatch, mu: int, steps: int) -> torch.Tensor:
    """U_{x, steps mu}: the links from x to x + steps mu, backwards for negative steps; (block, real, site, lane)."""
    def make():
        links = batch.links[:, mu]
        if steps == 1:
            return links
        if steps == -1:
            return link_product(batch, links, unit_links(batch), [(mu, -1)], left_adjoint=True)
        if steps > 0:
            return link_product(batch, links, path(batch, mu, steps - 1), right_steps=[(mu, 1)])
        return link_product(batch, links, path(batch, mu, steps + 1), [(mu, -1)], [(mu, -1)], left_adjoint=True)
    return batch.derived(("path", mu, steps), make)


def unit_links(batch: LinkBatch) -> torch.Tensor:
    """1 everywhere, (block, real, site, lane)."""
    def make():
        unit = torch.zeros_like(batch.links[:, 0].detach())
        step = 4 if batch.algebra == "quaternion" else 2 * (batch.colors + 1)
        unit[:, ::step] = 1
        return unit
    return batch.derived("unit", make)


def paths(batch: LinkBatch, shifts: tuple[tuple[int, int], ...]) -> torch.Tensor:
    """The paths of all shifts (mu, steps), (block, shift, real, site, lane)."""
    return batch.derived(("paths", shifts), lambda: torch.stack([path(batch, *shift) for shift in shifts], 1))


def plaquettes(batch: LinkBatch) -> torch.Tensor:
    """P_{mu nu}(x) = U_mu(x) U_nu(x + mu) U_mu(x + nu)^+ U_nu(x)^+, (block, plane, real, site, lane), ordered as `planes`."""
    def make():
        return torch.stack([loop(batch, *plane, 1, 1) for plane in planes(batch.dimensions)], 1)
    return batch.derived("plaquettes", make)


def planes(dimensions: int) -> list[tuple[int, int]]:
    """(mu, nu) with mu < nu: (0, 1), (0, 2), ..., (1, 2), ..."""
    return [(mu, nu) for mu in range(dimensions) for nu in range(mu + 1, dimensions)]


def loop(batch: LinkBatch, mu: int, nu: int, n: int, m: int) -> torch.Tensor:
    """The Wilson loop at x, n steps along mu, then m along nu, and back, (block, real, site, lane)."""
    along, up = path(batch, mu, n), path(batch, nu, m)
    there, back = link_product(batch, along, up, right_steps=[(mu, n)]), link_product(batch, up, along, right_steps=[(nu, m)])
    return link_product(batch, there, back, right_adjoint=True)


def polyakov(batch: LinkBatch) -> torch.Tensor:
    """L_mu(x) = product of all links along mu from x on, (block, mu, real, site, lane)."""
    return torch.stack([path(batch, mu, length) for mu, length in enumerate(batch.extent)], 1)


def real_trace(batch: LinkBatch, matrices: torch.Tensor) -> torch.Tensor:
    """Re tr of (..., real, site, lane)."""
    if batch.algebra == "quaternion":
        return 2 * matrices[..., 0, :, :]
    return matrices[..., ::2 * (batch.colors + 1), :, :].sum(-3)


def wilson_loops(batch: LinkBatch, n: int, m: int) -> torch.Tensor:
    """Re tr W^(n x m)_{mu nu}(x) / Nc, n steps along mu and m along nu, (sample, site, plane) with mu < nu.

    Raises InputError for sides that are not positive or longer than the lattice.
    """
    if not (1 <= n <= min(batch.extent) and 1 <= m <= min(batch.extent)):
        raise InputError(f"a {n} x {m} loop does not fit on {'x'.join(map(str, batch.extent))}; its sides may be 1 to "
                         f"{min(batch.extent)}")
    with torch.no_grad():
        traces = [real_trace(batch, loop(batch, *plane, n, m)) for plane in planes(batch.dimensions)]
        return batch.of_samples(torch.stack(traces, 1)) / batch.colors


def topological_charge_density(batch: LinkBatch) -> torch.Tensor:
    """q(x) = sum eps_{mu nu rho sigma} Tr[C_{mu nu} C_{rho sigma}] / (32 pi^2), C = (P - P^+) / 2i; (sample, site).

    Plaquettes with one corner at x, arXiv:2012.12901. Raises InputError unless there are four dimensions.
    """
    if batch.dimensions != 4:
        raise InputError(f"the topological charge needs 4 dimensions, found {batch.dimensions}")
    with torch.no_grad():
        number = {plane: k for k, plane in enumerate(planes(4))}
        found, total = plaquettes(batch), 0
        for order in permutations(range(4)):
            if order[0] < order[1] and order[2] < order[3]:  # C is antisymmetric in its indices: 4 times these
                sign = prod(1 if order[j] > order[i] else -1 for i in range(4) for j in range(i + 1, 4))
                total = total + 4 * sign * charge_product(batch, found[:, number[order[:2]]], found[:, number[order[2:]]])
        return batch.of_samples(total) / (32 * pi**2)


def charge_product(batch: LinkBatch, p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Re Tr[(P - P^+)/2i (Q - Q^+)/2i] = (Re tr P Q^+ - Re tr P Q) / 2, (block, site, lane)."""
    with_adjoint = real_trace(batch, link_product(batch, p, q, right_adjoint=True))
    return (with_adjoint - real_trace(batch, link_product(batch, p, q))) / 2
