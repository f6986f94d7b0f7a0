"""The static potential from Wilson loops [measurement, i, j, r - 1, t] of smeared lines: docs/conventions.md."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, pi
from typing import Any

import numpy as np

from slhmc.analysis.effective_mass import DerivedValue, derived
from slhmc.analysis.gamma import MINIMUM_LENGTH

RESOLVED = 5.0  # errors
FORCE = 1.65  # r0^2 dV/dr at r0 (Sommer, Nucl. Phys. B 411 (1994) 839)


@dataclass(frozen=True)
class CornellFit:
    """V(r) = A - B / r + sigma r on first ... last, 1 / r in the form of `inverse_distance`.

    chi^2 per degree of freedom leaves out correlations between distances.
    """

    first: int
    last: int
    form: str
    constant: DerivedValue | None
    coulomb: DerivedValue | None
    tension: DerivedValue | None
    r0: DerivedValue | None
    chi_squared: float | None


@dataclass(frozen=True)
class Potential:
    """energies[r - 1][t] = log c(t) / c(t + 1); V(r), their mean over the plateau, and its chi^2 per degree of freedom."""

    energies: list[list[DerivedValue | None]]
    values: list[DerivedValue | None]
    chi_squared: list[float | None]
    fit: CornellFit | None


def generalized_eigenvectors(later: np.ndarray, earlier: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """(eigenvalues, falling; vectors as columns, v^T earlier v = 1) of later v = lambda earlier v, both symmetric.

    None if `earlier` is not positive definite.
    """
    try:
        inverse = np.linalg.inv(np.linalg.cholesky(earlier))
    except np.linalg.LinAlgError:
        return None
    values, vectors = np.linalg.eigh(inverse @ later @ inverse.T)
    return values[::-1], inverse.T @ vectors[:, ::-1]


def generalized_energies(matrices: np.ndarray, t0: int) -> np.ndarray:
    """E_k(t) = log lambda_k(t) / lambda_k(t + 1) of matrices [i, j, t], lambda_k those of C(t) with respect to C(t0): [k, t].

    Rising in k; nan where there is none (Luescher and Wolff, Nucl. Phys. B 339 (1990) 222).
    """
    levels, times = matrices.shape[1:]
    found = np.full((levels, times), np.nan)
    for t in range(times):
        if (pair := generalized_eigenvectors(matrices[..., t], matrices[..., t0])) is not None:
            found[:, t] = pair[0] if t >= t0 else pair[0][::-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.log(found[:, :-1] / found[:, 1:])


def static_potential(values: np.ndarray, t0: int, plateau: Sequence[int], fit: Sequence[int] | None,
                     coulomb: str = "continuum") -> Potential:
    """Energies, potential and fit of loops [measurement, i, j, r - 1, t].

    For each r the vector v of the largest eigenvalue of W(t0 + 1) v = lambda W(t0) v, of the mean made symmetric, in the space of
    those eigenvectors of W(t0) that are resolved, is held fixed: c(t) = v^T W(t) v. Weights 1 / error^2 of plateau and fit are
    held fixed, too. Errors are of functions of the means of c (`derived`). None where something is not positive or not
    reached.
    """
    symmetric = 0.5 * (values + values.swapaxes(1, 2))
    ground = [_ground_state(symmetric[:, :, :, r], t0) for r in range(values.shape[3])]
    energies, potentials, chi_squared, weights = [], [], [], []
    for series in ground:
        row = [None] * (values.shape[4] - 1) if series is None else [
            derived(_energy, series[:, t:t + 2]) for t in range(series.shape[1] - 1)]
        value, weight, chi = _mean(series, row, *plateau)
        for collected, one in ((energies, row), (potentials, value), (chi_squared, chi), (weights, weight)):
            collected.append(one)
    found = None if fit is None else _cornell(ground, potentials, weights, plateau, fit, coulomb)
    return Potential(energies, potentials, chi_squared, found)


def _energy(here: float, next_: float) -> float:
    return log(here / next_) if here > 0 and next_ > 0 else float("nan")


def _ground_state(matrices: np.ndarray, t0: int) -> np.ndarray | None:
    """c(t) of each measurement, [measurement, t], from matrices [measurement, i, j, t]."""
    if not np.isfinite(matrices).all():
        return None
    mean, basis = matrices.mean(0), _resolved(matrices[..., t0])
    pair = generalized_eigenvectors(basis.T @ mean[..., t0 + 1] @ basis, basis.T @ mean[..., t0] @ basis)
    if pair is None or not basis.size:
        return None
    ground = basis @ pair[1][:, 0]
    return np.einsum("i,nijt,j->nt", ground, matrices, ground)


def _resolved(matrices: np.ndarray) -> np.ndarray:
    """Eigenvectors, as columns, of the mean of matrices [measurement, i, j] whose eigenvalues are more than noise: above
    RESOLVED naive errors and 1e-10 of the largest. Others would be divided by (Niedermayer, Ruefenacht and Wenger,
    Nucl. Phys. B 597 (2001) 413)."""
    values, vectors = np.linalg.eigh(matrices.mean(0))
    spread = np.einsum("ik,nij,jk->nk", vectors, matrices, vectors).std(0)
    noise = RESOLVED * spread / max(len(matrices) - 1, 1) ** 0.5
    return vectors[:, (values > noise) & (values > 1e-10 * values[-1])]


def _mean(series: np.ndarray | None, energies: list, first: int, last: int) -> tuple:
    """Mean of energies over a plateau, its weights, chi^2 per degree of freedom."""
    inside = energies[first:last + 1]
    if series is None or any(energy is None for energy in inside):
        return None, None, None
    errors = [energy.error for energy in inside]
    weights = np.array([error**-2 for error in errors]) if all(errors) else np.ones(len(inside))
    weights /= weights.sum()
    value = derived(lambda *c: _plateau(c, weights), series[:, first:last + 2])
    if value is None or not all(errors) or len(inside) < 2:
        return value, weights, None
    deviations = [(energy.value - value.value) / energy.error for energy in inside]
    return value, weights, float(np.sum(np.square(deviations)) / (len(inside) - 1))


def _plateau(correlator: Sequence[float], weights: np.ndarray) -> float:
    return float(sum(w * _energy(*correlator[k:k + 2]) for k, w in enumerate(weights)))


def _cornell(ground: list, potentials: list, weights: list, plateau: Sequence[int], fit: Sequence[int],
             coulomb: str) -> CornellFit | None:
    """A, B, sigma and r0 as functions of c(t) of all distances of the fit."""
    distances = range(fit[0], fit[1] + 1)
    inside = [potentials[r - 1] for r in distances]
    if any(value is None for value in inside):
        return None
    errors = np.array([value.error or 1.0 for value in inside])
    shape = np.array([[1.0, -inverse_distance(r, coulomb), r] for r in distances])
    solve = np.linalg.pinv(shape / errors[:, None]) / errors
    times = plateau[1] - plateau[0] + 2
    primaries = np.concatenate([ground[r - 1][:, plateau[0]:plateau[1] + 2] for r in distances], axis=1)

    def parameters(*c):
        return solve @ [_plateau(c[k * times:(k + 1) * times], weights[r - 1]) for k, r in enumerate(distances)]

    def sommer(*c):
        _, B, tension = parameters(*c)
        return float(np.sqrt((FORCE - B) / tension)) if tension > 0 and FORCE > B else float("nan")
    A, B, tension = (derived(lambda *c, k=k: float(parameters(*c)[k]), primaries) for k in range(3))
    chi_squared = None
    if len(inside) > 3 and all(value.error for value in inside) and None not in (A, B, tension):
        residuals = (shape @ [A.value, B.value, tension.value] - [value.value for value in inside]) / errors
        chi_squared = float(residuals @ residuals / (len(inside) - 3))
    return CornellFit(fit[0], fit[1], coulomb, A, B, tension, derived(sommer, primaries), chi_squared)


def inverse_distance(r: int, coulomb: str) -> float:
    """1 / r, or 4 pi times the massless propagator of a lattice of three dimensions on an axis: 1 / r + O(1 / r^3).

    G(r) = int_0^oo ds e^{-6 s} I_r(2 s) I_0(2 s)^2; e^{-z} I_n(z) is the mean over angles of exp(z (cos - 1)) cos(n angle), and
    for large s the integrand is (4 pi s)^{-3/2} (1 - (4 r^2 - 3) / 16 s). Good to 1e-9 up to r = 16.
    """
    if coulomb == "continuum":
        return 1.0 / r
    far, nodes = 1e5, 2048
    logarithms = np.linspace(-25.0, log(far), 400)
    s, angles = np.exp(logarithms), pi * (np.arange(nodes) + 0.5) / nodes
    decays = np.exp(2 * s[:, None] * (np.cos(angles) - 1))
    bessel_0, bessel_r = decays.mean(1), (decays * np.cos(r * angles)).mean(1)
    body = s * bessel_r * bessel_0**2
    tail = (4 * pi) ** -1.5 * (2 / far**0.5 - (4 * r**2 - 3) / (24 * far**1.5))
    step = logarithms[1] - logarithms[0]
    end = step**2 / 24 * body[-1]  # of the trapezoidal sum, as the integrand falls like s^{-1/2} there
    return float(4 * pi * ((body.sum() - 0.5 * (body[0] + body[-1])) * step + end + tail))


def potential_entries(name: str, found: Potential, measurements: int) -> dict[str, dict[str, Any]]:
    """Entries of a summary: NAME_r0, NAME_tension, NAME_coulomb in lattice units, if there is a fit."""
    if found.fit is None:
        return {}
    values = {"r0": found.fit.r0, "tension": found.fit.tension, "coulomb": found.fit.coulomb}
    note = {} if measurements >= MINIMUM_LENGTH else {"note": f"fewer than {MINIMUM_LENGTH} measurements, taken for independent"}
    entry = {"mean": None, "error": None, "tau_int": None, "tau_int_error": None, "measurements": measurements}
    return {f"{name}_{key}": {**entry, "note": "the fit gives none"} if value is None else
            {**entry, "mean": value.value, "error": value.error, "tau_int": value.tau_int, **note}
            for key, value in values.items()}
