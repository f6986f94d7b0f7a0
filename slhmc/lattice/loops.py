"""Sums of closed loops of links, and their forces. U must be in SU(Nc); all functions are collective."""

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


def add_plaquette_force(U: GaugeField, force: AlgebraField, factor: float) -> None:
    """force_a(x, mu) += factor c_a(U_mu(x) staples), the staples of all plaquettes with U_mu(x); c_a(M) = -2 Re tr T_a M.

    As sum_nu [c_a(P) - c_a(U_nu^+ P' U_nu)] with P = P_{mu nu}(x), P' = P_{mu nu}(x - nu), U_nu = U_nu(x - nu): first c_a of the
    plaquettes of some lane groups; then, before they leave the cache, the force there.
    """
    U.update_staple_halo()
    layout, device, slices = U.layout, U.lattice.device, U.layout.slices
    coefficients = layout.scratch(2 * slices.window * U.lattice.planes * algebra_dimension(U.colors) * layout.lanes)
    kept = device.pointer(coefficients), device.pointer(layout.positions), slices.window
    first, second = (U.kernel("gauge.cc", name) for name in ("plaquette_coefficients", "plaquette_force"))
    keep = U, force, coefficients, layout.positions
    for spans, (begin, end) in slices.steps:
        for low, high in spans:
            layout.launch(first, layout.geometry, U.pointer, *kept, begin=low, end=high, keep=keep)
        layout.launch(second, layout.geometry, U.pointer, *kept, force.pointer, factor, begin=begin, end=end, keep=keep)


def add_rectangle_force(U: GaugeField, force: AlgebraField, factor: float) -> None:
    """force_a(x, mu) += factor c_a(U_mu(x) staples), the staples of all 2 x 1 rectangles with U_mu(x)."""
    U.update_halo()
    U.layout.launch(U.kernel("gauge.cc", "rectangle_force"), U.layout.geometry, U.pointer, force.pointer, factor, keep=(U, force))


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
