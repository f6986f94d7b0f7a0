"""Files of links of any format, by one rank or by all, each its slices through MPI-IO; they appear whole or not at all."""

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from slhmc.errors import ComputationError, InputError
from slhmc.io.atomic import TEMPORARY_SUFFIX, describe, replace_file, sync_directory, target_of
from slhmc.io.formats import milc, native, nersc, openqcd
from slhmc.io.formats.configuration import FORMATS
from slhmc.io.formats.description import DOUBLE
from slhmc.io.formats.layout import Encoded
from slhmc.io.formats.matrices import DEVIATION_LIMIT, deviations, last_row, project
from slhmc.io.formats.part import Part, together
from slhmc.io.links import links_fault, save_links

TWO_ROWS = "nersc-2x3"
NAMES = (*(module.NAME for module in FORMATS), TWO_ROWS)
_MESSAGE = 1 << 30  # bytes at once: MPI counts are ints


def write_configuration(path: str | os.PathLike, part: Part, name: str, precision: str | None = None,
                        trajectory: int = 0) -> str:
    """Write links in the format `name` of NAMES, in a precision; None: that of the links, if the format has it; returns
    the precision of the file. Collective.

    trajectory: its number, for the formats with a place for it, slhmc and NERSC. A rank writes its own slices (MPI.File); only
    the format slhmc is written by rank 0 alone. Raises InputError if the format has no such lattice, group or precision, or if
    the file cannot be written; ComputationError if links are not in SU(N) to 1e-5.
    """
    module = _module(name)
    _check_lattice(path, name, part)
    precision = precision or ("single" if part.links.dtype == np.complex64 else DOUBLE)
    if precision not in module.PRECISIONS:
        precision = _only_precision(path, module, precision, part)
    rounded = part.in_precision(precision)
    _refuse_other_fields(path, rounded)
    if module is native:
        _write_native(path, rounded, trajectory)
        return precision
    if name == TWO_ROWS:  # the numbers in the header are those of links as a reader completes them
        rounded = Part(last_row(rounded.links[..., :2, :]), part.slices, part.communicator)
        _refuse_other_fields(path, rounded, " once the third row is computed; use nersc, with all rows")
    plaquette, link_trace = rounded.averages()
    encoded = module.encode(rounded, {"precision": precision, "plaquette": plaquette, "link_trace": link_trace,
                                      "rows": 2 if name == TWO_ROWS else None, "trajectory": trajectory})
    checksum = _checksum(module, encoded, rounded)
    _write(Path(path), encoded, checksum, rounded)
    return precision


def format_of(path: str | os.PathLike) -> str:
    """The format that a suffix stands for; InputError for others."""
    suffix = Path(path).suffix
    for module in FORMATS:
        if suffix in module.SUFFIXES:
            return module.NAME
    known = ", ".join(suffix for module in FORMATS for suffix in module.SUFFIXES)
    raise InputError(f"{path}: no format has the suffix {suffix!r}; give --format ({', '.join(NAMES)}), or one of {known}")


def _module(name: str) -> ModuleType:
    if name == TWO_ROWS:
        return nersc
    for module in FORMATS:
        if name == module.NAME:
            return module
    raise InputError(f"format {name!r} found, one of {', '.join(NAMES)} expected")


def _only_precision(path: str | os.PathLike, module: ModuleType, precision: str, part: Part) -> str:
    """Single links fit into a format of doubles; the other way digits would be lost unasked."""
    if precision == "single":
        return DOUBLE
    raise InputError(f"{path}: {module.NAME} files are in single precision, the links are not; say --precision single")


def _check_lattice(path: str | os.PathLike, name: str, part: Part) -> None:
    lattice = "x".join(map(str, part.extent))
    if name not in ("npy", native.NAME) and len(part.extent) != 4:
        raise InputError(f"{path}: {name} files are of four dimensions, the lattice is {lattice}; use npy or slhmc")
    if name in (milc.NAME, openqcd.NAME, TWO_ROWS) and part.colors != 3:
        raise InputError(f"{path}: {name} files are of SU(3), the links are in SU({part.colors}); use ildg, nersc, npy or slhmc")
    if name == openqcd.NAME and any(length % 2 for length in part.extent):
        raise InputError(f"{path}: {name} files have even extents, the lattice is {lattice}; use another format")


def _refuse_other_fields(path: str | os.PathLike, part: Part, advice: str = "") -> None:
    """What no reader would take is not written. Collective."""
    worst = np.max([deviations(links.astype(np.complex128, copy=False)).max() for links in part.links])
    worst = np.max(part.communicator.allgather(worst))
    if not worst <= DEVIATION_LIMIT:
        raise ComputationError(f"{path}: not written: links are not in SU({part.colors}) by up to {worst:.1e}, at most "
                               f"{DEVIATION_LIMIT:.0e} expected{advice}")


def _write_native(path: str | os.PathLike, part: Part, trajectory: int) -> None:
    links = part.gather()

    def save() -> None:
        if links is not None:
            save_links(path, links if links_fault(links) is None else project(links),
                       **({"trajectory": trajectory} if trajectory else {}))
    together(part.communicator, save)


def _checksum(module: ModuleType, encoded: Encoded, part: Part) -> str:
    if module.CHECKSUM is None:
        return ""
    checksum = module.CHECKSUM()
    sites = len(encoded.data) // len(part.links)
    for first in range(0, len(encoded.data), sites):
        checksum.add(encoded.data[first:first + sites], part.begin * sites + first)
    checksum.combine(part.communicator.allgather(checksum.state))
    return checksum.text()


def _write(path: Path, encoded: Encoded, checksum: str, part: Part) -> None:
    head, tail = encoded.head(checksum), encoded.tail(checksum)
    data = memoryview(encoded.data.reshape(-1).view(np.uint8))
    if part.communicator.size == 1:
        replace_file(path, [head, data, tail])
        return
    slice_bytes = data.nbytes // len(part.links)
    pieces = [(len(head) + part.begin * slice_bytes, data)]
    if part.communicator.rank == 0:
        pieces += [(0, memoryview(head)), (len(head) + part.slices * slice_bytes, memoryview(tail))]
    _write_together(together(part.communicator, lambda: target_of(path)), pieces, part.communicator)


def _write_together(path: Path, pieces: list[tuple[int, memoryview]], communicator: Any) -> None:
    """Each rank its pieces into one temporary file, which rank 0 puts in place. Collective."""
    from mpi4py import MPI

    name = communicator.bcast(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    temporary = path.with_name(name)

    def step(function: Callable[..., Any], *arguments: Any) -> Any:
        """A step of all ranks: those that succeed learn of those that do not before they go on to what is collective in MPI."""
        def attempt() -> Any:
            try:
                return function(*arguments)
            except MPI.Exception as error:
                raise InputError(f"{path}: cannot be written through MPI-IO: {error.Get_error_string()}; check the directory "
                                 "and the space that is left, or convert on one rank") from error
        return together(communicator, attempt)

    try:
        file = step(MPI.File.Open, communicator, str(temporary), MPI.MODE_WRONLY | MPI.MODE_CREATE | MPI.MODE_EXCL)
        try:
            step(_write_pieces, file, pieces)
            step(file.Sync)
        finally:
            file.Close()
        if communicator.rank == 0:
            together(communicator, lambda: _put_in_place(temporary, path))
        else:
            together(communicator, lambda: None)
    finally:
        if communicator.rank == 0:
            with suppress(OSError):
                temporary.unlink()


def _write_pieces(file: Any, pieces: list[tuple[int, memoryview]]) -> None:
    for offset, data in pieces:
        for begin in range(0, len(data), _MESSAGE):
            file.Write_at(offset + begin, data[begin:begin + _MESSAGE])


def _put_in_place(temporary: Path, path: Path) -> None:
    try:
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {describe(error)}") from error
    sync_directory(path.parent)
