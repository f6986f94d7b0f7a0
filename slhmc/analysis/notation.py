"""Numbers with errors in words."""

import math

_LARGE = 1e9    # an error from which on digits are not written out: a trajectory ran away


def parenthesis(value: float | None, error: float | None) -> str:
    """Value and error in the usual notation: 0.7025(3), with two digits of error where they begin with 11 to 19: 0.7025(12)."""
    if value is None or not math.isfinite(value):
        return "-"
    if error is None or not math.isfinite(error) or error < 0:
        return f"{value:.6g}"
    if error == 0:
        return f"{value:.7g}(0)"
    if error >= _LARGE:
        return f"{value:.2g}({error:.1g})"
    digits, exponent = f"{error:.1e}".split("e")
    decimals = -int(exponent) + (digits[0] == "1" and digits[2] != "0")
    if decimals <= 0:
        return f"{round(value, decimals):.0f}({round(error, decimals):.0f})"
    shown = f"{error:.{decimals}f}"
    return f"{value:.{decimals}f}({shown if float(shown) >= 1 else shown.replace('.', '').lstrip('0')})"


def rough(value: float | None, error: float | None) -> str:
    """As `parenthesis`, with two digits where there is no error: for times and costs, which are never known better."""
    return parenthesis(value, error) if value is None or not math.isfinite(value) or error is not None else f"{value:.2g}"
