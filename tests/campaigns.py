"""Runs of a campaign, made up: chains whose observables are processes of known autocorrelation, and what was measured on them."""

import json
import math

import numpy as np
from running import CARD, HEAT_BATH_CARD

from slhmc.io import EnsembleFile, MeasurementFile
from slhmc.runcard import card_text, parse_card

THERMALIZATION = 20
EVERY = 5
TIMES = np.linspace(0.1, 2.0, 20)
SLOPE = 0.4    # of t^2 E over t: t0 = 0.75


def process(length, memory, rng):
    """Variance 1, tau_int = (1 + memory) / (1 - memory) / 2."""
    series, noise = np.empty(length), rng.standard_normal(length)
    series[0] = noise[0]
    for i in range(1, length):
        series[i] = memory * series[i - 1] + np.sqrt(1 - memory**2) * noise[i]
    return series


def write_run(folder, length=400, *, seed=1, memory=0.5, text=CARD, overrides=(), state="done", thermalization=THERMALIZATION):
    """A run of HMC, or of a heat bath if that is its card; plaquettes of thermalization are 0."""
    rng = np.random.default_rng(seed)
    card = parse_card(text, "card.toml", [f"run.seed={seed}", *overrides])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "card.toml").write_text(card_text(card))
    (folder / "status.json").write_text(json.dumps({"state": state, "trajectory": thermalization + length, "total": 1000}))
    chain, size = EnsembleFile(folder / "chain.h5", card_text(card), "0.1.0"), max(length, 1)
    plaquettes, condensates = (0.6 + 0.01 * process(size, memory, rng) for _ in range(2))
    delta_h = np.zeros(size) if card.hmc is None else 1.0 + np.sqrt(2.0) * rng.standard_normal(size)
    for trajectory in range(1, thermalization + length + 1):
        hot, i = trajectory <= thermalization, max(trajectory - thermalization - 1, 0)
        chain.append({"trajectory": trajectory, "accepted": rng.random() < math.exp(min(0.0, -delta_h[i])),
                      "delta_h": delta_h[i], "iterations": 0 if card.hmc is None else 100 + seed, "seconds": 0.5,
                      "thermalization": hot})
        chain.append_observable("plaquette", trajectory, 0.0 if hot else plaquettes[i])
        if card.quarks and trajectory % EVERY == 0:
            chain.append_observable("chiral_condensate", trajectory, np.full(2, condensates[i]))
    chain.flush()
    return folder


def write_measurements(folder, configurations=12, seed=1):
    """Gradient flow and correlators of two channels, cosh of masses 0.5 and 0.9, in measure.h5."""
    rng = np.random.default_rng(seed)
    file, t = MeasurementFile(folder / "measure.h5", "0.1.0"), np.arange(8)
    file.begin("gradient_flow", {"action": "zeuthen"})
    file.begin("mesons", {"quark": {"operator": "wilson", "kappa": 0.125}}, ("pion", "rho"))
    for number in range(configurations):
        energy = SLOPE / TIMES * (1 + 0.01 * rng.standard_normal())
        charge = np.full_like(TIMES, rng.integers(-2, 3))
        file.add("gradient_flow", EVERY * (number + 1), np.array([TIMES, energy, energy, charge, charge]))
        masses = np.array([[0.5], [0.9]])
        file.add("mesons", EVERY * (number + 1), np.cosh(masses * (t - 4)) * (1 + 0.01 * rng.standard_normal((2, 8))))
    file.flush()
    return folder


def write_campaign(folder):
    """Two runs of the same physics, one of them measured, and a heat bath: their directories."""
    return [write_measurements(write_run(folder / "hmc")), write_run(folder / "fine", seed=2, overrides=["hmc.steps=9"]),
            write_run(folder / "heat_bath", 200, text=HEAT_BATH_CARD)]
