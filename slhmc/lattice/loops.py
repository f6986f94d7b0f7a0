"""Sums of closed loops of links, and their forces. U must be in SU(Nc); all functions are collective."""

from collections.abc import Callable

import numpy as np

from slhmc.lattice.fields import AlgebraField, GaugeField, algebra_dimension, link_reals
from slhmc.lattice.scalar import Scalar


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


def with_plaquettes(U: GaugeField, use: Callable[[tuple, int, int, tuple], None]) -> None:
    """Make the coefficients c_a of plaquettes slice by slice, and let use(kept, begin, end, keep) work on lane groups begin..end
    before they leave the cache. `kept`: what kernels take for them, `keep`: the arrays behind. Halo: `update_staple_halo`.
    """
    layout, device, slices = U.layout, U.lattice.device, U.layout.slices
    coefficients = layout.scratch(2 * slices.window * U.lattice.planes * algebra_dimension(U.colors) * layout.lanes)
    kept = device.pointer(coefficients), device.pointer(layout.positions), slices.window
    first, keep = U.kernel("gauge.cc", "plaquette_coefficients"), (U, coefficients, layout.positions)
    for spans, (begin, end) in slices.steps:
        for low, high in spans:
            layout.launch(first, layout.geometry, U.pointer, *kept, begin=low, end=high, keep=keep)
        use(kept, begin, end, keep)


def add_plaquette_force(U: GaugeField, force: AlgebraField, factor: float) -> None:
    """force_a(x, mu) += factor c_a(U_mu(x) staples), the staples of all plaquettes with U_mu(x); c_a(M) = -2 Re tr T_a M.

    As sum_nu [c_a(P) - c_a(U_nu^+ P' U_nu)] with P = P_{mu nu}(x), P' = P_{mu nu}(x - nu), U_nu = U_nu(x - nu): first c_a of the
    plaquettes of some lane groups; then, before they leave the cache, the force there.
    """
    U.update_staple_halo()
    kernel = U.kernel("gauge.cc", "plaquette_force")

    def use(kept, begin, end, keep):
        U.layout.launch(kernel, U.layout.geometry, U.pointer, *kept, force.pointer, factor, begin=begin, end=end,
                        keep=(force, *keep))
    with_plaquettes(U, use)


def rectangle_coefficients(U: GaugeField) -> tuple[tuple, tuple]:
    """What the force of rectangles is made of (kernels/rectangles.h): addresses of c_a of each and of H, and their array. Collective."""
    U.update_halo()
    layout, device = U.layout, U.lattice.device
    one = 2 * layout.stride * algebra_dimension(U.colors) * layout.lanes
    count, dimensions = 2 * U.lattice.planes, U.lattice.dimensions
    array = layout.scratch(one * (count + dimensions), "rectangles")
    rectangles = device.pointer(array)
    sides = rectangles + one * count * layout.dtype.itemsize
    layout.launch(U.kernel("gauge.cc", "rectangle_coefficients"), layout.geometry, U.pointer, rectangles, end=layout.stride,
                  keep=(U, array))
    layout.launch(U.kernel("gauge.cc", "rectangle_sides"), layout.geometry, U.pointer, rectangles, sides, end=layout.near_groups,
                  keep=(U, array))
    return (rectangles, sides), (array,)


def add_rectangle_force(U: GaugeField, force: AlgebraField, factor: float) -> None:
    """force_a(x, mu) += factor c_a(U_mu(x) staples), the staples of all 2 x 1 rectangles with U_mu(x)."""
    pointers, keep = rectangle_coefficients(U)
    U.layout.launch(U.kernel("gauge.cc", "rectangle_force"), U.layout.geometry, U.pointer, *pointers, force.pointer, factor,
                    keep=(U, force, *keep))


def field_strength_sums(U: GaugeField):
    """Sums over the lattice of G^a_{mu nu} G^a_{mu nu} / 4 and, in four dimensions, of 8 pi^2 times the topological charge density.

    G from the four plaquettes of a clover (docs/conventions.md, "Gradient flow"). A device array of two doubles.
    """
    U.update_halo()
    layout, device = U.layout, U.lattice.device
    coefficients = layout.scratch(2 * layout.stride * U.lattice.planes * algebra_dimension(U.colors) * layout.lanes, "field strength")
    kept = device.pointer(coefficients), device.pointer(layout.whole_positions), layout.stride
    keep = U, coefficients, layout.whole_positions
    layout.launch(U.kernel("gauge.cc", "plaquette_coefficients"), layout.geometry, U.pointer, *kept, end=layout.stride, keep=keep)
    result = device.zeros((2,), np.float64)
    layout.reduce(U.kernel("gauge.cc", "field_strength_sums"), result, U.pointer, *kept, leading=(layout.geometry,), keep=keep)
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
