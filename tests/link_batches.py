"""Batches of links for tests of networks, from the arrays of reference.py: [sample, (t, z,) y, x, mu, Nc, Nc]."""

import numpy as np
import reference

from slhmc.backend import HostDevice
from slhmc.networks.lcnn import LinkBatch


def random_links(extent, colors, samples, seed):
    """Haar-random links."""
    return reference.random_group((samples, *extent[::-1], len(extent)), colors, np.random.default_rng(seed))


def gauge_transform(links, omega):
    """Each sample by its own Omega(x), [sample, (t, z,) y, x, Nc, Nc]."""
    return np.stack([reference.gauge_transform(*sample) for sample in zip(links, omega, strict=True)])


def packed(links):
    """[sample, mu, real, site]."""
    colors, dimensions = links.shape[-1], links.shape[-3]
    rows = links[..., :1, :] if colors == 2 else links
    reals = np.stack([rows.real, rows.imag], -1).reshape(len(links), -1, dimensions, 4 if colors == 2 else 2 * colors**2)
    return np.ascontiguousarray(reals.transpose(0, 2, 3, 1))


def batch_of(links, real="double"):
    extent = links.shape[-4:0:-1]
    return LinkBatch(HostDevice(), packed(links), extent, links.shape[-1], real)
