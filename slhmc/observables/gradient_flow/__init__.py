"""Gradient flow: smoothing of links along a flow time, and what is measured on the way."""

from slhmc.observables.gradient_flow.charge import FIVE_LOOPS, FiveLoopCharge
from slhmc.observables.gradient_flow.flow import ACTIONS, GradientFlow
from slhmc.observables.gradient_flow.observable import QUANTITIES, FlowedLinks, default_time

__all__ = ["ACTIONS", "FIVE_LOOPS", "QUANTITIES", "FiveLoopCharge", "FlowedLinks", "GradientFlow", "default_time"]
