"""Rational approximations of x^-p by partial fractions: minimax of the relative error, computed when a run starts.

The best approximation r(x) = a_0 + sum_k a_k / (x + s_k) on [lowest, highest] has a relative error that swings 2n + 2 times
between -E and E. An exchange algorithm (Remez) finds it: on the extrema x_i of the last error the swing is a linear system for
a, E and the change of the denominator, written over the last poles,

    a_0 + sum_k a_k / (x_i + s_k) = x_i^-p (1 + (-1)^i E) (1 + sum_k b_k / (x_i + s_k));

the zeros of the last factor are the next poles. This basis follows the range over all its decades, where powers of x would need
hundreds of decimals; twice the digits of the error are enough (`decimal`, no table, no further dependency).

Sources: equioscillation, and extrema for p = 1/2, which start the search: Zolotarev (1877), as in N. I. Achieser, Theory of
Approximation (1956); rational approximations for fractional flavours: Clark and Kennedy, Nucl. Phys. B Proc. Suppl. 129
(2004) 850.
"""

from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import cache
from itertools import pairwise
from math import asin, ceil, cos, log, pi, prod, sin, sqrt

from slhmc.errors import ComputationError, InputError

MOST_POLES = 40
SMALLEST_ACCURACY = 1e-15  # what coefficients in double can keep
ROUNDS = 60  # exchanges; five are usual
LEVEL = Decimal("1e-3")  # by which extrema may differ


@dataclass(frozen=True)
class RationalApproximation:
    """r(x) = constant + sum_k residues[k] / (x + shifts[k]), |r(x) x^power - 1| <= error on [lowest, highest].

    shifts are positive (one shift 0 where power = 1) and rise; residues are positive, so no digits are lost in the sum.
    """

    power: float
    lowest: float
    highest: float
    constant: float
    residues: tuple[float, ...]
    shifts: tuple[float, ...]
    error: float

    @property
    def order(self) -> int:
        """Number of poles."""
        return len(self.shifts)

    def __call__(self, x):
        """r(x) of a number or an array."""
        total = self.constant
        for residue, shift in zip(self.residues, self.shifts, strict=True):
            total = total + residue / (x + shift)
        return total


@cache
def rational_approximation(power: float, lowest: float, highest: float, accuracy: float,
                           order: int | None = None) -> RationalApproximation:
    """The approximation of x^-power, 0 < power <= 1, on [lowest, highest] with the fewest poles that keep `accuracy`.

    accuracy: largest relative error; the error found counts the rounding of coefficients to double. order: number of poles, or
    None. Raises InputError if `order` poles are too few, or if range or accuracy cannot be met.
    """
    _check(power, lowest, highest, accuracy, order)
    if power == 1:
        return RationalApproximation(1.0, lowest, highest, 0.0, (1.0,), (0.0,), 0.0)
    needed = order or _estimated_order(power, lowest, highest, accuracy)
    found = _minimax(power, lowest, highest, needed)
    if order is None:
        while found.error <= accuracy and needed > 1:
            fewer = _minimax(power, lowest, highest, needed - 1)
            if fewer.error > accuracy:
                break
            found, needed = fewer, needed - 1
    while found.error > accuracy:
        needed += 1
        if needed > MOST_POLES:
            raise InputError(f"x^-{power:g} on [{lowest:g}, {highest:g}] to {accuracy:g} needs more than {MOST_POLES} poles; "
                             "loosen the accuracy or narrow the range")
        found = _minimax(power, lowest, highest, needed)
    if order is not None and found.order > order:
        low = _minimax(power, lowest, highest, order)
        raise InputError(f"order = {order} is too low for x^-{power:g} on [{lowest:g}, {highest:g}]: error "
                         f"{low.error:.1e}, {accuracy:.1e} asked for; order = {found.order} is needed")
    return found


def _check(power: float, lowest: float, highest: float, accuracy: float, order: int | None) -> None:
    if not 0 < power <= 1:
        raise InputError(f"power = {power:g}: x^-power is approximated for 0 < power <= 1; spread larger powers over several "
                         "fields")
    if not 0 < lowest < highest < float("inf"):
        raise InputError(f"range [{lowest:g}, {highest:g}] of a rational approximation: 0 < lowest < highest expected")
    if not SMALLEST_ACCURACY <= accuracy < 1:
        raise InputError(f"accuracy = {accuracy:g} of a rational approximation: between {SMALLEST_ACCURACY:g} and 1 expected")
    if order is not None and not 1 <= order <= MOST_POLES:
        raise InputError(f"order = {order} of a rational approximation: 1 to {MOST_POLES} poles expected")


# ---- where the search starts
def _quarter_periods(ratio: float) -> tuple[float, float]:
    """K(k) and K(k') for k'^2 = ratio, by the arithmetic-geometric mean."""
    def mean(b):
        a = 1.0
        while abs(a - b) > 1e-15 * a:
            a, b = (a + b) / 2, sqrt(a * b)
        return a
    return pi / 2 / mean(sqrt(ratio)), pi / 2 / mean(sqrt(1 - ratio))


def _estimated_order(power: float, lowest: float, highest: float, accuracy: float) -> int:
    """Error about 4 sin(pi p) exp(-2 n pi K'/K): n poles, capacity of the condenser of [lowest, highest] and x < 0."""
    K, K_prime = _quarter_periods(lowest / highest)
    return min(MOST_POLES, max(1, ceil(log(4 * sin(pi * power) / accuracy) / (2 * pi * K_prime / K))))


def _amplitudes(u: float, ratio: float) -> tuple[float, float, float]:
    """Jacobi's sn, cn, dn(u, k), k'^2 = ratio, by descending Landen transformations."""
    a, b, c = 1.0, sqrt(ratio), sqrt(1 - ratio)
    steps = []
    while c > 1e-16:
        a, b, c = (a + b) / 2, sqrt(a * b), (a - b) / 2
        steps.append((a, c))
    phi = 2 ** len(steps) * a * u
    for a, c in reversed(steps):
        previous, phi = phi, (phi + asin(c / a * sin(phi))) / 2
    return sin(phi), cos(phi), cos(phi) / cos(previous - phi)


def _start(power: float, lowest: float, highest: float, n: int) -> tuple[list[Decimal], list[Decimal]]:
    """Extrema of the error and poles s_k: exact for power 1/2, close to the truth for others.

    Extrema are highest dn^2(jK / (2n + 1)); on the negative axis, highest cs^2(t), poles and zeros alternate, zeros a share
    `power` of the way from one pole to the next.
    """
    ratio = lowest / highest
    K, _ = _quarter_periods(ratio)
    step = K / (2 * n + 1)

    def dn_squared(u):
        """dn^2; dn(u) = k' / dn(K - u) where that has the smaller rounding."""
        return _amplitudes(u, ratio)[2]**2 if u < K / 2 else ratio / _amplitudes(K - u, ratio)[2]**2

    def cs_squared(t):
        """cs^2; cs(t) = k' sc(K - t)."""
        sn, cn, _ = _amplitudes(min(t, K - t), ratio)
        return (cn / sn)**2 if t < K / 2 else ratio * (sn / cn)**2
    extrema = [highest * dn_squared(j * step) for j in range(2 * n + 1, -1, -1)]
    extrema[0], extrema[-1] = lowest, highest
    poles = [highest * cs_squared(K - (1.5 - power + 2 * k) * step) for k in range(n)]
    return [Decimal(x) for x in extrema], [Decimal(s) for s in poles]


# ---- exchange
@cache
def _minimax(power: float, lowest: float, highest: float, n: int) -> RationalApproximation:
    """The best approximation with n poles."""
    K, K_prime = _quarter_periods(lowest / highest)
    digits = 2 * n * pi * K_prime / K / log(10)  # of the error
    with localcontext() as context:
        context.prec = 40 + ceil(2 * digits)
        p, E = Decimal(power), Decimal(0)
        extrema, poles = _start(power, lowest, highest, n)
        for _ in range(ROUNDS):
            values, E = _levelled(p, extrema, poles, E)
            constant, residues, poles = _partial_fractions(values, poles)
            extrema = _moved(p, extrema, constant, residues, poles)
            errors = [_relative_error(p, x, constant, residues, poles) for x in extrema]
            sizes = [abs(error) for error in errors]
            if all(a * b < 0 for a, b in pairwise(errors)) and max(sizes) < (1 + LEVEL) * min(sizes):
                return _rounded(power, lowest, highest, extrema, constant, residues, poles)
    raise ComputationError(f"no best approximation of x^-{power:g} on [{lowest:g}, {highest:g}] with {n} poles was found in "
                           f"{ROUNDS} exchanges; give another order or range")


def _levelled(p: Decimal, extrema: list, poles: list, E: Decimal) -> tuple[list[Decimal], Decimal]:
    """(a_0, a_1 ... a_n, b_1 ... b_n) and the next E, linearised about the last one."""
    rows = []
    for i, x in enumerate(extrema):
        weight, sign = (p * x.ln()).exp(), (-1)**i
        basis = [1 / (x + s) for s in poles]
        rows.append([weight, *(weight * f for f in basis), *(-(1 + sign * E) * f for f in basis), Decimal(-sign), Decimal(1)])
    *values, E = _solution(rows)
    return values, E


def _solution(rows: list[list[Decimal]]) -> list[Decimal]:
    """Solution of a linear system; each row ends with its right side."""
    size = len(rows)
    for column in range(size):
        pivot = max(range(column, size), key=lambda i: abs(rows[i][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        head = rows[column]
        for row in rows[column + 1:]:
            factor = row[column] / head[column]
            row[column + 1:] = [a - factor * b for a, b in zip(row[column + 1:], head[column + 1:], strict=True)]
    result = []
    for row in reversed(rows):
        known = row[size - len(result):size]
        result.insert(0, (row[size] - sum(a * x for a, x in zip(known, result, strict=True))) / row[size - len(result) - 1])
    return result


def _numerator(constant: Decimal, weights: list, poles: list, y: Decimal) -> Decimal:
    """(constant + sum_k weights_k / (x + s_k)) prod_k (x + s_k) at x = -y, also where y is one of the s_k."""
    product, total = Decimal(1), Decimal(0)
    for w, s in zip(weights, poles, strict=True):
        total = total * (s - y) + w * product
        product *= s - y
    return total + constant * product


def _partial_fractions(values: list, poles: list) -> tuple[Decimal, list[Decimal], list[Decimal]]:
    """a_0, residues and poles of the quotient: its poles by simultaneous iteration (Weierstrass) from those at hand."""
    n = len(poles)
    constant, a, b = values[0], values[1:n + 1], values[n + 1:]

    def others(k, y):
        return prod((z - y[k] for j, z in enumerate(y) if j != k), start=Decimal(1))
    found = list(poles)
    for _ in range(ROUNDS):
        steps = [_numerator(Decimal(1), b, poles, y) / others(k, found) for k, y in enumerate(found)]
        found = [max(y / 2, min(2 * y, y + step)) for y, step in zip(found, steps, strict=True)]
        if all(abs(step) < y.scaleb(-20) for y, step in zip(found, steps, strict=True)):
            break
    residues = [_numerator(constant, a, poles, y) / others(k, found) for k, y in enumerate(found)]
    return constant, residues, found


def _relative_error(p: Decimal, x: Decimal, constant: Decimal, residues: list, poles: list) -> Decimal:
    """r(x) x^p - 1."""
    return (constant + sum(c / (x + s) for c, s in zip(residues, poles, strict=True))) * (p * x.ln()).exp() - 1


def _moved(p: Decimal, extrema: list, constant: Decimal, residues: list, poles: list) -> list[Decimal]:
    """Two Newton steps of each inner extremum to d/dt log(r x^p) = 0, t = log x, no further than half way to its neighbours."""
    half = Decimal("0.5")
    for _ in range(2):
        moved = [extrema[0]]
        for below, x, above in zip(extrema, extrema[1:], extrema[2:], strict=False):
            r, first, second = constant, Decimal(0), Decimal(0)
            for c, s in zip(residues, poles, strict=True):
                term, share = c / (x + s), x / (x + s)
                r, first, second = r + term, first - term * share, second + term * share * (2 * share - 1)
            slope, curvature = p + first / r, second / r - (first / r)**2
            step = -slope / curvature if curvature else Decimal(0)
            moved.append(x * (1 + max(half * (below / x - 1), min(half * (above / x - 1), step))))
        extrema = [*moved, extrema[-1]]
    return extrema


def _rounded(power, lowest, highest, extrema, constant, residues, poles) -> RationalApproximation:
    """Coefficients in double, and the error that these have."""
    constant, residues, poles = float(constant), tuple(map(float, residues)), tuple(map(float, poles))
    kept = Decimal(constant), list(map(Decimal, residues)), list(map(Decimal, poles))
    between = [(a * b).sqrt() for a, b in pairwise(extrema)]
    error = max(abs(_relative_error(Decimal(power), x, *kept)) for x in [*extrema, *between])
    return RationalApproximation(power, lowest, highest, constant, residues, poles, float(error))
