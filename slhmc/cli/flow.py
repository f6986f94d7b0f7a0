"""What `slhmc measure` shows of the gradient flow: table, JSON and panels of the plot."""

from typing import Any

import numpy as np

from slhmc.cli.summary import how_many, parenthesis
from slhmc.cli.terminal import table_console
from slhmc.runcard import RunCard

LINES = 40  # configurations whose charge is drawn


def sites(card: RunCard) -> int:
    """Sites of the lattice."""
    return int(np.prod(card.lattice.extent))


def print_flow(values: np.ndarray, card: RunCard) -> None:
    """t^2 E, W and susceptibilities along the flow, from values [measurement, quantity, time]."""
    from rich import box
    from rich.table import Table

    from slhmc.analysis import flow_curves, has_charge

    columns = {"t2E": "t^2 E", "t2E_plaquette": "plaquettes", "W": "W"}
    if has_charge(values):
        columns |= {"susceptibility": "<Q^2>/V", "susceptibility_improved": "five loops"}
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("t", *columns.values()):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in flow_curves(values, sites(card)):
        table.add_row(f"{row['t']:.4g}", *(words(row[key]) for key in columns))
    console = table_console()
    clovers, others = ("E and Q", " and Q from five loops") if has_charge(values) else ("E", "")
    console.print(f"\n  {card.measure.gradient_flow.action} flow: {clovers} from clovers, beside them E from plaquettes{others}",
                  soft_wrap=True)
    console.print(table)
    console.print(f"  {how_many(len(values))}", soft_wrap=True)


def words(value: Any) -> str:
    """A DerivedValue with its error in parentheses."""
    return "-" if value is None else parenthesis(value.value, value.error)


def flow_numbers(values: np.ndarray, card: RunCard) -> dict[str, Any]:
    """The same ready for JSON, with the charges of each configuration at the last flow time."""
    from slhmc.analysis import as_numbers, flow_curves, has_charge

    numbers: dict[str, Any] = {"curves": as_numbers(flow_curves(values, sites(card)))}
    if has_charge(values):
        numbers |= {"charge": values[:, 3, -1].tolist(), "charge_improved": values[:, 4, -1].tolist()}
    return numbers


def draw_energy(panel, values: np.ndarray, card: RunCard) -> None:
    """t^2 E and W with errors over flow time; the height 0.3 and t0."""
    from slhmc.analysis import flow_curves, scales

    rows = flow_curves(values, sites(card))
    for number, (key, label) in enumerate((("t2E", "$t^2 E$, clovers"), ("t2E_plaquette", "$t^2 E$, plaquettes"), ("W", "$W$"))):
        known = [(row["t"], row[key]) for row in rows if row[key] is not None]
        panel.errorbar([t for t, _ in known], [v.value for _, v in known], [v.error or 0.0 for _, v in known], fmt="o-",
                       markersize=3, linewidth=1, capsize=2, color=f"C{number}", label=label)
    panel.axhline(0.3, color="0.5", linewidth=0.8, linestyle=":")
    if (t0 := scales(values)["t0"]) is not None:
        panel.axvline(t0.value, color="0.5", linewidth=0.8, linestyle=":")
    panel.set(title=f"{card.measure.gradient_flow.action} flow", xlabel="$t / a^2$", ylabel="$t^2 E$, $W$", ylim=(0, None))
    panel.legend()


def draw_charge(panel, values: np.ndarray) -> None:
    """The charge by five loops of each configuration (the last ones) over flow time."""
    for series in values[-LINES:]:
        panel.plot(series[0], series[4], linewidth=0.8)
    low, high = np.floor(values[-LINES:, 4].min()), np.ceil(values[-LINES:, 4].max())
    if high - low <= 20:
        panel.set_yticks(np.arange(low, high + 1))
        panel.grid(axis="y", linewidth=0.4)
    panel.set(xlabel="$t / a^2$", ylabel="$Q$, five loops")
