"""Worms of the complex scalar field beside the random numbers that they take, made by the same Philox one after the other."""

import statistics
import time

import numpy as np

from slhmc.backend.signatures import Random
from slhmc.bench.timing import seconds_per_call
from slhmc.lattice import Lattice, Purpose
from slhmc.scalar import WormSampler

REPEATS = 5
POINTS = (1.0, 1.3)  # mu: fluxes are sparse, dense


def measure(device, mu: float, threads: int, chains: int = 64, sweeps: int = 8) -> dict:
    """One row: 60 x 4 at eta = 4.01, lambda = 1, worms alone. A step is a proposal of a worm's head: half a call of Philox."""
    sampler = WormSampler(device, (4, 60), 4.01, 1.0, mu, chains, 1)
    sampler.update(50)
    rates = []
    for _ in range(REPEATS):
        before, begun = sampler.steps.sum(), time.perf_counter()
        sampler.update(sweeps, local=False)
        device.synchronize()
        rates.append((time.perf_counter() - begun) / (sampler.steps.sum() - before))
    seconds, bound = statistics.median(rates), philox_seconds(device) / 2
    return {"name": "worm", "lattice": "60x4", "mu": mu, "chains": chains, "threads": threads, "seconds": seconds,
            "updates_per_second": 1 / seconds, "bound_seconds": bound, "fraction": bound / seconds}


def philox_seconds(device) -> float:
    """Seconds of one call of Philox and its uniform deviate, one lane at a time, on all threads."""
    layout = Lattice((8, 8, 8, 8), device, lanes=1).layout("double")
    components, field = 8, layout.empty(8)
    kernel = layout.kernel("random.cc", "uniform_field")
    random = Random(1, Purpose.TEST, 0, 0)
    seconds = seconds_per_call(device, lambda: layout.launch(kernel, layout.geometry, device.pointer(field), components, random,
                                                             keep=(field,)))
    return seconds / (components * np.prod(layout.lattice.extent))


def line(row: dict) -> str:
    """A row in words."""
    return (f"worm, {row['lattice']}, mu {row['mu']:g}, {row['chains']} chains: {row['updates_per_second'] / 1e6:.1f} million "
            f"proposals/s, {row['fraction']:.0%} of the bound by random numbers")
