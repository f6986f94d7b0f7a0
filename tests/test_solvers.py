"""Conjugate gradient: what it promises when it returns, and how it fails."""

import numpy as np
import pytest

from slhmc.dirac import StaggeredDirac, StaggeredNormal
from slhmc.errors import ComputationError, SolverNotConverged
from slhmc.solvers import ConjugateGradient

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
