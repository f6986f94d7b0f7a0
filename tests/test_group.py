"""SU(N) and su(N) in the kernels: exponential, generators, return to the group."""

import numpy as np
import pytest
import reference

from slhmc.lattice import AlgebraField, GaugeField

pytestmark = pytest.mark.device
COLORS = (2, 3, 4, 5, 6)
EXTENT = (8, 4)


def public_momenta(P):
    """Coefficients [t, z, y, x, mu, a]."""
    values = P.gather_reals()
    return values.reshape(*values.shape[:-1], P.lattice.dimensions, P.colors**2 - 1)


@pytest.mark.parametrize("scale", [1e-9, 0.1, 1.0, 7.0, 50.0])
@pytest.mark.parametrize("colors", COLORS)
def test_link_update_is_the_matrix_exponential(hot_links, gaussian_momenta, colors, scale):
    """exp(eps P) U; rounding grows with |eps P| as it does for any method by squaring."""
    U = hot_links(colors, *EXTENT)
    P, before, step = gaussian_momenta(U, scale=scale), U.to_sites(), 0.7
    Q = step * reference.algebra_matrix(public_momenta(P), colors)
    U.drift(P, step)
    expected, rounding = reference.exponential(Q) @ before, 3e-14 * (1 + abs(Q).max())
    np.testing.assert_allclose(U.to_sites(), expected, rtol=0, atol=rounding)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
@pytest.mark.parametrize("colors", COLORS)
def test_link_update_stays_in_the_group(hot_links, gaussian_momenta, colors, scale):
    """U U^+ = 1 and det U = 1 to 1e-13, where squaring does not amplify rounding (|P| < 10), and 1e-12 beyond."""
    U = hot_links(colors, *EXTENT)
    U.reunitarize()
    U.drift(gaussian_momenta(U, scale=scale), 1.0)
    assert reference.group_deviation(U.to_sites()) < (1e-13 if scale < 10 else 1e-12)


@pytest.mark.parametrize("colors", COLORS)
def test_link_update_forth_and_back(hot_links, gaussian_momenta, colors):
    U = hot_links(colors, *EXTENT)
    before, P = U.to_sites(), gaussian_momenta(U)
    U.drift(P, 0.3)
    U.drift(P, -0.3)
    np.testing.assert_allclose(U.to_sites(), before, atol=1e-13)


@pytest.mark.parametrize("colors", COLORS)
def test_generators_are_orthonormal_and_in_the_order_of_the_reference(make_lattice, colors):
    """One generator at a time through the kernel: log of exp(s T_a) is s T_a; tr T_a T_b = -delta_ab / 2."""
    count = colors**2 - 1
    T = reference.generators(colors)
    np.testing.assert_allclose(np.einsum("aij,bji->ab", T, T), -0.5 * np.eye(count), atol=1e-15)
    lattice = make_lattice(8, 8)
    P, U, s = AlgebraField(lattice, colors), GaugeField(lattice, colors), 1e-3
    values = np.zeros((64, 2, count))
    site = np.arange(count)
    values[site, 0, site] = 1
    P.scatter_reals(values.reshape(8, 8, -1))
    U.drift(P, s)
    links = U.to_sites().reshape(64, 2, colors, colors)
    np.testing.assert_allclose(links[:count, 0], reference.exponential(s * T), atol=1e-15)
    np.testing.assert_array_equal(links[count:], np.broadcast_to(np.eye(colors), links[count:].shape))
    np.testing.assert_array_equal(links[:, 1], np.broadcast_to(np.eye(colors), links[:, 1].shape))


@pytest.mark.parametrize("colors", COLORS)
def test_kinetic_energy_is_minus_the_trace_of_the_square(hot_links, gaussian_momenta, colors):
    """sum P_a^2 / 2 = -sum tr P^2, and 1/2 for each degree of freedom on average."""
    P = gaussian_momenta(hot_links(colors, *EXTENT))
    matrix = reference.algebra_matrix(public_momenta(P), colors)
    energy = float(P.kinetic_energy())
    assert energy == pytest.approx(-reference.trace_sum(matrix @ matrix).real, rel=1e-13)
    freedom = 2 * 32 * (colors**2 - 1)
    assert abs(energy - freedom / 2) < 4 * np.sqrt(freedom / 2)


@pytest.mark.parametrize("colors", COLORS)
def test_reunitarize_removes_rounding_and_nothing_else(hot_links, rng, colors):
    U = hot_links(colors, *EXTENT)
    U.reunitarize()
    links = U.to_sites()
    noise = rng.standard_normal(links.shape) + 1j * rng.standard_normal(links.shape)
    U.from_sites(links + 1e-9 * noise)
    U.reunitarize()
    assert reference.group_deviation(U.to_sites()) < 1e-14 * colors
    np.testing.assert_allclose(U.to_sites(), links, atol=1e-7)
    clean = U.to_sites()
    U.reunitarize()
    np.testing.assert_allclose(U.to_sites(), clean, atol=1e-15 * colors)


def test_new_fields_hold_unit_links(make_lattice):
    for colors in COLORS:
        links = GaugeField(make_lattice(*EXTENT), colors).to_sites()
        np.testing.assert_array_equal(links, np.broadcast_to(np.eye(colors), links.shape))
