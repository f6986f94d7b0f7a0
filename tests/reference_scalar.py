"""Plain formulas of the complex scalar field: W by quadrature, exact sums on 2 x 2, the free field, phi by Metropolis."""

from itertools import pairwise, product
from math import factorial

import numpy as np
from scipy.integrate import quad


def weight(f, eta, coupling):
    """W(f) = int_0^inf x^(f+1) exp(-eta x^2 - lambda x^4) dx by adaptive quadrature, in pieces around the maximum."""
    peak = np.sqrt((f + 1) / (eta + np.sqrt(eta**2 + 8 * coupling * (f + 1))))

    def integrand(x):
        return x**(f + 1) * np.exp(-eta * x**2 - coupling * x**4)
    scale = integrand(peak) * peak
    edges = np.append(peak * np.array([0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 5]), 5 * peak + 6 / np.sqrt(eta))
    return sum(quad(integrand, a, b, epsabs=1e-14 * scale, epsrel=1e-13)[0] for a, b in pairwise(edges))


def two_by_two(eta, coupling, mu, k_max, l_max):
    """Exact averages on 2 x 2, all links with |k| <= k_max, l <= l_max: n, |phi|^2, mean |k| and l of a link, P(all k = 0).

    Two links join each pair of neighbours, and the four pairs are a ring around which one net flux j runs. A site has
    f = m + m', m = sum (|k| + 2 l) of a pair: Z = sum_j Tr of products of matrices in m.
    """
    size = 2 * (k_max + 2 * l_max) + 1
    W = np.array([weight(f, eta, coupling) if f % 2 == 0 else 0.0 for f in range(2 * size + 2)])
    m = np.arange(size)
    site, site_square = W[m[:, None] + m], W[m[:, None] + m + 2]
    # pairs in space and in time: weight, and weight times (k1 + k2, |k1| + |k2|, l1 + l2, [k1 = k2 = 0]) of (j, m)
    space, time = (_pairs(factor, k_max, l_max, size) for factor in (0.0, mu))
    sums = np.zeros(6)
    for j in range(4 * k_max + 1):
        bonds = [(space if i % 2 else time)[:, j] for i in range(4)]
        plain = [bond[0] for bond in bonds]
        everything = _ring(plain, [site] * 4)
        with_square = sum(_ring(plain, [site_square if i == x else site for i in range(4)]) for x in range(4)) / 4
        with_one = [sum(_ring([bonds[i][q] if i == x else plain[i] for i in range(4)], [site] * 4) for x in bound)
                    for q, bound in ((1, (0, 2)), (2, range(4)), (3, range(4)))]
        nothing = _ring([bond[4] for bond in bonds], [site] * 4)
        sums += [everything, with_one[0] / 4, with_square, with_one[1] / 8, with_one[2] / 8, nothing]
    return sums[1:] / sums[0]


def _pairs(mu, k_max, l_max, size):
    """[quantity, j, m] of the two links of a pair, j = k1 - k2 + 2 k_max."""
    found = np.zeros((5, 4 * k_max + 1, size))
    for k1, k2 in product(range(-k_max, k_max + 1), repeat=2):
        for l1, l2 in product(range(l_max + 1), repeat=2):
            w = np.exp(mu * (k1 + k2))
            for k, ell in ((k1, l1), (k2, l2)):
                w /= factorial(abs(k) + ell) * factorial(ell)
            m = abs(k1) + abs(k2) + 2 * (l1 + l2)
            found[:, k1 - k2 + 2 * k_max, m] += w * np.array([1, k1 + k2, abs(k1) + abs(k2), l1 + l2, k1 == k2 == 0])
    return found


def _ring(bonds, sites):
    """Tr of bond, site, bond, site ... around the ring; pairs that it runs through backwards are symmetric in j."""
    matrix = np.eye(len(sites[0]))
    for bond, site in zip(bonds, sites, strict=True):
        matrix = matrix @ (bond[:, None] * site)
    return np.trace(matrix)


def enumerated(eta, coupling, mu, k_max, l_max):
    """As `two_by_two`, by going through all configurations."""
    W = np.array([weight(f, eta, coupling) for f in range(0, 8 * (k_max + 2 * l_max) + 4, 2)])
    ls = np.array(list(product(range(l_max + 1), repeat=8)), dtype=int).reshape(-1, 2, 2, 2)
    sums = np.zeros(6)
    table = np.array([[1 / (factorial(k + ell) * factorial(ell)) for ell in range(l_max + 1)] for k in range(k_max + 1)])
    for flat in product(range(-k_max, k_max + 1), repeat=8):
        k = np.array(flat).reshape(2, 2, 2)  # [t, x, nu]
        if (k - np.stack([np.roll(k[..., 0], 1, 1), np.roll(k[..., 1], 1, 0)], -1)).sum(-1).any():
            continue
        links = abs(k) + 2 * ls
        f = sum(links[..., nu] + np.roll(links[..., nu], 1, 2 - nu) for nu in (0, 1)) // 2
        w = table[abs(k), ls].prod((1, 2, 3)) * W[f].prod((1, 2)) * np.exp(mu * k[..., 1].sum())
        square = (W[f + 1] / W[f]).mean((1, 2))
        sums += [w.sum(), w.sum() * k[..., 1].mean(), w @ square, w.sum() * abs(k).mean(), w @ ls.mean((1, 2, 3)),
                 w.sum() * (not k.any())]
    return sums[1:] / sums[0]


def free_field(extent, eta, mu):
    """(n, |phi|^2) for lambda = 0: sums over momenta of dS/dmu and of the propagator; eta > 2 + 2 cosh mu."""
    nx, nt = extent
    p, q = np.meshgrid(2 * np.pi * np.arange(nx) / nx, 2 * np.pi * np.arange(nt) / nt)
    kernel = eta - 2 * np.cos(p) - 2 * np.cos(q - 1j * mu)
    return float((2j * np.sin(q - 1j * mu) / kernel).mean().real), float((1 / kernel).mean().real)


def metropolis_phi(extent, eta, coupling, chains, sweeps, thermalization, seed):
    """|phi|^2 of each chain, mean over sites and sweeps, of S at mu = 0: single-site Metropolis on even sites, then odd
    ones: even extents."""
    generator = np.random.default_rng(seed)
    nx, nt = extent
    phi = np.zeros((chains, nt, nx), complex)
    parity = np.add.outer(np.arange(nt), np.arange(nx)) % 2
    total = np.zeros(chains)
    for sweep in range(thermalization + sweeps):
        for _ in range(4):
            for half in (0, 1):
                around = sum(np.roll(phi, shift, axis) for shift in (1, -1) for axis in (1, 2))
                new = phi + generator.normal(size=(*phi.shape, 2)) @ [0.5, 0.5j]

                def action(field, around=around):
                    square = abs(field)**2
                    return eta * square + coupling * square**2 - 2 * (field.conj() * around).real
                taken = (generator.random(phi.shape) < np.exp(np.minimum(action(phi) - action(new), 0))) & (parity == half)
                phi = np.where(taken, new, phi)
        if sweep >= thermalization:
            total += (abs(phi)**2).mean((1, 2)) / sweeps
    return total
