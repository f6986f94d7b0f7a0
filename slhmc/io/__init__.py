"""Files of a run: every one appears whole or not at all, and is verified before it is used."""

from slhmc.io.checkpoint import load_checkpoint, save_checkpoint
from slhmc.io.collection import KeptConfiguration, fingerprint, found_configurations, run_configurations
from slhmc.io.datasets import DataSet, check_data_set, load_data_set, save_data_set
from slhmc.io.directory import RunDirectory
from slhmc.io.ensemble import RECORD, EnsembleFile
from slhmc.io.fit import FitFile, load_fit_state, load_model, save_fit_state, save_model
from slhmc.io.fluxes import FluxSet, check_flux_set, load_flux_set, save_flux_set
from slhmc.io.formats import load_configuration
from slhmc.io.links import load_links, save_links
from slhmc.io.measurements import MeasurementFile
from slhmc.io.scalar import (
    FluxChains,
    FluxConfigurations,
    is_scalar_chain,
    load_flux_checkpoint,
    load_fluxes,
    save_flux_checkpoint,
    save_fluxes,
)
from slhmc.io.training import TrainingFile
from slhmc.io.weights import Weights, check_weights, load_weights, save_weights, write_weights

__all__ = ["RECORD", "DataSet", "EnsembleFile", "FitFile", "FluxChains", "FluxConfigurations", "FluxSet", "KeptConfiguration",
           "MeasurementFile", "RunDirectory", "TrainingFile", "Weights", "check_data_set", "check_flux_set", "check_weights",
           "fingerprint", "found_configurations", "is_scalar_chain", "load_checkpoint", "load_configuration", "load_data_set",
           "load_fit_state", "load_flux_checkpoint", "load_flux_set", "load_fluxes", "load_links", "load_model", "load_weights",
           "run_configurations", "save_checkpoint", "save_data_set", "save_fit_state", "save_flux_checkpoint", "save_flux_set",
           "save_fluxes", "save_links", "save_model", "save_weights", "write_weights"]
