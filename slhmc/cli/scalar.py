"""What a person sees of a run of the complex scalar field: progress and the summary."""

import json
from pathlib import Path
from typing import Any

from slhmc.cli.progress import Live, duration
from slhmc.cli.terminal import table_console


def sweep_line(report: Any) -> str:
    """A checkpoint in words, for logs; nothing between two of them."""
    if not report.checkpointed:
        return ""
    width = len(str(report.total))
    return (f"sweep {report.sweep:{width}}/{report.total}  n {report.density:.6f}  |phi|^2 {report.phi_squared:.6f}  "
            f"{report.seconds:.3g} s  ETA {duration(report.eta_seconds)}" + "  thermalization" * report.thermalization)


def sweep_live(report: Any) -> Live:
    """A measurement, for a terminal."""
    words = (f"{report.sweep}/{report.total}  n {report.density:.4f}  |phi|^2 {report.phi_squared:.4f}  "
             f"ETA {duration(report.eta_seconds)}")
    return Live("thermalizing" if report.thermalization else "sampling", report.sweep, report.total, words)


def print_scalar(directory: Path, as_json: bool = False) -> None:
    """The summary of a run, as a table or as one JSON object."""
    from slhmc.analysis import parenthesis, rough, summarise_scalar

    result = summarise_scalar(directory)
    if as_json:
        print(json.dumps(result, indent=2, allow_nan=False))
        return
    from rich import box
    from rich.table import Table

    console = table_console()
    pace = "" if result["seconds_per_sweep"] is None else f", {result['seconds_per_sweep']:.3g} s/sweep"
    console.print(f"\n{directory}: complex scalar field, {result['sweeps']} sweeps after {result['thermalization']} of "
                  f"thermalization{pace}\n", soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("eta", "lambda", "mu", "chains", "n", "tau_int", "|phi|^2", "tau_int"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in result["couplings"]:
        found = [words for name in ("density", "phi_squared") for words in (
            parenthesis(row[name]["mean"], row[name]["error"]), rough(row[name]["tau_int"], row[name]["tau_int_error"]))]
        table.add_row(*(f"{row[key]:g}" for key in ("eta", "coupling", "mu")), str(row["chains"]), *found)
    console.print(table)
    for note in dict.fromkeys(row[name]["note"] for row in result["couplings"] for name in ("density", "phi_squared")
                              if "note" in row[name]):
        console.print(f"  {note}", soft_wrap=True)
