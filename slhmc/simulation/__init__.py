"""A run: what a card means, in which order things happen, what is written when."""

from slhmc.simulation.build import build, check_ranks
from slhmc.simulation.measure import check_measurement, gathered, measure, measurement_card
from slhmc.simulation.scalar import ScalarSimulation, SweepReport, build_scalar, create_scalar, resume_scalar
from slhmc.simulation.simulation import Report, Simulation, create, on_root, resume
from slhmc.stopping import StopRequest

__all__ = ["Report", "ScalarSimulation", "Simulation", "StopRequest", "SweepReport", "build", "build_scalar", "check_measurement",
           "check_ranks", "create", "create_scalar", "gathered", "measure", "measurement_card", "on_root", "resume",
           "resume_scalar"]
