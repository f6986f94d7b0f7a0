"""su(N) in coefficients, q = sum_a q_a T_a (docs/conventions.md, "Algebra"), for tensors (block, mu, a, site, lane)."""

from functools import cache

import numpy as np
import torch

from slhmc.networks.lcnn.batch import LinkBatch
from slhmc.networks.lcnn.functions import Exponential
from slhmc.networks.lcnn.layers import algebra_coefficients, components_of_matrix
from slhmc.networks.lcnn.loops import link_product


@cache
def generators(colors: int) -> np.ndarray:
    """T_a [a, row, column]: for each i < j the symmetric and the antisymmetric one, then the diagonal ones."""
    n, found = colors, []
    for i in range(n):
        for j in range(i + 1, n):
            symmetric, antisymmetric = np.zeros((2, n, n), complex)
            symmetric[i, j] = symmetric[j, i] = 0.5j
            antisymmetric[i, j], antisymmetric[j, i] = 0.5, -0.5
            found += [symmetric, antisymmetric]
    for m in range(1, n):
        found.append(np.diag([1] * m + [-m] + [0] * (n - m - 1)) * 0.5j * np.sqrt(2 / (m * (m + 1))))
    return np.array(found)


@cache
def structure_constants(colors: int) -> torch.Tensor:
    """f_abc of [T_a, T_b] = sum_c f_abc T_c."""
    t = generators(colors)
    products = np.einsum("aij,bjk->abik", t, t)
    return torch.as_tensor(-2 * np.einsum("abij,cji->abc", products - products.transpose(1, 0, 2, 3), t).real.copy())


def bracket(q, r, colors: int):
    """Coefficients of [q, r]."""
    if colors == 2:  # [T_a, T_b] = +- T_c, a cross product
        return torch.linalg.cross(q, r, dim=2) * float(structure_constants(2)[0, 1, 2])
    f = structure_constants(colors).to(q).flatten(0, 1)
    pairs = (q[:, :, :, None] * r[:, :, None]).flatten(2, 3)
    return torch.einsum("pc,bmpsl->bmcsl", f, pairs)


def inverse_dexp(u, k, brackets: int, colors: int):
    """dexp_u^-1(k) = k - [u, k] / 2 + [u, [u, k]] / 12 + O(u^4), cut after so many brackets (at most 2)."""
    result, term = k, k
    for factor in (-0.5, 1 / 12)[:brackets]:
        term = bracket(u, term, colors)
        result = result + factor * term
    return result


def moved(batch: LinkBatch, coefficients) -> LinkBatch:
    """The links exp(q) U."""
    return batch.with_links(Exponential.apply(coefficients, batch.links, batch))


@cache
def coefficients_of_link(algebra: str, colors: int) -> torch.Tensor:
    """c_a(M), the coefficients of the traceless anti-Hermitian part of a matrix stored like a link, [a, real]."""
    table = algebra_coefficients(algebra, colors)
    return table if algebra == "quaternion" else table @ components_of_matrix(colors)


@cache
def link_of_coefficients(algebra: str, colors: int) -> torch.Tensor:
    """The reals of sum_a q_a T_a stored like a link, [real, a]."""
    t = torch.as_tensor(generators(colors))
    if algebra == "quaternion":
        return torch.view_as_real(t[:, 0]).flatten(1).T.contiguous()
    return torch.view_as_real(t).flatten(1).T.contiguous()


def times_links(batch: LinkBatch, coefficients) -> torch.Tensor:
    """Q U in the reals of links, Q = sum_a q_a T_a."""
    table = link_of_coefficients(batch.algebra, batch.colors).to(coefficients)
    matrices = torch.einsum("ra,bmasl->bmrsl", table, coefficients)
    return torch.stack([link_product(batch, matrices[:, mu], batch.links[:, mu]) for mu in range(batch.dimensions)], 1)
