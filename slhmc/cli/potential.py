"""What `slhmc measure` shows of the static potential: table, JSON and a panel of the plot."""

from typing import Any

import numpy as np

from slhmc.cli.flow import words
from slhmc.cli.summary import how_many
from slhmc.cli.terminal import table_console
from slhmc.runcard import PotentialChoices, RunCard, potential_choices

NAME = "static_potential"


def analysed(values: np.ndarray, card: RunCard) -> Any:
    """The potential of loops [measurement, i, j, r - 1, t] by the choices of a card."""
    from slhmc.analysis import static_potential

    table, choices = card.measure.static_potential, choices_of(card)
    return static_potential(values, table.t0, choices.plateau, choices.fit, table.coulomb)


def choices_of(card: RunCard) -> PotentialChoices:
    """What the card chooses on its lattice."""
    return potential_choices(card.measure.static_potential, card.lattice.extent)


def print_potential(found: Any, measurements: int, card: RunCard) -> None:
    """Effective energies of each distance in the plateau, V(r), and the fit."""
    from rich import box
    from rich.table import Table

    first, last = choices_of(card).plateau
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("r", *(f"t = {t}" for t in range(first, last + 1)), "V(r)", "chi2/dof"):
        table.add_column(heading, justify="right", no_wrap=True)
    for r, (energies, value, chi) in enumerate(zip(found.energies, found.values, found.chi_squared, strict=True), 1):
        quality = "-" if chi is None else f"{chi:.2f}"
        table.add_row(str(r), *(words(energy) for energy in energies[first:last + 1]), words(value), quality)
    console = table_console()
    console.print(f"\n  static potential, log W(t) / W(t + 1) of the ground state, V(r) from t = {first} ... {last}",
                  soft_wrap=True)
    console.print(table)
    if (fit := found.fit) is not None:
        quality = "" if fit.chi_squared is None else f", chi2/dof {fit.chi_squared:.2f}"
        console.print(f"  V = A - B / r + sigma r, r = {fit.first} ... {fit.last}: A {words(fit.constant)}, "
                      f"B {words(fit.coulomb)}, sigma {words(fit.tension)}, r0 {words(fit.r0)}{quality}", soft_wrap=True)
    console.print(f"  {how_many(measurements)}", soft_wrap=True)


def potential_numbers(found: Any) -> dict[str, Any]:
    """The same ready for JSON."""
    def of(value: Any) -> dict | None:
        return None if value is None else {"mean": value.value, "error": value.error}

    numbers = {"energies": [[of(energy) for energy in row] for row in found.energies],
               "potential": [of(value) for value in found.values], "chi_squared": found.chi_squared}
    if (fit := found.fit) is None:
        return numbers | {"fit": None}
    parts = {key: of(getattr(fit, key)) for key in ("constant", "coulomb", "tension", "r0")}
    return numbers | {"fit": {"first": fit.first, "last": fit.last, "chi_squared": fit.chi_squared} | parts}


def fit_words(found: Any) -> str:
    """V = A - B / r + sigma r of the fit with its numbers; nothing without a fit."""
    if (fit := found.fit) is None:
        return ""
    quality = "" if fit.chi_squared is None else f", χ²/dof {fit.chi_squared:.2f}"
    inverse = "" if fit.form == "continuum" else ", 1/r of the lattice"
    return (f"V = A − B/r + σr on r/a = {fit.first} … {fit.last}{inverse}: aA = {words(fit.constant)}, B = {words(fit.coulomb)}, "
            f"a²σ = {words(fit.tension)}, r₀/a = {words(fit.r0)}{quality}")


def draw_potential(panel, found: Any) -> None:
    """V(r) with errors, the fit, dashed beyond its distances, and r0."""
    known = [(r, value) for r, value in enumerate(found.values, 1) if value is not None]
    panel.errorbar([r for r, _ in known], [v.value for _, v in known], [v.error or 0.0 for _, v in known], fmt="o", markersize=4,
                   capsize=2, color="C0", label="$V(r)$")
    end = len(found.values)
    if found.fit is not None and None not in (found.fit.constant, found.fit.coulomb, found.fit.tension):
        end = _draw_fit(panel, found.fit, end)
    panel.set(title="static potential", xlabel="$r / a$", ylabel="$a V$", xlim=(0.5, end + 0.5))
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.legend()


def _draw_fit(panel, fit: Any, end: int) -> float:
    """Where the figure ends: at the last distance, or at r0 if it is not far beyond."""
    from slhmc.analysis import inverse_distance

    def curve(r, inverse):
        return fit.constant.value - fit.coulomb.value * inverse + fit.tension.value * r
    inside = np.linspace(fit.first, fit.last, 100)
    panel.plot(inside, curve(inside, 1 / inside), color="C1", label="$A - B/r + \\sigma r$")
    if fit.form != "continuum":
        r = np.arange(fit.first, fit.last + 1)
        panel.plot(r, curve(r, np.array([inverse_distance(int(one), fit.form) for one in r])), "_", color="C1", markersize=14,
                   label="with $1/r$ of the lattice")
    if fit.r0 is None or not fit.r0.value < 2 * end:
        return end
    r0, error = fit.r0.value, fit.r0.error or 0.0
    panel.axvline(r0, color="0.5", linewidth=0.8, linestyle=":", label=f"$r_0/a$ = {words(fit.r0)}")
    panel.axvspan(r0 - error, r0 + error, color="0.5", alpha=0.2, linewidth=0)
    if r0 > fit.last:
        outside = np.linspace(fit.last, r0, 50)
        panel.plot(outside, curve(outside, 1 / outside), color="C1", linestyle="--")
    return max(end, r0)
