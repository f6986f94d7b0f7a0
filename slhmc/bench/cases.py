"""The kernels that are timed: what runs, its flops, and its bytes (each input read once, each output written once)."""

from dataclasses import dataclass

from slhmc.actions import GaugeAction
from slhmc.dirac import StaggeredDirac, StaggeredNormal, hopping
from slhmc.lattice import AlgebraField, Draws, FermionField, GaugeField, Lattice, Purpose, Scalar, plaquette_sum, rectangle_sum
from slhmc.lattice.fields import algebra_dimension, link_reals
from slhmc.solvers import ConjugateGradient
from slhmc.updates import HeatBath


@dataclass
class Case:
    """One timed thing. `work` launches it `inner` times; flops and bytes are for one."""

    name: str
    real: str
    work: object
    flops: float
    moved: float
    working_set: float
    inner: int = 1


def matrix_flops(n: int) -> int:
    """Flops of one product of stored links: quaternions for SU(2), else complex matrices."""
    return 28 if n == 2 else 8 * n**3 - 2 * n**2


def matrix_vector_flops(n: int) -> int:
    """Flops of a matrix times a colour vector."""
    return 8 * n * n - 2 * n


def hopping_flops(n: int, dimensions: int) -> int:
    """Per site: 2 D matrix-vector products and the sum, the field's count (570 for SU(3), D = 4)."""
    return 2 * dimensions * (matrix_vector_flops(n) + 2 * n) - 2 * n


def hopping_bytes(n: int, dimensions: int, size: int) -> int:
    """Per site: 2 D hopping links as stored (SU(2) 4 reals, SU(3) 12), one vector read, one written."""
    return size * (2 * dimensions * hopping.link_reals(n) + 4 * n)


def coefficient_flops(n: int) -> int:
    """The coefficients c_a of a product of two matrices: of the product only what they need."""
    if n == 2:
        return 21 + 3
    return n * (n - 1) * (8 * n - 2) + n * (4 * n - 1) + n * (n - 1) + _diagonal_flops(n)


def transport_flops(n: int) -> int:
    """Coefficients of U^+ M U, M in the algebra: n (n - 1) entries of M U, M with an imaginary diagonal; then the upper triangle
    and the diagonal of U^+ M U. SU(2): a rotation, two cross products and one multiple."""
    if n == 2:
        return 3 + 9 + 6 + 12
    return n * (n - 1) * (8 * n - 6) + n * (n - 1) // 2 * (8 * n - 2) + (n - 1) * (4 * n - 1) + 2 * _diagonal_flops(n)


def commutator_flops(n: int) -> int:
    """Coefficients of [X, Y] from those of X and Y: entries above the diagonal, of terms with neither diagonal and with one."""
    return 9 if n == 2 else n * (n - 1) // 2 * (16 * (n - 2) + 18) + n + 2 * _diagonal_flops(n)


def anticommutator_flops(n: int) -> int:
    """Coefficients of (H X + X H) / 2, H the Hermitian part of a matrix."""
    return 3 if n == 2 else n * (n - 1) // 2 * (16 * (n - 2) + 21) + n + 2 * _diagonal_flops(n)


def _diagonal_flops(n: int) -> int:
    """Scales and partial sums between coefficients and diagonal entries."""
    return 4 * (n - 1)


def plaquette_force_flops(n: int, dimensions: int) -> int:
    """Per site: each plaquette's coefficients; in each plane and for both links of it those of the plaquette behind, transported;
    sums; adding to the force."""
    algebra, planes = algebra_dimension(n), dimensions * (dimensions - 1) // 2
    plaquette = 2 * matrix_flops(n) + coefficient_flops(n)
    return planes * (plaquette + 2 * (transport_flops(n) + 2 * algebra)) + dimensions * 2 * algebra


def rectangle_force_flops(n: int, dimensions: int) -> int:
    """Per site: each rectangle's coefficients from lines of two links; H of its long sides; for each link what the first half of
    a side has brought to the second, and what the short side behind has, along two links; sums."""
    algebra, pairs = algebra_dimension(n), dimensions * (dimensions - 1)
    made = dimensions * matrix_flops(n) + pairs * (3 * matrix_flops(n) + coefficient_flops(n))
    sides = pairs * (transport_flops(n) + 2 * algebra)
    loops = dimensions * (transport_flops(n) + 3 * algebra + matrix_flops(n)) + pairs * (transport_flops(n) + 3 * algebra)
    return made + sides + loops


def link_update_flops(n: int) -> int:
    """exp(P) U of a link; halvings in the exponential are not counted."""
    return {2: 110 + 28, 3: 2 * 198 + 400}.get(n, 20 * matrix_flops(n))


def sweep_flops(n: int, dimensions: int) -> int:
    """Per site: link times staples, then in each SU(2) subgroup the rotation and its products with two matrices."""
    staples = 2 * (dimensions - 1) * (2 * matrix_flops(n) + link_reals(n)) + matrix_flops(n)
    part, rotation, rows = (0, 13 + 28, 28) if n == 2 else (8, 13 + 28, 28 * n)
    return dimensions * (staples + n * (n - 1) // 2 * (part + rotation + 2 * rows))


def reunitarize_flops(n: int, dimensions: int) -> int:
    """Per site: the norm of a quaternion for SU(2); Gram and Schmidt of two rows and their cross product for SU(3)."""
    normalise = 4 * n - 1 + 2 + 2 * n
    return dimensions * {2: 12, 3: 2 * normalise + (8 * n - 2) + 8 * n + 14 * n}[n]


class Workbench:
    """Fields of one lattice and group, and the cases on them; lattice: one that is there."""

    def __init__(self, device, extent, colors: int, lattice: Lattice | None = None):
        self.lattice, self.colors = lattice or Lattice(extent, device), colors
        self.U = GaugeField(self.lattice, colors)
        self.U.randomize(Draws(1, 0).next(Purpose.START))
        self.boundary = [1] * (len(extent) - 1) + [-1]

    def gauge_cases(self) -> list[Case]:
        """Loops, forces, link update and momenta; double precision, as links have no other."""
        lattice, n, d = self.lattice, self.colors, self.lattice.dimensions
        momenta = AlgebraField(lattice, n)
        momenta.draw_gaussian(Draws(1, 1).next(Purpose.MOMENTA), 1e-3)
        links, algebra = 8 * d * link_reals(n), 8 * d * algebra_dimension(n)
        planes, sites = lattice.planes, lattice.sites
        trace = 8 if n == 2 else 4 * n * n
        force = plaquette_force_flops(n, d)
        rectangles, update = rectangle_force_flops(n, d), d * link_update_flops(n)
        action, improved, moving = GaugeAction(6.0), GaugeAction(6.0, -1 / 12), self.U.copy()
        random = Draws(1, 5).next(Purpose.MOMENTA)
        return [
            Case("plaquette", "double", lambda: plaquette_sum(self.U), sites * planes * (2 * matrix_flops(n) + trace),
                 sites * links, sites * links),
            Case("gauge force", "double", lambda: action.add_force(self.U, None, momenta, 1e-9), sites * force,
                 sites * (links + 2 * algebra), sites * (links + algebra)),
            Case("link update", "double", lambda: moving.drift(momenta, 1e-6), sites * update,
                 sites * (2 * links + algebra), sites * (links + algebra)),
            Case("rectangle", "double", lambda: rectangle_sum(self.U),
                 sites * d * ((1 + 3 * (d - 1)) * matrix_flops(n) + (d - 1) * trace), sites * links, sites * links),
            Case("improved force", "double", lambda: improved.add_force(self.U, None, momenta, 1e-9),
                 sites * (force + rectangles),
                 sites * (links + 2 * algebra), sites * (links + algebra)),
            Case("momenta", "double", lambda: momenta.draw_gaussian(random), 0, sites * algebra, sites * algebra),
        ]

    def update_cases(self) -> list[Case]:
        """Sweeps over all links and the return to the group; random numbers are not counted as flops."""
        n, d, sites = self.colors, self.lattice.dimensions, self.lattice.sites
        U, updates = self.U.copy(), HeatBath({2: 2.4, 3: 6.0}[n], 0)
        links = sites * 8 * d * link_reals(n)
        # a sweep is 2 D kernels, each of which reads all links and writes those of one direction and parity
        flops, moved = sites * sweep_flops(n, d), links * (2 * d + 1)
        return [
            Case("heat bath", "double", lambda: updates.heat_bath_sweep(U, Draws(1, 6)), flops, moved, links),
            Case("over-relaxation", "double", lambda: updates.over_relaxation_sweep(U), flops, moved, links),
            Case("reunitarize", "double", U.reunitarize, sites * reunitarize_flops(n, d), 2 * links, links),
        ]

    def quark_force_case(self) -> Case:
        """The outer products of the staggered force; double precision."""
        n, d, sites = self.colors, self.lattice.dimensions, self.lattice.sites
        dirac = StaggeredDirac(self.U, 0.1, self.boundary)
        dirac.prepare()
        z, force = FermionField(self.lattice, n), AlgebraField(self.lattice, n)
        z.draw_gaussian(Draws(1, 4).next(Purpose.NOISE))
        flops = sites * d * (matrix_vector_flops(n) + 6 * n * n + 4 * algebra_dimension(n))
        links, algebra = 8 * d * link_reals(n), 8 * d * algebra_dimension(n)
        moved = sites * (links + 2 * algebra + 16 * n)
        return Case("staggered force", "double", lambda: dirac.add_outer_force(z, force, 1e-9), flops, moved, moved)

    def hopping_links_case(self, real: str) -> Case:
        """What follows a change of the links: hopping links in double, or their conversion to single."""
        n, d, sites = self.colors, self.lattice.dimensions, self.lattice.sites
        links = StaggeredDirac(self.U, 0.1, self.boundary, real).prepare()
        reals = 2 * d * links.link_reals
        flops, moved = (reals, 8 * (d * link_reals(n) + reals)) if real == "double" else (0, (8 + 4) * reals)

        def rebuild():
            links.version = -1
            links.update(self.U)
        return Case("hopping links", real, rebuild, sites * flops, sites * moved, sites * moved)

    def linear_algebra_cases(self, real: str) -> list[Case]:
        """Colour vectors on one parity: out = a x + b y, x.y, and the two recurrences of conjugate gradient."""
        reals, size = self.lattice.sites // 2 * 2 * self.colors, 8 if real == "double" else 4
        x, y, out = (FermionField(self.lattice, self.colors, "even", real) for _ in range(3))
        for number, field in enumerate((x, y)):
            field.draw_gaussian(Draws(1, 7 + number).next(Purpose.NOISE))
        result = Scalar(self.lattice).array
        solver = ConjugateGradient(self.lattice, 0.5)  # its alpha and beta are 0, so that values stay what they are

        def case(name, work, flops, moved, fields):
            return Case(name, real, work, reals * flops, reals * moved * size, reals * fields * size)
        return [case("combination", lambda: out.assign_combination(0.5, x, 0.5, y), 3, 3, 3),
                case("dot", lambda: x.inner_into(y, result), 2, 2, 2),
                case("CG residual", lambda: solver.lower_residual(x, y), 4, 3, 2),
                case("CG direction", lambda: solver.turn_direction(out, x, y), 4, 5, 3)]

    def hopping_case(self, real: str) -> Case:
        """Half hop: one parity."""
        n, d, half = self.colors, self.lattice.dimensions, self.lattice.sites // 2
        dirac = StaggeredDirac(self.U, 0.1, self.boundary, real)
        psi = FermionField(self.lattice, n, "odd", real)
        psi.draw_gaussian(Draws(1, 2).next(Purpose.NOISE))
        out = psi.like(parity="even")
        dirac.hop(psi, out, "even")  # build the hopping links outside the timing
        size = 8 if real == "double" else 4
        moved = half * hopping_bytes(n, d, size)
        return Case("staggered hop", real, lambda: dirac.hop(psi, out, "even"), half * hopping_flops(n, d), moved, moved)

    def solver_case(self, precision: str, iterations: int = 200) -> Case:
        """One iteration of even-odd conjugate gradient."""
        n, d, half = self.colors, self.lattice.dimensions, self.lattice.sites // 2
        operator = StaggeredNormal(StaggeredDirac(self.U, 0.01, self.boundary), "even")
        source, solution = (operator.field("double") for _ in range(2))
        source.draw_gaussian(Draws(1, 3).next(Purpose.NOISE))
        real = "float" if precision == "mixed" else "double"
        solver = FixedIterations(self.lattice, iterations, precision)
        size = 8 if real == "double" else 4
        flops = half * (2 * hopping_flops(n, d) + 4 * n * 7)
        # two hops, q read again by the residual update; x, p, r, q as fused: 4 reads and 3 writes beyond the hops
        moved = half * (2 * hopping_bytes(n, d, size) + size * 2 * n * 9)
        resident = half * (2 * hopping_bytes(n, d, size) + size * 2 * n * 3)
        return Case("staggered CG step", real, lambda: solver.iterate(operator, source, solution), flops, moved, resident,
                    inner=iterations)


class FixedIterations(ConjugateGradient):
    """The recurrence alone, a fixed number of times."""

    def __init__(self, lattice, iterations: int, precision: str):
        super().__init__(lattice, 1e-300, 1 << 30, precision)
        self.iterations = iterations

    def iterate(self, operator, source, solution) -> None:
        work = self._workspace(operator)
        for precision in work.operators.values():
            precision.prepare()
        self._begin(work, source, solution)
        for _ in range(self.iterations):
            self._inner(work, work.operators[work.inner_real])
