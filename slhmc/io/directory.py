"""The output directory of one run, and the lock that keeps a second run out of it."""

import fcntl
import json
import logging
import math
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TextIO

from slhmc.errors import InputError
from slhmc.io.atomic import describe, read_error, remove_stale, replace_file
from slhmc.io.sealed import sealed_kind

logger = logging.getLogger(__name__)


class RunDirectory:
    """Paths of a run's files. `create` or `open` take the lock; `close`, or the end of the process, gives it back.

    Rank 0 only. Reading a run that goes on (paths, `read_status`) needs no lock.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.chain = self.path / "chain.h5"
        self.training = self.path / "train.h5"
        self.fit = self.path / "fit.h5"
        self.results = self.path / "results.json"
        self.data = self.path / "data"
        self.checkpoint = self.path / "checkpoint.h5"
        self.configurations = self.path / "configs"
        self.last_weights = self.path / "last_weights.h5"
        self.card = self.path / "card.toml"
        self.weights = self.path / "weights.h5"
        self.status = self.path / "status.json"
        self.log = self.path / "log.txt"
        self._lock: int | None = None
        self._log: TextIO | None = None

    @property
    def own(self) -> list[Path]:
        """All paths above, and those of the lock and of what was measured."""
        return [path for path in vars(self).values() if isinstance(path, Path)] + [self.path / ".lock", self.path / "measure.h5"]

    def create(self, card_text: str, weights: str | os.PathLike | None = None) -> Self:
        """Make and lock the directory of a new run and put its card there.

        weights: the file that the run will copy to weights.h5, if it has one; it may be there already.
        Raises InputError if it holds another run, if a run is at work in it, or if it cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be made a directory: {describe(error)}") from error
        self._take_lock()
        try:
            self._refuse_another_run(weights)
            self._prepare()
            replace_file(self.card, [card_text.encode()])
        except BaseException:
            self.close()
            raise
        return self

    def open(self) -> Self:
        """Lock the directory of a run that is to go on; InputError if it holds none or a run is at work in it."""
        self._expect_run()
        self._take_lock()
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Close the log and give the lock back; harmless if there is neither."""
        if self._log is not None:
            with suppress(OSError):  # what a full disk did not take
                self._log.close()
            self._log = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def configuration(self, trajectory: int) -> Path:
        """Where the links after `trajectory` are kept: configs/cfg_000123.h5."""
        return self.configurations / f"cfg_{trajectory:06d}.h5"

    def abandon_configurations(self, after: int) -> None:
        """Move what was kept after trajectory `after` to configs/abandoned/: a session that was killed behind its last checkpoint
        left it, and the chain that goes on from there may be another one. InputError if that cannot be done.
        """
        late = [path for path in sorted(self.configurations.glob("cfg_*.h5"))
                if path.stem[4:].isdecimal() and int(path.stem[4:]) > after]
        if not late:
            return
        place = self.configurations / "abandoned"
        try:
            place.mkdir(exist_ok=True)
            for path in late:
                path.replace(place / path.name)
        except OSError as error:
            raise InputError(f"{place}: links kept after the checkpoint cannot be moved there: {describe(error)}") from error
        self.write_log(f"the checkpoint is of {after}: {len(late)} of configs/ kept after it moved to configs/abandoned/\n")

    def read_card(self) -> str:
        """The text of card.toml; InputError if there is no run or it cannot be read."""
        self._expect_run()
        return self._read(self.card)

    def _expect_run(self) -> None:
        if not os.path.lexists(self.card):
            raise InputError(f"{self.path}: no card.toml found, the directory of a run expected; "
                             f"check the path, or start a run by `slhmc run CARD -o {self.path}`")

    def change_card(self, text: str) -> None:
        """Make card.toml say `text`; it is left alone if it does."""
        if self.read_card() != text:
            replace_file(self.card, [text.encode()])

    def write_status(self, status: Mapping[str, Any]) -> None:
        """Replace status.json at once; not synced to disk, as it only tells how a live run does. NaN becomes null."""
        replace_file(self.status, [_json(status)], durable=False)

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Replace results.json, what a fit has come to. NaN becomes null."""
        replace_file(self.results, [_json(results)])

    def read_status(self) -> dict[str, Any]:
        """The last status written; InputError if there is none or it is damaged."""
        return self._read_json(self.status, "a run at work writes it anew")

    def read_results(self) -> dict[str, Any]:
        """What `write_results` got; InputError if there is none or it is damaged."""
        return self._read_json(self.results, "remove it and resume the fit")

    def write_log(self, line: str) -> None:
        """A line of log.txt, which stays open until `close`; InputError if it cannot be written."""
        try:
            if self._log is None:
                self._log = self.log.open("a", buffering=1, encoding="utf-8")
            self._log.write(line)
        except OSError as error:
            raise InputError(f"{self.log}: cannot be written: {describe(error)}") from error

    def _read_json(self, path: Path, advice: str) -> dict[str, Any]:
        try:
            found = _finite(json.loads(self._read(path)))
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise InputError(f"{path}: damaged: a JSON object expected; {advice}")
        return found

    def _read(self, path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8")
        except OSError as error:
            raise read_error(path, error) from error
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: damaged: text in UTF-8 expected; restore a copy") from error

    def _refuse_another_run(self, weights: str | os.PathLike | None) -> None:
        held = [path for path in (self.chain, self.training, self.fit, self.checkpoint) if os.path.lexists(path)]
        if os.path.lexists(self.weights) and (weights is None or os.path.realpath(weights) != os.path.realpath(self.weights)):
            held.append(self.weights)
        held += sorted(self.configurations.glob("cfg_*.h5"))
        if held:
            raise InputError(f"{self.path}: {held[0].relative_to(self.path)} of another run found, a directory without "
                             f"a run expected; go on with that run by `slhmc resume {self.path}`, or give another -o")

    def _prepare(self) -> None:
        try:
            self.configurations.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.configurations}: cannot be made a directory: {describe(error)}") from error
        for directory in (self.path, self.configurations):
            remove_stale(directory)

    def _take_lock(self) -> None:
        """Lock .lock by flock: the kernel frees it when the process dies, so a crash leaves nothing to clean up."""
        if self._lock is not None:
            raise ValueError(f"{self.path} is locked by this object already")
        try:
            descriptor = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be locked: {describe(error)}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "an unknown process"
            os.close(descriptor)
            raise InputError(f"{self.path}: a run is at work here ({owner}); wait for it or stop it, "
                             f"or give another -o") from error
        except OSError as error:
            logger.warning("%s: this file system has no locks (%s); see that no second run writes here",
                           self.path, error.strerror)
        self._lock = descriptor
        self._sign_lock(descriptor)

    def _sign_lock(self, descriptor: int) -> None:
        """Leave a name for the message that the next one gets."""
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        except OSError as error:
            self.close()
            raise InputError(f"{self.path}: cannot be locked: {describe(error)}") from error


def _json(value: Any) -> bytes:
    return json.dumps(_finite(value), indent=1, allow_nan=False).encode() + b"\n"


def _finite(value: Any) -> Any:
    """`value` for strict JSON: NumPy numbers as plain ones, numbers that are not finite as None."""
    if isinstance(value, Mapping):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    if hasattr(value, "tolist"):
        return _finite(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def refuse_replacing(path: Path, links: bool = False) -> None:
    """InputError if something of ours is at `path` that a new file there would destroy: a sealed file (with `links`: of
    anything but links), or what a run or a training has in its directory.
    """
    if not path.is_file():
        return
    kind, folder = sealed_kind(path), path.resolve().parent
    if kind is not None and not (links and kind == "links"):
        raise InputError(f"{path}: an slhmc {kind} file is there, which would be lost; give another path, or remove it first")
    if folder.name == "configs" and (folder.parent / "card.toml").exists():
        raise InputError(f"{path}: a configuration of the run in {path.parent.parent} is there; give another path")
    if folder / path.name in RunDirectory(folder).own and any((folder / name).exists() for name in ("card.toml", "chain.h5")):
        raise InputError(f"{path}: a file of the run in {path.parent} is there, which would be lost; give another path")
