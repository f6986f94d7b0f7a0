"""Sums of closed loops of links. U must be in SU(Nc); all functions are collective."""

import numpy as np

from slhmc.lattice.fields import GaugeField, link_reals
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
