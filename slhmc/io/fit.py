"""Files of a regression: its history, the state that it goes on from, the tensors of a trained network."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from slhmc.io.checkpoint import owner_of, read_state, state_writer
from slhmc.io.sealed import open_sealed, write_sealed

if TYPE_CHECKING:
    import h5py

EPOCH = np.dtype([("epoch", "i8"), ("loss", "f8"), ("validation", "f8"), ("mse_site", "f8"), ("mse_average", "f8"),
                  ("learning_rate", "f8"), ("seconds", "f8")])


class FitFile:
    """One row for each epoch, in memory; `flush` replaces the file atomically.

    loss: mean over the batches of the epoch, each before its step. validation: the loss of the validation set after the epoch,
    which is mse_site, or mse_average where the network has one number a configuration. Epoch 0 is the start; numbers only grow.
    `owner`: of its checkpoints, by the first card.
    """

    def __init__(self, path: str | os.PathLike, card_text: str, version: str):
        self.path, self.card_text, self.version = Path(path), card_text, version
        self.owner = owner_of("fit", card_text)
        self._rows: list[tuple] = []

    @classmethod
    def open(cls, path: str | os.PathLike) -> Self:
        """The history in `path`; InputError if the file is missing, damaged or of another kind."""
        with open_sealed(path, "fit") as file:
            history = cls(path, file["card"].asstr()[()], file.attrs["version"])
            history.owner = str(file.attrs.get("owner", history.owner))
            history._rows = file["epochs"][()].astype(EPOCH).tolist()
        return history

    @property
    def epochs(self) -> np.ndarray:
        """All epochs, a structured array of dtype EPOCH."""
        return np.array(self._rows, EPOCH)

    def append(self, row: Mapping[str, float]) -> None:
        """Add an epoch: a number for each field of EPOCH."""
        if self._rows and row["epoch"] <= self._rows[-1][0]:
            raise ValueError(f"epoch {row['epoch']} after epoch {self._rows[-1][0]}; numbers of epochs must grow")
        self._rows.append((int(row["epoch"]), *(float(row[name]) for name in EPOCH.names[1:])))

    def truncate(self, epoch: int) -> None:
        """Forget everything later than `epoch`: what a resumed fit will make again."""
        self._rows = [row for row in self._rows if row[0] <= epoch]

    def flush(self) -> None:
        """Write all under a temporary name and rename it; InputError if that cannot be done, the old file then stays."""
        write_sealed(self.path, "fit", self._fill)

    def _fill(self, file: "h5py.File") -> None:
        file.attrs["version"], file.attrs["owner"] = self.version, self.owner
        file.create_dataset("card", data=self.card_text)
        file.create_dataset("epochs", data=self.epochs)


def save_fit_state(path: str | os.PathLike, state: dict[str, Any], owner: str) -> None:
    """Replace the checkpoint of a fit atomically; `state` and `owner` as in save_checkpoint."""
    write_sealed(path, "checkpoint", state_writer(state, owner))


def load_fit_state(path: str | os.PathLike, owner: str | None = None) -> dict[str, Any]:
    """What `save_fit_state` got; InputError if the file is missing, damaged or not of `owner`."""
    with open_sealed(path, "checkpoint") as file:
        return read_state(path, file, owner)


def save_model(path: str | os.PathLike, tensors: Mapping[str, np.ndarray], card_text: str, epoch: int) -> None:
    """Replace the file of a trained network atomically: its tensors by name, the card that it is of, the epoch they are from."""
    def fill(file: "h5py.File") -> None:
        file.attrs["epoch"] = epoch
        file.attrs["sha256"] = _digest(tensors, card_text)
        file.create_dataset("card", data=card_text)
        for name, values in tensors.items():
            file.create_dataset(f"tensors/{name}", data=values)

    write_sealed(path, "model", fill)


def load_model(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], str, int]:
    """(tensors, card, epoch) as save_model got them; InputError if the file is missing, damaged or no trained network."""
    with open_sealed(path, "model") as file:
        tensors = {name: values[()] for name, values in file["tensors"].items()}
        card_text = file["card"].asstr()[()]
        if file.attrs["sha256"] != _digest(tensors, card_text):
            raise ValueError("the hash of card and tensors is another")
        return tensors, card_text, int(file.attrs["epoch"])


def model_digest(path: str | os.PathLike) -> str:
    """The sha256 of card and tensors that `path` holds; errors as of load_model."""
    with open_sealed(path, "model") as file:
        return str(file.attrs["sha256"])


def _digest(tensors: Mapping[str, np.ndarray], card_text: str) -> str:
    """sha256 of the card and of all tensors, in the order of their names."""
    digest = hashlib.sha256(card_text.encode())
    for name in sorted(tensors):
        values = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {values.dtype} {values.shape}".encode() + values.tobytes())
    return digest.hexdigest()
