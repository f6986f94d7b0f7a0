"""The file of measurements on saved configurations: for each observable what it was made with, and a value a configuration."""

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from slhmc.errors import InputError
from slhmc.io.atomic import describe
from slhmc.io.collection import KeptConfiguration, fingerprint
from slhmc.io.sealed import open_sealed, write_sealed

if TYPE_CHECKING:
    import h5py

_CONFIGURATIONS = "configurations"  # no observable

logger = logging.getLogger(__name__)


class MeasurementFile:
    """Values by observable and trajectory, kept in memory; `flush` replaces the file on disk atomically.

    `settings`: for each observable, what its values depend on besides the links, ready for JSON. `labels`: names along the first
    axis of a value, if it has any. `configurations`: by trajectory the name of the file and its fingerprint (io/collection.py) as
    it was measured. `lattice`: extent and colors of the links, None where a file of an earlier version does not say.
    """

    def __init__(self, path: str | os.PathLike, version: str):
        self.path, self.version = Path(path), version
        self.lattice: dict[str, Any] | None = None
        self.settings: dict[str, dict[str, Any]] = {}
        self.labels: dict[str, tuple[str, ...]] = {}
        self.configurations: dict[int, tuple[str, str]] = {}
        self._values: dict[str, dict[int, np.ndarray]] = {}

    @classmethod
    def open(cls, path: str | os.PathLike, version: str) -> Self:
        """The measurements in `path`, see `read`."""
        result = cls(path, version)
        result.read()
        return result

    def read(self) -> None:
        """Take what the file holds, nothing if there is none; InputError if it is damaged or of another kind."""
        if not os.path.lexists(self.path):
            return
        with open_sealed(self.path, "measurements") as file:
            if "extent" in file.attrs:
                self.lattice = {"extent": file.attrs["extent"].tolist(), "colors": int(file.attrs["colors"])}
            for name, group in file.items():
                if name == _CONFIGURATIONS:
                    names, prints = (group[key].asstr()[()].tolist() for key in ("file", "fingerprint"))
                    found = zip(names, prints, strict=True)
                    self.configurations = dict(zip(group["trajectory"][()].tolist(), found, strict=True))
                    continue
                trajectories, values = group["trajectory"][()].tolist(), group["values"][()]
                if len(trajectories) != len(values):
                    raise ValueError(f"{name}: {len(trajectories)} trajectories, {len(values)} values")
                self.settings[name] = json.loads(group.attrs["settings"])
                self.labels[name] = tuple(str(label) for label in group.attrs["labels"])
                self._values[name] = dict(zip(trajectories, values, strict=True))

    def begin_lattice(self, extent: tuple[int, ...], colors: int) -> None:
        """Of the links whose measurements will follow; InputError if the file has measurements of others."""
        lattice = {"extent": list(extent), "colors": colors}
        if self.lattice not in (None, lattice):
            has, asked = (f"SU({found['colors']}) on {'x'.join(map(str, found['extent']))}" for found in (self.lattice, lattice))
            raise InputError(f"{self.path}: holds measurements of {has}, the card says {asked}; give the card of these links, or "
                             "measure into another file by -o")
        self.lattice = lattice

    def begin(self, name: str, settings: dict[str, Any], labels: tuple[str, ...] = ()) -> None:
        """An observable that values will follow of; InputError if the file has values of it made with other settings."""
        settings = json.loads(json.dumps(settings))  # as it will be read
        kept = self.settings.setdefault(name, settings)
        if kept != settings:
            changed = ", ".join(f"{key} = {json.dumps(kept.get(key))} (asked for: {json.dumps(settings.get(key))})"
                                for key in kept | settings if kept.get(key) != settings.get(key))
            raise InputError(f"{self.path}: holds {name} with {changed}; measure into another file by -o, or remove this one")
        self.labels[name] = labels
        self._values.setdefault(name, {})

    def check(self, configuration: KeptConfiguration) -> None:
        """InputError if what was measured after that trajectory was another file, or this one before it was changed; ReadError
        if that cannot be known, as it cannot be read."""
        name = configuration.path.name
        known = next((number for number, (file, _) in self.configurations.items() if file == name), configuration.number)
        if known != configuration.number:
            raise InputError(f"{self.path}: {name} was measured as number {known}, it is number {configuration.number} now; "
                             "measure into another file by -o, or say where the number is by --files")
        if configuration.number not in self.configurations:
            return
        name, kept = self.configurations[configuration.number]
        if name != configuration.path.name:
            raise InputError(f"{self.path}: number {configuration.number} was measured on {name}, which is "
                             f"{configuration.path.name} now; measure into another file by -o, or choose files by --files")
        if kept != fingerprint(configuration.path):
            raise InputError(f"{configuration.path}: has changed since it was measured into {self.path}; restore it, or measure "
                             "all anew into another file by -o")

    def forget(self, after: int) -> None:
        """Drop what was measured after later trajectories, of links that are no more part of the chain; on disk, too."""
        if max(self.configurations, default=after) <= after:
            return
        self.configurations = {number: entry for number, entry in self.configurations.items() if number <= after}
        self._values = {name: {number: value for number, value in values.items() if number <= after}
                        for name, values in self._values.items()}
        self.flush()

    def has(self, name: str, trajectory: int) -> bool:
        """Whether the observable was measured after that trajectory."""
        return trajectory in self._values.get(name, {})

    def add(self, name: str, trajectory: int, value: np.ndarray) -> None:
        """What was measured after one trajectory: real or complex numbers, of one shape for each name."""
        value = np.array(value)
        self._values[name][trajectory] = value.astype(np.complex128 if value.dtype.kind == "c" else np.float64)

    def series(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(trajectories int64[n], values [n, ...]) in the order of trajectories."""
        entries = sorted(self._values.get(name, {}).items())
        return np.array([number for number, _ in entries], np.int64), np.array([value for _, value in entries])

    @property
    def names(self) -> list[str]:
        """Observables with at least one value."""
        return [name for name, values in self._values.items() if values]

    def flush(self) -> None:
        """Write all under a temporary name and rename it; InputError if that cannot be done, the old file then stays."""
        write_sealed(self.path, "measurements", self._fill)

    def _fill(self, file: "h5py.File") -> None:
        import h5py

        file.attrs["version"] = self.version
        if self.lattice is not None:
            file.attrs["extent"], file.attrs["colors"] = np.array(self.lattice["extent"], np.int64), self.lattice["colors"]
        if self.configurations:
            entries = sorted(self.configurations.items())
            group, text = file.create_group(_CONFIGURATIONS), h5py.string_dtype()
            group.create_dataset("trajectory", data=np.array([number for number, _ in entries], np.int64))
            for place, key in enumerate(("file", "fingerprint")):
                group.create_dataset(key, data=np.array([entry[place] for _, entry in entries], dtype=object), dtype=text)
        for name in self.names:
            group, (trajectories, values) = file.create_group(name), self.series(name)
            group.attrs["settings"] = json.dumps(self.settings[name])
            group.attrs.create("labels", np.array(self.labels[name], dtype=object), dtype=h5py.string_dtype())
            group.create_dataset("trajectory", data=trajectories)
            group.create_dataset("values", data=values)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second process from measuring into this file; the lock is free again when the process dies."""
        if self.path.is_dir():  # "." has no name
            raise InputError(f"{self.path}: a directory found, the name of a file of measurements expected; give one by -o FILE")
        lock = self.path.with_name(f".{self.path.name}.lock")
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be locked: {describe(error)}, by -o FILE") from error
        try:
            _take(descriptor, self.path)
            yield
        finally:
            os.close(descriptor)


def _take(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(f"{path}: another `slhmc measure` is at work on it; wait for it, or give another -o") from error
    except OSError as error:
        logger.warning("%s: this file system has no locks (%s); see that only one process measures into it", path, error.strerror)
