"""The topological charge by five loops (de Forcrand, Garcia Perez, Stamatescu, hep-lat/9701012)."""

from collections.abc import Callable
from functools import partial
from math import pi

import numpy as np

from slhmc.lattice import GaugeField, Lattice
from slhmc.lattice.fields import Field, algebra_dimension, link_reals
from slhmc.lattice.lattice import Layout
from slhmc.lattice.tiles import plane_order

# loop sizes and their coefficients: lattice errors of order a^2 and a^4 of smooth fields are gone for any c5; c5 = 1/20
_C5 = 1 / 20
FIVE_LOOPS = {(1, 1): (19 - 55 * _C5) / 9, (2, 2): (1 - 64 * _C5) / 9, (1, 2): (-64 + 640 * _C5) / 45, (1, 3): 1 / 5 - 2 * _C5,
              (3, 3): _C5}
# a loop from two others: (strip, loop, whether the second lies above); the second is one step ahead in mu, or above in nu
_JOINED = {(2, 1): ((1, 1), (1, 1), 0), (3, 1): ((1, 1), (2, 1), 0), (1, 2): ((1, 1), (1, 1), 1), (1, 3): ((1, 1), (1, 2), 1),
           (2, 2): ((2, 1), (2, 1), 1), (3, 2): ((3, 1), (3, 1), 1), (3, 3): ((3, 1), (3, 2), 1)}
CACHED = 8  # loops and strengths of the planes at work take this part of Device.tile_bytes
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
        self.arguments = (*map(device.pointer, self._tables), self.window)


class FiveLoopCharge:
    """Q = sum_i c_i Q_i over loops of m x n links, Q_i from G = the mean over the 4 or 8 such loops at a corner / (m n).

    For links of one lattice in four dimensions and one group; buffers are made once. Methods are collective.
    """

    def __init__(self, lattice: Lattice, colors: int):
        layout = self.layout = lattice.layout("double")
        self.colors, (matrix, algebra) = colors, (link_reals(colors), algebra_dimension(colors))
        sizes, reals = ((1, 1), *_JOINED), (1 + len(_JOINED)) * matrix + (2 + len(FIVE_LOOPS)) * algebra
        self.planes = {plane: _Planes(layout, plane, reals) for pair in _PAIRS for plane in pair[:2]}
        window = max(planes.window for planes in self.planes.values())
        self.loops = {size: _Kept(layout, window, matrix) for size in sizes}
        self.way, self.side = (_Kept(layout, window, algebra) for _ in range(2))
        self.strengths = [{size: Field(layout, (algebra,)) for size in FIVE_LOOPS} for _ in range(2)]

    def measure(self, U: GaugeField):
        """Q, a Scalar. May be recorded."""
        U.update_halo()
        total = 0.0
        for first, second, sign in _PAIRS:
            for plane, strengths in zip((first, second), self.strengths, strict=True):
                for span in self.planes[plane].spans:
                    self._plane(partial(self._launch, U, self.planes[plane], span), *plane, strengths)
            for (m, n), coefficient in FIVE_LOOPS.items():
                norm = (4 * (1 + (m != n)) * m * n) ** 2 * 8 * pi**2
                total = self.strengths[0][m, n].inner(self.strengths[1][m, n]) * (sign * coefficient / norm) + total
        return total

    def _plane(self, launch: Callable, mu: int, nu: int, strengths: dict) -> None:
        """The loops of some planes, and for each size the sum over the corners that a site can be."""
        loops = self.loops
        launch("plane_plaquettes", loops[1, 1].pointer, mu, nu)
        for size, (strip, other, above) in _JOINED.items():
            direction = nu if above else mu
            self.layout.halo.ahead(loops[other].array, loops[other].components, direction)
            launch("joined_loops", loops[strip].pointer, loops[other].pointer, loops[size].pointer, direction, above)
        for size, strength in strengths.items():
            shapes = {size, size[::-1]}
            for number, (m, n) in enumerate(sorted(shapes)):
                self._carry(launch, loops[m, n], self.side.pointer, mu, m, matrices=1, add=0, whole=0)
                self._carry(launch, self.side, strength.pointer, nu, n, matrices=0, add=int(number > 0), whole=1)

    def _carry(self, launch: Callable, field: "_Kept", out: int, mu: int, distance: int, matrices: int, add: int,
               whole: int) -> None:
        """out <- (out +) field(x) + field(x - distance mu) along the links."""
        halo = self.layout.halo
        halo.behind(field.array, field.components, mu)
        origin, from_matrices = field, matrices
        if distance > 2:
            launch("carried_loops", field.pointer, None, self.way.pointer, mu, 2, matrices, 0, 0, 0)
            halo.behind(self.way.array, self.way.components, mu)
            origin, distance, from_matrices = self.way, distance - 2, 0
        launch("carried_loops", origin.pointer, field.pointer, out, mu, distance, from_matrices, matrices, add, whole)

    def _launch(self, U: GaugeField, planes: _Planes, span: tuple[int, int], name: str, *arguments) -> None:
        self.layout.launch(U.kernel("topology.cc", name), self.layout.geometry, *planes.arguments, U.pointer, *arguments,
                           begin=span[0], end=span[1], keep=(U, self))


class _Kept:
    """Numbers of each site of a window; of the whole lattice it is a field, whose halo can be filled."""

    def __init__(self, layout: Layout, window: int, components: int):
        self.array = layout.lattice.device.zeros((2, window, components, layout.lanes), layout.dtype)
        self.pointer, self.components = layout.lattice.device.pointer(self.array), components
