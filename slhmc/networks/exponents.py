"""Stout layers of plaquettes and rectangles by elements of the algebra: exponents of links and the way back through them.

Derivations: kernels/plaquette_layer.cc, kernels/rectangle_layer.cc.
"""

from abc import ABC, abstractmethod

from slhmc.lattice import AlgebraField, GaugeField, Lattice
from slhmc.lattice.fields import algebra_dimension
from slhmc.lattice.geometry import BEHIND, REACHED
from slhmc.lattice.loops import plaquette_coefficients, rectangle_coefficients
from slhmc.networks.loops import REAL_BYTES, table_offset


class Exponents(ABC):
    """q, the coefficients of Q = 2 [C U^+]_TA of weighted loops of one shape. Abstract; leaves: PlaquetteExponents,
    RectangleExponents.

    `weights`: the address of a layer's table of weights on the device (`loops.table_length`); `owner` keeps it, and is kept by
    tapes. All methods are collective and may be recorded.
    """

    shape: str

    def __init__(self, lattice: Lattice, colors: int, owner=None):
        self.lattice, self.layout, self.algebra = lattice, lattice.layout("double"), algebra_dimension(colors)
        self.offset = table_offset(self.shape, lattice.dimensions) * REAL_BYTES
        self.owner = owner

    @abstractmethod
    def find(self, U: GaugeField, weights: int, exponents: AlgebraField, smeared: GaugeField | None = None,
             add: bool = False) -> None:
        """exponents <- q, with add what they are plus q; smeared, if given, <- exp(exponents) U."""

    @abstractmethod
    def add_force(self, U: GaugeField, weights: int, exponent_force: AlgebraField, force: AlgebraField, factor: float) -> None:
        """force_a += factor d_a sum over links of f q at fixed f = exponent_force."""

    def _kernel(self, U: GaugeField, name: str):
        return U.kernel(f"{self.shape}_layer.cc", f"{self.shape}_{name}")

    def _find(self, loops, coefficients, U, weights, exponents, smeared, add) -> None:
        """`find` from the coefficients of loops."""
        fields = exponents.pointer, smeared and smeared.pointer
        loops.launch(self.layout, self._kernel(U, "layer"), self.layout.geometry, U.pointer, *coefficients, *fields,
                     weights + self.offset, int(add), keep=(exponents, smeared, self.owner))

    def _launch(self, U: GaugeField, name: str, spans, *arguments, keep) -> None:
        """Run a kernel on some lane groups."""
        for begin, end in spans:
            self.layout.launch(self._kernel(U, name), self.layout.geometry, U.pointer, *arguments, begin=begin, end=end,
                               keep=(U, self.owner, *keep))

    def _window(self, U: GaugeField, exponent_force: AlgebraField, elements: int, reach: int):
        """Tiles, arguments and arrays for so many algebra elements a site that the steps back pass on."""
        tiles, positions = self.layout.tiles(U.component_count + 2 * exponent_force.component_count + elements * self.algebra,
                                             reach)
        array = self.layout.scratch(2 * tiles.window * elements * self.algebra * self.layout.lanes, "tangents")
        pointer = self.lattice.device.pointer
        return tiles, (pointer(array), pointer(positions), tiles.window), (array, positions, exponent_force)


class PlaquetteExponents(Exponents):
    """Of all plaquettes."""

    shape = "plaquette"

    def find(self, U, weights, exponents, smeared=None, add=False):
        U.update_staple_halo()
        loops = plaquette_coefficients(U)
        self._find(loops, loops.plaquettes, U, weights, exponents, smeared, add)

    def add_force(self, U, weights, exponent_force, force, factor):
        U.update_staple_halo()
        self.layout.halo.staple_links(exponent_force.array, self.algebra)
        elements = self.lattice.dimensions + 2 * self.lattice.planes
        tiles, kept, keep = self._window(U, exponent_force, elements, 1)
        for number in range(tiles.count):
            # in planes that stay on another rank nothing is right behind its face, and nothing is read
            self._launch(U, "tangents", tiles.spans(number, BEHIND, 1), exponent_force.pointer, *kept, weights + self.offset,
                         keep=keep)
            self._launch(U, "tangent_force", tiles.spans(number), *kept, force.pointer, -2.0 * factor, keep=(*keep, force))


class RectangleExponents(Exponents):
    """Of all rectangles of two links by one."""

    shape = "rectangle"

    def find(self, U, weights, exponents, smeared=None, add=False):
        loops = rectangle_coefficients(U)
        self._find(loops, loops.rectangles, U, weights, exponents, smeared, add)

    def add_force(self, U, weights, exponent_force, force, factor):
        U.update_halo()
        self.layout.halo.all_links(exponent_force.array, exponent_force.component_count)
        elements = 2 * self.lattice.dimensions + 6 * self.lattice.planes
        tiles, kept, keep = self._window(U, exponent_force, elements, 2)
        for number in range(tiles.count):
            self._launch(U, "tangents", tiles.spans(number, REACHED, 2), exponent_force.pointer, *kept, weights + self.offset,
                         keep=keep)
            self._launch(U, "tangent_sides", tiles.spans(number, BEHIND, 1), *kept, keep=keep)
            self._launch(U, "tangent_force", tiles.spans(number), *kept, force.pointer, -2.0 * factor, keep=(*keep, force))
