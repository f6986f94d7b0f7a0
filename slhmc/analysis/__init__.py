"""Errors of Markov chain averages, and the summary of a run."""

from slhmc.analysis.gamma import MINIMUM_LENGTH, Estimate, gamma_method, gamma_method_derived
from slhmc.analysis.summary import summarise

__all__ = ["MINIMUM_LENGTH", "Estimate", "gamma_method", "gamma_method_derived", "summarise"]
