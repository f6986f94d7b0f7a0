"""Data sets: many configurations in one file, with what made them."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from slhmc.errors import InputError
from slhmc.io.sealed import open_sealed, write_sealed

if TYPE_CHECKING:
    import h5py

_NUMBERS_AT_ONCE = 1 << 20  # that are read to see whether they are finite


@dataclass(frozen=True)
class DataSet:
    """links: float64 [sample, mu, real, site], see docs/file-format.md; beta: float64 [sample]; origin: what made them."""

    links: np.ndarray
    beta: np.ndarray
    origin: dict[str, Any]
    extent: tuple[int, ...]
    colors: int


def save_data_set(path: str | os.PathLike, data: DataSet, version: str) -> None:
    """Replace the file atomically; InputError if it cannot be written. version: of the code."""
    def fill(file: "h5py.File") -> None:
        file.attrs["version"] = version
        file.attrs["origin"] = json.dumps(data.origin, sort_keys=True)
        file.attrs["extent"] = data.extent
        file.attrs["colors"] = data.colors
        file.create_dataset("links", data=data.links)
        file.create_dataset("beta", data=data.beta)

    write_sealed(path, "dataset", fill)


def check_data_set(path: str | os.PathLike, origin: Mapping[str, Any]) -> None:
    """As load_data_set, for its errors alone; InputError, too, if a number of the links is none."""
    with open_sealed(path, "dataset") as file:
        check_origin(path, json.loads(file.attrs["origin"]), json.loads(json.dumps(origin)))
        links, bad = file["links"], 0
        at_once = max(1, _NUMBERS_AT_ONCE * len(links) // max(1, links.size))
        for begin in range(0, len(links), at_once):
            bad += int((~np.isfinite(links[begin:begin + at_once])).reshape(-1, links.size // len(links)).any(1).sum())
        if bad:
            raise InputError(f"{path}: links of {bad} of {len(links)} configurations are not finite; remove the file and it is "
                             "made anew")


def load_data_set(path: str | os.PathLike, origin: Mapping[str, Any] | None = None) -> DataSet:
    """The data set in `path`.

    Raises InputError if it is missing, damaged or no data set, or if it was not made as `origin` says.
    """
    with open_sealed(path, "dataset") as file:
        found = json.loads(file.attrs["origin"])
        if origin is not None:
            check_origin(path, found, json.loads(json.dumps(origin)))
        extent, colors = tuple(int(n) for n in file.attrs["extent"]), int(file.attrs["colors"])
        links, beta = file["links"][()], file["beta"][()]
        expected = (len(beta), len(extent), 4 if colors == 2 else 2 * colors * colors, int(np.prod(extent)))
        if links.shape != expected:
            raise ValueError(f"links of shape {links.shape} found, {expected} expected")
        return DataSet(links, beta, found, extent, colors)


def check_origin(path: str | os.PathLike, found: dict, expected: dict) -> None:
    """InputError, with what differs, unless a data set was made as expected."""
    ours, theirs = dict(_flat(expected)), dict(_flat(found))
    differing = [f"{key} = {_words(theirs, key)} ({_words(ours, key)} expected)" for key in theirs | ours
                 if theirs.get(key) != ours.get(key)]
    if differing:
        raise InputError(f"{path}: a data set made by another card: {', '.join(differing)}; change the card, give another "
                         "data.directory, or remove the file")


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield path, value
        return
    for key, entry in value.items():
        yield from _flat(entry, f"{path}.{key}" if path else key)


def _words(flat: dict, key: str) -> str:
    text = json.dumps(flat[key]) if key in flat else "nothing"
    return text if len(text) <= 60 else text[:57] + "..."
