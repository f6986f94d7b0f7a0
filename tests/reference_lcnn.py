"""Plain formulas of L-CNN layers: complex matrices of torch, every channel and pair written out, autograd for derivatives.

Links u [sample, mu, x_D .. x_1, row, column] (x last of the sites), fields w [sample, channel, sites..., row, column].
"""

import numpy as np
import torch


def dagger(m):
    return m.transpose(-1, -2).conj()


def shifted(field, mu, steps, first=2):
    """field(x + steps mu); sites begin at axis `first`, the slowest direction first."""
    return torch.roll(field, -steps, dims=field.ndim - 3 - mu)


def path(u, mu, steps):
    """U_{x, steps mu}, [sample, sites..., row, column]."""
    link = u[:, mu]
    result = torch.eye(u.shape[-1], dtype=u.dtype).expand_as(link)
    for k in range(abs(steps)):
        result = result @ (shifted(link, mu, k) if steps > 0 else dagger(shifted(link, mu, -k - 1)))
    return result


def transport(u, w, mu, steps):
    """U_{x, steps mu} W(x + steps mu) U^+, every channel."""
    along = path(u, mu, steps)[:, None]
    return along @ shifted(w, mu, steps) @ dagger(along)


def loop(u, mu, nu, n, m):
    there = path(u, mu, n) @ shifted(path(u, nu, m), mu, n)
    back = path(u, nu, m) @ shifted(path(u, mu, n), nu, m)
    return there @ dagger(back)


def plaquettes(u):
    d = u.shape[1]
    return torch.stack([loop(u, mu, nu, 1, 1) for mu in range(d) for nu in range(mu + 1, d)], 1)


def polyakov(u):
    d = u.shape[1]
    return torch.stack([path(u, mu, u.shape[1 + d - mu]) for mu in range(d)], 1)


def enlarged(w):
    """W, W^+, 1 of every channel."""
    unit = torch.eye(w.shape[-1], dtype=w.dtype).expand_as(w[:, :1])
    return torch.cat([w, dagger(w), unit], 1)


def lcb(u, w, weight, shifts, local):
    """sum a_ijk A_j T_k."""
    transported = torch.cat([w] * local + [transport(u, w, mu, steps) for mu, steps in shifts], 1)
    pairs = enlarged(w)[:, :, None] @ enlarged(transported)[:, None]
    return torch.einsum("ijk,bjk...->bi...", weight.to(w.dtype), pairs)


def lconv(u, w, weight, shifts):
    transported = torch.cat([w] + [transport(u, w, mu, steps) for mu, steps in shifts], 1)
    return torch.einsum("ik,bk...->bi...", weight.to(w.dtype), transported)


def lbl(before, w, weight):
    return torch.einsum("ijk,bjk...->bi...", weight.to(w.dtype), before[:, :, None] @ w[:, None])


def lexp(u, w, beta):
    """exp(i sum beta [W]_ah) U by torch's matrix exponential."""
    n = w.shape[-1]
    hermitian = (w - dagger(w)) / 2j
    trace = torch.diagonal(hermitian, dim1=-2, dim2=-1).sum(-1)[..., None, None] / n
    hermitian = hermitian - trace * torch.eye(n, dtype=w.dtype)
    exponent = 1j * torch.einsum("mi,bi...->bm...", beta.to(w.dtype), hermitian)
    return torch.linalg.matrix_exp(exponent.contiguous()) @ u


def traces(w):
    return torch.diagonal(w, dim1=-2, dim2=-1).sum(-1)


def head(w, weight, bias):
    """y [sample, sites..., output] from Re tr and Im tr."""
    t = traces(w)
    return torch.einsum("oi,bi...->b...o", weight, torch.cat([t.real, t.imag], 1)) + bias


def topological_charge_density(u):
    """eps_{mnrs} Tr[(P_mn - P_mn^+)/2i (P_rs - P_rs^+)/2i] / (32 pi^2) with all 24 terms."""
    c = {(m, n): (loop(u, m, n, 1, 1) - dagger(loop(u, m, n, 1, 1))) / 2j for m in range(4) for n in range(4) if m != n}
    total = 0
    for order in np.ndindex(4, 4, 4, 4):
        if len(set(order)) == 4:
            sign = np.linalg.det(np.eye(4)[list(order)])
            total = total + sign * traces(c[order[:2]] @ c[order[2:]]).real
    return total / (32 * np.pi**2)


# ---------------------------------------------------------------- packed links and components
def unpacked(links, extent, colors):
    """[sample, mu, real, site] as complex u."""
    links = torch.as_tensor(links, dtype=torch.float64)
    if colors == 2:
        a, b = torch.complex(links[:, :, 0], links[:, :, 1]), torch.complex(links[:, :, 2], links[:, :, 3])
        u = torch.stack([a, b, -b.conj(), a.conj()], -1).unflatten(-1, (2, 2))
    else:
        u = torch.view_as_complex(links.movedim(2, -1).unflatten(-1, (3, 3, 2)).contiguous())
    return u.unflatten(2, tuple(extent[::-1]))


def packed(u, colors):
    """The inverse, for numpy or torch u."""
    u = torch.as_tensor(u)
    u = u.flatten(2, -3)
    if colors == 2:
        a, b = u[..., 0, 0], u[..., 0, 1]
        return torch.stack([a.real, a.imag, b.real, b.imag], 2)
    return torch.view_as_real(u).flatten(-3).movedim(-1, 2)


def matrices(field, batch):
    """A field of the engine (block, channel, component, site, lane) as complex w."""
    w = batch.of_samples(field).movedim(1, -1)  # sample, channel, component, site
    n = batch.colors
    if batch.algebra == "quaternion":
        a, b = torch.complex(w[:, :, 0], w[:, :, 1]), torch.complex(w[:, :, 2], w[:, :, 3])
        m = torch.stack([a, b, -b.conj(), a.conj()], -1).unflatten(-1, (2, 2))
    else:
        parts = w.unflatten(2, (2, n * n))
        hermitian = []
        for part in (parts[:, :, 0], parts[:, :, 1]):
            rows = [[None] * n for _ in range(n)]
            k = n
            for i in range(n):
                rows[i][i] = part[:, :, i] + 0j
                for j in range(i + 1, n):
                    rows[i][j] = torch.complex(part[:, :, k], part[:, :, k + 1]) * 0.5**0.5
                    rows[j][i] = rows[i][j].conj()
                    k += 2
            hermitian.append(torch.stack([torch.stack(row, -1) for row in rows], -2))
        m = hermitian[0] + 1j * hermitian[1]
    return m.unflatten(2, batch.extent[::-1])


def haar(generator, shape, colors):
    """Haar-random SU(N), [*shape, row, column], by QR of complex normal matrices."""
    z = torch.complex(torch.randn(*shape, colors, colors, generator=generator, dtype=torch.float64),
                      torch.randn(*shape, colors, colors, generator=generator, dtype=torch.float64))
    q, r = torch.linalg.qr(z)
    phase = torch.diagonal(r, dim1=-2, dim2=-1)
    q = q * (phase / phase.abs())[..., None, :]
    return q / torch.linalg.det(q)[..., None, None] ** (1 / colors)


def transformed(u, omega):
    """U_mu(x) -> Omega(x) U_mu(x) Omega(x + mu)^+; omega [sample, sites..., row, column]."""
    return torch.stack([omega @ u[:, mu] @ dagger(shifted(omega, mu, 1)) for mu in range(u.shape[1])], 1)
