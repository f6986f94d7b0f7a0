"""`slhmc train`, and `resume` of a training: from a card or a directory to a `Training` or a `Regression`, watched from the
terminal.
"""

import math
import sys
from pathlib import Path
from typing import Any

from slhmc.cli import ranks
from slhmc.cli.chain import STOPPED_EARLY, log_warnings
from slhmc.cli.fit import fit_line, fit_live, print_fit
from slhmc.cli.progress import Live, duration, progress
from slhmc.cli.terminal import table_console
from slhmc.errors import InputError
from slhmc.runcard import Card, FitCard, FluxCard, ScalarCard, load_card
from slhmc.stopping import StopRequest


def start(path: Path, directory: Path, overrides: list[str], device: str) -> int:
    """Train the guide, or fit the model, of the card `path` into `directory`; returns the exit code. Collective."""
    with StopRequest() as stop:  # heeds signals that come while modules are imported, MPI starts or kernels are compiled
        card = load_card(path, overrides, FitCard)
        learning = _learning(card.fit is not None)
        communicator = ranks.world()
        return _watch(learning.create(card, directory, device=device, communicator=communicator), directory, stop)


def is_training(directory: Path) -> bool:
    """Whether a guide is trained there or a model fitted, or was to be: a fit may have been killed with no file but its card.

    InputError if that card could be one of a training or of a run.
    """
    if any((directory / name).exists() for name in ("train.h5", "fit.h5")):
        return True
    card = directory / "card.toml"
    if not card.exists() or (directory / "chain.h5").exists():
        return False
    found = load_card(card, (), Card)
    if not isinstance(found, (ScalarCard, FluxCard)) and found.train is not None:
        raise InputError(f"{directory}: nothing but a card with [train] found, so whether a training or a run was killed before "
                         f"it began is not known; begin anew: slhmc train {card} -o {directory}, or slhmc run")
    return not isinstance(found, ScalarCard) and found.fit is not None


def resume_training(directory: Path, trajectories: int | None, overrides: list[str], device: str) -> int:
    """Continue the training in `directory`; returns the exit code. Collective."""
    fitted = not (directory / "train.h5").exists()
    if trajectories is not None:
        key = "fit.epochs" if fitted else "train.steps"
        raise InputError(f"{directory}: a training found, which has steps, not trajectories; give --set {key}=N")
    with StopRequest() as stop:
        learning = _learning(fitted)
        communicator = ranks.world()
        resumed = learning.resume(directory, device=device, communicator=communicator, overrides=overrides)
        return _watch(resumed, directory, stop)


def _learning(fit: bool) -> Any:
    """slhmc.learning.regression, or slhmc.learning.training: the room that needs torch."""
    log_warnings()
    try:
        import torch
    except ImportError as error:
        raise InputError(f"training needs torch, which does not load ({error}); pip install 'slhmc[learn]'") from error
    if fit:
        from slhmc.learning import regression

        return regression
    torch.set_num_threads(1)  # its vectors are short; threads are for the kernels
    from slhmc.learning import training

    return training


def _watch(training: Any, directory: Path, stop: Any) -> int:
    fitted = training.card.fit is not None
    with progress(*((fit_line, fit_live) if fitted else (training_line, training_live))) as observer:
        done = training.run(observer, stop)
    if ranks.rank() == 0:
        if not done:
            print(f"slhmc: stopped early with a checkpoint; continue with: slhmc resume {directory}", file=sys.stderr)
        else:
            (print_fit if fitted else print_result)(training)
    return 0 if done else STOPPED_EARLY


def training_line(report: Any) -> str:
    """One piece of work in words, for logs."""
    width = len(str(report.total))
    losses = "".join(f"  {name} {value:.4e}" for name, value in (("loss", report.loss), ("held-out", report.held_out))
                     if not math.isnan(value))
    if not math.isnan(report.acceptance):
        losses += f"  predicted acceptance {report.acceptance:.3f}"
    done = f"{report.phase} {report.done:{width}}/{report.total}"
    return f"{done}{losses}  {report.seconds:.3g} s  ETA {duration(report.eta_seconds)}"


def training_live(report: Any) -> Live:
    """One piece of work, for a terminal."""
    words = f"{report.done}/{report.total}"
    if not math.isnan(report.held_out):
        words += f"  loss {report.loss:.4g}  held-out {report.held_out:.4g}  acc {report.acceptance:.0%}"
    return Live(report.phase, report.done, report.total, f"{words}  ETA {duration(report.eta_seconds)}")


def print_result(training: Any) -> None:
    """Losses at the start and at the best step, the numbers found, and where they are."""
    from rich.table import Table

    history, best = training.history.evaluations, training.best
    first, chosen = history[0], history[history["step"] == best["step"]][0]
    table = Table(title=f"Held-out samples: {len(training.held_out)}", title_justify="left")
    for heading in ("", "start", f"best, step {best['step']}"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name in history.dtype.names[1:]:
        if not math.isnan(first[name]):
            words = "predicted acceptance" if name == "acceptance" else f"{name} loss"
            table.add_row(words, f"{first[name]:.5g}", f"{chosen[name]:.5g}")
    for name, value, before in zip(training.guide.names, best["values"], training.history.parameters[0], strict=True):
        table.add_row(name, f"{before:.6g}", f"{value:.6g}")
    table_console().print(table)
    print(f"weights of the best step: {training.files.weights} (guide.network of a card)")
