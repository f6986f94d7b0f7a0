"""Timed cases of quarks with spin: Wilson, clover and domain-wall operators, and a step of the Wilson solver."""

from slhmc.bench.cases import Case, FixedIterations, Workbench, matrix_vector_flops
from slhmc.dirac import CloverDirac, DomainWall, DomainWallDirac, WilsonDirac
from slhmc.lattice import Draws, Purpose
from slhmc.lattice.fields import link_reals

SIZES = {"double": 8, "float": 4}


def hop_flops(n: int) -> int:
    """Per site of one parity: 8 projections and products of two colour vectors, their sum; the field's count, 1320 for SU(3)."""
    return 8 * (2 * matrix_vector_flops(n) + 2 * n * (2 + 4)) - 8 * n


def clover_flops(n: int) -> int:
    """Per site: two Hermitian blocks of 2 Nc rows times a vector, added to the hop; 552 for SU(3)."""
    rows = 2 * n
    return 2 * (rows * (2 + 8 * (rows - 1)) + 2 * rows)


def _filled(field):
    field.draw_gaussian(Draws(1, 2).next(Purpose.NOISE))
    return field


def wilson_hop(bench: Workbench, real: str) -> Case:
    """Half hop: one parity, three rows of links."""
    n, half, size = bench.colors, bench.lattice.sites // 2, SIZES[real]
    hopping = WilsonDirac(bench.U, 0.1, bench.boundary, real).hopping
    psi, out = _filled(hopping.field("odd")), hopping.field("even")
    hopping.hop(psi, out, "even")  # build the hopping links outside the timing
    moved = half * size * (8 * link_reals(n) + 16 * n)
    return Case("Wilson hop", real, lambda: hopping.hop(psi, out, "even"), half * hop_flops(n), moved, moved)


def clover_operator(bench: Workbench, real: str) -> Case:
    """M of even-odd clover quarks: two half hops and two blocks."""
    n, half, size = bench.colors, bench.lattice.sites // 2, SIZES[real]
    operator = CloverDirac(bench.U, 0.1, 1.0, bench.boundary, real).even_odd()
    psi, out = _filled(operator.field(real)), operator.field(real)
    operator.prepare()
    operator.apply(psi, out)
    blocks = 2 * (2 * n)**2
    moved = half * size * (2 * (8 * link_reals(n) + 16 * n + blocks) + 8 * n)
    return Case("clover M", real, lambda: operator.apply(psi, out), half * 2 * (hop_flops(n) + clover_flops(n)), moved, moved)


def domain_wall_hop(bench: Workbench, real: str, Ls: int) -> Case:
    """Half hop on Ls slices, which share the links: to be compared with the Wilson hop."""
    n, half, size = bench.colors, bench.lattice.sites // 2, SIZES[real]
    dirac = DomainWallDirac(bench.U, DomainWall(0.1, Ls), bench.boundary, real)
    psi, out, one = _filled(dirac.field("odd")), dirac.field("even"), dirac.parameters.fifth(1.0, 0.0)
    dirac.hopping.hop_and(one, psi, out, "even")
    moved = half * size * (8 * link_reals(n) + 16 * n * Ls)
    return Case(f"domain wall hop Ls {Ls}", real, lambda: dirac.hopping.hop_and(one, psi, out, "even"), half * Ls * hop_flops(n),
                moved, moved)


def domain_wall_operator(bench: Workbench, real: str, Ls: int) -> Case:
    """One application of M^+ M, Moebius: four half hops on Ls slices and what they do at a site in the fifth dimension.

    Flops are those of the hops; bytes: links, which both parities have, a field read and one written a hop, and psi and M psi
    read once more.
    """
    n, half, size = bench.colors, bench.lattice.sites // 2, SIZES[real]
    operator = DomainWallDirac(bench.U, DomainWall(0.1, Ls, b5=1.5, c5=0.5), bench.boundary, real).even_odd()
    psi, out = _filled(operator.field(real)), operator.field(real)
    operator.normal.apply(psi, out)
    spinors, links = 8 * n * Ls * size, 8 * link_reals(n) * size
    return Case(f"domain wall Ls {Ls}", real, lambda: operator.normal.apply(psi, out), 4 * half * Ls * hop_flops(n),
                half * (4 * links + 11 * spinors), half * (2 * links + 4 * spinors))


def wilson_solver(bench: Workbench, precision: str, iterations: int = 100) -> Case:
    """One iteration of even-odd conjugate gradient: M^+ M is four half hops."""
    n, half = bench.colors, bench.lattice.sites // 2
    operator = WilsonDirac(bench.U, 0.5, bench.boundary).even_odd().normal
    source, solution = _filled(operator.field("double")), operator.field("double")
    real = "float" if precision == "mixed" else "double"
    solver, reals = FixedIterations(bench.lattice, iterations, precision), 8 * n
    flops = half * (4 * hop_flops(n) + 14 * reals)
    # four hops, two of which read a vector more; x, p, r, q as fused: 5 reads and 3 writes
    moved = half * SIZES[real] * (4 * (8 * link_reals(n) + 2 * reals) + 2 * reals + 8 * reals)
    resident = half * SIZES[real] * (2 * 8 * link_reals(n) + 6 * reals)
    return Case("Wilson CG step", real, lambda: solver.iterate(operator, source, solution), flops, moved, resident,
                inner=iterations)


def cases(bench: Workbench):
    """Quarks with spin live in four dimensions; domain walls on lattices that fit."""
    if bench.lattice.dimensions != 4:
        return
    for real in SIZES:
        yield wilson_hop(bench, real)
        yield clover_operator(bench, real)
        if bench.lattice.sites <= 16**4:
            yield from (make(bench, real, Ls) for make in (domain_wall_hop, domain_wall_operator) for Ls in (8, 16))
    yield from (wilson_solver(bench, precision) for precision in ("double", "mixed"))
