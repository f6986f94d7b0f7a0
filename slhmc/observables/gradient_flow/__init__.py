"""Gradient flow: smoothing of links along a flow time, and what is measured on the way."""

from slhmc.observables.gradient_flow.flow import ACTIONS, GradientFlow

__all__ = ["ACTIONS", "GradientFlow"]
