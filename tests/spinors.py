"""Cases and checks that tests of four-spinor operators share."""

import numpy as np
import pytest
import reference
import reference_quarks as plain
from dense import even_values

PERIODIC, ANTIPERIODIC = (1, 1, 1, 1), (1, 1, 1, -1)
# of SU(2) matrices one row is stored, whatever `rows` says
WIDE = [(2, (8, 4, 2, 6), 3), (3, (4, 2, 8, 4), 2), (3, (4, 2, 8, 4), 3)]
wide_case = pytest.mark.parametrize(("colors", "extent", "rows"), WIDE)


def field_of(psi, values):
    """A field like psi that holds public values."""
    result = psi.like()
    result.from_sites(values)
    return result


def assert_adjoint_and_gamma_5_hermitian(D, a, b):
    """<a, D b> = <D^+ a, b>; gamma_5 D gamma_5 = D^+."""
    x, y = a.to_sites(), b.to_sites()
    size = np.linalg.norm(x) * np.linalg.norm(D(b).to_sites())
    assert abs(np.vdot(x, D(b).to_sites()) - np.vdot(D.adjoint(a).to_sites(), y)) < 1e-14 * size
    gamma_5 = np.diag(plain.GAMMA_5)[:, None]
    flipped = gamma_5 * D(field_of(a, gamma_5 * x)).to_sites()
    np.testing.assert_allclose(flipped, D.adjoint(a).to_sites(), rtol=0, atol=1e-13)


def assert_even_odd_form(M, matrix, psi):
    """M, M^+, M^+ M on even psi, and <psi, M^+ M psi> that comes with it, are those of `matrix`."""
    out, dot, x = M.field(), psi.lattice.device.zeros((1,), np.float64), even_values(psi)
    M.apply(psi, out)
    np.testing.assert_allclose(even_values(out), matrix @ x, rtol=0, atol=1e-12)
    M.apply(psi, out, adjoint=True)
    np.testing.assert_allclose(even_values(out), reference.dagger(matrix) @ x, rtol=0, atol=1e-12)
    M.normal.apply(psi, out, dot)
    np.testing.assert_allclose(even_values(out), reference.dagger(matrix) @ (matrix @ x), rtol=0, atol=1e-11)
    assert psi.lattice.device.to_host(dot)[0] == pytest.approx(np.linalg.norm(matrix @ x) ** 2, rel=1e-13)


def assert_extension_solves_the_odd_equations(D, x, adjoint):
    """D (x, A_oo^-1 H_oe x / 2) = (M x, 0): a solution of the reduced system is one of the full system."""
    M, even = D.even_odd(), reference.even_sites(x.lattice.extent)
    full, reduced = M.field(parity="both"), M.field()
    M.extend(x, full, adjoint)
    M.apply(x, reduced, adjoint)
    found = (D.adjoint if adjoint else D)(full).to_sites()
    np.testing.assert_allclose(found[even], reduced.to_sites()[even], rtol=0, atol=1e-13)
    assert abs(found[~even]).max() < 1e-13
