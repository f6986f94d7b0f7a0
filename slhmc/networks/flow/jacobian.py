"""How a flow stretches the Haar measure."""

import torch

from slhmc.networks.flow.algebra import moved
from slhmc.networks.lcnn.batch import LinkBatch


def divergence(generator, batch: LinkBatch, time: float = 0.0, local: bool = False) -> torch.Tensor:
    """d log J / dt = sum over links and a of d_a q_a at U, d_a f(U) = d/ds f(exp(s T_a) U); exact, one number a sample.

    local: q of a link depends on that link alone, and all links are done at once; otherwise the cost is that of one derivative
    for each link and generator, which small lattices can pay.
    """
    batch = generator.prepared(batch)
    e = batch.links.new_zeros(*batch.links.shape[:2], batch.colors**2 - 1, *batch.links.shape[3:]).requires_grad_()
    with torch.enable_grad():
        q = generator(moved(batch, e), time)
        total = q.new_zeros(batch.blocks, batch.lanes)
        for a in range(q.shape[2]):
            for chosen in [slice(None)] if local else [(mu, site) for mu in range(q.shape[1]) for site in range(batch.sites)]:
                mask = torch.zeros_like(q)
                if local:
                    mask[:, :, a] = 1
                else:
                    mask[:, chosen[0], a, chosen[1]] = 1
                total += (torch.autograd.grad(q, e, mask, retain_graph=True)[0] * mask).sum((1, 2, 3))
    return total.flatten()[:batch.samples]
