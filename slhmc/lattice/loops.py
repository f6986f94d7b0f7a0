"""Sums of closed loops of links, and their forces. U must be in SU(Nc); all functions are collective."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from slhmc.lattice.fields import AlgebraField, GaugeField, algebra_dimension, link_reals
from slhmc.lattice.geometry import BEHIND, REACHED
from slhmc.lattice.scalar import Scalar
from slhmc.lattice.tiles import Tiles


def _loop_sum(U: GaugeField, name: str) -> Scalar:
    result = Scalar(U.lattice)
    U.layout.reduce(U.kernel("gauge.cc", name), result.array, U.pointer, leading=(U.layout.geometry,), keep=(U,))
    return result


def plaquette_sum(U: GaugeField) -> Scalar:
    """Sum over x and mu < nu of Re tr U_mu(x) U_nu(x+mu) U_mu(x+nu)^+ U_nu(x)^+."""
    U.update_staple_halo()
    return _loop_sum(U, "plaquette_sum")


def rectangle_sum(U: GaugeField) -> Scalar:
    """Sum over x and ordered pairs mu != nu of Re tr of the rectangle of 2 links in mu and 1 in nu."""
    U.update_halo()
    return _loop_sum(U, "rectangle_sum")


@dataclass(frozen=True)
class LoopCoefficients:
    """Coefficients c_a of the plaquettes of a window of lane groups, and of its rectangles (kernels/plaquettes.h, rectangles.h).

    plaquettes, rectangles: what kernels take for them; keep: the arrays behind. Each step of `steps` is (make, spans): after
    make() kernels find there what they need on lane groups begin..end of each span.
    """

    plaquettes: tuple
    rectangles: tuple
    keep: tuple
    steps: list[tuple[Callable[[], None], list[tuple[int, int]]]]

    def launch(self, layout, kernel, *arguments, keep=()) -> None:
        """Run a site kernel, step by step."""
        for make, spans in self.steps:
            make()
            for begin, end in spans:
                layout.launch(kernel, *arguments, begin=begin, end=end, keep=(*keep, *self.keep))


def plaquette_coefficients(U: GaugeField, corners: bool = False, whole: int = 1) -> LoopCoefficients:
    """Of plaquettes, in tiles where the lattice is large. corners: for those behind in two directions, too. The halo of staples
    must be there, with corners the whole one. whole: lane groups of a partial sum, if that is what the coefficients are for.
    """
    coefficients = U.lattice.planes * algebra_dimension(U.colors)
    tiles, positions = U.layout.tiles(_links(U) + coefficients, whole=whole)
    kept, array = _coefficients(U, tiles, positions)
    keep, last = (U, array, positions), REACHED if corners else BEHIND

    def make(number):
        _launch_on(U, "plaquette_coefficients", tiles.spans(number, last, 1), *kept, keep=keep)
    return LoopCoefficients(kept, (), keep, [(partial(make, number), tiles.spans(number)) for number in range(tiles.count)])


def rectangle_coefficients(U: GaugeField, plaquettes: bool = False) -> LoopCoefficients:
    """Of rectangles, with plaquettes if asked for. Collective."""
    U.update_halo()
    layout, algebra, count = U.layout, algebra_dimension(U.colors), 2 * U.lattice.planes
    touched = count + U.lattice.dimensions + plaquettes * U.lattice.planes
    tiles, positions = layout.tiles(_links(U) + touched * algebra, reach=2)
    one = 2 * tiles.window * algebra * layout.lanes
    address = U.lattice.device.pointer(positions)
    array = layout.scratch(one * (count + U.lattice.dimensions), "rectangles")
    rectangles = U.lattice.device.pointer(array)
    sides = rectangles + one * count * layout.dtype.itemsize
    kept, keep = (rectangles, sides, address, tiles.window), (U, array, positions)
    also, more = _coefficients(U, tiles, positions) if plaquettes else ((), None)

    def make(number):
        _launch_on(U, "rectangle_coefficients", tiles.spans(number, REACHED, 2), rectangles, address, tiles.window, keep=keep)
        near = tiles.spans(number, BEHIND, 1)  # the second step looks one step behind for these
        _launch_on(U, "rectangle_sides", near, *kept, keep=keep)
        if plaquettes:
            _launch_on(U, "plaquette_coefficients", near, *also, keep=(*keep, more))
    steps = [(partial(make, number), tiles.spans(number)) for number in range(tiles.count)]
    return LoopCoefficients(also, kept[:2] if plaquettes else kept, (*keep, more), steps)


def _links(U: GaugeField) -> int:
    """Reals of the links of a site."""
    return U.lattice.dimensions * link_reals(U.colors)


def _coefficients(U: GaugeField, tiles: Tiles, positions) -> tuple[tuple, object]:
    """Arguments for the coefficients of plaquettes, and their array."""
    layout = U.layout
    array = layout.scratch(2 * tiles.window * U.lattice.planes * algebra_dimension(U.colors) * layout.lanes)
    return (U.lattice.device.pointer(array), U.lattice.device.pointer(positions), tiles.window), array


def _launch_on(U: GaugeField, name: str, spans: list[tuple[int, int]], *arguments, keep) -> None:
    """Run a kernel on some lane groups."""
    for begin, end in spans:
        U.layout.launch(U.kernel("gauge.cc", name), U.layout.geometry, U.pointer, *arguments, begin=begin, end=end, keep=keep)


def add_plaquette_force(U: GaugeField, force: AlgebraField, factor: float) -> None:
    """force_a(x, mu) += factor c_a(U_mu(x) staples), the staples of all plaquettes with U_mu(x); c_a(M) = -2 Re tr T_a M.

    As sum_nu [c_a(P) - c_a(U_nu^+ P' U_nu)] with P = P_{mu nu}(x), P' = P_{mu nu}(x - nu), U_nu = U_nu(x - nu): first c_a of the
    plaquettes of some lane groups; then, before they leave the cache, the force there.
    """
    U.update_staple_halo()
    layout, loops = U.layout, plaquette_coefficients(U)
    loops.launch(layout, U.kernel("gauge.cc", "plaquette_force"), layout.geometry, U.pointer, *loops.plaquettes, force.pointer,
                 factor, keep=(force,))


def add_rectangle_force(U: GaugeField, force: AlgebraField, factor: float) -> None:
    """force_a(x, mu) += factor c_a(U_mu(x) staples), the staples of all 2 x 1 rectangles with U_mu(x)."""
    layout, loops = U.layout, rectangle_coefficients(U)
    loops.launch(layout, U.kernel("gauge.cc", "rectangle_force"), layout.geometry, U.pointer, *loops.rectangles, force.pointer,
                 factor, keep=(force,))


def field_strength_sums(U: GaugeField):
    """Sums over the lattice of G^a_{mu nu} G^a_{mu nu} / 4 and, in four dimensions, of 8 pi^2 times the charge density.

    G from the four plaquettes of a clover (docs/conventions.md, "Gradient flow"). A device array of two doubles.
    """
    U.update_halo()
    layout, kernel, result = U.layout, U.kernel("gauge.cc", "field_strength_sums"), U.lattice.device.zeros((2,), np.float64)
    loops = plaquette_coefficients(U, corners=True, whole=max(1, U.lattice.device.summed_groups(kernel, layout.lanes) // 2))
    spans, first = [], {}  # first: what is made before a span
    for make, of_step in loops.steps:
        first[len(spans)] = make
        spans += of_step
    layout.reduce(kernel, result, U.pointer, *loops.plaquettes, leading=(layout.geometry,), spans=spans, before=first,
                  keep=loops.keep)
    return result


def line_trace(U: GaugeField, mu: int) -> np.ndarray:
    """Sum over all sites x of tr of the straight closed line in direction mu through x: [Re, Im], a device array.

    The line is built by transport, line(x) <- U_mu(x) line(x + mu), so it may cross any number of ranks.
    """
    layout, lattice = U.layout, U.lattice
    device, n = lattice.device, link_reals(U.colors)
    line, longer = (layout.empty(n) for _ in range(2))
    kernel = U.kernel("links.cc", "transport")
    for length in range(lattice.extent[mu]):
        if length:
            layout.halo.ahead(line, n, mu)
        source = device.pointer(line) if length else None
        layout.launch(kernel, layout.geometry, U.pointer, source, device.pointer(longer), mu, keep=(U, line, longer))
        line, longer = longer, line
    result = device.zeros((2,), np.float64)
    layout.reduce(U.kernel("links.cc", "matrix_trace"), result, device.pointer(line), leading=(layout.geometry,), keep=(line,))
    return result
