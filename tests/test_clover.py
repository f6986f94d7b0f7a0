"""Wilson-clover operator: against the formula, constant background fields and the dense matrix; determinant; dynamics."""

from functools import cache

import numpy as np
import pytest
import reference
import reference_quarks as plain
from dense import even_values, schur_complement
from monte_carlo import time_scales
from spinors import (
    ANTIPERIODIC,
    PERIODIC,
    assert_adjoint_and_gamma_5_hermitian,
    assert_even_odd_form,
    assert_extension_solves_the_odd_equations,
    field_of,
    wide_case,
)

from slhmc.actions import CompositeAction, GaugeAction, LogDeterminantAction, PseudofermionAction
from slhmc.dirac import CloverDirac, WilsonDirac
from slhmc.errors import ComputationError, InputError
from slhmc.lattice import GaugeField
from slhmc.solvers import ConjugateGradient
from slhmc.updates import HMC

pytestmark = pytest.mark.device
MASS, C_SW = 0.3, 1.37
CASES = [(2, (2, 4, 4, 4), 3), (3, (4, 2, 2, 4), 2), (3, (4, 2, 2, 4), 3)]

every_case = pytest.mark.parametrize(("colors", "extent", "rows"), CASES)


@pytest.fixture(scope="module")
def dense_clover(hot_links):
    """D as a dense matrix for hot links, computed once for each case."""
    @cache
    def make(colors, extent):
        return plain.clover_matrix(hot_links(colors, *extent).to_sites(), MASS, C_SW, ANTIPERIODIC)
    return make


# ---- D
@pytest.mark.parametrize("lanes", [None, 1])
@pytest.mark.parametrize(("mass", "c_sw", "boundary"), [(0.3, 1.0, ANTIPERIODIC), (-0.4, 1.9, (-1, 1, -1, -1))])
@wide_case
def test_operator_is_the_formula(hot_links, gaussian_spinor, colors, extent, rows, lanes, mass, c_sw, boundary):
    U = hot_links(colors, *extent, lanes=lanes)
    psi = gaussian_spinor(U)
    expected = plain.clover(U.to_sites(), psi.to_sites(), mass, c_sw, boundary)
    found = CloverDirac(U, mass, c_sw, boundary, rows=rows)(psi).to_sites()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * abs(expected).max())


@wide_case
def test_without_the_term_it_is_wilsons(hot_links, gaussian_spinor, colors, extent, rows):
    """c_sw = 0 on any links; any c_sw on unit links, where F = 0."""
    U, psi = hot_links(colors, *extent), gaussian_spinor(hot_links(colors, *extent))
    for links, c_sw in ((U, 0.0), (GaugeField(U.lattice, colors), 1.9)):
        expected = WilsonDirac(links, MASS, ANTIPERIODIC, rows=rows)(psi).to_sites()
        found = CloverDirac(links, MASS, c_sw, ANTIPERIODIC, rows=rows)(psi).to_sites()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14 * abs(expected).max())


def constant_field(U, mu, nu, charges):
    """Diagonal links whose plaquettes in one plane are exp(i B charge) everywhere, B = 2 pi / sites of the plane."""
    extent = U.lattice.extent
    x, B = reference.coordinates(extent), 2 * np.pi / (extent[mu] * extent[nu])
    links = np.zeros((*reversed(extent), 4, U.colors, U.colors), complex)
    links[..., range(U.colors), range(U.colors)] = 1
    for color, charge in enumerate(charges):
        links[..., nu, color, color] = np.exp(1j * B * charge * x[mu])
        links[..., mu, color, color] = np.exp(-1j * B * charge * extent[mu] * x[nu] * (x[mu] == extent[mu] - 1))
    U.from_sites(links)
    return B


@pytest.mark.parametrize(("mu", "nu"), [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)])
@pytest.mark.parametrize(("colors", "charges"), [(2, (1, -1)), (3, (1, 2, -3))])
def test_constant_field(make_lattice, gaussian_spinor, colors, charges, mu, nu):
    """F_{mu nu} = i sin(B charge) in one plane: the term is -(c_sw / 2) gamma_mu gamma_nu i sin(B charge)."""
    U = GaugeField(make_lattice(4, 4, 4, 6), colors)
    B = constant_field(U, mu, nu, charges)
    psi = gaussian_spinor(U)
    found = CloverDirac(U, MASS, C_SW, PERIODIC)(psi).to_sites() - WilsonDirac(U, MASS, PERIODIC)(psi).to_sites()
    gammas = plain.GAMMA[mu] @ plain.GAMMA[nu]
    strength = 1j * np.sin(B * np.array(charges))
    expected = -C_SW / 2 * np.einsum("st,c,...tc->...sc", gammas, strength, psi.to_sites())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


@wide_case
def test_single_precision_operators_are_the_double_ones(hot_links, gaussian_spinor, colors, extent, rows):
    """D, D^+ and M, whose blocks and inverse blocks are converted."""
    U = hot_links(colors, *extent)
    exact, single = (CloverDirac(U, MASS, C_SW, ANTIPERIODIC, real, rows) for real in ("double", "float"))
    psi, psi_single = (gaussian_spinor(U, real=real) for real in ("double", "float"))
    M = exact.even_odd()
    found = []
    for operator, real in ((M, "double"), (M.in_precision("float"), "float")):
        out = operator.field(real)
        operator.apply(gaussian_spinor(U, "even", real=real), out)
        found.append(out)
    for one, other in ((exact(psi), single(psi_single)), (exact.adjoint(psi), single.adjoint(psi_single)), found):
        np.testing.assert_allclose(other.to_sites(), one.to_sites(), rtol=0, atol=2e-6 * abs(one.to_sites()).max())


@every_case
def test_operators_follow_their_links(hot_links, gaussian_spinor, gaussian_momenta, colors, extent, rows):
    """Blocks and their inverses are rebuilt after each change of U, in both precisions."""
    U = hot_links(colors, *extent)
    operators = [CloverDirac(U, MASS, C_SW, ANTIPERIODIC, real, rows).even_odd() for real in ("double", "float")]
    determinant = operators[0].determinant
    vectors = [gaussian_spinor(U, "even", real=real) for real in ("double", "float")]
    for M, psi in zip(operators, vectors, strict=True):
        M.apply(psi, psi.like())
    before = float(determinant.value())
    U.drift(gaussian_momenta(U), 0.5)
    matrix = plain.clover_matrix(U.to_sites(), MASS, C_SW, ANTIPERIODIC)
    expected = schur_complement(matrix, extent, colors) @ even_values(vectors[0])
    for M, psi, tolerance in zip(operators, vectors, (1e-13, 2e-6), strict=True):
        out = psi.like()
        M.apply(psi, out)
        np.testing.assert_allclose(even_values(out), expected, rtol=0, atol=tolerance * abs(expected).max())
    assert abs(float(determinant.value()) - before) > 1e-3


@wide_case
def test_adjoint_is_adjoint_and_gamma_5_hermitian(hot_links, gaussian_spinor, colors, extent, rows):
    U = hot_links(colors, *extent)
    D, a, b = CloverDirac(U, MASS, C_SW, ANTIPERIODIC, rows=rows), gaussian_spinor(U, seed=5), gaussian_spinor(U, seed=6)
    assert_adjoint_and_gamma_5_hermitian(D, a, b)


@wide_case
def test_operator_is_gauge_covariant(hot_links, gaussian_spinor, rng, colors, extent, rows):
    """D[U^g] g psi = g D[U] psi; log det A_oo does not change."""
    U = hot_links(colors, *extent)
    psi, D = gaussian_spinor(U), CloverDirac(U, MASS, C_SW, ANTIPERIODIC, rows=rows)
    g = reference.random_group(tuple(reversed(extent)), colors, rng)

    def rotate(values):
        return np.einsum("...ij,...sj->...si", g, values)
    expected, determinant = rotate(D(psi).to_sites()), float(D.even_odd().determinant.value())
    U.from_sites(reference.gauge_transform(U.to_sites(), g))
    found = D(field_of(psi, rotate(psi.to_sites()))).to_sites()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)
    assert float(D.even_odd().determinant.value()) == pytest.approx(determinant, rel=1e-13)


# ---- even and odd
@every_case
def test_even_odd_operator_is_the_schur_complement(hot_links, gaussian_spinor, dense_clover, colors, extent, rows):
    U = hot_links(colors, *extent)
    expected = schur_complement(dense_clover(colors, extent), extent, colors)
    assert_even_odd_form(CloverDirac(U, MASS, C_SW, ANTIPERIODIC, rows=rows).even_odd(), expected, gaussian_spinor(U, "even"))


@every_case
def test_determinants_of_the_parts_make_that_of_the_whole(hot_links, dense_clover, colors, extent, rows):
    """log det D = log det A_oo + log det M, M from the kernels applied to each unit vector."""
    U = hot_links(colors, *extent)
    M, size = CloverDirac(U, MASS, C_SW, ANTIPERIODIC, rows=rows).even_odd(), 2 * colors * np.prod(extent)
    columns, probe, out, even = [], M.field(), M.field(), reference.even_sites(extent)
    for k in range(size):
        values = np.zeros(probe.to_sites().shape, complex)
        values[even] = np.eye(size)[k].reshape(-1, 4, colors)
        probe.from_sites(values)
        M.apply(probe, out)
        columns.append(even_values(out))
    full, reduced = np.linalg.slogdet(dense_clover(colors, extent)), np.linalg.slogdet(np.array(columns))
    assert float(M.determinant.value()) == pytest.approx(full[1] - reduced[1], rel=1e-12)
    assert full[0] == pytest.approx(reduced[0], rel=1e-12)


@pytest.mark.parametrize("adjoint", [False, True])
@wide_case
def test_extension_makes_the_odd_equations_true(hot_links, gaussian_spinor, colors, extent, rows, adjoint):
    U = hot_links(colors, *extent)
    D = CloverDirac(U, MASS, C_SW, ANTIPERIODIC, rows=rows)
    assert_extension_solves_the_odd_equations(D, gaussian_spinor(U, "even"), adjoint)


@pytest.mark.parametrize("precision", ["double", "mixed"])
def test_solution_is_the_dense_inverse(hot_links, gaussian_spinor, dense_clover, precision):
    colors, extent = 3, (4, 2, 2, 4)
    U = hot_links(colors, *extent)
    A, source = CloverDirac(U, MASS, C_SW, ANTIPERIODIC).even_odd().normal, gaussian_spinor(U, "even")
    M, x = schur_complement(dense_clover(colors, extent), extent, colors), A.field()
    ConjugateGradient(U.lattice, 1e-13, precision=precision).solve(A, source, x)
    expected = np.linalg.solve(reference.dagger(M) @ M, even_values(source))
    np.testing.assert_allclose(even_values(x), expected, rtol=0, atol=1e-12)


# ---- dynamics
def quarks(lattice, mass=MASS, c_sw=C_SW, tolerance=1e-12):
    """Two flavours of clover quarks: pseudofermions and the determinant of the odd sites."""
    def operator(U):
        return CloverDirac(U, mass, c_sw, ANTIPERIODIC).even_odd()
    solvers = [ConjugateGradient(lattice, tolerance) for _ in range(2)]
    return {"quarks": PseudofermionAction(lambda U: operator(U).normal, *solvers), "determinant": LogDeterminantAction(operator)}


@pytest.mark.parametrize("colors", [2, 3])
def test_energy_is_conserved_to_second_order(make_lattice, gaussian_momenta, colors):
    """dH of the same trajectory falls as the square of the step; a tape that is replayed gives what it gave."""
    U = GaugeField(make_lattice(4, 2, 4, 4), colors)
    U.drift(gaussian_momenta(U), 0.3)
    target = CompositeAction({"gauge": GaugeAction(2.5 * colors), **quarks(U.lattice)})
    energies = []
    for steps in (8, 16):
        hmc = HMC(target, time_scales(target, ("leapfrog", steps)), 0.5)
        energies.append(hmc.step(U.copy(), 3, 1).delta_h)
    assert abs(energies[0]) > 1e-3
    assert energies[0] / energies[1] == pytest.approx(4, rel=0.1)
    moving = U.copy()
    hmc.step(moving, 3, 0)
    moving.assign(U)
    assert hmc.step(moving, 3, 1).delta_h == pytest.approx(energies[1], abs=1e-9)


# ---- what is refused
@pytest.fixture
def exceptional(hot_links):
    """Two flavours so light, with so large a term, that A_oo is not positive."""
    U = hot_links(3, 4, 4, 4, 4)
    return U, quarks(U.lattice, -3.0, 2.0)


MESSAGE = "exceptional configuration: the clover term with mass = -3, c_sw = 2 is not positive on "


def test_exceptional_configurations_are_told(exceptional):
    U, actions = exceptional
    matrix = plain.clover_term(U.to_sites(), 2.0)[~reference.even_sites(U.lattice.extent)].reshape(-1, 12, 12)
    negative = (np.linalg.eigvalsh(matrix)[:, 0] < -1).sum()
    with pytest.raises(ComputationError, match=f"{MESSAGE}{negative} odd sites"):
        actions["determinant"].action(U, None)
    with pytest.raises(ComputationError, match=MESSAGE):
        CloverDirac(U, -3.0, 2.0, ANTIPERIODIC).even_odd().prepare()
    U.assign(GaugeField(U.lattice, 3))
    assert float(actions["determinant"].action(U, None)) == pytest.approx(0, abs=1e-9), "A = 1 on unit links"


def test_a_trajectory_that_meets_an_exceptional_configuration_ends(hot_links):
    """The tape runs to its end; then the first failure of any of its configurations is told, once."""
    U = hot_links(3, 4, 4, 4, 4)
    start = GaugeField(U.lattice, 3)
    target = CompositeAction({"gauge": GaugeAction(0.0), "determinant": quarks(U.lattice, -3.0, 2.0)["determinant"]})
    hmc = HMC(target, time_scales(target, ("leapfrog", 2)), 4.0, max_delta_h=1e9)
    with pytest.raises(ComputationError, match=f"trajectory 1: {MESSAGE}"):
        hmc.step(start, 3, 1)
    hmc_short = HMC(target, time_scales(target, ("leapfrog", 2)), 1e-3)
    assert abs(hmc_short.step(start, 3, 1).delta_h) < 1e-3


@pytest.mark.parametrize("extent", [(4, 4), (4, 6, 8)])
def test_lattices_of_fewer_dimensions_are_refused(hot_links, extent):
    with pytest.raises(InputError, match=f"Wilson quarks on {len(extent)} dimensions"):
        CloverDirac(hot_links(2, *extent), 0.1, 1.0, (1,) * len(extent))


def test_four_colours_are_refused(hot_links):
    U = hot_links(4, 2, 2, 2, 4)
    D = CloverDirac(U, 0.1, 1.0, ANTIPERIODIC)
    with pytest.raises(InputError, match="quarks with 4 colours: the hopping kernels know 2 and 3"):
        D(D.field())
    with pytest.raises(InputError, match="clover quarks with 4 colours: the clover kernels know 2 and 3"):
        D.even_odd().determinant.value()


def test_blocks_must_be_built_before_a_loop(hot_links):
    """In its body they would be rebuilt in every round."""
    U = hot_links(2, 4, 4, 4, 4)
    M, device = CloverDirac(U, 0.1, 1.0, ANTIPERIODIC).even_odd(), U.lattice.device
    M.prepare()
    U.changed()
    M.dirac.hopping.prepare()
    cell = device.zeros((1,), np.float64)
    for part in (M.dirac.term, M.dirac.inverse):
        with pytest.raises(RuntimeError, match=r"call prepare\(\) before the loop"):
            device.repeat_while(device.pointer(cell), part)
