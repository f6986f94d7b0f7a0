"""Effective masses: of exact cosh correlators, with errors against known ones."""

import numpy as np
import pytest

from slhmc.analysis import cosh_mass, derived, effective_masses, folded, plateau
from slhmc.errors import InputError

T = 16


def cosh(mass, amplitude=1.0):
    return amplitude * np.cosh(mass * (T / 2 - np.arange(T)))


def noisy(rng, n, mass=0.4, width=0.01):
    return cosh(mass) * (1 + width * rng.standard_normal((n, T)))


def test_a_cosh_has_its_mass_at_every_time():
    for mass in (0.05, 0.7, 2.0):
        found = effective_masses(cosh(mass, 3.0)[None])
        assert found[0] is None and len(found) == T // 2 + 1
        np.testing.assert_allclose([m.value for m in found[1:]], mass, rtol=1e-9)
        assert all(m.error is None for m in found[1:])


def test_folding_averages_both_ways_round():
    np.testing.assert_array_equal(folded(np.array([[8.0, 1, 2, 3, 4, 5]])), [[8, 3, 3, 3]])


def test_what_has_no_mass_is_none():
    assert np.isnan(cosh_mass(1.0, 2.0, 1.0)) and np.isnan(cosh_mass(1.0, 0.0, 1.0))
    concave = 1 - 0.1 * np.cos(2 * np.pi * np.arange(T) / T)
    for n in (1, 3, 20):  # without errors, by jackknife, by the Gamma method
        masses = effective_masses(np.tile(concave, (n, 1)))
        below = [concave[t - 1] + concave[t + 1] < 2 * concave[t] for t in range(1, T // 2)]
        assert [m is None for m in masses[1:]] == [*below, True] and not all(below)


@pytest.mark.parametrize("n", [5, 400])
def test_errors_are_those_of_independent_noise(rng, n):
    """Mean squared deviation in units of the error over many ensembles; by jackknife and by the Gamma method."""
    pulls, plateaus = [], []
    for _ in range(60):
        series = noisy(rng, n)
        pulls.append([(m.value - 0.4) / m.error for m in effective_masses(series)[1:]])
        fit = plateau(series, 2, 6)
        plateaus.append((fit.mass.value - 0.4) / fit.mass.error)
        assert fit.mass.error < min(m.error for m in effective_masses(series)[2:7]) and fit.chi_squared > 0
    expected = 1.0 if n > 100 else 2.0  # Student's t of 4 degrees of freedom has variance 2
    assert 0.6 * expected < np.mean(np.square(pulls)) < 1.6 * expected
    assert np.mean(np.square(plateaus)) < 2.5 * expected


def test_the_jackknife_of_a_mean_is_the_standard_error(rng):
    series = rng.standard_normal((6, 1))
    found = derived(lambda x: x, series)
    assert found.error == pytest.approx(series.std(ddof=1) / np.sqrt(6)) and found.tau_int is None


def test_a_plateau_out_of_range_is_refused(rng):
    for window in ((0, 4), (3, 9), (5, 4)):
        with pytest.raises(InputError, match="times in 1"):
            plateau(noisy(rng, 20), *window)
    assert plateau(noisy(rng, 1), 2, 4) is None
