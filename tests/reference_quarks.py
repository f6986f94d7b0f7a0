"""Plain NumPy formulas of quarks, in the manner of reference.py: staggered, Wilson, clover, domain-wall operators."""

from itertools import permutations

import numpy as np
from reference import coordinates, dagger, dimensions, even_sites, field_strength, shift


# ---- all quarks
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


def wall_slices(psi, Ls):
    """The Ls / 2 lowest and the Ls / 2 highest of the slices [t, z, y, x, s, spin, colour]."""
    return np.concatenate([psi[..., :Ls // 2, :, :], psi[..., psi.shape[4] - Ls // 2:, :, :]], axis=4)
