"""The topological charge by five loops (de Forcrand, Garcia Perez, Stamatescu, hep-lat/9701012)."""

from math import pi

from slhmc.lattice import GaugeField, Lattice
from slhmc.lattice.fields import Field, algebra_dimension, link_reals

# loop sizes and their coefficients: lattice errors of order a^2 and a^4 of smooth fields are gone for any c5; c5 = 1/20
_C5 = 1 / 20
FIVE_LOOPS = {(1, 1): (19 - 55 * _C5) / 9, (2, 2): (1 - 64 * _C5) / 9, (1, 2): (-64 + 640 * _C5) / 45, (1, 3): 1 / 5 - 2 * _C5,
              (3, 3): _C5}
# a loop from two others: (strip, loop, whether the second lies above); the second is one step ahead in mu, or above in nu
_JOINED = {(2, 1): ((1, 1), (1, 1), 0), (3, 1): ((1, 1), (2, 1), 0), (1, 2): ((1, 1), (1, 1), 1), (1, 3): ((1, 1), (1, 2), 1),
           (2, 2): ((2, 1), (2, 1), 1), (3, 2): ((3, 1), (3, 1), 1), (3, 3): ((3, 1), (3, 2), 1)}
_PAIRS = (((0, 1), (2, 3), 1), ((0, 2), (1, 3), -1), ((0, 3), (1, 2), 1))


class FiveLoopCharge:
    """Q = sum_i c_i Q_i over loops of m x n links, Q_i from G = the mean over the 4 or 8 such loops at a corner / (m n).

    For links of one lattice in four dimensions and one group; buffers are made once. Methods are collective.
    """

    def __init__(self, lattice: Lattice, colors: int):
        layout = self.layout = lattice.layout("double")
        self.colors = colors
        self.loops = {size: Field(layout, (link_reals(colors),)) for size in ((1, 1), *_JOINED)}
        self.way, self.side = (Field(layout, (algebra_dimension(colors),)) for _ in range(2))
        self.strengths = [{size: Field(layout, (algebra_dimension(colors),)) for size in FIVE_LOOPS} for _ in range(2)]

    def measure(self, U: GaugeField):
        """Q, a Scalar. May be recorded."""
        U.update_halo()
        total = 0.0
        for first, second, sign in _PAIRS:
            for plane, strengths in zip((first, second), self.strengths, strict=True):
                self._plane(U, *plane, strengths)
            for (m, n), coefficient in FIVE_LOOPS.items():
                norm = (4 * (1 + (m != n)) * m * n) ** 2 * 8 * pi**2
                total = self.strengths[0][m, n].inner(self.strengths[1][m, n]) * (sign * coefficient / norm) + total
        return total

    def _plane(self, U: GaugeField, mu: int, nu: int, strengths: dict) -> None:
        """The loops of a plane, and for each size the sum over the corners that a site can be."""
        layout, loops = self.layout, self.loops
        self._launch(U, "plane_plaquettes", loops[1, 1].pointer, mu, nu)
        for size, (strip, other, above) in _JOINED.items():
            direction = nu if above else mu
            layout.halo.ahead(loops[other].array, loops[other].component_count, direction)
            self._launch(U, "joined_loops", loops[strip].pointer, loops[other].pointer, loops[size].pointer, direction, above)
        for size, strength in strengths.items():
            shapes = {size, size[::-1]}
            for number, (m, n) in enumerate(sorted(shapes)):
                self._carry(U, loops[m, n], self.side, mu, m, matrices=1, add=0)
                self._carry(U, self.side, strength, nu, n, matrices=0, add=int(number > 0))

    def _carry(self, U: GaugeField, field: Field, out: Field, mu: int, distance: int, matrices: int, add: int) -> None:
        """out <- (out +) field(x) + field(x - distance mu) along the links."""
        halo = self.layout.halo
        halo.all_links(field.array, field.component_count)
        origin, from_matrices = field, matrices
        if distance > 2:
            self._launch(U, "carried_loops", field.pointer, None, self.way.pointer, mu, 2, matrices, 0, 0)
            halo.all_links(self.way.array, self.way.component_count)
            origin, distance, from_matrices = self.way, distance - 2, 0
        self._launch(U, "carried_loops", origin.pointer, field.pointer, out.pointer, mu, distance, from_matrices, matrices, add)

    def _launch(self, U: GaugeField, name: str, *arguments) -> None:
        self.layout.launch(U.kernel("topology.cc", name), self.layout.geometry, U.pointer, *arguments, keep=(U, self))
