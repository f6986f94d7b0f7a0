"""Domain-wall operator: against its definition, the dense matrix and the overlap operator; even-odd form; residual mass."""

from functools import partial

import numpy as np
import pytest
import reference
import reference_quarks as plain
from spinors import field_of
from test_forces import assert_force_is_minus_derivative, pseudofermions

from slhmc.dirac import DomainWall, DomainWallDirac, WilsonDirac
from slhmc.errors import InputError
from slhmc.lattice import Draws, FermionField, GaugeField, Purpose
from slhmc.observables import ResidualMass
from slhmc.observables.residual_mass import ratio
from slhmc.solvers import ConjugateGradient

pytestmark = pytest.mark.device
BOUNDARY = (1, 1, 1, -1)
SHAMIR, MOEBIUS = DomainWall(0.1, 4), DomainWall(0.08, 4, M5=1.7, b5=1.5, c5=0.5)
# odd Ls; B = 1 + S has no inverse at mass 1, where it is Pauli and Villars' operator
BORICI, SINGULAR = DomainWall(0.2, 3, M5=1.4, b5=1.0, c5=1.0), DomainWall(1.0, 3, b5=1.0, c5=1.0)
CASES = [(3, SHAMIR), (3, MOEBIUS), (2, BORICI), (2, SINGULAR), (2, DomainWall(1.0, 3))]
SMALL, WIDE = (2, 2, 2, 2), {2: (4, 2, 8, 4), 3: (4, 4, 2, 4)}

every_case = pytest.mark.parametrize(("colors", "parameters"), CASES)


@pytest.fixture(scope="session")
def gaussian_slices():
    """Factory of Gaussian fields of Ls spinors a site."""
    def make(U, Ls, parity="both", seed=3, real="double"):
        psi = FermionField(U.lattice, U.colors, parity, real, spins=4, Ls=Ls)
        psi.draw_gaussian(Draws(seed, 0).next(Purpose.NOISE))
        return psi
    return make


def reflected(values):
    """R gamma_5 psi, R: s -> Ls - 1 - s."""
    return np.diag(plain.GAMMA_5)[:, None] * np.flip(values, 4)


def even_values(field):
    """Values of the even sites in one vector."""
    values = field.to_sites()
    return values[reference.even_sites(values.shape[3::-1])].ravel()


def fifth_matrix(parameters):
    """S on (s, spin) of one site."""
    unit = np.eye(parameters.Ls * 4, dtype=complex).reshape(1, 1, 1, 1, parameters.Ls, 4, -1)
    return plain.fifth_shift(unit, parameters.mass).reshape(parameters.Ls * 4, -1)


# ---- D
@every_case
def test_operator_is_the_dense_matrix(hot_links, gaussian_slices, colors, parameters):
    U = hot_links(colors, *SMALL)
    D, psi = DomainWallDirac(U, parameters, BOUNDARY), gaussian_slices(U, parameters.Ls)
    matrix = plain.domain_wall_matrix(U.to_sites(), parameters, BOUNDARY)
    for found, dense in ((D(psi), matrix), (D.adjoint(psi), reference.dagger(matrix))):
        expected = (dense @ psi.to_sites().ravel()).reshape(psi.to_sites().shape)
        np.testing.assert_allclose(found.to_sites(), expected, rtol=0, atol=1e-13 * abs(expected).max())


@pytest.mark.parametrize("lanes", [None, 1])
@every_case
def test_operator_is_the_formula(hot_links, gaussian_slices, colors, parameters, lanes):
    """On lattices that fill the lanes, and at one lane."""
    U = hot_links(colors, *WIDE[colors], lanes=lanes)
    D, psi = DomainWallDirac(U, parameters, BOUNDARY), gaussian_slices(U, parameters.Ls)
    expected = plain.domain_wall(U.to_sites(), psi.to_sites(), parameters, BOUNDARY)
    np.testing.assert_allclose(D(psi).to_sites(), expected, rtol=0, atol=1e-13 * abs(expected).max())


@pytest.mark.parametrize("Ls", [8, 12, 16])
def test_fields_beyond_the_caches_give_what_one_lane_gives(hot_links, gaussian_slices, Ls):
    """On lanes fields beyond 2 MiB are fetched ahead, those beyond 5 MiB stored past the caches: 3, 4.5 and 6 MiB here."""
    found = []
    for lanes in (None, 1):
        U = hot_links(2, 8, 8, 8, 12, lanes=lanes)
        psi, dot = gaussian_slices(U, Ls, "even"), U.lattice.device.zeros((1,), np.float64)
        out = psi.like()
        DomainWallDirac(U, DomainWall(0.08, Ls, b5=1.5, c5=0.5), BOUNDARY).even_odd().normal.apply(psi, out, dot)
        found.append((even_values(out), U.lattice.device.to_host(dot)[0]))
    (wide, norm), (narrow, expected) = found
    np.testing.assert_allclose(wide, narrow, rtol=0, atol=1e-14 * abs(narrow).max())
    assert norm == pytest.approx(expected, rel=1e-13)


@every_case
def test_single_precision_operators_are_the_double_ones(hot_links, gaussian_slices, colors, parameters):
    """D, D^+ and M^+ M."""
    U, found = hot_links(colors, *WIDE[colors]), {}
    for real in ("double", "float"):
        D = DomainWallDirac(U, parameters, BOUNDARY, real)
        psi, x = gaussian_slices(U, parameters.Ls, real=real), gaussian_slices(U, parameters.Ls, "even", real=real)
        out, A = x.like(), DomainWallDirac(U, parameters, BOUNDARY).even_odd().normal.in_precision(real)
        A.apply(x, out)
        found[real] = [field.to_sites() for field in (D(psi), D.adjoint(psi), out)]
    for exact, single in zip(*found.values(), strict=True):
        np.testing.assert_allclose(single, exact, rtol=0, atol=3e-6 * abs(exact).max())


@every_case
def test_adjoint_and_reflection(hot_links, gaussian_slices, colors, parameters):
    """<a, D b> = <D^+ a, b>; D^+ B^+ = B^+ (R gamma_5 D R gamma_5), which for Shamir's B = 1 is hermiticity."""
    U = hot_links(colors, *WIDE[colors])
    a, b = (gaussian_slices(U, parameters.Ls, seed=seed) for seed in (5, 6))
    D = DomainWallDirac(U, parameters, BOUNDARY)
    x, Db = a.to_sites(), D(b).to_sites()
    size = np.linalg.norm(x) * np.linalg.norm(Db)
    assert abs(np.vdot(x, Db) - np.vdot(D.adjoint(a).to_sites(), b.to_sites())) < 1e-14 * size
    after_b, flipped = a.like(), field_of(a, reflected(D(field_of(a, reflected(x))).to_sites()))
    parameters.B.apply(a, after_b, adjoint=True)
    expected = a.like()
    parameters.B.apply(flipped, expected, adjoint=True)
    np.testing.assert_allclose(D.adjoint(after_b).to_sites(), expected.to_sites(), rtol=0, atol=1e-12)


@every_case
def test_operator_is_gauge_covariant(hot_links, gaussian_slices, rng, colors, parameters):
    """D[U^g] g psi = g D[U] psi."""
    U = hot_links(colors, *WIDE[colors])
    psi = gaussian_slices(U, parameters.Ls)
    g = reference.random_group(tuple(reversed(WIDE[colors])), colors, rng)
    rotate = partial(np.einsum, "...ij,...usj->...usi", g)
    expected = rotate(DomainWallDirac(U, parameters, BOUNDARY)(psi).to_sites())
    U.from_sites(reference.gauge_transform(U.to_sites(), g))
    found = DomainWallDirac(U, parameters, BOUNDARY)(field_of(psi, rotate(psi.to_sites()))).to_sites()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


# ---- the fifth dimension
@pytest.mark.parametrize("adjoint", [False, True])
@every_case
def test_operators_of_the_fifth_dimension_are_dense_matrices(hot_links, gaussian_slices, colors, parameters, adjoint):
    """A, B, and the walks of A^-1 and K = A^-1 B, on all sites or those of one parity."""
    U = hot_links(colors, *WIDE[colors])
    psi, S = gaussian_slices(U, parameters.Ls), fifth_matrix(parameters)
    w, one = 4 - parameters.M5, np.eye(len(S))
    A = (1 + parameters.b5 * w) * one + (parameters.c5 * w - 1) * S
    B = parameters.b5 * one + parameters.c5 * S
    values = psi.to_sites()
    even = reference.even_sites(WIDE[colors])
    for operator, dense in ((parameters.A, A), (parameters.B, B), (parameters.A_inverse, np.linalg.inv(A)),
                            (parameters.K, np.linalg.solve(A, B)), (-0.25 * parameters.K, -0.25 * np.linalg.solve(A, B))):
        dense = (reference.dagger(dense) if adjoint else dense).reshape(2 * (parameters.Ls, 4))
        expected = np.einsum("usvt,...vtc->...usc", dense, values)
        out, half = psi.like(), psi.like()
        operator.apply(psi, out, adjoint)
        operator.apply(psi, half, adjoint, parity="odd")
        np.testing.assert_allclose(out.to_sites(), expected, rtol=0, atol=1e-13 * abs(expected).max())
        np.testing.assert_array_equal(half.to_sites()[~even], out.to_sites()[~even])
        assert not half.to_sites()[even].any()


# ---- even and odd
def dense_even_odd(U, parameters):
    """(D, A, B, Schur complement D_ee - D_eo D_oo^-1 D_oe) as matrices; A and B on even sites."""
    matrix = plain.domain_wall_matrix(U.to_sites(), parameters, BOUNDARY)
    even = np.repeat(reference.even_sites(SMALL).ravel(), parameters.Ls * 4 * U.colors)
    ee, eo, oe, oo = (matrix[np.ix_(rows, columns)] for rows in (even, ~even) for columns in (even, ~even))
    S = np.kron(np.eye(U.lattice.sites // 2), np.kron(fifth_matrix(parameters), np.eye(U.colors)))
    B = parameters.b5 * np.eye(len(S)) + parameters.c5 * S
    return matrix, ee, B, ee - eo @ np.linalg.solve(oo, oe)


def even_odd_matrix(M):
    """M column by column."""
    probe, out, columns = M.field(), M.field(), []
    even, shape = reference.even_sites(SMALL), probe.to_sites().shape
    for k in range(int(even.sum()) * np.prod(shape[4:])):
        values = np.zeros(shape, complex)
        block = np.zeros(int(even.sum()) * np.prod(shape[4:]))
        block[k] = 1
        values[even] = block.reshape(-1, *shape[4:])
        probe.from_sites(values)
        M.apply(probe, out)
        columns.append(even_values(out))
    return np.array(columns).T


@pytest.mark.parametrize("parameters", [BORICI, SINGULAR, DomainWall(0.05, 3, b5=1.25, c5=0.25)])
def test_even_odd_operator_is_the_dense_one_with_its_determinant(hot_links, parameters):
    """M B = K (D_ee - D_eo D_oo^-1 D_oe), element by element; det D = det A_ee det A_oo det M."""
    U = hot_links(2, *SMALL)
    M = even_odd_matrix(DomainWallDirac(U, parameters, BOUNDARY).even_odd())
    D, A, B, schur = dense_even_odd(U, parameters)
    np.testing.assert_allclose(M @ B, B @ np.linalg.solve(A, schur), rtol=0, atol=1e-12)
    (sign, size), parts = np.linalg.slogdet(D), [np.linalg.slogdet(matrix) for matrix in (A, A, M)]
    assert size == pytest.approx(sum(part[1] for part in parts), rel=1e-12)
    assert sign == pytest.approx(np.prod([part[0] for part in parts]), abs=1e-10)


@every_case
def test_adjoint_and_normal_even_odd_operators(hot_links, gaussian_slices, colors, parameters):
    """<a, M b> = <M^+ a, b>; the normal operator, in four hops, is M^+ (M psi); its <psi, A psi>, and the norm with each."""
    U = hot_links(colors, *WIDE[colors])
    M = DomainWallDirac(U, parameters, BOUNDARY).even_odd()
    a, b = (gaussian_slices(U, parameters.Ls, "even", seed=seed) for seed in (5, 6))
    Mb, Ma, out, dot = M.field(), M.field(), M.field(), U.lattice.device.zeros((1,), np.float64)
    M.apply(b, Mb, norm=dot)
    size = np.linalg.norm(even_values(a)) * np.linalg.norm(even_values(Mb))
    assert U.lattice.device.to_host(dot)[0] == pytest.approx(np.linalg.norm(even_values(Mb)) ** 2, rel=1e-13)
    M.apply(a, Ma, adjoint=True, norm=dot)
    assert abs(np.vdot(even_values(a), even_values(Mb)) - np.vdot(even_values(Ma), even_values(b))) < 1e-14 * size
    assert U.lattice.device.to_host(dot)[0] == pytest.approx(np.linalg.norm(even_values(Ma)) ** 2, rel=1e-13)
    M.apply(Mb, Ma, adjoint=True)
    M.normal.apply(b, out, dot)
    np.testing.assert_allclose(even_values(out), even_values(Ma), rtol=0, atol=1e-13 * abs(even_values(Ma)).max())
    assert U.lattice.device.to_host(dot)[0] == pytest.approx(np.linalg.norm(even_values(Mb)) ** 2, rel=1e-13)


@every_case
def test_solution_is_the_dense_inverse(hot_links, gaussian_slices, colors, parameters):
    """D psi = b by the even-odd solve, for b on both parities."""
    U = hot_links(colors, *SMALL)
    b = gaussian_slices(U, parameters.Ls)
    matrix = plain.domain_wall_matrix(U.to_sites(), parameters, BOUNDARY)
    expected = np.linalg.solve(matrix, b.to_sites().ravel()).reshape(b.to_sites().shape)
    M = DomainWallDirac(U, parameters, BOUNDARY).even_odd()
    found = M.solve(ConjugateGradient(U.lattice, 1e-13), b).to_sites()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * abs(expected).max())


@pytest.mark.parametrize("colors", [2, 3])
def test_wilson_solution_is_the_dense_inverse(hot_links, gaussian_spinor, colors):
    U = hot_links(colors, *SMALL)
    b = gaussian_spinor(U)
    expected = np.linalg.solve(plain.wilson_matrix(U.to_sites(), 0.3, BOUNDARY), b.to_sites().ravel())
    found = WilsonDirac(U, 0.3, BOUNDARY).even_odd().solve(ConjugateGradient(U.lattice, 1e-13), b).to_sites()
    np.testing.assert_allclose(found.ravel(), expected, rtol=0, atol=1e-11 * abs(expected).max())


# ---- force
@every_case
def test_force_is_minus_the_derivative(hot_links, gaussian_momenta, colors, parameters):
    U = hot_links(colors, *WIDE[colors])
    action = pseudofermions(U.lattice, lambda V: DomainWallDirac(V, parameters, BOUNDARY))
    phi = action.refresh(U, Draws(4, 1))
    assert_force_is_minus_derivative(action, U, phi, gaussian_momenta(U))


# ---- quarks of four dimensions
def exact_quark(D, eta):
    """q of the solution for the source of eta."""
    psi = D.even_odd().solve(ConjugateGradient(D.U.lattice, 1e-13), D.source(eta))
    return D.quark(psi).to_sites(), D.midpoint(psi).to_sites()


def gamma_5_matrix(U):
    return np.kron(np.eye(U.lattice.sites), np.kron(plain.GAMMA_5, np.eye(U.colors)))


@every_case
def test_quark_propagator_is_that_of_the_overlap_operator(hot_links, gaussian_spinor, colors, parameters):
    """q = (D_overlap^-1 - 1) eta / (1 - m), with the sign function of this Ls, b5 and c5."""
    if parameters.mass == 1:
        parameters = DomainWall(0.9, parameters.Ls, parameters.M5, parameters.b5, parameters.c5)
    U = hot_links(colors, *SMALL)
    eta, gamma_5 = gaussian_spinor(U), gamma_5_matrix(U)
    inverse = plain.overlap_inverse(plain.wilson_matrix(U.to_sites(), -parameters.M5, BOUNDARY), gamma_5, parameters)
    expected = (inverse - np.eye(len(inverse))) @ eta.to_sites().ravel() / (1 - parameters.mass)
    found, _ = exact_quark(DomainWallDirac(U, parameters, BOUNDARY), eta)
    np.testing.assert_allclose(found.ravel(), expected, rtol=0, atol=1e-10 * abs(expected).max())


@pytest.mark.parametrize("parameters", [SHAMIR, MOEBIUS])
def test_midpoint_norm_is_the_defect_of_the_sign_function(hot_links, gaussian_spinor, parameters):
    """|midpoint|^2 = eta^+ D_ov^-+ (1 - eps^2) / 4 D_ov^-1 eta (even Ls)."""
    U = hot_links(3, *SMALL)
    eta, gamma_5 = gaussian_spinor(U), gamma_5_matrix(U)
    matrix = plain.wilson_matrix(U.to_sites(), -parameters.M5, BOUNDARY)
    eps = plain.sign_approximation(matrix, gamma_5, parameters)
    vector = plain.overlap_inverse(matrix, gamma_5, parameters) @ eta.to_sites().ravel()
    expected = np.vdot(vector, vector - eps @ eps @ vector).real / 4
    _, middle = exact_quark(DomainWallDirac(U, parameters, BOUNDARY), eta)
    assert np.vdot(middle, middle).real == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("boundary", [(1, 1, 1, 1), BOUNDARY])
@pytest.mark.parametrize(("colors", "parameters"), CASES[:3])
def test_free_quark_propagator_is_the_fourier_result(make_lattice, gaussian_spinor, colors, parameters, boundary):
    U = GaugeField(make_lattice(*WIDE[colors]), colors)
    eta = gaussian_spinor(U)
    waves = plain.free_wilson(WIDE[colors], -parameters.M5, boundary)
    inverse = plain.overlap_inverse(waves, plain.GAMMA_5, parameters)
    expected = plain.on_plane_waves((inverse - np.eye(4)) / (1 - parameters.mass), eta.to_sites(), boundary)
    found, _ = exact_quark(DomainWallDirac(U, parameters, boundary), eta)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * abs(expected).max())


def test_residual_mass_falls_with_the_fifth_dimension(make_lattice, gaussian_momenta):
    """On mildly rough links; Moebius with b5 + c5 = 2 at Ls is below Shamir at Ls, as its kernel is scaled by 2."""
    U = GaugeField(make_lattice(4, 4, 2, 4), 3)
    U.drift(gaussian_momenta(U), 0.3)
    found = {}
    for Ls, c5 in ((4, 0.0), (8, 0.0), (4, 0.5), (8, 0.5)):
        observable = ResidualMass(U.lattice, DomainWall(0.05, Ls, 1.8, 1 + c5, c5), BOUNDARY, 2, 1e-8)
        sums = observable.measure(U, Draws(1, 1))
        assert sums.shape == (2, 2) and (sums > 0).all()
        found[Ls, c5] = ratio(sums)[0]
    assert found[8, 0.0] < 0.5 * found[4, 0.0] and found[8, 0.5] < 0.3 * found[4, 0.5]
    assert found[4, 0.5] < 0.5 * found[4, 0.0]


def test_ratio_is_that_of_the_sums_with_a_jackknife_error():
    sums = np.array([[1.0, 10.0], [2.0, 12.0], [1.5, 8.0]])
    value, error = ratio(sums)
    left_out = np.array([3.5 / 20, 2.5 / 18, 3.0 / 22])
    assert value == pytest.approx(4.5 / 30)
    assert error == pytest.approx(np.sqrt(2 * left_out.var()))
    assert np.isnan(ratio(sums[:1])[1])


# ---- what is refused
@pytest.mark.parametrize(("keys", "words"), [
    ({"mass": -0.1}, r"mass = -0\.1: domain-wall quarks need mass >= 0"),
    ({"mass": float("nan")}, "mass = nan: a finite number expected"),
    ({"Ls": 1}, "Ls = 1: a whole number of slices expected, 2 at least"),
    ({"M5": 2.0}, r"M5 = 2\.0: between 0 and 2"),
    ({"M5": -0.5}, r"M5 = -0\.5: between 0 and 2"),
    ({"b5": -0.5, "c5": 0.5}, r"b5 = -0\.5, c5 = 0\.5: b5 \+ c5 > 0 expected"),
    ({"b5": 0.5, "c5": 1.5}, r"\(c5 - b5\)\(4 - M5\) < 2 expected"),
])
def test_parameters_out_of_range_are_refused(keys, words):
    with pytest.raises(InputError, match=words):
        DomainWall(**({"mass": 0.1, "Ls": 8} | keys))


def test_residual_mass_refuses_an_odd_number_of_slices(make_lattice):
    with pytest.raises(InputError, match="Ls = 5: the residual mass is measured half-way between two slices; use an even Ls"):
        ResidualMass(make_lattice(4, 4, 4, 4), DomainWall(0.1, 5), BOUNDARY, 1, 1e-8)
