"""`slhmc run`, `resume` and `build`: from a card or a directory to a `Simulation`, watched from the terminal."""

import logging
import sys
from pathlib import Path
from typing import Any

from slhmc.cli import ranks
from slhmc.cli.scalar import print_scalar, sweep_line, sweep_live
from slhmc.errors import InputError
from slhmc.runcard import Card, ScalarCard, load_card
from slhmc.stopping import StopRequest

STOPPED_EARLY = 75


def start(path: Path, directory: Path, overrides: list[str], device: str) -> int:
    """Run the card `path` into `directory`; returns the exit code. Collective."""
    with StopRequest() as stop:  # heeds signals that come while modules are imported, MPI starts or kernels are compiled
        card = load_card(path, overrides, Card)  # before MPI and compilers: a faulty card costs nothing
        log_warnings()
        from slhmc import simulation

        scalar = isinstance(card, ScalarCard)
        create = simulation.create_scalar if scalar else simulation.create
        communicator = ranks.world()
        return _watch(create(card, directory, device=device, communicator=communicator), directory, stop, scalar)


def resume_run(directory: Path, trajectories: int | None, overrides: list[str], device: str) -> int:
    """Continue the run in `directory`; returns the exit code. Collective."""
    with StopRequest() as stop:
        scalar = _is_scalar(directory)
        if scalar and trajectories is not None:
            raise InputError(f"{directory}: a scalar field found, whose runs have sweeps, not trajectories; give --set "
                             "run.sweeps=N")
        if trajectories is not None:
            overrides = [*overrides, f"run.trajectories={trajectories}"]
        log_warnings()
        from slhmc import simulation

        resume = simulation.resume_scalar if scalar else simulation.resume
        communicator = ranks.world()
        resumed = resume(directory, device=device, communicator=communicator, overrides=overrides)
        return _watch(resumed, directory, stop, scalar)


def build_kernels(paths: list[Path], processes: int | None) -> None:
    """Compile what each card needs on so many ranks; None: on the card's own, or one."""
    cards = [load_card(path, (), Card) for path in paths]
    from slhmc import simulation

    for path, card in zip(paths, cards, strict=True):
        if isinstance(card, ScalarCard):
            simulation.build_scalar()
        else:
            simulation.build(card, processes)
        print(f"{path}: kernels are built")


def _is_scalar(directory: Path) -> bool:
    """Whether the card of a run is of a scalar field; a card that is missing or faulty is told by `resume`."""
    card = directory / "card.toml"
    try:
        return card.exists() and isinstance(load_card(card, (), Card), ScalarCard)
    except InputError:
        return False


def _watch(simulation: Any, directory: Path, stop: Any, scalar: bool) -> int:
    from slhmc.cli.progress import progress

    with progress(*((sweep_line, sweep_live) if scalar else ())) as observer:
        done = simulation.run(observer, stop)
    if not done:
        if ranks.rank() == 0:
            print(f"slhmc: stopped early with a checkpoint; continue with: slhmc resume {directory}", file=sys.stderr)
        return STOPPED_EARLY
    if scalar:
        print_scalar(directory)
    elif ranks.rank() == 0:
        from slhmc.cli.summary import print_summary

        print_summary(directory)
    return 0


def log_warnings() -> None:
    """Warnings on stderr, from rank 0."""
    logging.basicConfig(format="slhmc: %(message)s", level=logging.WARNING if ranks.rank() == 0 else logging.CRITICAL)
