"""`Session`: what a `Training` and a `Regression` have in common: lock, history and checkpoint of a directory, how they stop."""

import time
from abc import ABC, abstractmethod
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from slhmc.errors import InputError
from slhmc.io import RunDirectory
from slhmc.lattice.communicator import SerialCommunicator
from slhmc.learning.journal import Journal, closed_on_error
from slhmc.runcard import FitCard, RunCard, card_text, parse_card, with_paths
from slhmc.simulation.simulation import on_root
from slhmc.stopping import StopRequest


class Session(ABC):
    """A training in its directory. All methods are collective; files are touched by rank 0 alone.

    A subclass has `continue_from`, `checkpoint`, `_run` and what is abstract below.
    """

    unit: str  # the table of the history with a row for the start and one for each: "epochs", "steps"
    table: str  # of the card with the number of them: "fit", "train"

    def __init__(self, card: RunCard, directory: Path, communicator):
        self._created = time.monotonic()
        self.card, self.communicator = card, communicator
        self.files = RunDirectory(directory)
        self.journal = Journal(self.files)
        self.history: Any = None

    # ---- hooks
    @abstractmethod
    def _new_history(self, text: str):
        """An empty history, in memory."""

    @abstractmethod
    def _read_history(self, card: RunCard):
        """The history of the directory; InputError if the card would have trained otherwise than its own."""

    @abstractmethod
    def _read_checkpoint(self):
        """What the checkpoint holds; the history is cut to it."""

    @abstractmethod
    def _draw(self) -> None:
        """Figures of the history."""

    # ---- beginning
    def begin_files(self, text: str) -> None:
        """Lock the directory of a new training and make its files (rank 0)."""
        self.files.create(text)
        self.journal.open()
        self._begin_history(text)

    def _begin_history(self, text: str) -> None:
        self.history = self._new_history(text)
        self.history.flush()

    def open_files(self, text: str):
        """Lock the directory of a training that goes on; what its checkpoint holds, None if there is none yet (rank 0)."""
        self.files.open()
        self.journal.open()
        path, checkpoint = self._new_history(text).path, self.files.checkpoint
        if not path.exists() and not checkpoint.exists():
            self._begin_history(self.files.read_card())  # killed before it had one
        self.history = self._read_history(parse_card(text, str(self.files.card), kinds=FitCard))
        self.history.card_text = text
        if checkpoint.exists():
            found = self._read_checkpoint()
            self.files.change_card(text)
            return found
        if (done := len(getattr(self.history, self.unit)) - 1) > 0:
            raise InputError(f"{checkpoint}: missing, but {path.name} holds {done} {self.unit}; restore a copy, or train anew "
                             "into another directory")
        self.files.change_card(text)
        self.history.truncate(-1)  # killed before the first one was complete
        return None

    def _check_length(self, done: int) -> None:
        """InputError if the card asks for less than what is done."""
        wanted = getattr(getattr(self.card, self.table), self.unit)
        if done > wanted:
            raise InputError(f"{self.files.path}: {wanted} {self.unit} asked for, but {done} are done; ask for {done} or more by "
                             f"--set {self.table}.{self.unit}=N")

    # ---- running
    def run(self, observer=None, stop: StopRequest | None = None) -> bool:
        """Work to the end: True; or stop early with a checkpoint, on USR1, TERM or the card's time limit: False.

        observer(report) is called on rank 0 after each piece of work; a report is what `Journal.tell` takes.
        """
        self._started = self._created if stop is None else stop.entered
        with (self.journal.told_on_error(self.communicator.rank == 0),
              StopRequest() if stop is None else nullcontext(stop) as self._stop):
            done = self._run(observer)
        on_root(self.communicator, lambda: self._finish("done" if done else "stopped"))
        return done

    def _halt(self, margin: float = 0.0) -> bool:
        """Whether this rank is asked to stop, or `margin` seconds more would be beyond the card's time limit."""
        limit = self.card.run.time_limit
        return self._stop.requested or (limit is not None and time.monotonic() - self._started + margin > limit)

    def _agree(self, wish: bool) -> bool:
        """Whether any rank wishes to stop; all must stop after the same piece of work."""
        return any(self.communicator.allgather(bool(wish)))

    def _finish(self, state: str) -> None:
        try:
            if len(getattr(self.history, self.unit)) > 1:
                self._draw()
        finally:
            self.journal.finish(state)


def resumed(kind: type, directory, device: str, communicator, overrides):
    """The `kind` of training in `directory`, at its checkpoint, bit for bit as if nothing had happened. Collective.

    overrides, as of --set, may change keys that do not change a step. Raises InputError for others.
    """
    communicator = communicator or SerialCommunicator()
    files = RunDirectory(directory)
    overrides = list(overrides)
    card = on_root(communicator, lambda: parse_card(files.read_card(), str(files.card), overrides, FitCard))
    card = with_paths(card, None, overrides)
    session = kind(card, Path(directory), device, communicator)
    with closed_on_error(session.journal):
        session.continue_from(on_root(communicator, lambda: session.open_files(card_text(card))))
    return session
