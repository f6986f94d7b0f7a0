"""Wilson operator: against the dense matrix and the free field; its symmetries; even-odd form; pseudofermions."""

from functools import cache

import numpy as np
import pytest
import reference
import reference_quarks as plain
from dense import even_values, schur_complement
from spinors import (
    ANTIPERIODIC,
    PERIODIC,
    assert_adjoint_and_gamma_5_hermitian,
    assert_even_odd_form,
    assert_extension_solves_the_odd_equations,
    field_of,
    wide_case,
)

from slhmc.actions import PseudofermionAction
from slhmc.dirac import WilsonDirac
from slhmc.errors import InputError
from slhmc.lattice import Draws, GaugeField
from slhmc.solvers import ConjugateGradient

pytestmark = pytest.mark.device
CASES = [(2, (2, 4, 4, 4), 3), (3, (4, 4, 2, 4), 2), (3, (4, 4, 2, 4), 3)]

every_case = pytest.mark.parametrize(("colors", "extent", "rows"), CASES)


@pytest.fixture(scope="module")
def dense_wilson(hot_links):
    """D as a dense matrix for hot links, computed once for each case."""
    @cache
    def make(colors, extent, mass, boundary):
        return plain.wilson_matrix(hot_links(colors, *extent).to_sites(), mass, boundary)
    return make


def on_both(matrix, values):
    """The matrix on a field in public order."""
    return (matrix @ values.ravel()).reshape(values.shape)


# ---- D
@pytest.mark.parametrize("lanes", [None, 1])
@pytest.mark.parametrize(("mass", "boundary"), [(0.3, ANTIPERIODIC), (0.0, PERIODIC), (-0.7, (-1, 1, -1, -1))])
@every_case
def test_operator_is_the_dense_matrix(hot_links, gaussian_spinor, dense_wilson, colors, extent, rows, lanes, mass, boundary):
    """Spin structure and signs of all directions, boundaries, at one lane and the widest, with stored and rebuilt rows."""
    U = hot_links(colors, *extent, lanes=lanes)
    matrix, psi = dense_wilson(colors, extent, mass, boundary), gaussian_spinor(U)
    D = WilsonDirac(U, mass, boundary, rows=rows)
    for found, dense in ((D(psi), matrix), (D.adjoint(psi), reference.dagger(matrix))):
        expected = on_both(dense, psi.to_sites())
        np.testing.assert_allclose(found.to_sites(), expected, rtol=0, atol=1e-13 * abs(expected).max())


@wide_case
def test_operator_is_the_formula(hot_links, gaussian_spinor, colors, extent, rows):
    """On lattices that fill the lanes in several directions."""
    U = hot_links(colors, *extent)
    psi = gaussian_spinor(U)
    expected = plain.wilson(U.to_sites(), psi.to_sites(), 0.2, ANTIPERIODIC)
    found = WilsonDirac(U, 0.2, ANTIPERIODIC, rows=rows)(psi).to_sites()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * abs(expected).max())


@wide_case
def test_single_precision_operator_is_the_double_one(hot_links, gaussian_spinor, colors, extent, rows):
    U = hot_links(colors, *extent)
    exact, single = (WilsonDirac(U, 0.3, ANTIPERIODIC, real, rows) for real in ("double", "float"))
    psi, psi_single = (gaussian_spinor(U, real=real) for real in ("double", "float"))
    for one, other in ((exact(psi), single(psi_single)), (exact.adjoint(psi), single.adjoint(psi_single))):
        np.testing.assert_allclose(other.to_sites(), one.to_sites(), rtol=0, atol=2e-6 * abs(one.to_sites()).max())


@every_case
def test_operator_follows_its_links(hot_links, gaussian_spinor, gaussian_momenta, colors, extent, rows):
    """Hopping links are rebuilt after each change of U, in both precisions."""
    U = hot_links(colors, *extent)
    operators = [WilsonDirac(U, 0.3, ANTIPERIODIC, real, rows) for real in ("double", "float")]
    vectors = [gaussian_spinor(U, real=real) for real in ("double", "float")]
    for D, psi in zip(operators, vectors, strict=True):
        D(psi)
    U.drift(gaussian_momenta(U), 0.5)
    expected = plain.wilson(U.to_sites(), vectors[0].to_sites(), 0.3, ANTIPERIODIC)
    for D, psi, tolerance in zip(operators, vectors, (1e-13, 2e-6), strict=True):
        np.testing.assert_allclose(D(psi).to_sites(), expected, rtol=0, atol=tolerance * abs(expected).max())


@wide_case
def test_adjoint_is_adjoint_and_gamma_5_hermitian(hot_links, gaussian_spinor, colors, extent, rows):
    U = hot_links(colors, *extent)
    D, a, b = WilsonDirac(U, 0.7, ANTIPERIODIC, rows=rows), gaussian_spinor(U, seed=5), gaussian_spinor(U, seed=6)
    assert_adjoint_and_gamma_5_hermitian(D, a, b)


@wide_case
def test_operator_is_gauge_covariant(hot_links, gaussian_spinor, rng, colors, extent, rows):
    """D[U^g] g psi = g D[U] psi."""
    U = hot_links(colors, *extent)
    psi = gaussian_spinor(U)
    g = reference.random_group(tuple(reversed(extent)), colors, rng)

    def rotate(values):
        return np.einsum("...ij,...sj->...si", g, values)
    expected = rotate(WilsonDirac(U, 0.3, ANTIPERIODIC, rows=rows)(psi).to_sites())
    U.from_sites(reference.gauge_transform(U.to_sites(), g))
    found = WilsonDirac(U, 0.3, ANTIPERIODIC, rows=rows)(field_of(psi, rotate(psi.to_sites()))).to_sites()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("rows", [2, 3])
def test_operator_has_the_norm_that_is_known(make_lattice, gaussian_spinor, rows):
    """An independent code's |2 kappa D psi|^2: one link that is not 1, counted up psi."""
    U, kappa = GaugeField(make_lattice(4, 4, 4, 4), 3), 0.1
    links = U.to_sites()
    links[0, 0, 0, 0, 0] = np.diag([np.exp(1.1j), np.exp(-1.1j), 1])
    U.from_sites(links)
    count = np.arange(1, 4 * 256 * 3 + 1).reshape(4, 4, 4, 4, 4, 3)  # spin, t, z, y, x, colour
    psi = field_of(gaussian_spinor(U), (0.001 - 0.0002j) * np.moveaxis(count, 0, 4))
    result = 2 * kappa * WilsonDirac(U, 1 / (2 * kappa) - 4, ANTIPERIODIC, rows=rows)(psi).to_sites()
    assert np.vdot(result, result).real == pytest.approx(1206.0646937324, abs=1e-10)


# ---- even and odd
@every_case
def test_even_odd_operator_is_the_schur_complement(hot_links, gaussian_spinor, dense_wilson, colors, extent, rows):
    U = hot_links(colors, *extent)
    expected = schur_complement(dense_wilson(colors, extent, 0.3, ANTIPERIODIC), extent, colors)
    assert_even_odd_form(WilsonDirac(U, 0.3, ANTIPERIODIC, rows=rows).even_odd(), expected, gaussian_spinor(U, "even"))


@pytest.mark.parametrize("adjoint", [False, True])
@wide_case
def test_extension_makes_the_odd_equations_true(hot_links, gaussian_spinor, colors, extent, rows, adjoint):
    U = hot_links(colors, *extent)
    D = WilsonDirac(U, 0.3, ANTIPERIODIC, rows=rows)
    assert_extension_solves_the_odd_equations(D, gaussian_spinor(U, "even"), adjoint)


# ---- free field
def even_propagator(D, source):
    """D^-1 of a source on even sites, by conjugate gradient on M^+ M."""
    M = D.even_odd()
    right, x, full = M.field(), M.field(), M.field(parity="both")
    M.apply(source, right, adjoint=True)
    ConjugateGradient(D.U.lattice, 1e-13).solve(M.normal, right, x)
    M.extend(x, full)
    return full.to_sites()


@pytest.mark.parametrize("boundary", [PERIODIC, ANTIPERIODIC])
@wide_case
def test_free_propagator_is_the_fourier_result(make_lattice, gaussian_spinor, colors, extent, rows, boundary):
    U, mass = GaugeField(make_lattice(*extent), colors), 0.2
    D, source = WilsonDirac(U, mass, boundary, rows=rows), gaussian_spinor(U, "even")
    expected = plain.free_wilson_propagator(source.to_sites(), mass, boundary)
    np.testing.assert_allclose(even_propagator(D, source), expected, rtol=0, atol=1e-11)
    full = gaussian_spinor(U)
    back = plain.free_wilson_propagator(D(full).to_sites(), mass, boundary)
    np.testing.assert_allclose(back, full.to_sites(), rtol=0, atol=1e-12)


@every_case
def test_solution_is_the_dense_inverse(hot_links, gaussian_spinor, dense_wilson, colors, extent, rows):
    U = hot_links(colors, *extent)
    source = gaussian_spinor(U, "even")
    matrix = dense_wilson(colors, extent, 0.3, ANTIPERIODIC)
    expected = np.linalg.solve(matrix, source.to_sites().ravel()).reshape(source.to_sites().shape)
    found = even_propagator(WilsonDirac(U, 0.3, ANTIPERIODIC, rows=rows), source)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)


# ---- pseudofermions
def test_pseudofermions_have_the_normal_operator_as_covariance(hot_links):
    """<phi phi^+> = M^+ M and <phi phi^T> = 0, element by element, within 5 sigma; phi^+ (M^+ M)^-1 phi = |eta|^2."""
    U, draws, extent = hot_links(2, 2, 2, 2, 2), 4000, (2, 2, 2, 2)
    solvers = [ConjugateGradient(U.lattice, 1e-10) for _ in range(2)]
    action = PseudofermionAction(lambda U: WilsonDirac(U, 0.3, ANTIPERIODIC).even_odd().normal, *solvers)
    phi, samples, values = None, [], []
    for trajectory in range(draws):
        phi = action.refresh(U, Draws(8, trajectory), phi)
        samples.append(even_values(phi))
        if trajectory < 400:
            values.append(float(action.action(U, phi)))
    samples, n = np.array(samples).T, 64
    M = schur_complement(plain.wilson_matrix(U.to_sites(), 0.3, ANTIPERIODIC), extent, 2)
    A = reference.dagger(M) @ M
    sigma = np.sqrt(np.outer(np.diag(A).real, np.diag(A).real) / draws)
    assert abs((samples @ reference.dagger(samples) / draws - A) / sigma).max() < 5
    assert abs(samples @ samples.T / draws / sigma).max() < 5
    assert abs(np.mean(values) - n) < 4 * np.sqrt(n / len(values))


# ---- what is refused
@pytest.mark.parametrize("extent", [(4, 4), (4, 6, 8)])
def test_lattices_of_fewer_dimensions_are_refused(hot_links, extent):
    with pytest.raises(InputError, match=f"Wilson quarks on {len(extent)} dimensions: their spinors need 4; use staggered"):
        WilsonDirac(hot_links(2, *extent), 0.1, (1,) * len(extent))


def test_four_colours_are_refused(hot_links):
    D = WilsonDirac(hot_links(4, 2, 2, 2, 4), 0.1, ANTIPERIODIC)
    with pytest.raises(InputError, match="quarks with 4 colours: the hopping kernels know 2 and 3"):
        D(D.field())
