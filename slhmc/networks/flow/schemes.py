"""Runge-Kutta schemes on the group for dU/dt = Q(U, t) U, as data, and one step of them.

Munthe-Kaas: U(t + s) = exp(u(s)) U(t) with du/ds = dexp_u^-1(Q) by a classical scheme in the algebra (BIT 38 (1998) 92);
Crouch-Grossman: products of exponentials of the stages (J. Nonlinear Sci. 3 (1993) 1). Q of a stage is taken at its own time.
"""

from dataclasses import dataclass

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
