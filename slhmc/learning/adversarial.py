"""How far gauge transformations move what a network says: random ones, and ones that are made to move it most.

Omega(x) in SU(Nc) turns U_mu(x) into Omega(x) U_mu(x) Omega(x + mu)^+, which changes no label. The drift of a sample is |y' - y|,
y the prediction averaged over the lattice; of a site, |y'(x) - y(x)|. An optimised transformation is exp(sum_a c_a(x) T_a)
Omega_0(x) with the Omega_0 of the random one that moved the sample most; the c_a begin at 0, and AdamW makes the drift of each
sample as large as it can (after arXiv:2012.12901).
"""

from dataclasses import dataclass
from itertools import combinations

import torch

from slhmc.networks.lcnn import LinkBatch
from slhmc.networks.lcnn.batch import SU2_MATRIX


@dataclass(frozen=True)
class Drifts:
    """float64 tensors [sample]; y: the prediction without transformation, averaged over the lattice.

    random: the drift of one transformation, the mean over all draws; largest: over draws; optimised: the largest over all steps.
    site_random, site_optimised: the largest drift of any site, over draws or steps.
    """

    y: torch.Tensor
    random: torch.Tensor
    largest: torch.Tensor
    optimised: torch.Tensor
    site_random: torch.Tensor
    site_optimised: torch.Tensor


def drifts(model: torch.nn.Module, batch: LinkBatch, draws: int = 10, steps: int = 200, learning_rate: float = 0.1,
           seed: int = 1) -> Drifts:
    """Of each sample of a batch; model and batch in the same precision. The model's weights stay as they are."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        y = model(batch)[..., 0]
        found, start = [], None
        for _ in range(draws):
            omega = random_transformation(batch, generator)
            found.append(_drift(model, batch, omega, y))
            moved = found[-1][0]
            if start is None:
                start, most = omega.clone(), moved.clone()
            start[moved > most] = omega[moved > most]
            most = torch.maximum(most, moved)
        average, site = (torch.stack(values) for values in zip(*found, strict=True))
    best, best_site = _optimise(model, batch, start, y, steps, learning_rate)
    return Drifts(y.mean(1), average.mean(0), most, torch.maximum(best, most), site.amax(0), best_site)


def transform(batch: LinkBatch, omega: torch.Tensor) -> LinkBatch:
    """The batch with Omega(x) U_mu(x) Omega(x + mu)^+, differentiable; omega: complex [sample, site, Nc, Nc]."""
    matrices = unpack(batch.links_of_samples(), batch.colors)
    ahead = torch.stack([omega[:, batch.targets((mu, 1)).long()] for mu in range(batch.dimensions)], 1)
    turned = omega[:, None] @ matrices @ ahead.mH
    return LinkBatch(batch.device, pack(turned), batch.extent, batch.colors, batch.real)


def unpack(links: torch.Tensor, colors: int) -> torch.Tensor:
    """Complex [sample, mu, site, Nc, Nc] of packed links [sample, mu, real, site]."""
    if colors == 2:
        links = torch.einsum("rq,bmqx->bmrx", torch.as_tensor(SU2_MATRIX).to(links), links)
    return torch.view_as_complex(links.movedim(2, -1).unflatten(-1, (colors, colors, 2)).contiguous())


def pack(matrices: torch.Tensor) -> torch.Tensor:
    """The inverse of `unpack`."""
    rows = matrices[..., :1, :] if matrices.shape[-1] == 2 else matrices
    return torch.view_as_real(rows).flatten(3).movedim(-1, 2)


def random_transformation(batch: LinkBatch, generator: torch.Generator) -> torch.Tensor:
    """Haar-random, complex [sample, site, Nc, Nc]: Q of Gaussians with the phases of R taken out, determinant 1."""
    shape = (batch.samples, batch.sites, batch.colors, batch.colors)
    gaussian = torch.randn(shape, generator=generator, dtype=torch.complex128)
    q, r = torch.linalg.qr(gaussian)
    phases = r.diagonal(dim1=-2, dim2=-1)
    q = q * (phases / phases.abs())[..., None, :]
    q[..., 0] /= torch.linalg.det(q)[..., None]
    return q.to(batch.links.dtype.to_complex())


def generators(colors: int) -> torch.Tensor:
    """T_a = (i/2) lambda_a, complex128 [Nc^2 - 1, Nc, Nc], in the order of docs/conventions.md."""
    found = []
    for i, j in combinations(range(colors), 2):
        for upper in (1, -1j):
            matrix = torch.zeros(colors, colors, dtype=torch.complex128)
            matrix[i, j], matrix[j, i] = upper, complex(upper).conjugate()
            found.append(matrix)
    for last in range(1, colors):
        diagonal = torch.tensor([1.0] * last + [-float(last)] + [0.0] * (colors - last - 1), dtype=torch.complex128)
        found.append(torch.diag(diagonal) * (2 / (last * (last + 1))) ** 0.5)
    return 0.5j * torch.stack(found)


def _optimise(model, batch: LinkBatch, start: torch.Tensor, y: torch.Tensor, steps: int, rate: float):
    """The largest drift of each sample, and of any of its sites, over all steps, from the transformations `start`."""
    basis = generators(batch.colors).to(start.dtype)
    coefficients = torch.zeros(*start.shape[:2], len(basis), dtype=batch.links.dtype, requires_grad=True)
    optimizer = torch.optim.AdamW([coefficients], lr=rate, weight_decay=0.0)
    best, best_site = torch.zeros(len(y), dtype=y.dtype), torch.zeros(len(y), dtype=y.dtype)
    for step in range(steps + 1):
        omega = torch.matrix_exp(torch.einsum("sxa,aij->sxij", coefficients.to(basis.dtype), basis)) @ start
        moved, site = _drift(model, batch, omega, y)
        best, best_site = torch.maximum(best, moved.detach()), torch.maximum(best_site, site.detach())
        if step < steps:
            (coefficients.grad,) = torch.autograd.grad(-moved.sum(), coefficients)
            optimizer.step()
    return best, best_site


def _drift(model, batch: LinkBatch, omega: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the average and the largest of any site, [sample]; y: [sample, site] without transformation."""
    difference = model(transform(batch, omega))[..., 0] - y
    return difference.mean(1).abs(), difference.abs().amax(1)
