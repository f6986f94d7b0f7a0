"""The lattice: geometry, ranks, fields, loops and random numbers."""

from slhmc.lattice.fields import AlgebraField, FermionField, GaugeField, LinkField
from slhmc.lattice.lattice import Lattice, Layout
from slhmc.lattice.loops import (
    add_plaquette_force,
    add_rectangle_force,
    field_strength_sums,
    line_trace,
    plaquette_coefficients,
    plaquette_sum,
    rectangle_coefficients,
    rectangle_sum,
)
from slhmc.lattice.random import Draws, Purpose
from slhmc.lattice.scalar import Scalar

__all__ = ["AlgebraField", "Draws", "FermionField", "GaugeField", "Lattice", "Layout", "LinkField", "Purpose", "Scalar",
           "add_plaquette_force", "add_rectangle_force", "field_strength_sums", "line_trace",
           "plaquette_coefficients", "plaquette_sum", "rectangle_coefficients", "rectangle_sum"]
