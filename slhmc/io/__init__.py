"""Files of a run: every one appears whole or not at all, and is verified before it is used."""

from slhmc.io.checkpoint import load_checkpoint, save_checkpoint
from slhmc.io.directory import RunDirectory
from slhmc.io.ensemble import RECORD, EnsembleFile
from slhmc.io.links import load_links, save_links
from slhmc.io.measurements import MeasurementFile
from slhmc.io.training import TrainingFile
from slhmc.io.weights import Weights, check_weights, load_weights, save_weights, write_weights

__all__ = ["RECORD", "EnsembleFile", "MeasurementFile", "RunDirectory", "TrainingFile", "Weights", "check_weights",
           "load_checkpoint", "load_links", "load_weights", "save_checkpoint", "save_links", "save_weights", "write_weights"]
