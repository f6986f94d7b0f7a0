"""`slhmc run`, `resume` and `build`: from a card or a directory to a `Simulation`, watched from the terminal."""

import logging
import sys
from pathlib import Path
from typing import Any

from slhmc.cli import ranks
from slhmc.runcard import load_card

STOPPED_EARLY = 75


def start(path: Path, directory: Path, overrides: list[str], device: str) -> int:
    """Run the card `path` into `directory`; returns the exit code. Collective."""
    card = load_card(path, overrides)  # before MPI and compilers: a faulty card costs nothing
    log_warnings()
    from slhmc import simulation

    with simulation.StopRequest() as stop:  # heeds signals that come while MPI starts or kernels are compiled
        communicator = ranks.world()
        return _watch(simulation.create(card, directory, device=device, communicator=communicator), directory, stop)


def resume_run(directory: Path, trajectories: int | None, overrides: list[str], device: str) -> int:
    """Continue the run in `directory`; returns the exit code. Collective."""
    if trajectories is not None:
        overrides = [*overrides, f"run.trajectories={trajectories}"]
    log_warnings()
    from slhmc import simulation

    with simulation.StopRequest() as stop:
        communicator = ranks.world()
        resumed = simulation.resume(directory, device=device, communicator=communicator, overrides=overrides)
        return _watch(resumed, directory, stop)


def build_kernels(paths: list[Path], processes: int | None) -> None:
    """Compile what each card needs on so many ranks; None: on the card's own, or one."""
    cards = [load_card(path) for path in paths]
    from slhmc import simulation

    for path, card in zip(paths, cards, strict=True):
        simulation.build(card, processes)
        print(f"{path}: kernels are built")


def _watch(simulation: Any, directory: Path, stop: Any) -> int:
    from slhmc.cli.progress import progress

    with progress() as observer:
        done = simulation.run(observer, stop)
    if not done:
        if ranks.rank() == 0:
            print(f"slhmc: stopped early with a checkpoint; continue with: slhmc resume {directory}", file=sys.stderr)
        return STOPPED_EARLY
    if ranks.rank() == 0:
        from slhmc.cli.summary import print_summary

        print_summary(directory)
    return 0


def log_warnings() -> None:
    """Warnings on stderr, from rank 0."""
    logging.basicConfig(format="slhmc: %(message)s", level=logging.WARNING if ranks.rank() == 0 else logging.CRITICAL)
