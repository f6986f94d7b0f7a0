"""Multi-shift conjugate gradient, histories of residuals, extreme eigenvalues."""

import numpy as np
import pytest
import reference
import reference_quarks

from slhmc.dirac import StaggeredDirac, StaggeredNormal
from slhmc.errors import ComputationError, InputError, SolverNotConverged
from slhmc.lattice import Draws, GaugeField, Purpose
from slhmc.solvers import ConjugateGradient, MultiShiftConjugateGradient, extreme_eigenvalues, rational_approximation
from slhmc.solvers.multi_shift import Shifted

pytestmark = pytest.mark.device
CASES = [(2, (8, 4)), (3, (4, 2, 4, 8)), (3, (8, 4, 4))]
SHIFTS = (1e-3, 0.01, 0.1, 0.5, 3.0, 40.0)


def boundary_of(dimensions):
    return (1,) * (dimensions - 1) + (-1,)


def problem(hot_links, gaussian_vector, colors, extent, mass=0.2, parity="even", lanes=None):
    """Operator and source."""
    U = hot_links(colors, *extent, lanes=lanes)
    return StaggeredNormal(StaggeredDirac(U, mass, boundary_of(len(extent))), parity), gaussian_vector(U, parity)


def residuals(operator, shifts, b, solutions):
    """|b - (A + s) x| / |b| for each shift."""
    product = b.like()
    for shift, x in zip(shifts, solutions, strict=True):
        operator.apply(x, product)
        product.assign_combination(1.0, product, shift, x)
        product.assign_combination(1.0, b, -1.0, product)
        yield (float(product.inner(product)) / float(b.inner(b))) ** 0.5


@pytest.mark.parametrize("precision", ["mixed", "double"])
@pytest.mark.parametrize(("colors", "extent"), CASES)
def test_every_shift_meets_its_tolerance(hot_links, gaussian_vector, colors, extent, precision):
    operator, b = problem(hot_links, gaussian_vector, colors, extent)
    solutions = [b.like() for _ in SHIFTS]
    for tolerance in (1e-4, 1e-10, 1e-13):
        solver = MultiShiftConjugateGradient(b.lattice, tolerance, precision=precision)
        solver.solve(operator, SHIFTS, b, solutions)
        assert max(residuals(operator, SHIFTS, b, solutions)) <= 1.01 * tolerance
        assert solver.take_iterations() > 0
        assert solver.take_iterations() == 0


@pytest.mark.parametrize("lanes", [None, 1])
@pytest.mark.parametrize("precision", ["mixed", "double"])
@pytest.mark.parametrize("parity", ["even", "odd"])
def test_solutions_are_those_of_one_shift_after_the_other(hot_links, gaussian_vector, precision, parity, lanes):
    """Errors are at most the tolerance times the largest 1 / (m^2 + s) of a solution of about the size of the source."""
    operator, b = problem(hot_links, gaussian_vector, 3, (4, 2, 4, 8), parity=parity, lanes=lanes)
    solutions, x = [b.like() for _ in SHIFTS], b.like()
    MultiShiftConjugateGradient(b.lattice, 1e-13, precision=precision).solve(operator, SHIFTS, b, solutions)
    shifted = Shifted(operator)
    for shift, found in zip(SHIFTS, solutions, strict=True):
        shifted.shift = shift
        ConjugateGradient(b.lattice, 1e-13, precision="double").solve(shifted, b, x)
        expected = x.to_sites()
        np.testing.assert_allclose(found.to_sites(), expected, rtol=0, atol=3e-11 * abs(expected).max())


def test_double_precision_needs_no_refinement_and_one_krylov_space(hot_links, gaussian_vector):
    """All shifts together take the iterations of the smallest; without shifts it is conjugate gradient."""
    operator, b = problem(hot_links, gaussian_vector, 3, (4, 2, 4, 8), mass=0.05)
    counts = []
    for shifts in (SHIFTS, SHIFTS[:1], (0.0,)):
        solver = MultiShiftConjugateGradient(b.lattice, 1e-10, precision="double")
        solver.solve(operator, shifts, b, [b.like() for _ in shifts])
        assert solver.polish.take_iterations() == 0
        counts.append(solver.take_iterations())
    plain = ConjugateGradient(b.lattice, 0.5e-10, precision="double")
    plain.solve(operator, b, b.like())
    assert counts[0] == counts[1] < counts[2] == plain.take_iterations()


def test_a_recorded_solve_follows_its_source(hot_links, gaussian_vector):
    """A tape has the shifts it was recorded with, solved anew at each run."""
    operator, b = problem(hot_links, gaussian_vector, 2, (8, 4))
    solutions, solver = [b.like() for _ in SHIFTS], MultiShiftConjugateGradient(b.lattice, 1e-11)
    with b.lattice.device.record() as tape:
        solver.solve(operator, SHIFTS, b, solutions)
    for seed in (5, 6):
        b.draw_gaussian(Draws(seed, 0).next(Purpose.TEST))
        tape.run()
        assert max(residuals(operator, SHIFTS, b, solutions)) <= 1.01e-11


@pytest.mark.parametrize("precision", ["mixed", "double"])
def test_zero_source_has_zero_solutions(hot_links, gaussian_vector, precision):
    operator, b = problem(hot_links, gaussian_vector, 2, (8, 4))
    b.clear()
    solutions = [b.like() for _ in SHIFTS]
    for x in solutions:
        x.from_sites(np.full((4, 8, 2), np.nan))
    MultiShiftConjugateGradient(b.lattice, 1e-10, precision=precision).solve(operator, SHIFTS, b, solutions)
    for x in solutions:
        np.testing.assert_array_equal(x.to_sites(), 0)


@pytest.mark.parametrize("precision", ["mixed", "double"])
def test_failures_are_reported_and_forgotten(hot_links, gaussian_vector, precision):
    """Too few iterations; a source that is not finite; then a solve that works."""
    operator, b = problem(hot_links, gaussian_vector, 3, (4, 2, 4, 8), mass=0.01)
    solutions, good = [b.like() for _ in SHIFTS], b.to_sites()
    solver = MultiShiftConjugateGradient(b.lattice, 1e-10, max_iterations=7, precision=precision)
    with pytest.raises(SolverNotConverged, match=r"stopped after 7 iterations .* raise max_iterations \(now 7\)"):
        solver.solve(operator, SHIFTS, b, solutions)
    solver.solve(operator, (1e4,), b, solutions[:1])
    solver = MultiShiftConjugateGradient(b.lattice, 1e-10, precision=precision)
    b.from_sites(np.where(np.arange(3) == 1, np.inf, good))
    with pytest.raises(ComputationError, match="not finite; the links or the source are broken"):
        solver.solve(operator, SHIFTS, b, solutions)
    b.from_sites(good)
    solver.solve(operator, SHIFTS, b, solutions)
    assert max(residuals(operator, SHIFTS, b, solutions)) <= 1.01e-10


@pytest.mark.parametrize("shifts", [(), (0.1,), (0.2, 0.1), (0.1, 0.1), (-0.1, 0.1)])
def test_shifts_must_rise(hot_links, gaussian_vector, shifts):
    operator, b = problem(hot_links, gaussian_vector, 2, (8, 4))
    with pytest.raises(InputError, match=r"distinct, rising and not negative expected|at least one shift"):
        MultiShiftConjugateGradient(b.lattice, 1e-10).solve(operator, shifts, b, [b.like(), b.like()])


@pytest.mark.parametrize(("colors", "extent"), [(2, (4, 4)), (3, (4, 2, 4))])
def test_a_rational_function_is_that_of_the_matrix(hot_links, gaussian_vector, colors, extent):
    operator, b = problem(hot_links, gaussian_vector, colors, extent)
    r = rational_approximation(0.3, *operator.bounds, 1e-13)
    out = b.like()
    MultiShiftConjugateGradient(b.lattice, 1e-14, precision="double").apply(operator, r, b, out, [b.like() for _ in r.shifts])
    links, boundary = operator.U.to_sites(), boundary_of(len(extent))
    expected = reference_quarks.function_of_normal(links, b.to_sites(), lambda x: x**-0.3, 0.2, boundary)
    np.testing.assert_allclose(out.to_sites(), expected, rtol=0, atol=1e-12 * abs(expected).max())


# ---- histories
@pytest.mark.parametrize("precision", ["mixed", "double"])
def test_history_is_the_residual_of_each_iteration(hot_links, gaussian_vector, precision):
    """It begins with 1, ends with the true residual, has an entry an iteration; a solver without one is as good."""
    operator, b = problem(hot_links, gaussian_vector, 3, (4, 2, 4, 8), mass=0.05)
    x, y = b.like(), b.like()
    solver = ConjugateGradient(b.lattice, 1e-10, precision=precision, history=True)
    silent = ConjugateGradient(b.lattice, 1e-10, precision=precision)
    solver.solve(operator, b, x)
    silent.solve(operator, b, y)
    history = solver.history()
    assert history[0] == 1 and history[1] != 1
    assert history[-1] == pytest.approx(next(residuals(operator, (0.0,), b, [x])), rel=1e-3)
    assert len(history) == silent.take_iterations() + 1
    np.testing.assert_array_equal(x.to_sites(), y.to_sites())
    with pytest.raises(InputError, match="history=True"):
        silent.history()


def test_history_is_what_an_early_end_leaves(hot_links, gaussian_vector):
    """The residual after k iterations, from a solver that may do k."""
    operator, b = problem(hot_links, gaussian_vector, 3, (4, 2, 4, 8), mass=0.05)
    x, solver = b.like(), ConjugateGradient(b.lattice, 1e-10, precision="double", history=True)
    solver.solve(operator, b, x)
    for k in (1, 5, 20):
        with pytest.raises(SolverNotConverged):
            ConjugateGradient(b.lattice, 1e-10, max_iterations=k, precision="double").solve(operator, b, x)
        assert solver.history()[k] == pytest.approx(next(residuals(operator, (0.0,), b, [x])), rel=1e-6)


def test_history_of_all_shifts(hot_links, gaussian_vector):
    """That of each shift alone, until it is done; few iterations, in which rounding has no time to grow."""
    operator, b = problem(hot_links, gaussian_vector, 3, (4, 2, 4, 8), mass=0.5)
    solver = MultiShiftConjugateGradient(b.lattice, 1e-10, precision="double", history=True)
    with pytest.raises(InputError, match="history=True"):
        solver.history()
    solver.solve(operator, SHIFTS, b, [b.like() for _ in SHIFTS])
    history, shifted = solver.history(), Shifted(operator)
    assert history.shape == (solver.take_iterations() + 1, len(SHIFTS))
    assert (history[0] == 1).all() and (history[-1] <= 0.5e-10).all()
    for k, shift in enumerate(SHIFTS):
        shifted.shift = shift
        alone = ConjugateGradient(b.lattice, 1e-10, precision="double", history=True)
        alone.solve(shifted, b, b.like())
        expected = alone.history()
        np.testing.assert_allclose(history[:len(expected), k], expected, rtol=1e-3)


# ---- extreme eigenvalues
@pytest.mark.parametrize("mass", [0.05, 0.5])
@pytest.mark.parametrize(("colors", "extent"), [(2, (4, 4)), (3, (4, 2, 4)), (2, (4, 4, 2, 2))])
def test_extreme_eigenvalues_are_those_of_the_matrix(hot_links, colors, extent, mass):
    U, boundary = hot_links(colors, *extent), boundary_of(len(extent))
    operator = StaggeredNormal(StaggeredDirac(U, mass, boundary))
    D = reference_quarks.staggered_matrix(U.to_sites(), mass, boundary)
    exact = np.linalg.eigvalsh(reference.dagger(D) @ D)
    for accuracy in (0.05, 1e-6):
        found = extreme_eigenvalues(operator, Draws(1, 1).next(Purpose.SPECTRUM), accuracy)
        assert abs(found.lowest - exact[0]) <= found.lowest_error + 1e-12 and found.lowest_error <= accuracy * found.lowest
        assert abs(found.highest - exact[-1]) <= found.highest_error + 1e-12 and found.highest_error <= accuracy * found.highest
        assert exact[0] * (1 - 1e-12) <= found.lowest and found.highest <= exact[-1] * (1 + 1e-12)
    low, high = operator.bounds
    assert low <= exact[0] and exact[-1] <= high


def test_bounds_are_reached_by_free_quarks(make_lattice):
    """Momenta with sin p = 0, and with |sin p| = 1 in all directions, are on this lattice."""
    operator = StaggeredNormal(StaggeredDirac(GaugeField(make_lattice(4, 4, 4), 2), 0.3, (1, 1, 1)))
    found = extreme_eigenvalues(operator, Draws(1, 1).next(Purpose.SPECTRUM), 1e-8)
    assert (found.lowest, found.highest) == pytest.approx((0.09, 0.09 + 3))


def test_lanczos_reports_what_it_cannot(hot_links):
    operator = StaggeredNormal(StaggeredDirac(hot_links(3, 4, 4, 4, 4), 0.01, (1, 1, 1, -1)))
    with pytest.raises(SolverNotConverged, match=r"not known to 0.05 after 12 Lanczos steps: lowest .* raise the quark mass"):
        extreme_eigenvalues(operator, Draws(1, 1).next(Purpose.SPECTRUM), max_steps=12)
    links = operator.U.to_sites()
    links[0, 0, 0, 0, 0, 0] = np.nan
    operator.U.from_sites(links)
    with pytest.raises(ComputationError, match="Lanczos process met a number that is not finite"):
        extreme_eigenvalues(operator, Draws(1, 1).next(Purpose.SPECTRUM))
