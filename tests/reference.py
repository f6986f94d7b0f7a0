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


# ---- quarks
def boundary_links(links, boundary):
    """U_mu(x), times boundary[mu] where x + mu crosses the boundary."""
    d, result = dimensions(links), links.copy()
    for mu in range(d):
        edge = coordinates(links.shape[:d][::-1])[mu] == links.shape[d - 1 - mu] - 1
        result[..., mu, :, :] *= np.where(edge, boundary[mu], 1)[..., None, None]
    return result


def dense(operator, shape):
    """The matrix of an operator on arrays of `shape` with one more axis for several vectors."""
    size = int(np.prod(shape))
    return operator(np.eye(size, dtype=complex).reshape(*shape, size)).reshape(size, size)


# ---- staggered quarks
def hopping_links(links, boundary):
    """eta_mu(x) U_mu(x), eta_mu = (-1)^(x_0 + ... + x_{mu-1}), times boundary[mu] where x + mu crosses the boundary."""
    result = boundary_links(links, boundary)
    x = coordinates(links.shape[:dimensions(links)][::-1])
    for mu in range(dimensions(links)):
        result[..., mu, :, :] *= ((-1.0) ** x[:mu].sum(0))[..., None, None]
    return result


def staggered(links, psi, mass, boundary):
    """D psi = m psi + (1/2) sum_mu [V_mu psi(x + mu) - V_mu(x - mu)^+ psi(x - mu)], V the hopping links.

    psi: [t, z, y, x, colour], or [t, z, y, x, colour, k] for several vectors.
    """
    d = dimensions(links)
    vectors = psi if psi.ndim == d + 2 else psi[..., None]
    V, result = hopping_links(links, boundary), mass * vectors
    for mu in range(d):
        result = result + 0.5 * V[..., mu, :, :] @ shift(vectors, mu, 1, d)
        result = result - 0.5 * shift(dagger(V[..., mu, :, :]) @ vectors, mu, -1, d)
    return result.reshape(psi.shape)


def staggered_matrix(links, mass, boundary):
    """D as a dense matrix; rows and columns in the order of psi.ravel()."""
    shape = (*links.shape[:dimensions(links)], links.shape[-1])
    return dense(lambda psi: staggered(links, psi, mass, boundary), shape)


def even_sites(extent):
    """Boolean array [t, z, y, x]."""
    return coordinates(extent).sum(0) % 2 == 0


def momenta_sine_squared(extent, boundary):
    """sum_mu sin^2 p_mu on the momenta that the boundary allows, [t, z, y, x] of FFT order."""
    total = 0
    for mu, n in enumerate(extent):
        p = 2 * np.pi * (np.arange(n) + (0.5 if boundary[mu] < 0 else 0)) / n
        total = total + (np.sin(p) ** 2).reshape([-1 if nu == mu else 1 for nu in reversed(range(len(extent)))])
    return total


def boundary_phase(extent, boundary):
    """exp(i pi x / L) of the antiperiodic directions, [t, z, y, x]: what makes an antiperiodic field periodic."""
    pairs = zip(coordinates(extent), extent, boundary, strict=True)
    return np.exp(1j * sum(np.pi * x / n * (b < 0) for x, n, b in pairs))


def free_function_of_normal(psi, function, mass, boundary):
    """function(D^+ D) psi for unit links: D^+ D is m^2 + sum sin^2 p on plane waves that obey the boundary."""
    d = psi.ndim - 1
    extent, axes = psi.shape[:d][::-1], tuple(range(d))
    phase = boundary_phase(extent, boundary)[..., None]
    spectrum = function(mass**2 + momenta_sine_squared(extent, boundary))[..., None]
    return phase * np.fft.ifftn(spectrum * np.fft.fftn(psi / phase, axes=axes), axes=axes)


def function_of_normal(links, psi, function, mass, boundary):
    """function((D^+ D)_ee) psi for psi on even sites, by diagonalisation."""
    even = np.repeat(even_sites(links.shape[:dimensions(links)][::-1]).ravel(), links.shape[-1])
    D = staggered_matrix(links, mass, boundary)
    values, vectors = np.linalg.eigh((dagger(D) @ D)[np.ix_(even, even)])
    result = np.zeros(psi.size, complex)
    result[even] = vectors @ (function(values) * (dagger(vectors) @ psi.ravel()[even]))
    return result.reshape(psi.shape)


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


# ---- Wilson quarks: psi is [t, z, y, x, spin, colour], or [t, z, y, x, spin, colour, k] for several vectors
SIGMA = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
_ZERO = np.zeros((2, 2))
GAMMA = np.array([np.block([[_ZERO, -1j * s], [1j * s, _ZERO]]) for s in SIGMA] + [-np.eye(4)[[2, 3, 0, 1]]])
GAMMA_5 = np.diag([1.0, 1, -1, -1])


def wilson(links, psi, mass, boundary):
    """D psi = (4 + m) psi - (1/2) sum_mu [(1 - gamma_mu) U psi(x + mu) + (1 + gamma_mu) U(x - mu)^+ psi(x - mu)]."""
    vectors = psi if psi.ndim == 7 else psi[..., None]
    V, result = boundary_links(links, boundary), (4 + mass) * vectors
    for mu in range(4):
        U = V[..., mu, None, :, :]
        ahead, behind = U @ shift(vectors, mu, 1, 4), shift(dagger(U) @ vectors, mu, -1, 4)
        for sign, hopped in ((-1, ahead), (1, behind)):
            result = result - 0.5 * np.einsum("st,...tck->...sck", np.eye(4) + sign * GAMMA[mu], hopped)
    return result.reshape(psi.shape)


def wilson_matrix(links, mass, boundary):
    """D as a dense matrix; rows and columns in the order of psi.ravel()."""
    return dense(lambda psi: wilson(links, psi, mass, boundary), (*links.shape[:4], 4, links.shape[-1]))


def field_strength(links, mu, nu):
    """F = (Q - Q^+) / 8 of the four leaves of the clover, [t, z, y, x, row, column]."""
    turn = [(mu, 1), (nu, 1), (mu, -1), (nu, -1)]
    leaves = sum(path_product(links, turn[k:] + turn[:k]) for k in range(4))
    return (leaves - dagger(leaves)) / 8


def clover_term(links, c_sw):
    """c_sw (i/4) sum_{mu nu} sigma_{mu nu} F_{mu nu}, sigma = (i/2) [gamma_mu, gamma_nu]: [t, z, y, x, spin, colour, ...]."""
    total = 0
    for mu, nu in permutations(range(4), 2):
        sigma = 0.5j * (GAMMA[mu] @ GAMMA[nu] - GAMMA[nu] @ GAMMA[mu])
        total = total + np.einsum("st,...ij->...sitj", 0.25j * c_sw * sigma, field_strength(links, mu, nu))
    return total


def clover(links, psi, mass, c_sw, boundary):
    """Wilson operator and clover term on psi."""
    vectors = psi if psi.ndim == 7 else psi[..., None]
    term = np.einsum("...sitj,...tjk->...sik", clover_term(links, c_sw), vectors)
    return wilson(links, psi, mass, boundary) + term.reshape(psi.shape)


def clover_matrix(links, mass, c_sw, boundary):
    """D as a dense matrix; rows and columns in the order of psi.ravel()."""
    return dense(lambda psi: clover(links, psi, mass, c_sw, boundary), (*links.shape[:4], 4, links.shape[-1]))


def free_wilson(extent, mass, boundary):
    """D(p) = m + sum_mu (1 - cos p_mu) + i sum_mu gamma_mu sin p_mu: [t, z, y, x, spin, spin] of FFT order."""
    D = mass * np.eye(4)
    for mu, (k, n) in enumerate(zip(coordinates(extent), extent, strict=True)):
        p = (2 * np.pi * (k + (0.5 if boundary[mu] < 0 else 0)) / n)[..., None, None]
        D = D + (1 - np.cos(p)) * np.eye(4) + 1j * np.sin(p) * GAMMA[mu]
    return D


def on_plane_waves(matrix, psi, boundary):
    """A matrix [t, z, y, x, spin, spin] in momentum space on psi [t, z, y, x, spin, colour]."""
    phase = boundary_phase(psi.shape[3::-1], boundary)[..., None, None]
    return phase * np.fft.ifftn(matrix @ np.fft.fftn(psi / phase, axes=range(4)), axes=range(4))


def free_wilson_propagator(psi, mass, boundary):
    """D^-1 psi for unit links."""
    return on_plane_waves(np.linalg.inv(free_wilson(psi.shape[3::-1], mass, boundary)), psi, boundary)


# ---- domain-wall quarks: psi is [t, z, y, x, s, spin, colour], or [t, z, y, x, s, spin, colour, k] for several vectors
def fifth_shift(psi, mass):
    """S psi: the gamma_5 = -1 half from s + 1, the gamma_5 = +1 half from s - 1, times -mass where s goes round."""
    down, up = np.roll(psi, -1, 4), np.roll(psi, 1, 4)
    down[:, :, :, :, -1] *= -mass
    up[:, :, :, :, 0] *= -mass
    result = up
    result[:, :, :, :, :, 2:] = down[:, :, :, :, :, 2:]
    return result


def domain_wall(links, psi, parameters, boundary):
    """D psi = D_+ psi + D_- S psi, D_+ = b5 D_W(-M5) + 1, D_- = c5 D_W(-M5) - 1."""
    vectors = psi if psi.ndim == 8 else psi[..., None]
    shifted = fifth_shift(vectors, parameters.mass)
    result, both = vectors - shifted, parameters.b5 * vectors + parameters.c5 * shifted
    for s in range(parameters.Ls):
        result[:, :, :, :, s] += wilson(links, both[:, :, :, :, s], -parameters.M5, boundary)
    return result.reshape(psi.shape)


def domain_wall_matrix(links, parameters, boundary):
    """D as a dense matrix; rows and columns in the order of psi.ravel()."""
    return dense(lambda psi: domain_wall(links, psi, parameters, boundary), (*links.shape[:4], parameters.Ls, 4, links.shape[-1]))


def sign_approximation(wilson_operator, gamma_5, parameters):
    """eps(H) = ((1 + H)^Ls - (1 - H)^Ls) / ((1 + H)^Ls + (1 - H)^Ls), H = gamma_5 (b5 + c5) D_W / (2 + (b5 - c5) D_W).

    wilson_operator: D_W(-M5), the last two axes rows and columns.
    """
    one, b, c = np.eye(len(gamma_5)), parameters.b5, parameters.c5
    H = gamma_5 @ ((b + c) * wilson_operator @ np.linalg.inv(2 * one + (b - c) * wilson_operator))
    up, down = (np.linalg.matrix_power(one + sign * H, parameters.Ls) for sign in (1, -1))
    return (up - down) @ np.linalg.inv(up + down)


def overlap_inverse(wilson_operator, gamma_5, parameters):
    """D_overlap^-1, D_overlap = (1 + m) / 2 + (1 - m) / 2 gamma_5 eps(H)."""
    m, one = parameters.mass, np.eye(len(gamma_5))
    return np.linalg.inv((1 + m) / 2 * one + (1 - m) / 2 * gamma_5 @ sign_approximation(wilson_operator, gamma_5, parameters))


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


def wall_slices(psi, Ls):
    """The Ls / 2 lowest and the Ls / 2 highest of the slices [t, z, y, x, s, spin, colour]."""
    return np.concatenate([psi[..., :Ls // 2, :, :], psi[..., psi.shape[4] - Ls // 2:, :, :]], axis=4)
