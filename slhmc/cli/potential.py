"""What `slhmc measure` shows of the static potential: table, JSON and a panel of the plot."""

from typing import Any

import numpy as np

from slhmc.cli.flow import words
from slhmc.cli.terminal import on_terminal
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
    from rich.console import Console
    from rich.table import Table

    from slhmc.analysis import MINIMUM_LENGTH

    first, last = choices_of(card).plateau
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("r", *(f"t = {t}" for t in range(first, last + 1)), "V(r)", "chi2/dof"):
        table.add_column(heading, justify="right", no_wrap=True)
    for r, (energies, value, chi) in enumerate(zip(found.energies, found.values, found.chi_squared, strict=True), 1):
        quality = "-" if chi is None else f"{chi:.2f}"
        table.add_row(str(r), *(words(energy) for energy in energies[first:last + 1]), words(value), quality)
    console = Console(highlight=False, markup=False, force_terminal=on_terminal())
    console.print(f"\n  static potential, log W(t) / W(t + 1) of the ground state, V(r) from t = {first} ... {last}",
                  soft_wrap=True)
    console.print(table)
    if (fit := found.fit) is not None:
        quality = "" if fit.chi_squared is None else f", chi2/dof {fit.chi_squared:.2f}"
        console.print(f"  V = A - B / r + sigma r, r = {fit.first} ... {fit.last}: A {words(fit.constant)}, "
                      f"B {words(fit.coulomb)}, sigma {words(fit.tension)}, r0 {words(fit.r0)}{quality}", soft_wrap=True)
    how = "errors by the Gamma method" if measurements >= MINIMUM_LENGTH else \
        f"fewer than {MINIMUM_LENGTH}: errors by the jackknife, as if they were independent"
    console.print(f"  {measurements} configurations; {how}", soft_wrap=True)


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


def draw_potential(panel, found: Any) -> None:
    """V(r) with errors, and the fit."""
    from slhmc.analysis import inverse_distance

    known = [(r, value) for r, value in enumerate(found.values, 1) if value is not None]
    panel.errorbar([r for r, _ in known], [v.value for _, v in known], [v.error or 0.0 for _, v in known], fmt="o", markersize=4,
                   capsize=2, color="C0", label="$V(r)$")
    fit = found.fit
    if fit is not None and None not in (fit.constant, fit.coulomb, fit.tension):
        r = np.arange(fit.first, fit.last + 1)
        inverse = np.array([inverse_distance(int(one), fit.form) for one in r])
        panel.plot(r, fit.constant.value - fit.coulomb.value * inverse + fit.tension.value * r, color="C1",
                   label="$A - B/r + \\sigma r$")
    panel.set(title="static potential", xlabel="$r / a$", ylabel="$a V$")
    panel.legend()
