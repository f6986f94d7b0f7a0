"""Averages of closed loops."""

import numpy as np

from slhmc.lattice import line_trace, plaquette_sum, rectangle_sum
from slhmc.observables.observable import Observable


class Plaquette(Observable):
    """Mean of Re tr U_plaq / Nc over sites and planes."""

    name = "plaquette"

    def measure(self, U, draws):
        return np.float64(float(plaquette_sum(U)) / (U.lattice.sites * U.lattice.planes * U.colors))


class Rectangle(Observable):
    """Mean of Re tr / Nc of the 2x1 rectangles over sites and ordered pairs of directions."""

    name = "rectangle"

    def measure(self, U, draws):
        return np.float64(float(rectangle_sum(U)) / (2 * U.lattice.sites * U.lattice.planes * U.colors))


class PolyakovLoop(Observable):
    """(1/V_perp) sum tr (product of the links along a direction) / Nc, complex, one number per direction x, y, z, t."""

    name = "polyakov_loop"

    def measure(self, U, draws):
        device = U.lattice.device
        sums = [line_trace(U, mu) for mu in range(U.lattice.dimensions)]
        device.synchronize()
        # summed over all sites, so each loop is counted once for every site on it
        return np.array([complex(*device.to_host(s)) for s in sums]) / (U.lattice.sites * U.colors)
