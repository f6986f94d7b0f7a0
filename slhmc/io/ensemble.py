"""The chain file: the card of a run, one record per trajectory, and the observables measured on the way."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from slhmc.errors import InputError
from slhmc.io.checkpoint import owner_of
from slhmc.io.sealed import open_sealed, write_sealed

if TYPE_CHECKING:
    import h5py

RECORD = np.dtype([("trajectory", "i8"), ("accepted", "?"), ("delta_h", "f8"), ("iterations", "i8"),
                   ("seconds", "f8"), ("thermalization", "?")])
_GUIDE = "guide_"  # beginning of the names of attributes about the guide
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


class EnsembleFile:
    """Records and observables of one chain, kept in memory; `flush` replaces the file on disk atomically.

    `card_text` is the card of the last session, `changes` how it came to differ from earlier ones: (trajectory after which
    it changed, key, value before, value from then on). `version` is that of the code. `guide`: words about the frozen network of
    a self-learning chain ("network", "trained", "weights_sha256"), none for other chains. `settings`: for an observable, what its
    values depend on besides the links, ready for JSON. `owner`: of its checkpoints, by the first card. Trajectory numbers only
    grow.
    """

    def __init__(self, path: str | os.PathLike, card_text: str, version: str, guide: Mapping[str, str] | None = None):
        self.path, self.card_text, self.version, self.guide = Path(path), card_text, version, dict(guide or {})
        self.owner = owner_of("run", card_text)
        self.changes: list[tuple[int, str, str, str]] = []
        self.settings: dict[str, dict[str, Any]] = {}
        self._rows: list[tuple] = []
        self._observables: dict[str, tuple[list[int], list[np.ndarray]]] = {}

    @classmethod
    def create(cls, path: str | os.PathLike, card_text: str, version: str, guide: Mapping[str, str] | None = None) -> Self:
        """A new chain, on disk from the first flush on; InputError if `path` exists."""
        if os.path.lexists(path):
            raise InputError(f"{path}: a file is there already, a new chain needs another path; "
                             f"go on with the old chain by `slhmc resume`, or give another directory")
        return cls(path, card_text, version, guide)

    @classmethod
    def open(cls, path: str | os.PathLike) -> Self:
        """The chain in `path`; InputError if the file is missing, damaged or not a chain file."""
        with open_sealed(path, "chain") as file:
            guide = {key.removeprefix(_GUIDE): str(value) for key, value in file.attrs.items() if key.startswith(_GUIDE)}
            chain = cls(path, file["card"].asstr()[()], file.attrs["version"], guide)
            chain.owner = str(file.attrs.get("owner", chain.owner))
            chain._rows = file["records"][()].astype(RECORD).tolist()
            if "changes" in file:
                chain.changes = [(int(row[0]), *(word.decode() for word in row.tolist()[1:])) for row in file["changes"][()]]
            for name, group in file["observables"].items():
                trajectories, values = group["trajectory"][()], group["values"][()]
                if len(trajectories) != len(values):
                    raise ValueError(f"{name}: {len(trajectories)} trajectories, {len(values)} values")
                chain._observables[name] = trajectories.tolist(), list(values)
                if "settings" in group.attrs:
                    chain.settings[name] = json.loads(group.attrs["settings"])
        return chain

    @property
    def records(self) -> np.ndarray:
        """All records, a structured array of dtype RECORD (seconds: wall time of the trajectory)."""
        return np.array(self._rows, dtype=RECORD)

    @property
    def observables(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Name -> (trajectories int64[n], values float64 or complex128 [n, ...])."""
        return {name: (np.array(trajectories, dtype=np.int64), np.array(values))
                for name, (trajectories, values) in self._observables.items()}

    def append(self, record: Mapping[str, Any]) -> None:
        """Add the record of one trajectory: a mapping with exactly the fields of RECORD."""
        if set(record) != set(RECORD.names):
            raise ValueError(f"record with fields {sorted(record)}, expected {sorted(RECORD.names)}")
        row = np.array(tuple(record[name] for name in RECORD.names), dtype=RECORD).item()
        _check_grows("record", row[0], self._rows[-1][0] if self._rows else None)
        self._rows.append(row)

    def append_observable(self, name: str, trajectory: int, value: complex | np.ndarray) -> None:
        """Add what was measured after one trajectory: real or complex, any shape, the same for all of one name."""
        value = _measured(name, value)
        trajectories, values = self._observables.get(name, ([], []))
        _check_grows(name, trajectory, trajectories[-1] if trajectories else None)
        if values and (values[0].shape, values[0].dtype) != (value.shape, value.dtype):
            raise ValueError(f"{name}: value of shape {value.shape}, {value.dtype} after values of shape "
                             f"{values[0].shape}, {values[0].dtype}")
        trajectories.append(int(trajectory))
        values.append(value)
        self._observables[name] = trajectories, values

    def change_card(self, card_text: str, trajectory: int, changes: Iterable[tuple[str, str, str]]) -> None:
        """Another card from after `trajectory` on: `changes` are (key, value before, value from then on)."""
        self.card_text = card_text
        self.changes += [(trajectory, *change) for change in changes]

    def truncate(self, trajectory: int) -> None:
        """Forget everything later than `trajectory`: what a resumed run will make again."""
        self._rows = [row for row in self._rows if row[0] <= trajectory]
        self.changes = [(min(after, trajectory), *change) for after, *change in self.changes]  # an older checkpoint
        for name, (trajectories, values) in list(self._observables.items()):
            kept = sum(number <= trajectory for number in trajectories)
            self._observables[name] = trajectories[:kept], values[:kept]
            if not kept:
                del self._observables[name]

    def flush(self) -> None:
        """Write the whole chain under a temporary name and rename it: a kill at any instant leaves the old or the new
        file. InputError if it cannot be written; the old file then stays."""
        write_sealed(self.path, "chain", self._fill)

    def _fill(self, file: "h5py.File") -> None:
        file.attrs["version"], file.attrs["owner"] = self.version, self.owner
        for key, words in self.guide.items():
            file.attrs[_GUIDE + key] = words
        file.create_dataset("card", data=self.card_text)
        file.create_dataset("records", data=self.records)
        if self.changes:
            file.create_dataset("changes", data=np.array(self.changes, dtype=_change_type()))
        group = file.create_group("observables")
        for name, (trajectories, values) in self.observables.items():
            group.create_dataset(f"{name}/trajectory", data=trajectories)
            group.create_dataset(f"{name}/values", data=values)
            if name in self.settings:
                group[name].attrs["settings"] = json.dumps(self.settings[name])


def _change_type() -> np.dtype:
    import h5py

    text = h5py.string_dtype()
    return np.dtype([("trajectory", "i8"), ("key", text), ("was", text), ("now", text)])


def _measured(name: str, value: complex | np.ndarray) -> np.ndarray:
    """`value` as an own float64 or complex128 array."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of an observable: letters, digits and _ only")
    value = np.array(value)
    if value.dtype.kind not in "iufc":
        raise ValueError(f"{name}: value of type {value.dtype}, real or complex numbers expected")
    return value.astype(np.complex128 if value.dtype.kind == "c" else np.float64)


def _check_grows(name: str, trajectory: int, last: int | None) -> None:
    if last is not None and trajectory <= last:
        raise ValueError(f"{name}: trajectory {trajectory} after trajectory {last}; numbers must grow")
