"""Plain formulas of smearing networks, in NumPy or (xp = torch, for its autograd) the same in torch.

Links [t, z, y, x, mu, row, column], complex; conventions as in docs/conventions.md, "Networks". Loops are found by brute force.
"""

from functools import cache
from itertools import product

import numpy as np
from reference import algebra_matrix, dagger, exponential, staples


# ---- loops
def corners(steps, dimensions):
    """The points that a walk from the origin visits, its end included."""
    points = [np.zeros(dimensions, int)]
    for mu, sign in steps:
        points.append(points[-1] + sign * np.eye(dimensions, dtype=int)[mu])
    return points


def shape(walk, dimensions):
    """The name of a closed walk of 4 or 6 steps without reversals; None for others, and for hexagons round a cube."""
    if any(sum(sign for nu, sign in walk if nu == mu) for mu in range(dimensions)):
        return None  # not closed
    points = corners(walk, dimensions)
    turns_back = any(a[0] == b[0] and a[1] == -b[1] for a, b in zip(walk, walk[1:] + walk[:1], strict=True))
    if turns_back:
        return None
    if len(walk) == 4:
        return "plaquette"
    folded = any(abs(points[k] - points[k + 3]).sum() == 1 for k in range(3))  # two plaquettes have this side in common
    return {2: "rectangle", 3: "chair"}[len({mu for mu, _ in walk})] if folded else None


@cache
def open_paths(name, dimensions, mu):
    """Paths from x to x + mu, as tuples of (nu, +-1), that close with U_mu(x)^+ to the loops of a shape."""
    steps = [(nu, sign) for nu in range(dimensions) for sign in (1, -1)]
    walks = product(steps, repeat={"plaquette": 3, "rectangle": 5, "chair": 5}[name])
    return [walk for walk in walks if shape((*walk, (mu, -1)), dimensions) == name]


def counts(loop, mu, path, dimensions):
    """Whether a loop with this name, seen by a link in direction mu, has the open path `path`."""
    _, _, suffix = loop.partition("_")
    kind = ["t" if nu == dimensions - 1 else "s" for nu in range(dimensions)]
    if not suffix:
        return True
    if suffix[0] != kind[mu]:
        return False
    return len(suffix) == 1 or all(kind[nu] == suffix[1] for nu, _ in path if nu != mu)


def paths_of(loop, extent, mu):
    """The open paths of a named loop for links in direction mu of a lattice."""
    name, dimensions = loop.partition("_")[0], len(extent)
    paths = [((mu, -1),) * (extent[mu] - 1)] if name == "polyakov" else open_paths(name, dimensions, mu)
    return [path for path in paths if counts(loop, mu, path, dimensions)]


# ---- layers
def moved(field, position, xp):
    """field(x + position)."""
    for mu, distance in enumerate(position):
        if distance:
            field = xp.roll(field, -distance, len(position) - 1 - mu)
    return field


def path_product(links, path, xp):
    """Product of links along a path from each x; of torch's tensors, too."""
    position, total = [0] * (links.ndim - 3), None
    for mu, sign in path:
        position[mu] -= sign < 0
        link = moved(links[..., mu, :, :], position, xp)
        link = link if sign > 0 else link.conj().swapaxes(-1, -2)
        total = link if total is None else total @ link
        position[mu] += sign > 0
    return total


def loop_sums(links, loops, xp=np):
    """C_i of each loop, a list of fields like the links."""
    extent = tuple(links.shape[:-3])[::-1]
    nothing = 0 * links[..., 0, :, :]
    return [xp.stack([sum((path_product(links, path, xp) for path in paths_of(loop, extent, mu)), nothing)
                      for mu in range(len(extent))], -3) for loop in loops]


def traceless_antihermitian(m, xp=np):
    """(M - M^+) / 2 less its trace."""
    m = (m - m.conj().swapaxes(-1, -2)) / 2
    one = xp.eye(m.shape[-1])
    return m - xp.einsum("...ii->...", m)[..., None, None] * one / m.shape[-1]


def projected(z, xp=np):
    """z (z^+ z)^(-1/2) by Newton's iteration, divided by the Nc-th root of its determinant of smallest angle."""
    w = z
    for _ in range(25):
        w = (w + xp.linalg.inv(w.conj().swapaxes(-1, -2))) / 2
    return w * xp.exp(-1j * xp.angle(xp.linalg.det(w)) / z.shape[-1])[..., None, None]


def layer(links, loops, weights, step="stout", xp=np):
    """One layer: exp(2 [C U^+]_TA) U, or N(U + C)."""
    C = sum(weight * field for weight, field in zip(weights, loop_sums(links, loops, xp), strict=True))
    if step == "ape":
        return projected(links + C, xp)
    Q = 2 * traceless_antihermitian(C @ links.conj().swapaxes(-1, -2), xp)
    return (exponential(Q) if xp is np else xp.linalg.matrix_exp(Q)) @ links


def real_trace(m, xp=np):
    return xp.einsum("...ii->...", m).real


def attention_layer(links, loops, weights, xp=np):
    """Rows of weights: rho, of queries, keys and values; a = s / sqrt(1 + s^2), s = 4 / Nc of the change of Re tr U c^+, c the
    mean of the paths."""
    extent, n = tuple(links.shape[:-3])[::-1], links.shape[-1]
    rho, *rows = weights
    query, key, value = (layer(links, loops, row, xp=xp) for row in rows)
    paths, key_paths, value_paths = (loop_sums(field, loops, xp) for field in (links, key, value))
    C = 0 * links
    for i, loop in enumerate(loops):
        number = max(len(paths_of(loop, extent, mu)) for mu in range(len(extent)))
        s = 4 / n / number * (real_trace(query @ key_paths[i].conj().swapaxes(-1, -2), xp)
                     - real_trace(links @ paths[i].conj().swapaxes(-1, -2), xp))
        C = C + (rho[i] + s / (1 + s**2) ** 0.5 / number)[..., None, None] * value_paths[i]
    Q = 2 * traceless_antihermitian(C @ links.conj().swapaxes(-1, -2), xp)
    return (exponential(Q) if xp is np else xp.linalg.matrix_exp(Q)) @ links


def smear(links, kind, layers, loops, weights, xp=np):
    """All layers; weights (layers, loops), of a flow (powers of t, loops), with attention (4 layers, loops)."""
    for number in range(layers):
        if kind == "attention":
            links = attention_layer(links, loops, weights[4 * number:4 * number + 4], xp)
            continue
        if kind == "flow":
            t = (number + 0.5) / layers
            rho = sum(t**k * row for k, row in enumerate(weights)) / layers
        else:
            rho = weights[number]
        links = layer(links, loops, rho, "ape" if kind == "ape" else "stout", xp)
    return links


def textbook_stout(links, rho):
    """Morningstar and Peardon, Phys. Rev. D 69 (2004) 054501: U' = exp(i Q) U, Omega = rho staples U^+ (all planes alike)."""
    d, n = links.shape[-3], links.shape[-1]
    smeared = np.empty_like(links)
    for mu in range(d):
        U = links[..., mu, :, :]
        omega = rho * dagger(staples(links, mu)) @ dagger(U)
        difference = dagger(omega) - omega
        Q = 0.5j * (difference - np.einsum("...ii->...", difference)[..., None, None] * np.eye(n) / n)
        smeared[..., mu, :, :] = exponential(1j * Q) @ U
    return smeared


# ---- an action of the smeared links
def linear_action(smeared, M):
    """S = sum Re tr M^+ U' with a matrix M at each link."""
    return (M.conj() * smeared).sum().real


def torch_derivatives(links, kind, layers, loops, weights, M):
    """(-d_a S as [t, z, y, x, mu, a], dS/dweights) of the linear action, by torch's autograd on the formulas above."""
    import torch

    colors = links.shape[-1]
    generators = torch.as_tensor(algebra_matrix(np.eye(colors**2 - 1), colors))
    turn = torch.zeros((*links.shape[:-2], colors**2 - 1), dtype=torch.float64, requires_grad=True)
    rho = torch.tensor(np.array(weights), requires_grad=True)
    tangent = torch.einsum("...a,aij->...ij", turn.to(torch.complex128), generators)
    U = torch.linalg.matrix_exp(tangent) @ torch.as_tensor(links)
    action = linear_action(smear(U, kind, layers, loops, rho, torch), torch.as_tensor(M))
    force, gradient = torch.autograd.grad(action, (turn, rho))
    return -force.numpy(), gradient.numpy()
