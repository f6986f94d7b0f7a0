"""Iterative solvers: what they promise when they return, and how they fail."""

import numpy as np
import pytest
import reference

from slhmc.dirac import StaggeredDirac, StaggeredNormal, WilsonDirac
from slhmc.errors import ComputationError, SolverNotConverged
from slhmc.lattice import GaugeField
from slhmc.solvers import BiCGStab, ConjugateGradient

pytestmark = pytest.mark.device
CASES = [(2, (8, 4)), (3, (4, 2, 4, 8)), (2, (2, 4, 6, 4)), (3, (8, 4, 4))]


def problem(hot_links, gaussian_vector, colors, extent, mass=0.2, parity="even"):
    """Operator, source and a field for the solution."""
    U = hot_links(colors, *extent)
    operator = StaggeredNormal(StaggeredDirac(U, mass, (1,) * (len(extent) - 1) + (-1,)), parity)
    b = gaussian_vector(U, parity)
    return operator, b, b.like()


def relative_residual(operator, b, x):
    product = b.like()
    operator.apply(x, product)
    product.assign_combination(1.0, b, -1.0, product)
    return (float(product.inner(product)) / float(b.inner(b))) ** 0.5


@pytest.mark.parametrize("parity", ["even", "odd"])
@pytest.mark.parametrize("precision", ["mixed", "double"])
@pytest.mark.parametrize(("colors", "extent"), CASES)
def test_residual_is_what_was_asked_for(hot_links, gaussian_vector, colors, extent, precision, parity):
    operator, b, x = problem(hot_links, gaussian_vector, colors, extent, parity=parity)
    for tolerance in (1e-4, 1e-10, 1e-13):
        solver = ConjugateGradient(b.lattice, tolerance, precision=precision)
        solver.solve(operator, b, x)
        assert relative_residual(operator, b, x) <= 1.01 * tolerance
        assert solver.take_iterations() > 0
        assert solver.take_iterations() == 0


def solve_both(hot_links, gaussian_vector, colors, extent, mass, tolerance):
    """Solutions and iterations in double and in mixed precision."""
    operator, b, x = problem(hot_links, gaussian_vector, colors, extent, mass)
    solutions, iterations = [], []
    for precision in ("double", "mixed"):
        solver = ConjugateGradient(b.lattice, tolerance, precision=precision)
        solver.solve(operator, b, x)
        solutions.append(x.to_sites())
        iterations.append(solver.take_iterations())
    return solutions, iterations


@pytest.mark.parametrize(("colors", "extent"), CASES)
def test_mixed_precision_gives_the_double_result(hot_links, gaussian_vector, colors, extent):
    """To 1e-10 of the solution: the error is at most the tolerance times the condition number, below 200."""
    (exact, mixed), _ = solve_both(hot_links, gaussian_vector, colors, extent, 0.2, 1e-13)
    np.testing.assert_allclose(mixed, exact, rtol=0, atol=1e-10 * abs(exact).max())


@pytest.mark.parametrize("mass", [0.01, 0.1, 0.3])
def test_mixed_precision_costs_few_more_iterations(hot_links, gaussian_vector, mass):
    """Reliable updates keep the direction where it is still conjugate and start afresh where it is not."""
    _, (double, mixed) = solve_both(hot_links, gaussian_vector, 3, (8, 8, 8, 8), mass, 1e-10)
    assert mixed <= 1.06 * double


def test_start_vector_saves_iterations_and_gives_the_same_answer(hot_links, gaussian_vector):
    operator, b, x = problem(hot_links, gaussian_vector, 3, (4, 2, 4, 8))
    solver = ConjugateGradient(b.lattice, 1e-12)
    solver.solve(operator, b, x)
    expected, cold = x.to_sites(), solver.take_iterations()
    x.assign_combination(1.0, x, 1e-6, b)
    solver.solve(operator, b, x, guess=True)
    np.testing.assert_allclose(x.to_sites(), expected, rtol=0, atol=1e-10)
    assert 0 < solver.take_iterations() < 0.8 * cold
    solver.solve(operator, b, x, guess=True)
    assert solver.take_iterations() == 0


@pytest.mark.parametrize("precision", ["mixed", "double"])
def test_zero_source_has_the_zero_solution(hot_links, gaussian_vector, precision):
    operator, b, x = problem(hot_links, gaussian_vector, 2, (8, 4))
    b.clear()
    x.from_sites(np.full((4, 8, 2), np.nan))
    ConjugateGradient(b.lattice, 1e-10, precision=precision).solve(operator, b, x)
    np.testing.assert_array_equal(x.to_sites(), 0)


@pytest.mark.parametrize("precision", ["mixed", "double"])
def test_too_few_iterations_are_reported(hot_links, gaussian_vector, precision):
    operator, b, x = problem(hot_links, gaussian_vector, 3, (4, 2, 4, 8), mass=0.01)
    solver = ConjugateGradient(b.lattice, 1e-10, max_iterations=7, precision=precision)
    words = rf"conjugate gradient \({precision}\) stopped after 7 iterations at .* = \d\.\de[-+]\d\d, wanted 1\.0e-10; "
    with pytest.raises(SolverNotConverged, match=words + r"raise max_iterations \(now 7\)"):
        solver.solve(operator, b, x)
    other = b.like()
    other.clear()
    solver.solve(operator, other, x)  # the failure is not remembered


@pytest.mark.parametrize("precision", ["mixed", "double"])
@pytest.mark.parametrize("mass", [0.01, 0.3])
def test_unreachable_tolerance_ends(hot_links, gaussian_vector, precision, mass):
    """Below rounding the true residual stops falling: an error soon, not an endless loop."""
    operator, b, x = problem(hot_links, gaussian_vector, 3, (4, 2, 4, 8), mass=mass)
    solver = ConjugateGradient(b.lattice, 1e-20, precision=precision)
    with pytest.raises(SolverNotConverged, match="wanted 1.0e-20"):
        solver.solve(operator, b, x)
    assert relative_residual(operator, b, x) < 1e-16 * 50 / mass**2
    assert solver.take_iterations() < 5000


@pytest.mark.parametrize("precision", ["mixed", "double"])
@pytest.mark.parametrize("broken", ["links", "source"])
def test_numbers_that_are_not_finite_are_reported(hot_links, gaussian_vector, precision, broken):
    operator, b, x = problem(hot_links, gaussian_vector, 3, (8, 4, 4))
    solver = ConjugateGradient(b.lattice, 1e-10, precision=precision)
    good_links, good_source = operator.U.to_sites(), b.to_sites()
    if broken == "links":
        links = good_links.copy()
        links[1, 2, 3, 0, 1, 1] = np.nan
        operator.U.from_sites(links)
    else:
        b.from_sites(np.where(np.arange(3) == 1, np.inf, good_source))
    with pytest.raises(ComputationError, match="not finite; the links or the source are broken"):
        solver.solve(operator, b, x)
    operator.U.from_sites(good_links)
    b.from_sites(good_source)
    solver.solve(operator, b, x)
    assert relative_residual(operator, b, x) <= 1.01e-10


# ---- several sources, and operators that are not Hermitian
WILSON_CASES = [(2, (4, 2, 4, 8)), (3, (4, 4, 2, 4))]


def wilson_problem(hot_links, gaussian_spinor, colors, extent, mass=0.3):
    """M of hot links, source and a field for the solution."""
    U = hot_links(colors, *extent)
    b = gaussian_spinor(U, "even")
    return WilsonDirac(U, mass, (1, 1, 1, -1)).even_odd(), b, b.like()


def dense(operator, b):
    """M as a matrix on the even sites, and b there."""
    out, shape = b.like(), b.to_sites().shape
    even = np.flatnonzero(np.repeat(reference.even_sites(b.lattice.extent).ravel(), b.component_count // 2))
    units, columns = np.zeros((len(even), *shape), complex), []
    units.reshape(len(even), -1)[np.arange(len(even)), even] = 1
    source = b.like()
    for unit in units:
        source.from_sites(unit)
        operator.apply(source, out)
        columns.append(out.to_sites().ravel()[even])
    return np.array(columns).T, b.to_sites().ravel()[even], even


@pytest.mark.parametrize("precision", ["mixed", "double"])
@pytest.mark.parametrize(("colors", "extent"), WILSON_CASES)
def test_bicgstab_reaches_its_tolerance_and_agrees_with_conjugate_gradient(hot_links, gaussian_spinor, colors, extent, precision):
    operator, b, x = wilson_problem(hot_links, gaussian_spinor, colors, extent)
    for tolerance in (1e-4, 1e-10, 1e-13):
        solver = BiCGStab(b.lattice, tolerance, precision=precision)
        solver.solve(operator, b, x)
        assert relative_residual(operator, b, x) <= 1.01 * tolerance
        assert solver.take_iterations() > 0
    right, other = b.like(), b.like()
    operator.apply(b, right, adjoint=True)
    ConjugateGradient(b.lattice, 1e-13).solve(operator.normal, right, other)
    size = abs(x.to_sites()).max()
    np.testing.assert_allclose(other.to_sites(), x.to_sites(), rtol=0, atol=1e-11 * size)
    x.assign_combination(1.0, x, 1e-6, b)
    solver.solve(operator, b, x, guess=True)
    np.testing.assert_allclose(other.to_sites(), x.to_sites(), rtol=0, atol=1e-11 * size)


def test_bicgstab_is_the_dense_solution_and_takes_its_textbook_steps(hot_links, gaussian_spinor):
    operator, b, x = wilson_problem(hot_links, gaussian_spinor, 2, (2, 2, 2, 4))
    matrix, values, even = dense(operator, b)
    BiCGStab(b.lattice, 1e-13, precision="double").solve(operator, b, x)
    expected = np.linalg.solve(matrix, values)
    np.testing.assert_allclose(x.to_sites().ravel()[even], expected, rtol=0, atol=1e-11 * abs(expected).max())
    for steps in (1, 2, 4):
        with pytest.raises(SolverNotConverged, match=f"BiCGStab .double. stopped after {steps} iterations"):
            BiCGStab(b.lattice, 1e-13, steps, "double").solve(operator, b, x)
        expected = reference.bicgstab(matrix, values, steps)
        np.testing.assert_allclose(x.to_sites().ravel()[even], expected, rtol=0, atol=1e-10 * abs(expected).max())


def test_bicgstab_keeps_the_history_of_its_residual(hot_links, gaussian_spinor):
    """It begins with 1, has an entry an iteration, what an early end leaves among them, and ends with the true residual."""
    operator, b, x = wilson_problem(hot_links, gaussian_spinor, 2, (2, 4, 2, 4))
    solver = BiCGStab(b.lattice, 1e-10, precision="double", history=True)
    solver.solve(operator, b, x)
    history = solver.history()
    assert history[0] == 1 and history[-1] <= 1e-10 and len(history) == solver.take_iterations() + 1
    for steps in (1, 3, 7):
        with pytest.raises(SolverNotConverged):
            BiCGStab(b.lattice, 1e-10, steps, "double").solve(operator, b, x)
        assert history[steps] == pytest.approx(relative_residual(operator, b, x), rel=1e-6)


@pytest.mark.parametrize("precision", ["mixed", "double"])
def test_bicgstab_tells_a_zero_mode(make_lattice, gaussian_spinor, precision):
    """Free massless quarks with periodic boundaries: constant spinors are annihilated. The solver stops soon, and says why."""
    U = GaugeField(make_lattice(4, 4, 4, 4), 2)
    operator, b = WilsonDirac(U, 0.0, (1, 1, 1, 1)).even_odd(), gaussian_spinor(U, "even")
    solver, x = BiCGStab(U.lattice, 1e-10, 100_000, precision), b.like()
    with pytest.raises(SolverNotConverged, match="M is close to singular .a zero mode at this mass.*raise the quark mass"):
        solver.solve(operator, b, x)
    assert solver.take_iterations() < 10_000
    solver.solve(WilsonDirac(U, 0.1, (1, 1, 1, 1)).even_odd(), b, x)  # the failure is not remembered


@pytest.mark.parametrize("precision", ["mixed", "double"])
def test_bicgstab_with_sources_that_are_zero_or_broken(hot_links, gaussian_spinor, precision):
    operator, b, x = wilson_problem(hot_links, gaussian_spinor, 3, (4, 4, 2, 4))
    solver, good = BiCGStab(b.lattice, 1e-10, precision=precision), b.to_sites()
    b.clear()
    solver.solve(operator, b, x)
    np.testing.assert_array_equal(x.to_sites(), 0)
    b.from_sites(np.where(np.arange(3) == 1, np.nan, good))
    with pytest.raises(ComputationError, match="BiCGStab met a number that is not finite"):
        solver.solve(operator, b, x)
    b.from_sites(good)
    solver.solve(operator, b, x)
    assert relative_residual(operator, b, x) <= 1.01e-10


def test_many_sources_have_the_solutions_of_each(hot_links, gaussian_spinor, gaussian_vector):
    """To the last bit, for both solvers; one that fails is told, as alone."""
    U = hot_links(3, 4, 4, 2, 4)
    problems = ((BiCGStab, WilsonDirac(U, 0.3, (1, 1, 1, -1)).even_odd(), gaussian_spinor),
                (ConjugateGradient, StaggeredNormal(StaggeredDirac(U, 0.2, (1, 1, 1, -1))), gaussian_vector))
    for kind, operator, make in problems:
        sources, solver = [make(U, "even", seed) for seed in (3, 4, 5)], kind(U.lattice, 1e-10)
        solutions = [b.like() for b in sources]
        solver.solve_many(operator, sources, solutions)
        together = solver.take_iterations()
        for b, x in zip(sources, solutions, strict=True):
            alone = b.like()
            solver.solve(operator, b, alone)
            np.testing.assert_array_equal(x.to_sites(), alone.to_sites())
        assert solver.take_iterations() == together
        with pytest.raises(SolverNotConverged):
            kind(U.lattice, 1e-10, 2).solve_many(operator, sources, solutions)
