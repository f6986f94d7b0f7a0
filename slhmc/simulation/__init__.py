"""A run: what a card means, in which order things happen, what is written when."""

from slhmc.simulation.build import build
from slhmc.simulation.measure import gathered, measure, measurement_card
from slhmc.simulation.scalar import ScalarSimulation, SweepReport, build_scalar, create_scalar, resume_scalar
from slhmc.simulation.simulation import Report, Simulation, create, resume
from slhmc.simulation.stopping import StopRequest

__all__ = ["Report", "ScalarSimulation", "Simulation", "StopRequest", "SweepReport", "build", "build_scalar", "create",
           "create_scalar", "gathered", "measure", "measurement_card", "resume", "resume_scalar"]
