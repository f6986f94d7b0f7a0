"""What a person sees while a chain runs: a live line on a terminal, one line for each trajectory elsewhere."""

import logging
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from slhmc.cli.terminal import on_terminal

Observer = Callable[[Any], None]
_CENTURY = 36525 * 86400.0


@dataclass(frozen=True)
class Live:
    """What the live line shows of one report."""

    phase: str
    done: int
    total: int
    words: str


@contextmanager
def progress(line: Callable[[Any], str] | None = None, live: Callable[[Any], Live] | None = None) -> Iterator[Observer]:
    """An observer of `Simulation.run` or `Training.run`, called with a report after each trajectory or step (on rank 0).

    line, live: a report in words, for logs ("" for no line) and for terminals; those of trajectories if left out.
    """
    line, live = line or trajectory_line, live or trajectory_live
    if on_terminal():
        with _live_line(live) as observer:
            yield observer
    else:
        logger = _line_logger()
        yield lambda report: (words := line(report)) and logger.info(words)


def trajectory_line(report: Any) -> str:
    """One trajectory in words, for logs."""
    width = len(str(report.total))
    line = (
        f"trajectory {report.trajectory:{width}}/{report.total}  dH {report.delta_h:+.3e}  "
        f"{'accepted' if report.accepted else 'rejected'}  acceptance {report.acceptance:.3f}  "
        f"plaquette {report.plaquette:.6f}  {report.seconds:.3g} s  ETA {duration(report.eta_seconds)}"
    )
    return line + "  thermalization" if report.thermalization else line


def duration(seconds: float | None) -> str:
    """`seconds` as h:mm:ss; a dash while unknown, and no digits beyond a century, of which a timedelta may have too few."""
    if seconds is None or seconds != seconds or abs(seconds) == math.inf:  # an integer may be too large for isfinite
        return "-"
    if seconds > _CENTURY:
        return "over 100 years"
    return str(timedelta(seconds=round(max(seconds, 0))))


def trajectory_live(report: Any) -> Live:
    """One trajectory, for a terminal."""
    words = (
        f"{report.trajectory}/{report.total}  dH {report.delta_h:+.3f}  acc {report.acceptance:.0%}  "
        f"plaq {report.plaquette:.5f}  ETA {duration(report.eta_seconds)}"
    )
    return Live("thermalizing" if report.thermalization else "sampling", report.trajectory, report.total, words)


@contextmanager
def _live_line(live: Callable[[Any], Live]) -> Iterator[Observer]:
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.fields[words]}"))
    with Progress(*columns, refresh_per_second=4, expand=True) as display:
        task = display.add_task("starting", total=None, words="")

        def observer(report: Any) -> None:
            shown = live(report)
            display.update(task, description=shown.phase, completed=shown.done, total=shown.total, words=shown.words)

        yield observer


class _Lines(logging.StreamHandler):
    """Lines on stdout. A reader that goes away (a closed pipe) or a full disk must not end a production run."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        if isinstance(sys.exc_info()[1], OSError):
            logging.getLogger(record.name).removeHandler(self)
        else:
            super().handleError(record)


def _line_logger() -> logging.Logger:
    logger = logging.getLogger("slhmc.progress")
    logger.handlers = [_Lines(sys.stdout)]
    logger.setLevel(logging.INFO)
    logger.propagate = False  # the run directory's log.txt is written by the simulation
    return logger
