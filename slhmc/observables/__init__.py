"""Observables: what is measured on one configuration."""

from slhmc.observables.chiral_condensate import ChiralCondensate
from slhmc.observables.loops import Plaquette, PolyakovLoop, Rectangle
from slhmc.observables.observable import Observable

__all__ = ["ChiralCondensate", "Observable", "Plaquette", "PolyakovLoop", "Rectangle"]
