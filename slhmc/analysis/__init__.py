"""Errors of Markov chain averages, and the summary of a run."""

from slhmc.analysis.effective_mass import DerivedValue, Plateau, cosh_mass, derived, effective_masses, folded, plateau
from slhmc.analysis.export import encoded, pyerrors_json
from slhmc.analysis.flow import as_numbers, flow_curves, flow_entries, has_charge, scales, squared_charge
from slhmc.analysis.gamma import MINIMUM_LENGTH, Estimate, autocorrelation, gamma_method, gamma_method_derived
from slhmc.analysis.notation import parenthesis, rough
from slhmc.analysis.potential import (
    CornellFit,
    Potential,
    generalized_energies,
    inverse_distance,
    potential_entries,
    static_potential,
)
from slhmc.analysis.scalar import replica_entry, summarise_scalar
from slhmc.analysis.summary import chain_entries, chain_series, observable_entries, open_chain, series_entry, summarise
from slhmc.analysis.susceptibility import susceptibility_entries

__all__ = [
    "MINIMUM_LENGTH",
    "CornellFit",
    "DerivedValue",
    "Estimate",
    "Plateau",
    "Potential",
    "as_numbers",
    "autocorrelation",
    "chain_entries",
    "chain_series",
    "cosh_mass",
    "derived",
    "effective_masses",
    "encoded",
    "flow_curves",
    "flow_entries",
    "folded",
    "gamma_method",
    "gamma_method_derived",
    "generalized_energies",
    "has_charge",
    "inverse_distance",
    "observable_entries",
    "open_chain",
    "parenthesis",
    "plateau",
    "potential_entries",
    "pyerrors_json",
    "replica_entry",
    "rough",
    "scales",
    "series_entry",
    "squared_charge",
    "static_potential",
    "summarise",
    "summarise_scalar",
    "susceptibility_entries",
]
