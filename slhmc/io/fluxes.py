"""Data sets of fluxes of the complex scalar field: configurations, their couplings and open worms, with what made them."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from slhmc.io.datasets import check_origin
from slhmc.io.sealed import open_sealed, write_sealed

if TYPE_CHECKING:
    import h5py


@dataclass(frozen=True)
class FluxSet:
    """fluxes: integers [sample, channel, x, t], channels k_1, k_2, l_1, l_2; couplings: float64 [sample, 2], eta and mu;
    open_worms: int64 [sample]; observables: float64 [sample, 2], n and |phi|^2, NaN beside open worms; origin: what made them.
    """

    fluxes: np.ndarray
    couplings: np.ndarray
    open_worms: np.ndarray
    observables: np.ndarray
    origin: dict[str, Any]


def save_flux_set(path: str | os.PathLike, data: FluxSet, version: str) -> None:
    """Replace the file atomically; fluxes as the smallest integers that hold them. InputError if it cannot be written."""
    def fill(file: "h5py.File") -> None:
        file.attrs["version"] = version
        file.attrs["origin"] = json.dumps(data.origin, sort_keys=True)
        largest = max(int(data.fluxes.max(initial=0)), -int(data.fluxes.min(initial=0)))
        file.create_dataset("fluxes", data=data.fluxes.astype(np.min_scalar_type(-largest - 1)))
        for name in ("couplings", "open_worms", "observables"):
            file.create_dataset(name, data=getattr(data, name))

    write_sealed(path, "fluxset", fill)


def check_flux_set(path: str | os.PathLike, origin: Mapping[str, Any]) -> None:
    """As load_flux_set, for its errors alone."""
    with open_sealed(path, "fluxset") as file:
        check_origin(path, json.loads(file.attrs["origin"]), json.loads(json.dumps(origin)))


def load_flux_set(path: str | os.PathLike, origin: Mapping[str, Any] | None = None) -> FluxSet:
    """The data set in `path`.

    Raises InputError if it is missing, damaged or no data set of fluxes, or if it was not made as `origin` says.
    """
    with open_sealed(path, "fluxset") as file:
        found = json.loads(file.attrs["origin"])
        if origin is not None:
            check_origin(path, found, json.loads(json.dumps(origin)))
        arrays = {name: file[name][()] for name in ("fluxes", "couplings", "open_worms", "observables")}
        samples = len(arrays["fluxes"])
        shapes = {name: array.shape for name, array in arrays.items() if name != "fluxes"}
        if shapes != {"couplings": (samples, 2), "open_worms": (samples,), "observables": (samples, 2)}:
            raise ValueError(f"arrays of shapes {shapes} found for {samples} samples")
        return FluxSet(**arrays, origin=found)
