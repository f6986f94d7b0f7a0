"""Gauge actions of plaquettes and rectangles."""

from slhmc.actions.action import Action
from slhmc.lattice import add_plaquette_force, add_rectangle_force, plaquette_sum, rectangle_sum

# c1 of the named actions: Wilson; Luescher-Weisz at tree level; Iwasaki; de Forcrand et al. (DBW2)
RECTANGLE_COEFFICIENTS = {"wilson": 0.0, "symanzik": -1.0 / 12.0, "iwasaki": -0.331, "dbw2": -1.4088}


class GaugeAction(Action):
    """S = beta [c0 sum_{x, mu<nu} (1 - Re tr P / Nc) + c1 sum_{x, mu != nu} (1 - Re tr R / Nc)], c0 = 1 - 8 c1.

    R is the rectangle of two links in mu and one in nu.
    """

    def __init__(self, beta: float, c1: float = 0.0):
        self.beta, self.c1 = float(beta), float(c1)
        self.c0 = 1.0 - 8.0 * self.c1

    def action(self, U, phi):
        lattice = U.lattice
        plaquettes = lattice.sites * lattice.planes
        total = self.beta * self.c0 * (plaquettes - plaquette_sum(U) / U.colors)
        if self.c1:
            total = total + self.beta * self.c1 * (2 * plaquettes - rectangle_sum(U) / U.colors)
        return total

    def add_force(self, U, phi, force, weight):
        """F_a = -(beta / 2 Nc) c_a(U [c0 staples + c1 rectangle staples]), c_a(M) = -2 Re tr T_a M."""
        factor = -weight * self.beta / (2 * U.colors)
        if self.c1:  # first: what it fetches from other ranks serves plaquettes, too
            add_rectangle_force(U, force, factor * self.c1)
        add_plaquette_force(U, force, factor * self.c0)
