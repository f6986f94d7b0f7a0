"""Runge-Kutta schemes on the group for dU/dt = Q(U, t) U, as data, and one step of them.

Munthe-Kaas: U(t + s) = exp(u(s)) U(t) with du/ds = dexp_u^-1(Q) by a classical scheme in the algebra (BIT 38 (1998) 92);
Crouch-Grossman: products of exponentials of the stages (J. Nonlinear Sci. 3 (1993) 1). Q of a stage is taken at its own time.
`chebyshev_lengths` are those of Euler steps that are stable together, though the longest ones alone are not.
"""

from dataclasses import dataclass
from math import cos, pi

from slhmc.networks.flow.algebra import inverse_dexp, moved


@dataclass(frozen=True)
class Scheme:
    """order; a, b, c: the classical tableau; brackets: terms of dexp^-1 that the order needs; products: Crouch-Grossman."""

    order: int
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    c: tuple[float, ...]
    brackets: int = 0
    products: bool = False


SCHEMES = {
    "euler": Scheme(1, ((),), (1.0,), (0.0,)),
    "munthe_kaas_2": Scheme(2, ((), (0.5,)), (0.0, 1.0), (0.0, 0.5)),
    "munthe_kaas_3": Scheme(3, ((), (0.5,), (-1.0, 2.0)), (1 / 6, 2 / 3, 1 / 6), (0.0, 0.5, 1.0), 1),
    "munthe_kaas_4": Scheme(4, ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6), (0.0, 0.5, 0.5, 1.0), 2),
    "crouch_grossman_3": Scheme(3, ((), (3 / 4,), (119 / 216, 17 / 108)), (13 / 51, -2 / 3, 24 / 17), (0.0, 3 / 4, 17 / 24),
                                products=True),
}


def chebyshev_lengths(time: float, steps: int, largest: float) -> list[float] | None:
    """Lengths of Euler steps to a time, the shortest first, for linear modes that fall by rates up to `largest`.

    d / ((nu - 1) cos((2 j - 1) pi / 2 n) + 1 + nu), j = 1 ... n, d = 2 / largest the longest step that is stable alone, nu > 0
    such that their sum is the time: super-time-stepping (Alexiades, Amiez and Gremaud, Commun. Numer. Methods Eng. 12 (1996) 31).
    Equal lengths up to n d / 2, where nu would be 1; None from n^2 d on, which so many steps cannot reach.
    """
    longest = 2 / largest

    def lengths(nu: float) -> list[float]:
        return [longest / ((nu - 1) * cos((2 * j - 1) * pi / (2 * steps)) + 1 + nu) for j in range(1, steps + 1)]
    if time >= longest * steps**2:
        return None
    if time <= longest * steps / 2:
        return [time / steps] * steps
    low, high = 0.0, 1.0  # of nu: the sum falls
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(lengths(middle)) > time else (low, middle)
    return sorted(lengths(high))


def stages(scheme: Scheme, batch, time: float, step: float, coefficients_at):
    """Q of each stage (of Munthe-Kaas behind dexp^-1), and the links they were taken at; coefficients_at(batch, time) -> Q."""
    slopes, at = [], []
    for row, fraction in zip(scheme.a, scheme.c, strict=True):
        stage, u = combined(scheme, batch, step, row, slopes)
        slope = coefficients_at(stage, time + fraction * step)
        at.append(stage)
        slopes.append(slope if u is None else inverse_dexp(u, slope, scheme.brackets, batch.colors))
    return slopes, at


def combined(scheme: Scheme, batch, step: float, factors, slopes):
    """The links moved by step * factor along each slope, and the u that moved them (None: not at all, or one after the other)."""
    pairs = [(step * factor, slope) for factor, slope in zip(factors, slopes, strict=False) if factor != 0]
    if not pairs:
        return batch, None
    if scheme.products:
        for factor, slope in pairs:
            batch = moved(batch, factor * slope)
        return batch, None
    u = sum(factor * slope for factor, slope in pairs)
    return moved(batch, u), u


def advance(scheme: Scheme, batch, time: float, step: float, coefficients_at):
    """The links at time + step."""
    slopes, _ = stages(scheme, batch, time, step, coefficients_at)
    return combined(scheme, batch, step, scheme.b, slopes)[0]
