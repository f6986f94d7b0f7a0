"""Files of links of any format: recognised, read, checked."""

import os
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from slhmc.errors import InputError
from slhmc.io.formats import array, ildg, milc, native, nersc, openqcd
from slhmc.io.formats.bounded import BoundedFile
from slhmc.io.formats.description import Description
from slhmc.io.formats.matrices import DEVIATION_LIMIT, project
from slhmc.io.formats.part import Part, share, together
from slhmc.io.formats.source import Source
from slhmc.io.links import UNITARITY_TOLERANCE, check_fit
from slhmc.io.sealed import sealed_kind
from slhmc.lattice.communicator import SerialCommunicator

# openQCD's has no magic number: it is asked last
FORMATS: tuple[ModuleType, ...] = (ildg, nersc, milc, array, native, openqcd)


@dataclass(frozen=True)
class Configuration:
    """A file of links that was read, and what was found. `faults`: a sentence for each check that failed.

    checksum: as found; None if the format has none. deviation: the largest of |U U^+ - 1| and |det U - 1| / Nc.
    """

    path: str
    description: Description
    part: Part
    plaquette: float
    link_trace: float
    checksum: str | None
    deviation: float
    faults: tuple[str, ...]

    @property
    def checksum_state(self) -> str:
        """verified, wrong, or none: the file has none to verify."""
        if self.description.format == native.NAME:
            return "verified"  # the seal, before anything was read
        if self.checksum is None or self.description.checksum is None:
            return "none"
        return "verified" if self.checksum == self.description.checksum else "wrong"

    def links(self) -> np.ndarray:
        """This rank's links in double precision; all are projected to SU(N) if one of them is not in it to 1e-10."""
        if self.deviation <= UNITARITY_TOLERANCE:
            return self.part.in_precision("double").links
        return project(self.part.links)


def examine(path: str | os.PathLike, extent: tuple[int, ...] | None = None, colors: int | None = None,
            communicator: Any = None) -> Configuration:
    """Read a file of links, each rank its slices of the last direction, and check all that it claims. Collective.

    extent (x first), colors: of a file that does not tell them. Raises InputError if the file cannot be read as links of one of
    the formats; checks that fail are in `faults`.
    """
    communicator = SerialCommunicator() if communicator is None else communicator

    def read() -> tuple[Source, np.ndarray]:
        with BoundedFile(path) as file:
            source = _recognise(file).open_source(file, extent, colors)
            return source, source.read(*share(source.description.extent[-1], communicator))
    source, links = together(communicator, read)
    return _checked(path, source, Part(links, source.description.extent[-1], communicator))


def load_configuration(path: str | os.PathLike, extent: tuple[int, ...] | None = None,
                       colors: int | None = None) -> tuple[np.ndarray, Description]:
    """Links of a file of any format, complex128 [t, z, y, x, mu, row, column], in SU(N) to 1e-10, and what the file says.

    Links that are in SU(N) to 1e-5 are projected. Raises InputError, saying which check failed, if the file is damaged or of an
    unknown format, if it is of another lattice or group than `extent`, `colors`, if links are not in SU(N), or if checksum,
    plaquette or link trace are not those that the file claims.
    """
    found = examine(path, extent, colors)
    check_fit(path, {"extent": found.description.extent, "colors": found.description.colors}, extent, colors)
    refuse_faults(found)
    return found.links(), found.description


def is_links_file(path: str | os.PathLike) -> bool:
    """Whether a file is one of links by its first bytes or its suffix; other files of ours are not. InputError: unreadable."""
    with BoundedFile(path) as file:
        kind = sealed_kind(path)
        if kind is not None:
            return kind == "links"
        head = file.head(64)
        suffixes = tuple(suffix for module in FORMATS for suffix in module.SUFFIXES)
        return file.path.name.endswith(suffixes) or any(module.recognises(head, file.size) for module in FORMATS)


def refuse_faults(found: Configuration) -> None:
    """InputError if a check failed."""
    if found.faults:
        raise InputError(f"{found.path}: {'; '.join(found.faults)}; use another copy of the file")


def _recognise(file: BoundedFile) -> ModuleType:
    head = file.head(64)
    for module in FORMATS:
        if module.recognises(head, file.size):
            return module
    what = "an empty file" if not head else f"a file that begins with {head[:8].hex(' ')}"
    raise InputError(f"{file.path}: {what} found, links in one of the formats {', '.join(module.NAME for module in FORMATS)} "
                     "expected; check the path, or the copy may be damaged")


def _checked(path: str | os.PathLike, source: Source, part: Part) -> Configuration:
    """What all ranks have found, together."""
    states = part.communicator.allgather((source.deviation, source.worst, source.checksum and source.checksum.state))
    deviation, worst = max(state[0] for state in states), sum(state[1] for state in states)
    checksum = None
    if source.checksum is not None:
        source.checksum.combine([state[2] for state in states])
        checksum = source.checksum.text()
    with np.errstate(all="ignore"):
        plaquette, link_trace = part.averages()
    faults = _faults(source.description, checksum, deviation, worst, plaquette, link_trace)
    return Configuration(str(path), source.description, part, plaquette, link_trace, checksum, deviation, faults)


def _faults(claims: Description, checksum: str | None, deviation: float, worst: int, plaquette: float,
            link_trace: float) -> tuple[str, ...]:
    faults = []
    if None not in (checksum, claims.checksum) and checksum != claims.checksum:
        faults.append(f"checksum: {checksum} found, {claims.checksum} is in the file")
    if not deviation <= DEVIATION_LIMIT:
        faults.append(f"unitarity: {worst} links are not in SU({claims.colors}), by up to {deviation:.1e}, at most "
                      f"{DEVIATION_LIMIT:.0e} expected")
    for name, claim, found in (("plaquette", claims.plaquette, plaquette), ("link trace", claims.link_trace, link_trace)):
        if claim is not None and not claim.holds(found):
            faults.append(f"{name}: {found:.12g} found, {claim.value:.12g} to {claim.tolerance:.0e} is in the file")
    return tuple(faults)
