"""Propagators and condensates of Wilson and clover quarks: D psi = b, and traces against dense matrices."""

import logging

import numpy as np
import pytest
import reference_quarks as plain

from slhmc.dirac import CloverDirac, WilsonDirac
from slhmc.errors import SolverNotConverged
from slhmc.lattice import Draws
from slhmc.observables import Propagator, WilsonCondensate

pytestmark = pytest.mark.device
BOUNDARY = (1, 1, 1, -1)
MASS, C_SW = 0.2, 1.3


def wilson(U, real="double"):
    return WilsonDirac(U, MASS, BOUNDARY, real)


def clover(U, real="double"):
    return CloverDirac(U, MASS, C_SW, BOUNDARY, real)


@pytest.mark.parametrize("method", ["bicgstab", "cg"])
@pytest.mark.parametrize("make", [wilson, clover])
@pytest.mark.parametrize(("colors", "extent"), [(2, (4, 2, 8, 4)), (3, (4, 4, 2, 4))])
def test_propagator_solves_on_all_sites(smooth_links, gaussian_spinor, gaussian_momenta, colors, extent, make, method):
    """Also right after the links have changed."""
    U = smooth_links(colors, *extent)
    D, sources = make(U), [gaussian_spinor(U, seed=seed) for seed in (3, 4)]
    operator, propagator = D.even_odd(), Propagator(U.lattice, 1e-12, 1000, "mixed", method)
    for _ in range(2):
        for b, psi in zip(sources, propagator.solve_many(operator, sources), strict=True):
            np.testing.assert_allclose(D(psi).to_sites(), b.to_sites(), rtol=0, atol=1e-10 * abs(b.to_sites()).max())
        U.drift(gaussian_momenta(U, seed=11), 0.1)


def test_conjugate_gradient_takes_over_where_bicgstab_fails(smooth_links, gaussian_spinor, monkeypatch, caplog):
    U = smooth_links(2, 4, 4, 4, 4)
    D, b, propagator = wilson(U), gaussian_spinor(U), Propagator(U.lattice, 1e-12, 1000, "mixed")

    def fail(*arguments):
        raise SolverNotConverged("BiCGStab stopped")
    monkeypatch.setattr(propagator.bicgstab, "solve_many", fail)
    with caplog.at_level(logging.INFO):
        psi, = propagator.solve_many(D.even_odd(), [b])
    assert "BiCGStab stopped; conjugate gradient on M^+ M takes its place" in caplog.text
    np.testing.assert_allclose(D(psi).to_sites(), b.to_sites(), rtol=0, atol=1e-10 * abs(b.to_sites()).max())


@pytest.mark.parametrize("make", [wilson, clover])
def test_condensate_is_the_trace(smooth_links, make):
    """(1/V) Tr D^-1 of the dense matrix, within 4 sigma of 400 noise vectors; each draw has its own noise."""
    extent, noise = (2, 2, 2, 4), 400
    U = smooth_links(2, *extent)
    links = U.to_sites()
    D = plain.wilson_matrix(links, MASS, BOUNDARY) if make is wilson else plain.clover_matrix(links, MASS, C_SW, BOUNDARY)
    expected = np.trace(np.linalg.inv(D)) / U.lattice.sites
    assert abs(expected.imag) < 1e-12
    observable = WilsonCondensate(lambda U: make(U).even_odd().normal, noise, Propagator(U.lattice, 1e-10, 1000, "mixed"))
    values = observable.measure(U, Draws(5, 1))
    assert values.shape == (noise,) and len(set(values)) == noise
    assert abs(values.mean() - expected.real) < 4 * values.std(ddof=1) / np.sqrt(noise)
    np.testing.assert_array_equal(observable.measure(U, Draws(5, 1)), values)
