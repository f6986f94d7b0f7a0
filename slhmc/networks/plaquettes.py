"""Stout layers of plaquettes by elements of the algebra: exponents of links and the way back through them.

Derivation: kernels/plaquette_layer.cc.
"""

from slhmc.lattice import AlgebraField, GaugeField, Lattice
from slhmc.lattice.fields import algebra_dimension
from slhmc.lattice.geometry import BEHIND
from slhmc.lattice.loops import plaquette_coefficients


class PlaquetteExponents:
    """q, the coefficients of Q = 2 [C U^+]_TA of weighted plaquettes.

    `weights`: the address of a table of weights on the device, of which plaquettes are first (`loops.table_length`); `owner`
    keeps it, and is kept by tapes. All methods are collective and may be recorded.
    """

    def __init__(self, lattice: Lattice, colors: int, owner=None):
        self.lattice, self.layout, self.algebra = lattice, lattice.layout("double"), algebra_dimension(colors)
        self.owner = owner

    def find(self, U: GaugeField, weights: int, exponents: AlgebraField, smeared: GaugeField | None = None) -> None:
        """exponents <- q; smeared, if given, <- exp(Q) U."""
        U.update_staple_halo()
        loops, fields = plaquette_coefficients(U), (exponents,) if smeared is None else (exponents, smeared)
        loops.launch(self.layout, self._kernel(U, "layer"), self.layout.geometry, U.pointer, *loops.plaquettes, exponents.pointer,
                     smeared and smeared.pointer, weights, keep=(*fields, self.owner))

    def add_force(self, U: GaugeField, weights: int, exponent_force: AlgebraField, force: AlgebraField, factor: float) -> None:
        """force_a += factor d_a sum over links of f q at fixed f = exponent_force."""
        U.update_staple_halo()
        self.layout.halo.staple_links(exponent_force.array, self.algebra)
        loops = (self.lattice.dimensions + 2 * self.lattice.planes) * self.algebra
        tiles, positions = self.layout.tiles(U.component_count + 2 * exponent_force.component_count + loops)
        array = self.layout.scratch(2 * tiles.window * loops * self.layout.lanes, "tangents")
        kept = self.lattice.device.pointer(array), self.lattice.device.pointer(positions), tiles.window
        keep = U, exponent_force, force, array, positions, self.owner
        for number in range(tiles.count):
            # in planes that stay on another rank nothing is right behind its face, and nothing is read
            for begin, end in tiles.spans(number, BEHIND, 1):
                self.layout.launch(self._kernel(U, "tangents"), self.layout.geometry, U.pointer, exponent_force.pointer, *kept,
                                   weights, begin=begin, end=end, keep=keep)
            for begin, end in tiles.spans(number):
                self.layout.launch(self._kernel(U, "tangent_force"), self.layout.geometry, U.pointer, *kept, force.pointer,
                                   -2.0 * factor, begin=begin, end=end, keep=keep)

    def _kernel(self, U: GaugeField, name: str):
        return U.kernel("plaquette_layer.cc", f"plaquette_{name}")
