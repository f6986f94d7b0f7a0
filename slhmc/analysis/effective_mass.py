"""Effective masses of correlators C(t) ~ cosh(m (T/2 - t)), with errors by the Gamma method or the jackknife."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from slhmc.analysis.gamma import MINIMUM_LENGTH, gamma_method_derived
from slhmc.errors import InputError


@dataclass(frozen=True)
class DerivedValue:
    """A number that follows from averages; error None with one measurement, tau_int None where it is not known."""

    value: float
    error: float | None
    tau_int: float | None


@dataclass(frozen=True)
class Plateau:
    """A mean of effective masses over times first ... last; chi^2 per degree of freedom leaves out correlations in t."""

    first: int
    last: int
    mass: DerivedValue
    chi_squared: float | None


def folded(correlators: np.ndarray) -> np.ndarray:
    """[..., t], t = 0 ... T-1, to the mean of t and T - t: [..., t], t = 0 ... T/2."""
    half = correlators.shape[-1] // 2
    mirror = np.roll(correlators[..., ::-1], 1, axis=-1)
    return (0.5 * (correlators + mirror))[..., :half + 1]


def cosh_mass(before: float, here: float, after: float) -> float:
    """m with C(t-1) + C(t+1) = 2 cosh(m) C(t): arccosh of the ratio; nan where that is less than 1."""
    ratio = (before + after) / (2 * here) if here else np.nan
    return float(np.arccosh(ratio)) if ratio >= 1 else float("nan")


def effective_masses(correlators: np.ndarray) -> list[DerivedValue | None]:
    """Effective masses of one channel at t = 0 ... T/2 from correlators [measurement, t], t < T; None where there is none.

    t = 0 has none: C(0) has contact terms. Errors are those of `derived`.
    """
    half = folded(np.asarray(correlators, float))
    around = np.concatenate([half, half[:, -2:-1]], axis=1)  # C(T/2 + 1) = C(T/2 - 1)
    masses = [derived(cosh_mass, around[:, t - 1:t + 2]) for t in range(1, half.shape[1])]
    return [None, *masses]


def plateau(correlators: np.ndarray, first: int, last: int) -> Plateau | None:
    """Mean of the effective masses at first ... last, weighted by 1 / error^2; None if one of them is missing or has no error.

    The weights are held fixed; the error of the mean is that of a derived quantity of all correlators, so their
    correlations are in it. Raises InputError for times outside 1 ... T/2.
    """
    half = folded(np.asarray(correlators, float))
    if not 1 <= first <= last <= half.shape[1] - 1:
        raise InputError(f"a plateau of times {first} to {last} asked for, times in 1 ... T/2 = {half.shape[1] - 1} expected")
    masses = effective_masses(correlators)[first:last + 1]
    if any(mass is None or not mass.error for mass in masses):
        return None
    weights = np.array([mass.error**-2 for mass in masses])
    weights /= weights.sum()
    around = np.concatenate([half, half[:, -2:-1]], axis=1)[:, first - 1:last + 2]

    def mean(*c):
        return float(sum(w * cosh_mass(*c[k:k + 3]) for k, w in enumerate(weights)))
    result = derived(mean, around)
    if result is None:
        return None
    deviations = [(mass.value - result.value) / mass.error for mass in masses]
    return Plateau(first, last, result, float(np.sum(np.square(deviations)) / (last - first)) if last > first else None)


def derived(function: Callable[..., float], series: np.ndarray) -> DerivedValue | None:
    """function(means) of series [measurement, k] with its error; None where it is not a finite number.

    By the Gamma method from 10 measurements on, else by the jackknife, which takes them for independent; no error for one.
    """
    if len(series) >= MINIMUM_LENGTH:
        try:
            estimate = gamma_method_derived(function, list(series.T))
        except InputError:
            return None  # not finite at the means or beside them
        return DerivedValue(estimate.mean, estimate.error, estimate.tau_int)
    value = function(*series.mean(0))
    if not np.isfinite(value):
        return None
    if len(series) == 1:
        return DerivedValue(float(value), None, None)
    left_out = np.array([function(*row) for row in (series.sum(0) - series) / (len(series) - 1)])
    error = np.sqrt((len(series) - 1) * np.mean((left_out - left_out.mean())**2))
    return DerivedValue(float(value), float(error) if np.isfinite(error) else None, None)
