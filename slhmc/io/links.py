"""Gauge configurations in files."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from slhmc.errors import ComputationError, InputError
from slhmc.io.sealed import open_sealed, write_sealed

if TYPE_CHECKING:
    import h5py

UNITARITY_TOLERANCE = 1e-10
_RESERVED = ("extent", "colors")


def save_links(path: str | os.PathLike, links: np.ndarray, **attributes: Any) -> None:
    """Write links U_mu(x) of SU(N), complex[..., z, y, x, mu, row, column] with the last direction first, atomically.

    `attributes`: numbers, strings or small arrays kept beside the links. The disk is touched only after the links
    were seen to be finite and in SU(N) (ComputationError otherwise); InputError if the file cannot be written.
    """
    for name in _RESERVED:
        if name in attributes:
            raise ValueError(f"attribute {name!r} is taken from the shape of the links")
    links = links_to_write(path, links)

    def fill(file: "h5py.File") -> None:
        write_links(file, links)
        for name, value in attributes.items():
            file.attrs[name] = value

    write_sealed(path, "links", fill)


def load_links(path: str | os.PathLike, extent: tuple[int, ...] | None = None,
               colors: int | None = None) -> tuple[np.ndarray, dict[str, Any]]:
    """Links and attributes (with extent (x, y, z, t) and colors) of a file that save_links wrote.

    Raises InputError if the file is missing, damaged or not ours, if the links are not in SU(N) to 1e-10, or if the
    lattice or the group differs from `extent`, `colors`.
    """
    with open_sealed(path, "links") as file:
        attributes = {name: _plain(value) for name, value in file.attrs.items()}
        check_fit(path, attributes, extent, colors)
        return read_links(path, file), attributes


def links_to_write(path: str | os.PathLike, links: np.ndarray) -> np.ndarray:
    """`links` as a complex128 array, refused if it is no array of links (ValueError) or not in SU(N)."""
    links = np.ascontiguousarray(links, dtype=np.complex128)
    lattice_of(links.shape)
    if fault := links_fault(links):
        raise ComputationError(f"{path}: not written: {fault}; look for the cause in the last trajectories "
                               f"(step size, solver tolerance), then resume from the last good file")
    return links


def write_links(file: "h5py.File", links: np.ndarray) -> None:
    """Put checked links and their lattice into an open file."""
    extent, colors = lattice_of(links.shape)
    file.create_dataset("links", data=links)
    file.attrs["extent"] = extent
    file.attrs["colors"] = colors


def read_links(path: str | os.PathLike, file: "h5py.File") -> np.ndarray:
    """The links of a verified open file, checked like those that are written."""
    stored = file["links"]
    if stored.dtype != np.complex128 or stored.id.get_storage_size() != stored.nbytes:  # before memory is taken
        raise ValueError(f"links of type {stored.dtype} and shape {stored.shape} in {stored.id.get_storage_size()} bytes")
    links = stored[()]
    extent, colors = lattice_of(links.shape)
    if tuple(file.attrs["extent"]) != extent or file.attrs["colors"] != colors:
        raise ValueError(f"links of a lattice {extent} with {colors} colors, attributes of another")
    if fault := links_fault(links):
        raise InputError(f"{path}: {fault}; use another configuration")
    return links


def lattice_of(shape: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
    """Extent (x, y, z, t) and number of colors of an array of links; ValueError if the shape is none of links."""
    dimensions = len(shape) - 3
    if not (2 <= dimensions <= 4 and shape[-3] == dimensions and 2 <= shape[-1] == shape[-2] and 0 not in shape):
        raise ValueError(f"shape {tuple(shape)} found, links are [t, z, y, x, mu, row, column] with one mu per "
                         f"direction (2 to 4) and square matrices")
    return tuple(int(length) for length in reversed(shape[:dimensions])), int(shape[-1])


def links_fault(links: np.ndarray) -> str | None:
    """What keeps `links` from being SU(N) matrices to 1e-10, or None; slice by slice to spare memory."""
    colors = links.shape[-1]
    identity = np.eye(colors)
    for index, part in enumerate(links):
        if not np.isfinite(part).all():
            return f"numbers that are not finite in slice {index} of the last direction"
        with np.errstate(over="ignore", invalid="ignore"):
            deviation = np.abs(part @ part.conj().swapaxes(-1, -2) - identity).max()
            determinant = np.abs(np.linalg.det(part) - 1).max()
        if not deviation <= UNITARITY_TOLERANCE:
            return (f"links are not unitary: |U U^+ - 1| = {deviation:.1e} in slice {index} of the last direction, "
                    f"at most {UNITARITY_TOLERANCE:.0e} expected")
        if not determinant <= colors * UNITARITY_TOLERANCE:
            return (f"links are in U({colors}), not SU({colors}): |det U - 1| = {determinant:.1e} in slice {index} of "
                    f"the last direction, at most {colors * UNITARITY_TOLERANCE:.0e} expected")
    return None


def check_fit(path: str | os.PathLike, attributes: Mapping[str, Any], extent: tuple[int, ...] | None,
              colors: int | None, advice: str | None = None) -> None:
    """InputError if the attributes of a file of links are of another lattice or group; None fits all."""
    found = tuple(attributes["extent"])
    if extent is not None and found != tuple(extent):
        raise InputError(f"{path}: links of a lattice {_times(found)} found, {_times(extent)} expected; "
                         f"{advice or 'change [lattice] extent or give another file'}")
    if colors is not None and attributes["colors"] != colors:
        raise InputError(f"{path}: links of SU({attributes['colors']}) found, SU({colors}) expected; "
                         f"{advice or 'change [lattice] colors or give another file'}")


def _times(extent: tuple[int, ...]) -> str:
    return "x".join(str(length) for length in extent)


def _plain(value: Any) -> Any:
    """An HDF5 attribute as the Python value it was written from; arrays of one axis come back as tuples."""
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return tuple(value.tolist())
    return value.item() if isinstance(value, np.generic) else value
