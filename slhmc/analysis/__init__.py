"""Errors of Markov chain averages, and the summary of a run."""

from slhmc.analysis.effective_mass import DerivedValue, Plateau, cosh_mass, derived, effective_masses, folded, plateau
from slhmc.analysis.gamma import MINIMUM_LENGTH, Estimate, autocorrelation, gamma_method, gamma_method_derived
from slhmc.analysis.notation import parenthesis
from slhmc.analysis.summary import chain_entries, chain_series, observable_entries, open_chain, series_entry, summarise

__all__ = ["MINIMUM_LENGTH", "DerivedValue", "Estimate", "Plateau", "autocorrelation", "chain_entries", "chain_series",
           "cosh_mass", "derived", "effective_masses", "folded", "gamma_method", "gamma_method_derived", "observable_entries",
           "open_chain", "parenthesis", "plateau", "series_entry", "summarise"]
