"""Plain NumPy formulas of the gradient flow and of what is measured along it; conventions as in docs/conventions.md.

Links [t, z, y, x, mu, row, column], complex. Slow and short on purpose.
"""

from itertools import permutations

import numpy as np
from reference import (
    algebra_coefficients,
    algebra_matrix,
    coordinates,
    dagger,
    dimensions,
    exponential,
    gauge_force,
    path_product,
    plaquette_sum,
    shift,
)

C1 = {"wilson": 0.0, "symanzik": -1 / 12, "zeuthen": -1 / 12}
# loop sizes and coefficients of hep-lat/9701012, eq. (19) with c5 = 1/20
FIVE_LOOPS = {(1, 1): (19 - 55 / 20) / 9, (2, 2): (1 - 64 / 20) / 9, (1, 2): (-64 + 640 / 20) / 45, (1, 3): 1 / 5 - 2 / 20,
              (3, 3): 1 / 20}


def velocity(links, action):
    """Z_mu(x) in the algebra, as matrices: dV/dt = Z V. Z = F of the gauge action with beta = 2 Nc, for "zeuthen" with D*D/12."""
    n, d = links.shape[-1], dimensions(links)
    force = algebra_matrix(gauge_force(links, 2 * n, C1[action]), n)
    if action != "zeuthen":
        return force
    corrected = []
    for mu in range(d):
        f, U = force[..., mu, :, :], links[..., mu, :, :]
        ahead = U @ shift(f, mu, 1, d) @ dagger(U)
        behind = shift(dagger(U) @ f @ U, mu, -1, d)
        corrected.append(f + (ahead + behind - 2 * f) / 12)
    return np.stack(corrected, -3)


def runge_kutta_step(links, action, step):
    """One step of arXiv:1006.4518, appendix C, and the step of second order that goes with it."""
    z0 = step * velocity(links, action)
    w1 = exponential(z0 / 4) @ links
    z1 = step * velocity(w1, action)
    w2 = exponential(8 / 9 * z1 - 17 / 36 * z0) @ w1
    z2 = step * velocity(w2, action)
    return exponential(3 / 4 * z2 - 8 / 9 * z1 + 17 / 36 * z0) @ w2, exponential(2 * z1 - z0) @ links


def plaquette_energy(links):
    """(1/V) sum 2 Re tr (1 - P), plaquettes of one orientation."""
    d, n = dimensions(links), links.shape[-1]
    sites = np.prod(links.shape[:d])
    return 2 * (n * d * (d - 1) / 2 - plaquette_sum(links) / sites)


def field_strength(links, mu, nu, m=1, n=1):
    """G^a of the m x n loops that turn from mu to nu and begin at a corner x: mean of the four over m n; m != n: both shapes."""
    total = 0
    shapes = {(m, n), (n, m)}
    for a, b in shapes:
        turn = [(mu, 1)] * a + [(nu, 1)] * b + [(mu, -1)] * a + [(nu, -1)] * b
        for begin in (0, a, a + b, 2 * a + b):
            total = total + path_product(links, turn[begin:] + turn[:begin])
    return algebra_coefficients(total) / (4 * len(shapes) * m * n)


def clover_energy(links):
    """(1/V) sum_x sum_{mu < nu} G^a G^a / 2."""
    d = dimensions(links)
    return sum((field_strength(links, mu, nu)**2).sum() for nu in range(d) for mu in range(nu)) / 2 / np.prod(links.shape[:d])


def charge(links, m=1, n=1):
    """(1 / 32 pi^2) sum_x eps_{mnrs} (1/2) G^a_{mn} G^a_{rs}: -eps tr G G with anti-Hermitian G."""
    fields = {(mu, nu): field_strength(links, mu, nu, m, n) for mu in range(4) for nu in range(mu + 1, 4)}
    total = 0
    for p in permutations(range(4)):
        sign = np.linalg.det(np.eye(4)[list(p)])
        first, second = (fields[pair] if pair in fields else -fields[pair[::-1]] for pair in (p[:2], p[2:]))
        total += sign * 0.5 * (first * second).sum()
    return total / (32 * np.pi**2)


def improved_charge(links):
    """Five loops, hep-lat/9701012."""
    return sum(c * charge(links, m, n) for (m, n), c in FIVE_LOOPS.items())


# ---- a smooth configuration of charge 1
def eta_bar(a, mu, nu):
    """'t Hooft's symbol: eps_{a mu nu} in space, -delta_{a mu} for nu = t, +delta_{a nu} for mu = t."""
    if mu == 3 or nu == 3:
        return (a == nu) * 1.0 * (mu == 3) - (a == mu) * 1.0 * (nu == 3)
    return float(np.linalg.det(np.eye(3)[[a, mu, nu]]))


def instanton(extent, radius, colors=2):
    """Links of a BPST instanton in singular gauge at the centre of the lattice, in the upper left SU(2) of SU(colors).

    A_mu = -2 eta_bar^a_{mu nu} x_nu radius^2 / (x^2 (x^2 + radius^2)) T_a has one direction in colour along a link, as nu != mu:
    the path-ordered exponential is exp(n_a T_a times the integral), n_a = -eta_bar^a_{mu nu} x_nu, which is done exactly.
    """
    x = [c - (n - 1) / 2 for c, n in zip(coordinates(extent), extent, strict=True)]
    links = np.zeros((*extent[::-1], 4, colors, colors), complex) + np.eye(colors)
    for mu in range(4):
        b = np.sqrt(sum(x[nu]**2 for nu in range(4) if nu != mu))
        c = np.sqrt(b**2 + radius**2)
        integral = 2 * sum(s / w * (np.arctan((x[mu] + 1) / w) - np.arctan(x[mu] / w)) for s, w in ((1, b), (-1, c)))
        n = -np.stack([sum(eta_bar(a, mu, nu) * x[nu] for nu in range(4)) for a in range(3)], -1)
        links[..., mu, :2, :2] = exponential(algebra_matrix(n * integral[..., None], 2))
    return links
