"""Lowest and highest eigenvalue of a normal operator, by the Lanczos process on device fields."""

from dataclasses import dataclass
from math import isfinite

import numpy as np

from slhmc.errors import ComputationError, SolverNotConverged
from slhmc.lattice import Scalar

FIRST_LOOK, NEXT_LOOK = 10, 1.4  # steps after which Ritz values are computed, and the factor to the next time


@dataclass(frozen=True)
class Spectrum:
    """Extreme Ritz values; an eigenvalue lies within `..._error` of each, and none of them is outside the spectrum."""

    lowest: float
    lowest_error: float
    highest: float
    highest_error: float
    steps: int


def extreme_eigenvalues(operator, random, accuracy: float = 0.05, max_steps: int = 2000) -> Spectrum:
    """The ends of the spectrum of a Hermitian operator A, errors at most `accuracy` of each value. Collective; not on a tape.

    random: the draw of the start vector (Purpose.SPECTRUM). After m steps A is the tridiagonal T on the Krylov space (Lanczos,
    J. Res. Nat. Bur. Standards 45 (1950) 255); for a Ritz pair (theta, s) of T, |A v - theta v| = beta_m |s_m|. Vectors are not
    orthogonalised again: extreme Ritz values do not need it. Raises SolverNotConverged after max_steps, ComputationError if a
    number is not finite.
    """
    previous, v, w = (operator.field("double") for _ in range(3))
    v.draw_gaussian(random)
    operator.prepare()
    v.assign_combination(float(v.inner(v))**-0.5, v)
    product, diagonal, off_diagonal, look = Scalar(v.lattice), [], [], FIRST_LOOK
    while True:
        operator.apply(v, w, dot=product.array)
        diagonal.append(float(product))
        w.assign_combination(1.0, w, -diagonal[-1], v)
        if off_diagonal:
            w.assign_combination(1.0, w, -off_diagonal[-1], previous)
        off_diagonal.append(float(w.inner(w))**0.5)
        if not isfinite(off_diagonal[-1]):
            raise ComputationError("the Lanczos process met a number that is not finite; the links are broken: restart from an "
                                   "earlier configuration")
        steps, exhausted = len(diagonal), off_diagonal[-1] <= 1e-12 * max(map(abs, diagonal))
        if steps >= look or exhausted or steps == max_steps:
            found = _ritz(diagonal, off_diagonal)
            if max(found.lowest_error / abs(found.lowest), found.highest_error / abs(found.highest)) <= accuracy:
                return found
            if steps == max_steps:
                raise SolverNotConverged(
                    f"eigenvalues are not known to {accuracy:g} after {steps} Lanczos steps: lowest {found.lowest:.3g} +- "
                    f"{found.lowest_error:.1g}, highest {found.highest:.4g} +- {found.highest_error:.1g}; raise the quark mass")
            look = int(NEXT_LOOK * steps)
        previous, v, w = v, w, previous
        v.assign_combination(1 / off_diagonal[-1], v)


def _ritz(diagonal: list[float], off_diagonal: list[float]) -> Spectrum:
    T = np.diag(diagonal) + np.diag(off_diagonal[:-1], 1) + np.diag(off_diagonal[:-1], -1)
    values, vectors = np.linalg.eigh(T)
    errors = off_diagonal[-1] * abs(vectors[-1])
    return Spectrum(*(float(x) for x in (values[0], errors[0], values[-1], errors[-1])), len(diagonal))
