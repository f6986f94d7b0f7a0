"""Blocks of right-hand sides of staggered quarks: the operator on several vectors a site, and their solutions."""

import numpy as np
import pytest
import reference_quarks
from test_solvers import relative_residual

from slhmc.dirac import StaggeredDirac, StaggeredNormal
from slhmc.errors import SolverNotConverged
from slhmc.lattice import FermionField
from slhmc.solvers import ConjugateGradient

pytestmark = pytest.mark.device
CASES = [(2, (8, 4)), (3, (4, 2, 4, 8)), (2, (2, 4, 6, 4)), (3, (8, 4, 4))]


def problem(hot_links, colors, extent, mass=0.2, parity="even"):
    U = hot_links(colors, *extent)
    return U, StaggeredNormal(StaggeredDirac(U, mass, (1,) * (len(extent) - 1) + (-1,)), parity)


def block_of(vectors):
    """The vectors in one field."""
    first = vectors[0]
    block = FermionField(first.lattice, first.colors, first.parity, first.layout.real, Ls=len(vectors))
    for s, vector in enumerate(vectors):
        block.insert(s, vector)
    return block


@pytest.mark.parametrize("real", ["double", "float"])
@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize(("colors", "extent"), CASES)
def test_an_operator_acts_on_each_vector_of_a_block(hot_links, gaussian_vector, colors, extent, count, real):
    """H psi of the plain formula; insert and extract are each other's inverse."""
    U, operator = problem(hot_links, colors, extent, mass=0.0)
    dirac = operator.in_precision(real).dirac
    vectors = [gaussian_vector(U, "odd", seed, real) for seed in range(count)]
    block = block_of(vectors)
    out, part = block.like(parity="even"), vectors[0].like()
    dirac.hop(block, out, "even", other=0.5)
    for s, vector in enumerate(vectors):
        block.extract(s, part)
        np.testing.assert_array_equal(part.to_sites(), vector.to_sites())
        result = part.like(parity="even")
        out.extract(s, result)
        full = reference_quarks.staggered(U.to_sites(), vector.to_sites(), 0.0, dirac.boundary)
        np.testing.assert_allclose(result.to_sites(), full, rtol=0, atol=(1e-13 if real == "double" else 1e-5) * abs(full).max())


@pytest.mark.parametrize("precision", ["mixed", "double"])
@pytest.mark.parametrize("parity", ["even", "odd"])
@pytest.mark.parametrize(("colors", "extent"), CASES)
def test_every_vector_of_a_block_meets_the_tolerance(hot_links, gaussian_vector, colors, extent, parity, precision):
    """Whatever its norm, and however many there are: five go as three and two."""
    U, operator = problem(hot_links, colors, extent, parity=parity)
    sources = [gaussian_vector(U, parity, seed) for seed in range(5)]
    for source, factor in zip(sources, (1.0, 1e-8, 1e8, 0.0, 1.0), strict=True):
        source.assign_combination(factor, source)
    solutions = [source.like() for source in sources]
    solver = ConjugateGradient(U.lattice, 1e-10, precision=precision)
    solver.solve_blocks(operator, sources, solutions)
    for k, (source, solution) in enumerate(zip(sources, solutions, strict=True)):
        if k == 3:
            assert not solution.to_sites().any()
        else:
            assert relative_residual(operator, source, solution) <= 1.01e-10


def test_blocks_take_the_iterations_of_one_vector(hot_links, gaussian_vector):
    """And a few more, as one polynomial serves all: little above a third of what three take one after the other."""
    U, operator = problem(hot_links, 3, (4, 4, 4, 8), mass=0.05)
    sources = [gaussian_vector(U, "even", seed) for seed in range(3)]
    solutions = [source.like() for source in sources]
    solver = ConjugateGradient(U.lattice, 1e-8)
    solver.solve_many(operator, sources, solutions)
    alone = solver.take_iterations()
    solver.solve_blocks(operator, sources, solutions)
    assert solver.take_iterations() < 0.36 * alone
    solver.solve_blocks(operator, [], [])
    assert solver.take_iterations() == 0


def test_a_block_that_does_not_converge_is_told(hot_links, gaussian_vector):
    U, operator = problem(hot_links, 3, (4, 4, 4, 4), mass=0.01)
    sources = [gaussian_vector(U, "even", seed) for seed in range(2)]
    with pytest.raises(SolverNotConverged, match="stopped after 3 iterations"):
        ConjugateGradient(U.lattice, 1e-8, max_iterations=3).solve_blocks(operator, sources, [b.like() for b in sources])
