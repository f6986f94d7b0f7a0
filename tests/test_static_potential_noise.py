"""The static potential of what nature does not give: levels too much alike, loops that are no numbers."""

import numpy as np
import pytest

from slhmc.analysis import static_potential

POTENTIAL = np.array([0.52, 0.815, 1.027, 1.217])


def loops_of_two_states(rng, measurements, levels=3, noise=1e-3):
    """W_ij(r, t) of two states only: more levels than that are linearly dependent, but for noise."""
    overlaps = 0.3 + rng.random((levels, 2))
    exact = sum(np.einsum("i,j,rt->ijrt", overlap, overlap, np.exp(-np.outer(POTENTIAL + gap, np.arange(9))))
                for overlap, gap in zip(overlaps.T, (0, 0.8), strict=True))
    return exact * (1 + noise * rng.standard_normal((measurements, *exact.shape)))


@pytest.mark.parametrize("measurements", [3, 9, 40])
def test_levels_that_depend_on_each_other_are_left_out(rng, measurements):
    """Noise alone has an eigenvalue of W(t0) of either sign, and a ratio to that of W(t0 + 1) which can be the largest."""
    for _ in range(4):
        found = static_potential(loops_of_two_states(rng, measurements), 1, (2, 4), (1, 4))
        for value, expected in zip(found.values, POTENTIAL, strict=True):
            assert abs(value.value - expected) < 8 * value.error + 0.01 and value.error < 0.02
        assert found.fit.r0.error < 0.2


def test_equal_levels_without_noise_are_one(rng):
    loops = loops_of_two_states(rng, 1, noise=0).repeat(20, axis=0)
    doubled = loops[:, [0, 1, 2, 0]][:, :, [0, 1, 2, 0]]
    for values in (loops, doubled):
        found = static_potential(values, 1, (3, 4), (1, 4))
        np.testing.assert_allclose([value.value for value in found.values], POTENTIAL, rtol=0, atol=2e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_loops_that_are_no_numbers_leave_out_their_distance(rng, bad):
    loops = loops_of_two_states(rng, 20)
    loops[3, 0, 0, 1, 2] = bad
    found = static_potential(loops, 1, (2, 4), (1, 4))
    assert [value is None for value in found.values] == [False, True, False, False] and found.fit is None
    assert static_potential(bad * loops, 1, (2, 4), (1, 4)).values == [None] * 4
