"""Plain NumPy formulas of what the kernels compute, in public order: links [t, z, y, x, mu, row, column], complex.

Slow and short on purpose, for any dimension and any number of colours; conventions as in docs/conventions.md.
"""

from decimal import Decimal, localcontext
from itertools import permutations

import numpy as np
from scipy.linalg import expm
from scipy.special import ellipj, ellipkm1, iv

MASK = 0xFFFFFFFF


# ---- random numbers
def philox(counter, key):
    """Philox4x32-10: four counter words and two key words to four random words; ints, or uint64 arrays as counters."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & MASK, (p0 >> 32) ^ c3 ^ k1, p0 & MASK
        k0, k1 = k0 + 0x9E3779B9 & MASK, k1 + 0xBB67AE85 & MASK
    return c0, c1, c2, c3


def uniform(high, low):
    """Two random words to a double in (0, 1): 52 bits and a half."""
    return (((high << 32 | low) >> 12) + 0.5) / 2**52


def gaussian_reals(extent, components, random):
    """The field of normal deviates of the draw `random` (seed, purpose, trajectory, draw): [t, z, y, x, component]."""
    pairs = -(-components // 2)
    site = np.arange(np.prod(extent), dtype=np.uint64)[:, None]
    component = np.arange(pairs, dtype=np.uint64)[None, :]
    words = philox((site, component, random.trajectory, random.draw), (random.seed, random.purpose))
    radius = np.sqrt(-2 * np.log(uniform(*words[:2])))
    angle = 2 * np.pi * uniform(*words[2:])
    values = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1).reshape(len(site), 2 * pairs)
    return values[:, :components].reshape(*reversed(extent), components)


# ---- the group and its algebra
def dagger(m):
    return m.conj().swapaxes(-1, -2)


def generators(colors):
    """T_a = (i/2) lambda_a, tr T_a T_b = -delta_ab / 2: pairs i < j (symmetric, antisymmetric), then diagonal."""
    result = []
    for i in range(colors):
        for j in range(i + 1, colors):
            unit = np.zeros((colors, colors))
            unit[i, j] = 1
            result += [0.5j * (unit + unit.T), 0.5 * (unit - unit.T).astype(complex)]
    for n in range(1, colors):
        diagonal = np.array([1] * n + [-n] + [0] * (colors - n - 1))
        result.append(0.5j * np.sqrt(2 / (n * (n + 1))) * np.diag(diagonal))
    return np.array(result)


def algebra_matrix(coefficients, colors):
    """sum_a P_a T_a."""
    return np.einsum("...a,aij->...ij", coefficients, generators(colors))


def algebra_coefficients(m):
    """c_a(M) = -2 Re tr T_a M; the coefficients of M where M is in the algebra."""
    return -2 * np.einsum("aij,...ji->...a", generators(m.shape[-1]), m).real


def exponential(m):
    """Matrix exponentials, one at a time by SciPy."""
    return np.array([expm(x) for x in m.reshape(-1, *m.shape[-2:])]).reshape(m.shape)


def random_group(shape, colors, rng):
    """Haar-random SU(colors) matrices: QR of Gaussians, phases of R taken out, determinant one."""
    z = rng.standard_normal((*shape, colors, colors)) + 1j * rng.standard_normal((*shape, colors, colors))
    q, r = np.linalg.qr(z)
    phase = np.einsum("...ii->...i", r)
    q = q * (phase / abs(phase))[..., None, :]
    q[..., 0] /= np.linalg.det(q)[..., None]
    return q


def group_deviation(m):
    """Largest element of U U^+ - 1 and of det U - 1."""
    unitarity = abs(m @ dagger(m) - np.eye(m.shape[-1])).max()
    return max(unitarity, abs(np.linalg.det(m) - 1).max())


# ---- the lattice
def dimensions(links):
    return links.shape[-3]


def shift(field, mu, distance, dimension):
    """f(x + distance mu) of a field with `dimension` leading site axes."""
    return np.roll(field, -distance, axis=dimension - 1 - mu)


def coordinates(extent):
    """x_mu of each site, shape (D, t, z, y, x)."""
    return np.stack(np.meshgrid(*[np.arange(n) for n in reversed(extent)], indexing="ij")[::-1])


def even_sites(extent):
    """Boolean array [t, z, y, x]."""
    return coordinates(extent).sum(0) % 2 == 0


def gauge_transform(links, g):
    """g(x) U_mu(x) g(x + mu)^+."""
    d = dimensions(links)
    return np.stack([g @ links[..., mu, :, :] @ dagger(shift(g, mu, 1, d)) for mu in range(d)], -3)


def path_product(links, path):
    """Product of links along `path` from each x; a step is (mu, +1) or (mu, -1)."""
    d, n = dimensions(links), links.shape[-1]
    position, product = [0] * d, np.broadcast_to(np.eye(n, dtype=complex), (*links.shape[:d], n, n))
    for mu, sign in path:
        position[mu] -= sign < 0
        link = links[..., mu, :, :]
        for nu, distance in enumerate(position):
            link = shift(link, nu, distance, d)
        product = product @ (link if sign > 0 else dagger(link))
        position[mu] += sign > 0
    return product


def trace_sum(m):
    """Sum of the traces of all matrices."""
    return np.einsum("...ii->...", m).sum()


def plaquette_sum(links):
    """Sum over x and mu < nu of Re tr of the plaquette."""
    d = dimensions(links)
    return sum(trace_sum(path_product(links, [(mu, 1), (nu, 1), (mu, -1), (nu, -1)])).real
               for nu in range(d) for mu in range(nu))


def rectangle_sum(links):
    """Sum over x and mu != nu of Re tr of the rectangle, two links in mu."""
    return sum(trace_sum(path_product(links, [(mu, 1), (mu, 1), (nu, 1), (mu, -1), (mu, -1), (nu, -1)])).real
               for mu, nu in permutations(range(dimensions(links)), 2))


def line_trace(links, mu):
    """Sum over x of tr of the straight closed line in direction mu."""
    length = links.shape[dimensions(links) - 1 - mu]
    return trace_sum(path_product(links, [(mu, 1)] * length))


def wilson_loops(lines, other, links, r, t):
    """Mean over x and the directions k of space of Re tr S(x) T(x + r k) S'(x + t)^+ T(x)^+ / Nc.

    S are lines of r links of `lines` in direction k, S' those of `other`, T lines of t links in time, the last direction.
    """
    d, time, total = dimensions(links), dimensions(links) - 1, 0.0
    rail = path_product(links, [(time, 1)] * t)
    for k in range(time):
        early, late = (path_product(smeared, [(k, 1)] * r) for smeared in (lines, other))
        total += trace_sum(early @ shift(rail, k, r, d) @ dagger(shift(late, time, t, d)) @ dagger(rail)).real
    return total / (time * np.prod(links.shape[:d]) * links.shape[-1])


def spatial_stout(links, rho):
    """exp(Q) U, Q = 2 [rho C U^+]_TA, C the staples in space, for links in space; links in time stay."""
    d, smeared = dimensions(links), links.copy()
    for mu in range(d - 1):
        paths = [path_product(links, [(nu, s), (mu, 1), (nu, -s)]) for nu in range(d - 1) if nu != mu for s in (1, -1)]
        Q = 2 * rho * sum(paths, np.zeros_like(links[..., mu, :, :])) @ dagger(links[..., mu, :, :])
        Q = 0.5 * (Q - dagger(Q))
        Q = Q - np.trace(Q, axis1=-2, axis2=-1)[..., None, None] * np.eye(links.shape[-1]) / links.shape[-1]
        smeared[..., mu, :, :] = exponential(Q) @ links[..., mu, :, :]
    return smeared


def staples(links, mu):
    """Sum of the paths that close with U_mu(x) to a plaquette: from x + mu to x. Re tr U_mu staples."""
    others = [(nu, s) for nu in range(dimensions(links)) if nu != mu for s in (1, -1)]
    ahead = shift(links, mu, 1, dimensions(links))
    return sum(path_product(ahead, [(nu, s), (mu, -1), (nu, -s)]) for nu, s in others)


def rectangle_staples(links, mu):
    """Sum of the paths that close with U_mu(x) to a rectangle, whichever of its six links U_mu(x) is."""
    others = [(nu, s) for nu in range(dimensions(links)) if nu != mu for s in (1, -1)]
    ahead = shift(links, mu, 1, dimensions(links))
    total = 0
    for nu, s in others:
        total = total + path_product(ahead, [(mu, 1), (nu, s), (mu, -1), (mu, -1), (nu, -s)])
        total = total + path_product(ahead, [(nu, s), (mu, -1), (mu, -1), (nu, -s), (mu, 1)])
        total = total + path_product(ahead, [(nu, s), (nu, s), (mu, -1), (nu, -s), (nu, -s)])
    return total


def gauge_action(links, beta, c1):
    """beta [c0 sum (1 - Re tr P / Nc) + c1 sum (1 - Re tr R / Nc)], c0 = 1 - 8 c1."""
    d, n = dimensions(links), links.shape[-1]
    planes = np.prod(links.shape[:d]) * d * (d - 1) // 2
    return beta * ((1 - 8 * c1) * (planes - plaquette_sum(links) / n) + c1 * (2 * planes - rectangle_sum(links) / n))


def gauge_force(links, beta, c1):
    """F_a(x, mu) = (beta / Nc) Re tr T_a U_mu (c0 staples + c1 rectangle staples): [t, z, y, x, mu, a]."""
    n = links.shape[-1]
    loops = [links[..., mu, :, :] @ ((1 - 8 * c1) * staples(links, mu) + c1 * rectangle_staples(links, mu))
             for mu in range(dimensions(links))]
    return -beta / (2 * n) * algebra_coefficients(np.stack(loops, -3))


def field_strength(links, mu, nu):
    """F = (Q - Q^+) / 8 of the four leaves of the clover, [t, z, y, x, row, column]."""
    turn = [(mu, 1), (nu, 1), (mu, -1), (nu, -1)]
    leaves = sum(path_product(links, turn[k:] + turn[:k]) for k in range(4))
    return (leaves - dagger(leaves)) / 8


# ---- rational approximations
def relative_error(r, x):
    """r(x) x^power - 1 for the coefficients as they are, in 60 decimals; x a float."""
    with localcontext() as context:
        context.prec = 60
        x = Decimal(x)
        total = sum((Decimal(a) / (x + Decimal(s)) for a, s in zip(r.residues, r.shifts, strict=True)), Decimal(r.constant))
        return float(total * (Decimal(r.power) * x.ln()).exp() - 1)


def zolotarev(lowest, highest, n):
    """Poles and error of the best approximation of x^-1/2 with n poles: lowest sc^2(jK / (2n + 1)), zeros at even j.

    Elliptic functions of k^2 = 1 - lowest / highest; the error is the swing of sqrt(x) r(x) between an end and the next extremum.
    """
    m = 1 - lowest / highest
    sn, cn, dn, _ = ellipj(np.arange(1, 2 * n + 1) * ellipkm1(1 - m) / (2 * n + 1), m)
    points = lowest * (sn / cn)**2

    def r(x):
        return np.prod((x + points[1::2]) / (x + points[::2]))
    ends = np.sqrt(highest) * r(highest), np.sqrt(highest * dn[0]**2) * r(highest * dn[0]**2)
    return points[::2], abs(ends[0] - ends[1]) / sum(ends)


# ---- solvers
def bicgstab(matrix, b, iterations):
    """x after so many iterations of BiCGStab (van der Vorst, 1992) from zero, the first residual its shadow."""
    x, p, v = (np.zeros_like(b) for _ in range(3))
    r, shadow, rho, alpha, omega = b, b, 1.0, 1.0, 1.0
    for _ in range(iterations):
        last, rho = rho, np.vdot(shadow, r)
        p = r + rho / last * alpha / omega * (p - omega * v)
        v = matrix @ p
        alpha = rho / np.vdot(shadow, v)
        s = r - alpha * v
        t = matrix @ s
        omega = np.vdot(t, s) / np.vdot(t, t)
        x, r = x + alpha * p + omega * s, s - omega * t
    return x


# ---- exact results
def plaquette_2d_su2(beta):
    """Mean plaquette of SU(2) in two dimensions, infinite volume: I_2(beta) / I_1(beta)."""
    return iv(2, beta) / iv(1, beta)
