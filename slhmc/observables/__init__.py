"""Observables: what is measured on one configuration."""

from slhmc.observables.chiral_condensate import ChiralCondensate, StaggeredCondensate, WilsonCondensate
from slhmc.observables.gradient_flow import FlowedLinks, GradientFlow
from slhmc.observables.loops import Plaquette, PolyakovLoop, Rectangle
from slhmc.observables.mesons import CHANNELS, Mesons, StaggeredMesons, WilsonMesons
from slhmc.observables.observable import Observable
from slhmc.observables.propagator import Propagator
from slhmc.observables.residual_mass import ResidualMass
from slhmc.observables.smeared import OnSmearedLinks
from slhmc.observables.static_potential import StaticPotential

__all__ = ["CHANNELS", "ChiralCondensate", "FlowedLinks", "GradientFlow", "Mesons", "Observable", "OnSmearedLinks", "Plaquette",
           "PolyakovLoop", "Propagator", "Rectangle", "ResidualMass", "StaggeredCondensate", "StaggeredMesons",
           "StaticPotential", "WilsonCondensate", "WilsonMesons"]
