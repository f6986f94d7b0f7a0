"""The point from which a run goes on: links, trajectory number, and whatever state the simulation keeps."""

import hashlib
import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from slhmc.errors import InputError
from slhmc.io.links import check_fit, links_to_write, read_links, write_links
from slhmc.io.sealed import open_sealed, write_sealed

if TYPE_CHECKING:
    import h5py

_ARRAY = "__array__"


def owner_of(kind: str, card_text: str) -> str:
    """What a checkpoint belongs to: "run", "scalar run", "training" or "fit", and the sha256 of the card that it began with."""
    return f"{kind} {hashlib.sha256(card_text.encode()).hexdigest()}"


def check_owner(path: str | os.PathLike, file: "h5py.File", owner: str | None) -> None:
    """InputError if an open checkpoint is not of `owner` (None: of anyone); files of earlier versions do not say."""
    found = str(file.attrs.get("owner", owner))
    if owner is not None and found != owner:
        kind, expected = found.rpartition(" ")[0], owner.rpartition(" ")[0]
        raise InputError(f"{path}: the checkpoint of {'another' if kind == expected else 'a'} {kind} found, that of this "
                         f"{expected} expected; put it back, or a copy of it")


def save_checkpoint(path: str | os.PathLike, links: np.ndarray, trajectory: int, state: dict[str, Any],
                    owner: str | None) -> None:
    """Replace the checkpoint atomically.

    `links` as in save_links; `state` may nest dicts with string keys, lists, strings, numbers, booleans, None and
    NumPy arrays or scalars, all of which come back equal to the last bit (tuples as lists; TypeError for other types);
    `owner` as of owner_of; None does not say whose it is.
    Raises InputError if it cannot be written, ComputationError for links outside SU(N); the old file then stays.
    """
    links = links_to_write(path, links)
    write = state_writer(state, owner)

    def fill(file: "h5py.File") -> None:
        write_links(file, links)
        file.attrs["trajectory"] = int(trajectory)
        write(file)

    write_sealed(path, "checkpoint", fill)


def load_checkpoint(path: str | os.PathLike, owner: str | None = None, extent: tuple[int, ...] | None = None,
                    colors: int | None = None) -> tuple[np.ndarray, int, dict[str, Any]]:
    """(links, trajectory, state) as save_checkpoint got them.

    Raises InputError if missing, damaged or not ours, if it is not of `owner`, or if the lattice or the group differs
    from `extent`, `colors`.
    """
    with open_sealed(path, "checkpoint") as file:
        state = read_state(path, file, owner)
        check_fit(path, file.attrs, extent, colors, "put back the checkpoint of this run")
        return read_links(path, file), int(file.attrs["trajectory"]), state


def state_writer(state: dict[str, Any], owner: str | None) -> Callable[["h5py.File"], None]:
    """What puts `state` and `owner` (as in save_checkpoint) into an open file; TypeError for what no file can keep."""
    arrays: list[np.ndarray] = []
    text = json.dumps(_encode(state, arrays))

    def write(file: "h5py.File") -> None:
        if owner is not None:
            file.attrs["owner"] = owner
        file.create_dataset("state", data=text)
        for index, array in enumerate(arrays):
            file.create_dataset(f"arrays/{index}", data=array)
    return write


def read_state(path: str | os.PathLike, file: "h5py.File", owner: str | None) -> dict[str, Any]:
    """The state in a verified open file; InputError if it is not of `owner`."""
    check_owner(path, file, owner)
    return _decode(json.loads(file["state"].asstr()[()]), file)


def _encode(value: Any, arrays: list[np.ndarray]) -> Any:
    """`value` for JSON, with arrays moved to `arrays` and their place marked."""
    if isinstance(value, np.ndarray | np.generic | complex):
        arrays.append(np.asarray(value))
        return {_ARRAY: len(arrays) - 1}
    if isinstance(value, dict):
        if wrong := [key for key in value if not isinstance(key, str) or key == _ARRAY]:
            raise TypeError(f"state has the key {wrong[0]!r}, which a checkpoint cannot keep")
        return {key: _encode(entry, arrays) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(entry, arrays) for entry in value]
    return value


def _decode(value: Any, file: "h5py.File") -> Any:
    if isinstance(value, list):
        return [_decode(entry, file) for entry in value]
    if isinstance(value, dict):
        if _ARRAY in value:
            return file[f"arrays/{value[_ARRAY]}"][()]
        return {key: _decode(entry, file) for key, entry in value.items()}
    return value
