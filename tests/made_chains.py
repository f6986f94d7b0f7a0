"""Chains of known autocorrelation and cost, for tests of what is told about runs."""

import math

import numpy as np
from running import CARD

from slhmc.io import EnsembleFile
from slhmc.runcard import card_text, parse_card

LENGTH, THERMALIZATION, EVERY = 8000, 20, 5
MEAN_DELTA_H = 1.0
MEMORY = {"hmc": 0.8, "guided": 0.5}
SECONDS = {"hmc": 2.0, "guided": 1.0}
ITERATIONS = {"hmc": 300, "guided": 90}
WIDTH = {"plaquette": 0.01, "chiral_condensate": 0.03}


def ar1(length, memory, rng):
    """Variance 1, tau_int = (1 + memory) / (1 - memory) / 2."""
    series, noise = np.empty(length), rng.standard_normal(length)
    series[0] = noise[0]
    for i in range(1, length):
        series[i] = memory * series[i - 1] + np.sqrt(1 - memory**2) * noise[i]
    return series


def exact_tau(memory):
    return 0.5 * (1 + memory) / (1 - memory)


def write_chain(folder, memory, seconds, iterations, *, seed, length=LENGTH, shift=0.0, overrides=(), scale=1.0, frozen=False):
    """A chain whose plaquette and condensate are AR(1) processes; dH is Gaussian of variance 2 <dH>. Thermalization is absurd."""
    rng = np.random.default_rng(seed)
    card = parse_card(CARD, "card.toml", [f"run.seed={seed}", *overrides])
    chain = EnsembleFile(folder / "chain.h5", card_text(card), "0.1.0")
    size = max(length, 1)
    plaquettes = np.full(size, 0.6) if frozen else 0.6 + shift + WIDTH["plaquette"] * ar1(size, memory, rng)
    condensates = 0.4 + WIDTH["chiral_condensate"] * ar1(size, memory, rng)
    delta_h = scale * (MEAN_DELTA_H + np.sqrt(2 * MEAN_DELTA_H) * rng.standard_normal(size))
    for trajectory in range(1, length + THERMALIZATION + 1):
        hot, i = trajectory <= THERMALIZATION, max(trajectory - THERMALIZATION - 1, 0)
        chain.append({"trajectory": trajectory, "accepted": hot or rng.random() < math.exp(min(0.0, -delta_h[i])),
                      "delta_h": 99.0 if hot else delta_h[i], "iterations": 10**6 if hot else iterations,
                      "seconds": 1e6 if hot else seconds, "thermalization": hot})
        chain.append_observable("plaquette", trajectory, 0.0 if hot else plaquettes[i])
        if trajectory % EVERY == 0 and not frozen:
            chain.append_observable("chiral_condensate", trajectory, np.full(2, 9.0 if hot else condensates[i]))
    folder.mkdir(parents=True, exist_ok=True)
    chain.flush()
    return folder


def write_pair(folder):
    """Two long runs: hmc, and a guided one that decorrelates faster at half the time and moves in other steps."""
    for seed, (name, memory) in enumerate(MEMORY.items(), 1):
        write_chain(folder / name, memory, SECONDS[name], ITERATIONS[name], seed=seed, overrides=[f"hmc.steps={seed + 5}"])
    return folder
