"""Errors of Markov chain averages, and the summary of a run."""

from slhmc.analysis.effective_mass import DerivedValue, Plateau, cosh_mass, derived, effective_masses, folded, plateau
from slhmc.analysis.gamma import MINIMUM_LENGTH, Estimate, gamma_method, gamma_method_derived
from slhmc.analysis.summary import observable_entries, summarise

__all__ = ["MINIMUM_LENGTH", "DerivedValue", "Estimate", "Plateau", "cosh_mass", "derived", "effective_masses", "folded",
           "gamma_method", "gamma_method_derived", "observable_entries", "plateau", "summarise"]
