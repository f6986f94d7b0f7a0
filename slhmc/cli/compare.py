"""`slhmc compare`: runs of the same physics beside each other, on the terminal, as JSON, as a page."""

import json
from pathlib import Path
from typing import Any

from slhmc.cli import ranks
from slhmc.cli.failure import USAGE
from slhmc.cli.terminal import on_terminal

INCONSISTENT = 1
_WIDTH = 200  # of tables where no terminal limits it


def compare_runs(directories: list[Path], as_json: bool, page: Path | None) -> int:
    """0 if no observable differs by more than 4 sigma from the first run, 1 if one does, 2 if nothing could be compared."""
    from slhmc import report

    if ranks.rank():
        return 0
    if page is not None:
        report.check_page(page)
    comparison = report.compare(directories)
    if page is not None:
        from slhmc.cli.summary import describe

        report.write_page(page, comparison, describe(comparison.runs[0].card))
    if as_json:
        print(json.dumps(comparison.result, indent=2, allow_nan=False))
    else:
        _print(comparison, page)
    return _exit_code(comparison.result)


def _exit_code(result: dict[str, Any]) -> int:
    if len(result["runs"]) == 1 or result["consistent"]:
        return 0
    return USAGE if result["consistent"] is None else INCONSISTENT


def _print(comparison: Any, page: Path | None) -> None:
    from rich.console import Console

    from slhmc import report
    from slhmc.cli.summary import describe

    result = comparison.result
    console = Console(highlight=False, markup=False, force_terminal=on_terminal(), width=None if on_terminal() else _WIDTH)
    console.print(f"\n{describe(comparison.runs[0].card)}; reference: {result['reference']}", soft_wrap=True)
    tables = (report.run_table, report.observable_table, report.cost_table, report.difference_table)
    for table in filter(None, (make(result) for make in tables)):
        console.print(f"\n{table.title}", soft_wrap=True)
        console.print(rich_table(table))
    console.print()
    for line in report.notes(result):
        console.print(f"  {line}", soft_wrap=True)
    console.print(report.verdict(result), soft_wrap=True)
    if page is not None:
        console.print(f"page: {page}", soft_wrap=True)


def rich_table(table: Any) -> Any:
    """A table of `slhmc.report` for a terminal."""
    from rich import box
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for number, heading in enumerate(table.headings):
        shown.add_column(heading, justify="left" if number < table.names else "right", overflow="fold")
    for row in table.rows:
        shown.add_row(*row)
    return shown
