"""The Gamma method: errors of correlated series (U. Wolff, hep-lat/0306017; equation numbers are of that paper)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from slhmc.errors import InputError

MINIMUM_LENGTH = 10
Series = Sequence[float] | np.ndarray | Sequence[np.ndarray]


@dataclass(frozen=True)
class Estimate:
    """An average with its error; tau_int in units of the spacing of the series, 0.5 where nothing is correlated."""

    mean: float
    error: float
    tau_int: float
    tau_int_error: float
    window: int
    error_of_error: float


def gamma_method(series: Series, S: float = 2.0) -> Estimate:
    """Mean, error and integrated autocorrelation time of a real series, or of a list of series (replica).

    Gamma(t) = <delta_i delta_{i+t}>, tau_int = 1/2 + sum_{t=1}^W Gamma(t) / Gamma(0), error^2 = 2 tau_int Gamma(0) / N,
    with the window W that minimises the sum of truncation and noise error for tau_exp = S tau_int (51, 52), and the
    bias of order 1/N removed (49). tau_int is never taken below 0.5. A constant series has error 0 and tau_int 0.5.
    Raises InputError for fewer than 10 numbers and for numbers that are not finite.
    """
    replica = _replica(series)
    mean = float(np.concatenate(replica).mean())
    return _estimate(mean, [part - mean for part in replica], max(np.abs(part).max() for part in replica), S)


def gamma_method_derived(function: Callable[..., float], series_list: Sequence[Series], S: float = 2.0) -> Estimate:
    """Estimate of function(a_1, a_2, ...) at the means a_k of primary series measured on the same configurations.

    The fluctuations are projected on the gradient, delta_i = sum_k (df/da_k) delta_i^k, taken by central
    differences over the naive errors of the means. `mean` is the function of the means, biased at order 1/N.
    Raises InputError as gamma_method does, and if the series differ in length or the function is not finite.
    """
    primaries = [_replica(series) for series in series_list]
    lengths = [[len(part) for part in replica] for replica in primaries]
    if any(other != lengths[0] for other in lengths):
        raise InputError(f"series of lengths {lengths} found, equal lengths expected; "
                         f"give the primary observables on the same configurations")
    joined = np.array([np.concatenate(replica) for replica in primaries])
    means = joined.mean(axis=1)
    gradient = _gradient(function, means, joined.std(axis=1) / np.sqrt(joined.shape[1]))
    value = float(function(*means))
    if not (np.isfinite(value) and np.isfinite(gradient).all()):
        raise InputError(f"the derived quantity is {value} with gradient {gradient.tolist()} at the means "
                         f"{means.tolist()}, finite numbers expected; check the function there")
    fluctuations = np.split(gradient @ (joined - means[:, None]), np.cumsum(lengths[0])[:-1])
    return _estimate(value, fluctuations, np.abs(gradient) @ np.abs(joined).max(axis=1), S)


def autocorrelation(fluctuations: Sequence[np.ndarray]) -> np.ndarray:
    """Gamma(t) for t = 0 ... half the longest replica, averaged over all pairs in the same replica, by FFT."""
    longest = max(len(part) for part in fluctuations)
    times = np.arange(max(longest // 2, 1))
    total, pairs = np.zeros(len(times)), np.zeros(len(times))
    for part in fluctuations:
        padded = len(part) + len(times)    # enough zeros that no pair wraps around
        padded += padded % 2
        correlation = np.fft.irfft(np.abs(np.fft.rfft(part, padded)) ** 2, padded)[:len(part)]
        total[:len(correlation)] += correlation[:len(times)]
        pairs += np.maximum(len(part) - times, 0)
    return total / pairs


def _estimate(mean: float, fluctuations: list[np.ndarray], scale: float, S: float) -> Estimate:
    """`scale`: size of the numbers that the fluctuations are differences of, to tell rounding from fluctuation."""
    if not S > 0:
        raise InputError(f"S = {S} found, a positive ratio tau_exp / tau_int expected; 1 to 2 is usual")
    size = max(np.abs(part).max() for part in fluctuations)
    if size <= 8 * np.finfo(float).eps * scale:
        return Estimate(mean, 0.0, 0.5, 0.0, 0, 0.0)
    length = sum(len(part) for part in fluctuations)
    gamma = autocorrelation([part / size for part in fluctuations])    # squares of exp(-dH) could overflow
    partial = 0.5 + np.concatenate(([0.0], np.cumsum(gamma[1:] / gamma[0])))
    partial = np.maximum(partial, 0.5 + np.finfo(float).eps)
    window = _window(partial, length, S)
    tau_int = partial[window] * (1 + (2 * window + 1) / length) / (1 + 1 / length)
    error = size * np.sqrt(2 * tau_int * gamma[0] * (1 + 1 / length) / length)
    tau_int_error = 2 * partial[window] * np.sqrt(abs(window + 0.5 - partial[window]) / length)
    error_of_error = error * np.sqrt((window + 0.5) / length)
    return Estimate(mean, float(error), float(tau_int), float(tau_int_error), window, float(error_of_error))


def _window(partial: np.ndarray, length: int, S: float) -> int:
    """The first W with exp(-W / tau) < tau / sqrt(W N), tau from S and tau_int(W) by (51); else the last one."""
    if len(partial) == 1:    # replica too short for any other
        return 0
    windows = np.arange(1, len(partial))
    tau = S / np.log((2 * partial[1:] + 1) / (2 * partial[1:] - 1))
    falling = np.exp(-windows / tau) - tau / np.sqrt(windows * length)
    negative = np.flatnonzero(falling < 0)
    return int(windows[negative[0]] if len(negative) else windows[-1])


def _gradient(function: Callable[..., float], means: np.ndarray, steps: np.ndarray) -> np.ndarray:
    gradient = np.zeros(len(means))
    for k, step in enumerate(steps):
        if step > 0:    # a constant primary does not fluctuate: its derivative does not matter
            shift = np.zeros(len(means))
            shift[k] = step / 2
            gradient[k] = (function(*(means + shift)) - function(*(means - shift))) / step
    return gradient


def _replica(series: Series) -> list[np.ndarray]:
    """The series as a list of real arrays, one per replica."""
    nested = len(series) > 0 and np.ndim(series[0]) > 0
    replica = [np.asarray(part) for part in (series if nested else [series])]
    if any(part.ndim != 1 or part.dtype.kind not in "biuf" or (nested and len(part) == 0) for part in replica):
        raise InputError("a series, or a list of series, of real numbers expected; "
                         "give one component of a vector or complex observable at a time")
    length = sum(len(part) for part in replica)
    if length < MINIMUM_LENGTH:
        raise InputError(f"{length} measurements found, at least {MINIMUM_LENGTH} expected for an error; run longer")
    bad = sum(int((~np.isfinite(part)).sum()) for part in replica)
    if bad:
        raise InputError(f"{bad} of {length} measurements are not finite; find out which trajectory made them")
    return [part.astype(float) for part in replica]
