"""Chains of fluxes on two devices."""

import numpy as np

from slhmc.scalar import WormSampler


def same_chains(device, other, chains):
    """Assert that both have the same chains, averages and open worms, bit for bit."""
    found = []
    for place in (device, other):
        sampler = WormSampler(place, (3, 4), 4.01, 1.0, 1.1, chains, 3)
        sampler.update(3)
        found.append((sampler.k, sampler.l, *sampler.observables(), *sampler.open_worms(2)))
    for one, another in zip(*found, strict=True):
        np.testing.assert_array_equal(one, another)
