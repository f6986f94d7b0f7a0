"""The file of a trained network: its shape and numbers, the card that trained them, the history of the training."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from slhmc.errors import InputError
from slhmc.io.sealed import open_sealed, write_sealed

if TYPE_CHECKING:
    import h5py


@dataclass(frozen=True)
class Weights:
    """Numbers of a guide: `parameters` by name, the network's in its order, then trained ones of the guide.

    table: what the network is, ready for JSON (slhmc.networks.Network.table). quarks: number of [[quarks]] of the card that
    trained them. Names of trained keys are "quarks.N.mass", "quarks.N.factor", "gauge.beta".
    """

    table: dict[str, Any]
    parameters: dict[str, float]
    quarks: int
    card_text: str = ""
    history: dict[str, np.ndarray] = field(default_factory=dict, compare=False)

    @property
    def trained(self) -> dict[str, float]:
        """Masses, factors and coupling of the guide that were trained along."""
        return {name: value for name, value in self.parameters.items() if name.startswith(("quarks.", "gauge."))}

    @property
    def network_values(self) -> np.ndarray:
        """Parameters of the network, in its order."""
        return np.array([value for name, value in self.parameters.items() if name not in self.trained], np.float64)

    @property
    def digest(self) -> str:
        """sha256 of table and numbers, to the last bit: what frozen weights are known by."""
        told = {"table": self.table, "quarks": self.quarks, "parameters": [[name, float(value).hex()]
                                                                         for name, value in self.parameters.items()]}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def save_weights(path: str | os.PathLike, table: Mapping[str, Any], parameters: Mapping[str, float], card_text: str, quarks: int,
                 history: Mapping[str, np.ndarray] | None = None) -> Weights:
    """Replace the weights file atomically; what it holds, see `Weights`.

    Raises InputError if it cannot be written, ValueError for numbers that are not finite.
    """
    weights = Weights(dict(table), {name: float(value) for name, value in parameters.items()}, int(quarks), card_text,
                      {name: np.asarray(values) for name, values in (history or {}).items()})
    write_weights(path, weights)
    return weights


def write_weights(path: str | os.PathLike, weights: Weights) -> None:
    """As `save_weights`; equal weights give equal bytes."""
    if bad := [name for name, value in weights.parameters.items() if not np.isfinite(value)]:
        raise ValueError(f"weight {bad[0]} = {weights.parameters[bad[0]]}: a finite number expected")

    def fill(file: "h5py.File") -> None:
        import h5py

        text = h5py.string_dtype()
        file.attrs["network"] = json.dumps(weights.table)
        file.attrs["quarks"] = weights.quarks
        file.attrs["sha256"] = weights.digest
        file.create_dataset("card", data=weights.card_text)
        file.create_dataset("names", data=np.array(list(weights.parameters), dtype=object), dtype=text)
        file.create_dataset("values", data=np.array(list(weights.parameters.values()), np.float64))
        for name, values in weights.history.items():
            file.create_dataset(f"history/{name}", data=values)

    write_sealed(path, "weights", fill)


def load_weights(path: str | os.PathLike) -> Weights:
    """The weights in `path`; InputError if the file is missing, damaged or no weights file."""
    with open_sealed(path, "weights") as file:
        names, values = file["names"].asstr()[()].tolist(), file["values"][()]
        if len(names) != len(values) or not np.isfinite(values).all():
            raise ValueError(f"{len(names)} names, {len(values)} values, or numbers that are not finite")
        history = {name: data[()] for name, data in file["history"].items()} if "history" in file else {}
        return Weights(json.loads(file.attrs["network"]), dict(zip(names, values.tolist(), strict=True)),
                       int(file.attrs["quarks"]), file["card"].asstr()[()], history)


def check_weights(path: str | os.PathLike, weights: Weights, colors: int, dimensions: int, quarks: int,
                  table: Mapping[str, Any] | None = None) -> None:
    """InputError unless weights fit the group, the lattice, the number of [[quarks]] and, if given, the keys of [network]."""
    expected = {"colors": colors, "dimensions": dimensions, **(table or {})}
    differing = [key for key in expected if weights.table.get(key) != expected[key]]
    faults = [f"{key} = {json.dumps(weights.table.get(key))} (expected {json.dumps(expected[key])})" for key in differing]
    if weights.quarks != quarks:
        faults.append(f"{weights.quarks} quarks (expected {quarks})")
    if faults:
        raise InputError(f"{path}: weights of a network for {', '.join(faults)}; train one for this card by `slhmc train`, or "
                         "give another guide.network")
