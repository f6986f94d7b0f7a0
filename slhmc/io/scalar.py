"""Files of a run of the complex scalar field: the series of all chains, configurations, the checkpoint."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from slhmc.errors import InputError
from slhmc.io.checkpoint import owner_of, read_state, state_writer
from slhmc.io.sealed import open_sealed, sealed_kind, write_sealed

if TYPE_CHECKING:
    import h5py

_COUPLINGS = ("eta", "coupling", "mu")
_AVERAGES = ("density", "phi_squared")


def is_scalar_chain(path: str | os.PathLike) -> bool:
    """Whether a chain file is one of the scalar field, by its header; False if there is none."""
    return os.path.isfile(path) and sealed_kind(path) == "scalar"


class FluxChains:
    """n and |phi|^2 of all chains, measured after sweeps, in memory; `flush` replaces the file atomically.

    couplings: eta, coupling (lambda) and mu, each float64 [chain]. `card_text`: the card of the last session. `thermalization`:
    measurements after so many sweeps count as production. `owner`: of its checkpoints, by the first card.
    """

    def __init__(self, path: str | os.PathLike, card_text: str, version: str, couplings: Mapping[str, np.ndarray],
                 thermalization: int):
        self.path, self.card_text, self.version, self.thermalization = Path(path), card_text, version, thermalization
        self.owner = owner_of("scalar run", card_text)
        self.couplings = {name: np.asarray(couplings[name], dtype=np.float64) for name in _COUPLINGS}
        self._sweeps: list[int] = []
        self._seconds: list[float] = []
        self._values: dict[str, list[np.ndarray]] = {name: [] for name in _AVERAGES}

    @classmethod
    def open(cls, path: str | os.PathLike) -> Self:
        """The chains in `path`; InputError if the file is missing, damaged or of another kind."""
        with open_sealed(path, "scalar") as file:
            couplings = {name: file[name][()] for name in _COUPLINGS}
            chains = cls(path, file["card"].asstr()[()], file.attrs["version"], couplings, int(file.attrs["thermalization"]))
            chains.owner = str(file.attrs.get("owner", chains.owner))
            chains._sweeps, chains._seconds = file["sweep"][()].tolist(), file["seconds"][()].tolist()
            shape = (len(chains._sweeps), len(couplings["mu"]))
            for name in _AVERAGES:
                values = file[name][()]
                if values.shape != shape or len(chains._seconds) != shape[0]:
                    raise ValueError(f"{name} of shape {values.shape}, expected {shape}")
                chains._values[name] = list(values)
        return chains

    @property
    def sweeps(self) -> np.ndarray:
        """int64 [measurement]: sweeps after which they were made, thermalization included."""
        return np.array(self._sweeps, dtype=np.int64)

    @property
    def seconds(self) -> np.ndarray:
        """float64 [measurement]: wall time of the sweeps since the one before."""
        return np.array(self._seconds, dtype=np.float64)

    def values(self, name: str) -> np.ndarray:
        """float64 [measurement, chain] of "density" or "phi_squared"."""
        return np.array(self._values[name]).reshape(len(self._sweeps), len(self.couplings["mu"]))

    def append(self, sweep: int, seconds: float, density: np.ndarray, phi_squared: np.ndarray) -> None:
        """Add what was measured after `sweep`, each [chain]; sweeps only grow."""
        if self._sweeps and sweep <= self._sweeps[-1]:
            raise ValueError(f"sweep {sweep} after sweep {self._sweeps[-1]}; numbers of sweeps must grow")
        self._sweeps.append(int(sweep))
        self._seconds.append(float(seconds))
        for name, values in zip(_AVERAGES, (density, phi_squared), strict=True):
            self._values[name].append(np.array(values, dtype=np.float64))

    def truncate(self, sweep: int) -> None:
        """Forget everything later than `sweep`: what a resumed run will make again."""
        kept = sum(number <= sweep for number in self._sweeps)
        for series in (self._sweeps, self._seconds, *self._values.values()):
            del series[kept:]

    def flush(self) -> None:
        """Write all under a temporary name and rename it; InputError if that cannot be done, the old file then stays."""
        write_sealed(self.path, "scalar", self._fill)

    def _fill(self, file: "h5py.File") -> None:
        file.attrs["version"], file.attrs["owner"] = self.version, self.owner
        file.attrs["thermalization"] = self.thermalization
        file.create_dataset("card", data=self.card_text)
        file.create_dataset("sweep", data=self.sweeps)
        file.create_dataset("seconds", data=self.seconds)
        for name, values in self.couplings.items():
            file.create_dataset(name, data=values)
        for name in _AVERAGES:
            file.create_dataset(name, data=self.values(name))


@dataclass(frozen=True)
class FluxConfigurations:
    """The fields of all chains after one sweep: k, l int32 [chain, t, x, nu], the others float64 [chain]."""

    k: np.ndarray
    l: np.ndarray  # noqa: E741 - the name that it has in the literature
    eta: np.ndarray
    coupling: np.ndarray
    mu: np.ndarray
    density: np.ndarray
    phi_squared: np.ndarray
    sweep: int


def save_fluxes(path: str | os.PathLike, fluxes: FluxConfigurations) -> None:
    """Write the fields atomically, k and l as the smallest of int8, int16, int32 that holds every number."""
    def fill(file: "h5py.File") -> None:
        file.attrs["sweep"] = fluxes.sweep
        for name in ("k", "l"):
            file.create_dataset(name, data=smallest_integers(getattr(fluxes, name)))
        for name in (*_COUPLINGS, *_AVERAGES):
            file.create_dataset(name, data=np.asarray(getattr(fluxes, name), dtype=np.float64))

    write_sealed(path, "fluxes", fill)


def load_fluxes(path: str | os.PathLike) -> FluxConfigurations:
    """What `save_fluxes` got; InputError if the file is missing, damaged or not of this kind."""
    with open_sealed(path, "fluxes") as file:
        k, ell = (file[name][()].astype(np.int32) for name in ("k", "l"))
        numbers = {name: file[name][()] for name in (*_COUPLINGS, *_AVERAGES)}
        if k.ndim != 4 or k.shape != ell.shape or any(values.shape != k.shape[:1] for values in numbers.values()):
            raise ValueError(f"k of shape {k.shape}, l of shape {ell.shape}, numbers of each chain of other shapes")
        return FluxConfigurations(k, ell, **numbers, sweep=int(file.attrs["sweep"]))


def smallest_integers(values: np.ndarray) -> np.ndarray:
    """The same integers as int8, int16 or int32; InputError for what is beyond: nothing is ever cut off."""
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    for kind in (np.int8, np.int16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return values.astype(kind)
    raise InputError(f"integers from {low} to {high} found; files have 32 bits for them")


def save_flux_checkpoint(path: str | os.PathLike, k: np.ndarray, ell: np.ndarray, sweep: int, owner: str | None) -> None:
    """Replace the checkpoint atomically; `owner` as in save_checkpoint."""
    state: dict[str, Any] = {"k": smallest_integers(k), "l": smallest_integers(ell), "sweep": sweep}
    write_sealed(path, "checkpoint", state_writer(state, owner))


def load_flux_checkpoint(path: str | os.PathLike, owner: str | None = None) -> tuple[np.ndarray, np.ndarray, int]:
    """(k, l, sweep) as save_flux_checkpoint got them; InputError if missing, damaged or not of `owner`."""
    with open_sealed(path, "checkpoint") as file:
        state = read_state(path, file, owner)
        return state["k"].astype(np.int32), state["l"].astype(np.int32), int(state["sweep"])
