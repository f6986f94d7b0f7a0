"""Rational approximations: the error promised, over the whole range; the best there is; how they refuse."""

from itertools import pairwise

import numpy as np
import pytest
import reference

from slhmc.errors import InputError
from slhmc.solvers import rational_approximation
from slhmc.solvers.rational import MOST_POLES

# power, lowest, highest, accuracy
CASES = [(0.25, 0.09, 16.09, 1e-12), (0.5, 1e-6, 10, 1e-8), (0.5, 1e-6, 10, 1e-15), (0.75, 1e-4, 16, 1e-12),
         (0.875, 1e-6, 10, 1e-14), (0.125, 1e-7, 1, 1e-10), (0.01, 1e-3, 10, 1e-8), (0.99, 1e-5, 10, 1e-10),
         (0.3, 2, 3, 1e-5), (0.5, 100, 1e9, 1e-6), (0.25, 1, 1.01, 1e-13)]


def grid(r, points=2000):
    """Logarithmic, with both ends."""
    inside = np.exp(np.linspace(np.log(r.lowest), np.log(r.highest), points)[1:-1])
    return [r.lowest, *map(float, inside), r.highest]


@pytest.mark.parametrize(("power", "lowest", "highest", "accuracy"), CASES)
def test_error_is_what_was_promised_in_exact_arithmetic(power, lowest, highest, accuracy):
    """For the coefficients in double, in 60 decimals; one pole fewer would not do."""
    r = rational_approximation(power, lowest, highest, accuracy)
    errors = [abs(reference.relative_error(r, x)) for x in grid(r)]
    assert max(errors) <= 1.0001 * r.error and r.error <= accuracy
    assert max(errors) > 0.9 * r.error
    if r.order > 1:
        with pytest.raises(InputError, match=rf"order = {r.order - 1} is too low .* order = {r.order} is needed"):
            rational_approximation(power, lowest, highest, accuracy, r.order - 1)


@pytest.mark.parametrize(("power", "lowest", "highest", "accuracy"), CASES)
def test_values_in_double_lose_no_digits(power, lowest, highest, accuracy):
    """All terms are positive, so rounding stays a few units of 1e-16."""
    r = rational_approximation(power, lowest, highest, accuracy)
    assert r.constant > 0 and min(r.residues) > 0
    assert r.shifts[0] > 0 and all(a < b for a, b in pairwise(r.shifts))
    x = np.array(grid(r))
    assert abs(r(x) * x**power - 1).max() < r.error + 3e-15


@pytest.mark.parametrize(("power", "lowest", "highest", "accuracy"), [case for case in CASES if case[3] > 1e-13])
def test_error_swings_between_equal_extrema(power, lowest, highest, accuracy):
    """2n + 2 of them with alternating signs: there is no better approximation (Chebyshev)."""
    r = rational_approximation(power, lowest, highest, accuracy)
    errors = np.array([reference.relative_error(r, x) for x in grid(r, 400 * r.order)])
    signs = np.sign(errors)
    pieces = np.split(errors, np.flatnonzero(signs[1:] != signs[:-1]) + 1)
    heights = [abs(piece).max() for piece in pieces]
    assert len(heights) == 2 * r.order + 2
    assert min(heights) > 0.99 * r.error


@pytest.mark.parametrize(("lowest", "highest", "n"), [(0.01, 1, 3), (1e-5, 10, 8), (0.25, 16.25, 5)])
def test_inverse_root_is_that_of_zolotarev(lowest, highest, n):
    poles, error = reference.zolotarev(lowest, highest, n)
    r = rational_approximation(0.5, lowest, highest, 0.9, n)
    assert r.error == pytest.approx(error, rel=1e-4)
    np.testing.assert_allclose(r.shifts, poles, rtol=1e-4)


def test_power_one_is_exact():
    r = rational_approximation(1.0, 1e-3, 10, 1e-12)
    assert (r.order, r.shifts, r.residues, r.constant, r.error) == (1, (0.0,), (1.0,), 0.0, 0.0)


def test_a_given_order_is_taken():
    assert rational_approximation(0.5, 1e-3, 10, 1e-3, 9).order == 9
    assert rational_approximation(0.5, 1e-3, 10, 1e-3) is rational_approximation(0.5, 1e-3, 10, 1e-3)


@pytest.mark.parametrize(("arguments", "words"), [
    ((0.0, 1e-3, 10, 1e-3), "power = 0: "), ((1.5, 1e-3, 10, 1e-3), "spread larger powers over several fields"),
    ((0.5, 0.0, 10, 1e-3), "0 < lowest < highest expected"), ((0.5, 2, 1, 1e-3), "0 < lowest < highest expected"),
    ((0.5, 1, float("inf"), 1e-3), "0 < lowest < highest expected"), ((0.5, 1, 2, 1e-16), "between 1e-15 and 1 expected"),
    ((0.5, 1, 2, 1.0), "between 1e-15 and 1 expected"), ((0.5, 1, 2, 0.1, 0), f"order = 0 .* 1 to {MOST_POLES} poles"),
    ((0.5, 1e-20, 1e3, 1e-15), f"needs more than {MOST_POLES} poles; loosen the accuracy or narrow the range"),
])
def test_what_cannot_be_is_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        rational_approximation(*arguments)
