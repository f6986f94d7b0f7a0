"""Observables: what is measured on one configuration."""

from slhmc.observables.chiral_condensate import ChiralCondensate
from slhmc.observables.loops import Plaquette, PolyakovLoop, Rectangle
from slhmc.observables.observable import Observable
from slhmc.observables.residual_mass import ResidualMass

__all__ = ["ChiralCondensate", "Observable", "Plaquette", "PolyakovLoop", "Rectangle", "ResidualMass"]
