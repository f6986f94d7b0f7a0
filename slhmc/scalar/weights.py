"""The site weights of the dual formulation, W(f) = int_0^inf x^(f+1) exp(-eta x^2 - lambda x^4) dx for even f (arXiv:1206.2954).

With u = x^2 and f = 2p, W(2p) = 1/2 M_p, M_p = int_0^inf u^p exp(-eta u - lambda u^2) du, and integration by parts gives
(p + 1) M_p = eta M_(p+1) + 2 lambda M_(p+2). Upwards this recursion loses all digits to a difference; downwards, as
r_p = M_(p+1) / M_p = (p + 1) / (eta + 2 lambda r_(p+1)) with eta > 0, it has positive terms only and an error shrinks in every
step. It begins at the largest p by quadrature.
"""

import numpy as np

from slhmc.errors import InputError

_POINTS = 4001  # of the trapezoidal rule, which converges exponentially here


def weight_ratios(eta: float, coupling: float, length: int) -> np.ndarray:
    """r_p = W(2p + 2) / W(2p) for p = 0 ... length - 1, float64, to the last digits; lambda = `coupling`.

    Raises InputError unless eta > 0 and lambda >= 0.
    """
    _check(eta, coupling)
    if coupling == 0:
        return np.arange(1, length + 1) / eta
    ratios = np.empty(length)
    ratios[-1] = np.exp(_log_moment(eta, coupling, length) - _log_moment(eta, coupling, length - 1))
    for p in range(length - 2, -1, -1):
        ratios[p] = (p + 1) / (eta + 2 * coupling * ratios[p + 1])
    return ratios


def log_weights(eta: float, coupling: float, length: int) -> np.ndarray:
    """log W(2p) for p = 0 ... length - 1, float64: W(0) by quadrature, the others by `weight_ratios`."""
    _check(eta, coupling)
    start = -np.log(eta) if coupling == 0 else _log_moment(eta, coupling, 0)
    return start - np.log(2) + np.concatenate([[0.0], np.cumsum(np.log(weight_ratios(eta, coupling, length)))])[:length]


def _log_moment(eta: float, coupling: float, p: int) -> float:
    """log M_p, by the trapezoidal rule in v = log u around the maximum of u^(p+1) exp(-eta u - lambda u^2)."""
    # the positive root of p + 1 = eta u + 2 lambda u^2, written without a difference
    peak = 2 * (p + 1) / (eta + np.hypot(eta, np.sqrt(8 * coupling * (p + 1))))
    width = 1 / np.sqrt(eta * peak + 4 * coupling * peak**2)
    v = np.linspace(-max(12 * width, 45 / (p + 1)), min(12 * width, 6.0), _POINTS)
    # relative to the maximum, with v measured from it: no large numbers cancel
    exponent = (p + 1) * v - eta * peak * np.expm1(v) - coupling * peak**2 * np.expm1(2 * v)
    height = (p + 1) * np.log(peak) - eta * peak - coupling * peak**2
    return float(height + np.log(np.exp(exponent).sum() * (v[1] - v[0])))


def _check(eta: float, coupling: float) -> None:
    if not (0 < eta < np.inf and 0 <= coupling < np.inf):
        raise InputError(f"eta = {eta}, lambda = {coupling}: site weights need eta = 4 + m^2 > 0 and lambda >= 0, both finite")
