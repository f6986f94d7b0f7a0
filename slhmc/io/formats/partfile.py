"""SciDAC files in several parts (QIO's multifile and partfile): NAME.vol0000, ..., each with some sites and their numbers.

The first part alone has the text records and the checksum, which is that of all parts.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from slhmc.errors import InputError
from slhmc.io.atomic import read_error
from slhmc.io.formats.bounded import BoundedFile
from slhmc.io.formats.checksums import SciDACChecksum
from slhmc.io.formats.description import REALS, Description
from slhmc.io.formats.lime import Record, records
from slhmc.io.formats.scidac_headers import binary_record, describe, words_of
from slhmc.io.formats.source import BLOCK_BYTES, Source

SITE_LIST = "scidac-sitelist"
_NAME = re.compile(r"(.+)\.vol[0-9]{4,6}")


class Volume(NamedTuple):
    """One part: its file, where numbers and links of its sites are, how many they are, NumPy's name of a number."""

    path: str
    numbers: int
    links: int
    sites: int
    word: str


def name_of_part(name: str) -> str | None:
    """NAME of a part NAME.volNNNN; None of other names."""
    match = _NAME.fullmatch(name)
    return None if match is None else match[1]


def parts_beside(path: str | os.PathLike) -> list[Path]:
    """All parts of the file that `path` is a part of, in order; `path` alone if it is none by name. InputError if the directory
    cannot be read."""
    path = Path(path)
    if (name := name_of_part(path.name)) is None:
        return [path]
    try:
        return sorted(other for other in path.parent.iterdir() if name_of_part(other.name) == name)
    except OSError as error:
        raise read_error(path.parent, error) from error


def open_parts(file: BoundedFile) -> "SitesInParts":
    """The links of the parts beside `file`, which is one of them."""
    if name_of_part(file.path.name) is None:
        raise InputError(f"{file.path}: one of several parts found; give it the name NAME.volNNNN that QIO gave it, beside "
                         "the others")
    found, description, paths = [], None, parts_beside(file.path)
    for path in paths:
        with BoundedFile(path) as part:
            entries = records(part)
            found.append((str(path), entries, binary_record(part, entries)))
            if any(record.kind == "scidac-private-file-xml" for record in entries):
                description = describe(part, entries)
    if description is None:
        raise InputError(f"{file.path}: the first part, the one with the record scidac-private-file-xml, is not among the "
                         f"{len(paths)} parts found beside it; bring all parts together")
    size = description.site_bytes()
    volumes = [_volume(path, entries, binary, size) for path, entries, binary in found]
    sites = sum(volume.sites for volume in volumes)
    if sites != description.sites:
        raise InputError(f"{file.path}: {sites} sites found in {len(volumes)} parts, {description.sites} expected for "
                         f"{words_of(description)}; bring all parts of one file together, and no others")
    return SitesInParts(file, description, volumes)


def _volume(path: str, entries: list[Record], binary: Record, size: int) -> Volume:
    numbers = [record for record in entries if record.kind == SITE_LIST]
    sites = binary.size // size
    word = next((word for word in (4, 8) if len(numbers) == 1 and numbers[0].size == word * sites), None)
    if word is None or binary.size != sites * size:
        raise InputError(f"{path}: {binary.size} bytes of links and {[record.size for record in numbers]} of site numbers found, "
                         f"{size} a site and 4 or 8 for its number expected; use another copy")
    return Volume(path, numbers[0].offset, binary.offset, sites, f">u{word}")


class SitesInParts(Source):
    """Each part is gone through block by block; of a block, sites that are not asked for are left out."""

    def __init__(self, file: BoundedFile, description: Description, volumes: list[Volume]):
        super().__init__(file, description, SciDACChecksum())
        self._volumes, self._real = volumes, f">f{REALS[description.precision]}"

    def fill(self, links: np.ndarray, begin: int, end: int) -> None:
        """As in Source; InputError if the parts do not have each site once."""
        slice_sites = self.description.sites // self.description.extent[-1]
        low, high = begin * slice_sites, end * slice_sites
        flat, seen = links.reshape(-1, *links.shape[-3:]), np.zeros(high - low, bool)
        for volume in self._volumes:
            with BoundedFile(volume.path) as part:
                self._read(part, volume, flat, seen, low)
        if not seen.all():
            raise InputError(f"{self.file.path}: {int((~seen).sum())} of {len(seen)} sites are in none of the "
                             f"{len(self._volumes)} parts; bring all parts of one file together")

    def _read(self, part: BoundedFile, volume: Volume, flat: np.ndarray, seen: np.ndarray, low: int) -> None:
        size, width = self.description.site_bytes(), int(volume.word[2])
        step = max(1, BLOCK_BYTES // size)
        for first in range(0, volume.sites, step):
            count = min(step, volume.sites - first)
            listed = part.read(volume.numbers + first * width, count * width, "numbers of sites")
            numbers = np.frombuffer(listed, volume.word)
            if int(numbers.max()) >= self.description.sites:
                raise InputError(f"{part.path}: site {int(numbers.max())} found, the lattice has {self.description.sites}; "
                                 "the list of sites is damaged")
            mine = (numbers >= low) & (numbers < low + len(seen))
            if not mine.any():
                continue
            where = numbers[mine].astype(np.int64)
            if seen[where - low].any() or len(np.unique(where)) != len(where):
                raise InputError(f"{part.path}: sites that are there twice; bring the parts of one file together, no others")
            data = np.frombuffer(part.read(volume.links + first * size, count * size, "the links"), self._real)
            data = data.reshape(count, -1)[mine]
            self.checksum.add_sites(data, where)
            matrices = data.astype(self._real[1:]).view(flat.dtype).reshape(-1, *flat.shape[1:])
            self.check(matrices)
            flat[where - low], seen[where - low] = matrices, True
