"""The topological charge by five loops (de Forcrand, Garcia Perez, Stamatescu, hep-lat/9701012)."""

from functools import partial
from math import pi

import numpy as np

from slhmc.backend.signatures import LINES, LOOPS, SIZES
from slhmc.lattice import GaugeField, Lattice
from slhmc.lattice.fields import Field, algebra_dimension, link_reals
from slhmc.lattice.lattice import Layout
from slhmc.lattice.scalar import Scalar
from slhmc.lattice.tiles import plane_order

# loop sizes, in the order of kernels/topology.cc, and their coefficients: lattice errors of order a^2 and a^4 of smooth fields
# are gone for any c5; c5 = 1/20
_C5 = 1 / 20
FIVE_LOOPS = {(1, 1): (19 - 55 * _C5) / 9, (1, 2): (-64 + 640 * _C5) / 45, (1, 3): 1 / 5 - 2 * _C5, (2, 2): (1 - 64 * _C5) / 9,
              (3, 3): _C5}
CACHED = 16  # what is made of the planes at work takes this part of Device.tile_bytes
_PAIRS = (((0, 1), (2, 3), 1), ((0, 2), (1, 3), -1), ((0, 3), (1, 2), 1))


class _Planes:
    """How kernels go through all planes of mu and nu: some whole ones at a time, which stay in the cache (`spans`), and where in
    a window what is made for these is kept; of the whole lattice, with its halo, where planes cross ranks.
    """

    def __init__(self, layout: Layout, plane: tuple[int, int], reals: int):
        device, blocks = layout.lattice.device, layout.blocks
        order, size = plane_order(blocks, *plane)
        sites = max(device.least_sites, device.tile_bytes // CACHED // (reals * layout.dtype.itemsize))
        step = min(layout.groups, max(1, sites // (2 * layout.lanes * size)) * size)
        self.spans = [(begin, min(begin + step, layout.groups)) for begin in range(0, layout.groups, step)]
        self.window = layout.stride if len(self.spans) == 1 else step
        positions = np.tile(np.arange(layout.stride), (2, 1))
        if len(self.spans) > 1:
            np.put_along_axis(positions, order, np.arange(layout.groups)[None] % step, 1)
        self._tables = [device.from_host(np.ascontiguousarray(table, np.int32)) for table in (order, positions)]
        self.arguments = (*map(device.pointer, self._tables), self.window, *plane)


class FiveLoopCharge:
    """Q = sum_i c_i Q_i over loops of m x n links, Q_i from G = the mean over the 4 or 8 such loops at a corner / (m n).

    For links of one lattice in four dimensions and one group; buffers are made once. Methods are collective.
    """

    def __init__(self, lattice: Lattice, colors: int):
        layout = self.layout = lattice.layout("double")
        self.colors, algebra = colors, algebra_dimension(colors)
        kept = LINES * link_reals(colors), LOOPS * algebra, LOOPS * algebra
        self.planes = {plane: _Planes(layout, plane, sum(kept)) for pair in _PAIRS for plane in pair[:2]}
        window = max(planes.window for planes in self.planes.values())
        self.lines, self.loops, self.sides = (_Kept(layout, window, reals) for reals in kept)
        self.strengths = Field(layout, (SIZES, algebra))
        norms = [(4 * (1 + (m != n)) * m * n)**2 * 8 * pi**2 for m, n in FIVE_LOOPS]
        self.weights = lattice.device.from_host(np.array([*FIVE_LOOPS.values()]) / norms)

    def measure(self, U: GaugeField):
        """Q, a Scalar. May be recorded."""
        U.update_halo()
        total = 0.0
        for first, second, sign in _PAIRS:
            for span in self.planes[first].spans:
                self._sides(U, first, span)
                self._launch(U, first, span, "loop_strengths", self.lines, self.sides, self.strengths)
            total = self._charges(U, second) * sign + total
        return total

    def _sides(self, U: GaugeField, plane: tuple[int, int], span: tuple[int, int]) -> None:
        """The loops of some planes, brought together at one end of their sides in nu."""
        self._launch(U, plane, span, "plane_lines", self.lines)
        self.lines.update_halo(*plane)
        self._launch(U, plane, span, "plane_loops", self.lines, self.loops)
        self.loops.update_halo(plane[1])
        self._launch(U, plane, span, "loop_sides", self.lines, self.loops, self.sides)
        self.sides.update_halo(plane[0])

    def _charges(self, U: GaugeField, plane: tuple[int, int]) -> Scalar:
        """Sum over the lattice of the products of strengths in this plane and in the other one."""
        layout, planes, device, result = self.layout, self.planes[plane], self.layout.lattice.device, Scalar(self.layout.lattice)
        arguments = [*(field.pointer for field in (U, self.lines, self.sides, self.strengths)), device.pointer(self.weights)]
        before = {number: partial(self._sides, U, plane, span) for number, span in enumerate(planes.spans)}
        layout.reduce(U.kernel("topology.cc", "loop_charges"), result.array, *planes.arguments, *arguments,
                      leading=(layout.geometry,), spans=planes.spans, before=before, keep=(U, self))
        return result

    def _launch(self, U: GaugeField, plane: tuple[int, int], span: tuple[int, int], name: str, *fields) -> None:
        self.layout.launch(U.kernel("topology.cc", name), self.layout.geometry, *self.planes[plane].arguments,
                           *(field.pointer for field in (U, *fields)), begin=span[0], end=span[1], keep=(U, self))


class _Kept:
    """Numbers of each site of a window; of the whole lattice it is a field, whose halo can be filled."""

    def __init__(self, layout: Layout, window: int, components: int):
        self.layout, self.components = layout, components
        self.array = layout.lattice.device.zeros((2, window, components, layout.lanes), layout.dtype)
        self.pointer = layout.lattice.device.pointer(self.array)

    def update_halo(self, *directions: int) -> None:
        """Fill the sites up to two steps away in these directions, and where they cross."""
        for number, mu in enumerate(directions):
            self.layout.halo.around(self.array, self.components, mu, directions[:number])
