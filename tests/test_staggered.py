"""Staggered operator: against the dense matrix and the free field; its symmetries; the pseudofermion distribution."""

import numpy as np
import pytest
import reference
import reference_quarks as plain
from monte_carlo import staggered_action

from slhmc.dirac import StaggeredDirac, StaggeredNormal
from slhmc.errors import InputError
from slhmc.lattice import Draws, FermionField, GaugeField
from slhmc.solvers import ConjugateGradient

pytestmark = pytest.mark.device
CASES = [(2, (8, 4)), (3, (4, 2, 4, 8)), (2, (2, 4, 6, 4)), (3, (8, 4, 4))]
MASSES = (0.0, 0.3, 1.7)


def boundary_of(dimensions, last=-1):
    return (1,) * (dimensions - 1) + (last,)


def scalar(a, b):
    """Complex <a, b> of public arrays."""
    return np.vdot(a, b)


def field_of(psi, values):
    """A field like psi that holds public values."""
    result = psi.like()
    result.from_sites(values)
    return result


# ---- D
@pytest.mark.parametrize("lanes", [None, 1])
@pytest.mark.parametrize(("colors", "extent"), CASES)
def test_operator_is_the_dense_matrix(hot_links, gaussian_vector, colors, extent, lanes):
    """All directions' signs, both boundaries, at one lane and the widest (SU(3): the third row is rebuilt)."""
    U = hot_links(colors, *extent, lanes=lanes)
    links, psi = U.to_sites(), gaussian_vector(U)
    values = psi.to_sites()
    boundaries = boundary_of(len(extent)), boundary_of(len(extent), 1), (-1,) * len(extent)
    for mass, boundary in zip(MASSES, boundaries, strict=True):
        matrix = plain.staggered_matrix(links, mass, boundary)
        D = StaggeredDirac(U, mass, boundary)
        for found, dense in ((D(psi), matrix), (D.adjoint(psi), reference.dagger(matrix))):
            expected = (dense @ values.ravel()).reshape(values.shape)
            np.testing.assert_allclose(found.to_sites(), expected, rtol=0, atol=1e-13 * abs(expected).max())


@pytest.mark.parametrize(("colors", "extent"), CASES)
def test_single_precision_operator_is_the_double_one(hot_links, gaussian_vector, colors, extent):
    U = hot_links(colors, *extent)
    exact = StaggeredDirac(U, 0.3, boundary_of(len(extent)))(gaussian_vector(U)).to_sites()
    single = StaggeredDirac(U, 0.3, boundary_of(len(extent)), "float")(gaussian_vector(U, real="float")).to_sites()
    np.testing.assert_allclose(single, exact, rtol=0, atol=2e-6 * abs(exact).max())


@pytest.mark.parametrize(("colors", "extent"), CASES)
def test_operator_follows_its_links(hot_links, gaussian_vector, gaussian_momenta, colors, extent):
    """Hopping links are rebuilt after each change of U, in both precisions."""
    U, boundary = hot_links(colors, *extent), boundary_of(len(extent))
    operators = [StaggeredDirac(U, 0.3, boundary, real) for real in ("double", "float")]
    vectors = [gaussian_vector(U, real=real) for real in ("double", "float")]
    for D, psi in zip(operators, vectors, strict=True):
        D(psi)
    U.drift(gaussian_momenta(U), 0.5)
    links, values = U.to_sites(), vectors[0].to_sites()
    expected = plain.staggered(links, values, 0.3, boundary)
    for D, psi, tolerance in zip(operators, vectors, (1e-13, 2e-6), strict=True):
        np.testing.assert_allclose(D(psi).to_sites(), expected, rtol=0, atol=tolerance * abs(expected).max())


@pytest.mark.parametrize(("colors", "extent"), CASES)
def test_hopping_is_anti_hermitian_and_adjoint_is_adjoint(hot_links, gaussian_vector, colors, extent):
    """<a, H b> = -<H a, b>; <a, D b> = <D^+ a, b>; eps D eps = D^+ with eps = (-1)^x."""
    U, boundary = hot_links(colors, *extent), boundary_of(len(extent))
    a, b = gaussian_vector(U, seed=5), gaussian_vector(U, seed=6)
    massless, D = StaggeredDirac(U, 0.0, boundary), StaggeredDirac(U, 0.7, boundary)
    x, y = a.to_sites(), b.to_sites()
    size = np.linalg.norm(x) * np.linalg.norm(y)
    assert abs(scalar(x, massless(b).to_sites()) + scalar(massless(a).to_sites(), y)) < 1e-14 * size
    assert abs(scalar(x, D(b).to_sites()) - scalar(D.adjoint(a).to_sites(), y)) < 1e-14 * size
    eps = np.where(reference.even_sites(extent), 1, -1)[..., None]
    flipped = eps * D(field_of(a, eps * x)).to_sites()
    np.testing.assert_allclose(flipped, D.adjoint(a).to_sites(), atol=1e-13)


@pytest.mark.parametrize(("colors", "extent"), CASES)
def test_mass_is_added_to_the_diagonal(hot_links, gaussian_vector, colors, extent):
    U, boundary = hot_links(colors, *extent), boundary_of(len(extent))
    psi = gaussian_vector(U)
    light, heavy = (StaggeredDirac(U, m, boundary)(psi).to_sites() for m in (0.1, 2.6))
    np.testing.assert_allclose(heavy - light, 2.5 * psi.to_sites(), atol=1e-13)


@pytest.mark.parametrize("parity", ["even", "odd"])
@pytest.mark.parametrize(("colors", "extent"), CASES)
def test_even_odd_normal_operator_is_the_full_one(hot_links, gaussian_vector, colors, extent, parity):
    """D^+ D does not connect parities; on one it is m^2 - H_eo H_oe / 4; <psi, A psi> comes with it."""
    U = hot_links(colors, *extent)
    D = StaggeredDirac(U, 0.4, boundary_of(len(extent)))
    psi = gaussian_vector(U, parity)
    full = D.normal(field_of(gaussian_vector(U), psi.to_sites())).to_sites()
    out, dot = psi.like(), U.lattice.device.zeros((1,), np.float64)
    StaggeredNormal(D, parity).apply(psi, out, dot)
    np.testing.assert_allclose(out.to_sites(), full, atol=1e-13)
    product = scalar(psi.to_sites(), full)
    assert abs(product.imag) < 1e-12 * product.real
    assert U.lattice.device.to_host(dot)[0] == pytest.approx(product.real, rel=1e-13)


@pytest.mark.parametrize(("colors", "extent"), CASES)
def test_operator_is_gauge_covariant(hot_links, gaussian_vector, rng, colors, extent):
    """D[U^g] g psi = g D[U] psi."""
    U, boundary = hot_links(colors, *extent), boundary_of(len(extent))
    psi = gaussian_vector(U)
    g = reference.random_group(tuple(reversed(extent)), colors, rng)

    def rotate(values):
        return np.einsum("...ij,...j->...i", g, values)
    expected = rotate(StaggeredDirac(U, 0.3, boundary)(psi).to_sites())
    U.from_sites(reference.gauge_transform(U.to_sites(), g))
    found = StaggeredDirac(U, 0.3, boundary)(field_of(psi, rotate(psi.to_sites()))).to_sites()
    np.testing.assert_allclose(found, expected, atol=1e-13)


def test_four_colours_are_refused(hot_links, gaussian_vector):
    U = hot_links(4, 4, 6, 8)
    with pytest.raises(InputError, match="quarks with 4 colours: the hopping kernels know 2 and 3"):
        StaggeredDirac(U, 0.1, (1, 1, -1))(gaussian_vector(U))


# ---- free field
@pytest.mark.parametrize("last", [1, -1])
@pytest.mark.parametrize(("colors", "extent"), CASES)
def test_free_field_is_the_fourier_result(make_lattice, gaussian_vector, colors, extent, last):
    """D^+ D = m^2 + sum sin^2 p on plane waves; its inverse, by conjugate gradient, is the free propagator."""
    U, mass, boundary = GaugeField(make_lattice(*extent), colors), 0.2, boundary_of(len(extent), last)
    psi, D = gaussian_vector(U), StaggeredDirac(U, mass, boundary)
    expected = plain.free_function_of_normal(psi.to_sites(), lambda s: s, mass, boundary)
    np.testing.assert_allclose(D.normal(psi).to_sites(), expected, atol=1e-13)
    source = gaussian_vector(U, "even")
    x = source.like()
    ConjugateGradient(U.lattice, 1e-13).solve(StaggeredNormal(D), source, x)
    expected = plain.free_function_of_normal(source.to_sites(), lambda s: 1 / s, mass, boundary)
    np.testing.assert_allclose(x.to_sites(), expected, rtol=0, atol=1e-11)


def test_free_eigenvalues(make_lattice):
    """The spectrum of D^+ D on unit links, from the kernel applied to each unit vector."""
    extent, boundary, mass = (4, 8), (1, -1), 0.1
    U = GaugeField(make_lattice(*extent), 2)
    D = StaggeredDirac(U, mass, boundary)
    probe, columns = FermionField(U.lattice, 2), []
    for k in range(64):
        unit = np.zeros(64)
        unit[k] = 1
        columns.append(D.normal(field_of(probe, unit.reshape(8, 4, 2))).to_sites().ravel())
    found = np.linalg.eigvalsh(np.array(columns).T)
    expected = np.repeat(mass**2 + plain.momenta_sine_squared(extent, boundary).ravel(), 2)
    np.testing.assert_allclose(found, np.sort(expected), atol=1e-13)


# ---- pseudofermions
@pytest.mark.parametrize(("colors", "extent"), [(2, (8, 4)), (3, (4, 2, 4, 8))])
def test_pseudofermion_heat_bath_draws_the_distribution(hot_links, colors, extent):
    """phi^+ A^-1 phi is a sum of n complex normal squares: mean n, variance n, n = colours x even sites; 4 sigma."""
    U, draws = hot_links(colors, *extent), 400
    force, value = (ConjugateGradient(U.lattice, 1e-10) for _ in range(2))
    action = staggered_action(0.3, boundary_of(len(extent)), force, value)
    phi, values = None, []
    for trajectory in range(draws):
        phi = action.refresh(U, Draws(8, trajectory), phi)
        values.append(float(action.action(U, phi)))
    n = colors * U.lattice.sites // 2
    assert abs(np.mean(values) - n) < 4 * np.sqrt(n / draws)
    assert abs(np.var(values) / n - 1) < 4 * np.sqrt((2 + 6 / n) / draws)


def test_pseudofermions_are_d_adjoint_of_the_noise(hot_links):
    """Their covariance is (D^+ D)_ee, element by element: diagonal, real and imaginary off-diagonal, within 5 sigma."""
    U, boundary, draws = hot_links(2, 8, 4), (1, -1), 4000
    solver = ConjugateGradient(U.lattice, 1e-10)
    action, phi, samples = staggered_action(0.3, boundary, solver, solver), None, []
    even = np.repeat(reference.even_sites((8, 4)).ravel(), 2)
    for trajectory in range(draws):
        phi = action.refresh(U, Draws(8, trajectory), phi)
        samples.append(phi.to_sites().ravel()[even])
    samples = np.array(samples).T
    D = plain.staggered_matrix(U.to_sites(), 0.3, boundary)
    A = (reference.dagger(D) @ D)[np.ix_(even, even)]
    sigma = np.sqrt(np.outer(np.diag(A).real, np.diag(A).real) / draws)
    covariance = samples @ reference.dagger(samples) / draws
    assert (abs((covariance - A) / sigma)).max() < 5
    assert (abs(samples @ samples.T / draws / sigma)).max() < 5
