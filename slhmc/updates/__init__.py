"""Markov-chain updates: HMC and its integrators, heat bath."""

from slhmc.updates.heat_bath import HeatBath
from slhmc.updates.hmc import HMC, TimeScale, Transition
from slhmc.updates.integrators import SCHEMES, schedule

__all__ = ["HMC", "SCHEMES", "HeatBath", "TimeScale", "Transition", "schedule"]
