"""openQCD's universal format (export_cnfg): little-endian doubles, the eight links at each odd site.

Source: main/README.io and the notes of archive.c in openQCD 1.6 to 2.4. Its x0 is our t, x1, x2, x3 are x, y, z.
"""

import struct
from typing import Any

import numpy as np

from slhmc.errors import InputError
from slhmc.io.formats.bounded import BoundedFile, check_payload
from slhmc.io.formats.description import DOUBLE, Claim, Description
from slhmc.io.formats.layout import Encoded
from slhmc.io.formats.part import Part
from slhmc.io.formats.source import BLOCK_BYTES, Source

NAME = "openqcd"
SUFFIXES = (".openqcd",)
PRECISIONS = (DOUBLE,)
CHECKSUM = None
_HEADER = struct.Struct("<4id")  # t, x, y, z, average of Re tr P
_RECORD = 8 * 9 * 16  # bytes of the links at +t, -t, +x, -x, ... of one odd site
_TOLERANCE = 1e-10


def recognises(head: bytes, size: int) -> bool:
    """Whether the four extents at the beginning, in either byte order, are those of a file of this size."""
    if len(head) < _HEADER.size:
        return False
    for order in "<>":
        t, x, y, z = struct.unpack(order + "4i", head[:16])
        if min(t, x, y, z) > 0 and t * x * y * z * _RECORD // 2 + _HEADER.size == size:
            return True
    return False


def open_source(file: BoundedFile, extent: tuple[int, ...] | None, colors: int | None) -> "OddSites":
    """The links of a file; `extent` and `colors` are known by the file."""
    t, x, y, z, plaquette = _HEADER.unpack(file.read(0, _HEADER.size, "the header of an openQCD file"))
    if min(t, x, y, z) <= 0 or any(length % 2 for length in (t, x, y, z)) or max(t, x, y, z) > 1 << 20:
        raise InputError(f"{file.path}: lattice {x}x{y}x{z}x{t} found in the header, four even extents expected; the file is "
                         "damaged, or in big-endian numbers, which openQCD does not write")
    description = Description(NAME, (x, y, z, t), 3, DOUBLE, Claim(plaquette / 3, _TOLERANCE))
    check_payload(file, _HEADER.size, description.sites // 2 * _RECORD, file.size - _HEADER.size, f"a lattice {x}x{y}x{z}x{t}")
    return OddSites(file, description)


class OddSites(Source):
    """Odd sites in the order t, x, y, z, z fastest; each link of the lattice is at one of them."""

    def fill(self, links: np.ndarray, begin: int, end: int) -> None:
        """As in Source. The links in direction t that lead to slice `end` are found there."""
        x, y, z, t = self.description.extent
        sites, step = x * y * z // 2, max(1, BLOCK_BYTES // _RECORD)
        for slice_ in range(begin, end + 1):
            for first in range(0, sites, step):
                count = min(step, sites - first)
                offset = _HEADER.size + (slice_ % t * sites + first) * _RECORD
                data = np.frombuffer(self.file.read(offset, count * _RECORD, "the links"), "<f8")
                matrices = data.astype(np.float64).view(np.complex128).reshape(count, 4, 2, 3, 3)
                where = odd_sites(self.description.extent, slice_ % t, first, count)
                if slice_ < end:
                    self.check(matrices)
                    _put(links[slice_ - begin], matrices, where)
                if slice_ > begin:
                    self.check(matrices[:, 0, 1])
                    links[slice_ - begin - 1][(*reversed(where), 3)] = matrices[:, 0, 1]


def odd_sites(extent: tuple[int, ...], slice_: int, first: int, count: int) -> tuple[np.ndarray, ...]:
    """x, y, z of odd sites of a slice, from the one of number `first` on."""
    number = np.arange(first, first + count)
    half = extent[2] // 2
    x, y = number // (half * extent[1]), number // half % extent[1]
    return x, y, 2 * (number % half) + (slice_ + x + y + 1) % 2


def _behind(where: tuple[np.ndarray, ...], mu: int, extent: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    return tuple((place - (k == mu)) % length for k, (place, length) in enumerate(zip(where, extent[:3], strict=True)))


def _put(links: np.ndarray, matrices: np.ndarray, where: tuple[np.ndarray, ...]) -> None:
    """All links of odd sites into their slice [z, y, x, mu, row, column], but those that come from the slice before."""
    extent = tuple(reversed(links.shape[:3]))
    links[(*reversed(where), 3)] = matrices[:, 0, 0]
    for mu in range(3):
        links[(*reversed(where), mu)] = matrices[:, 1 + mu, 0]
        links[(*reversed(_behind(where, mu, extent)), mu)] = matrices[:, 1 + mu, 1]


# ---- writing
def encode(part: Part, claims: dict[str, Any]) -> Encoded:
    """The bytes of this rank's slices, and the header. Collective."""
    x, y, z, t = part.extent
    data = np.empty((len(part.links), x * y * z // 2, 4, 2, 3, 3), np.complex128)
    before = part.previous()
    for k, links in enumerate(part.links):
        where = odd_sites(part.extent, part.begin + k, 0, x * y * z // 2)
        data[k, :, 0, 0] = links[(*reversed(where), 3)]
        data[k, :, 0, 1] = before[(*reversed(where), 3)]
        for mu in range(3):
            data[k, :, 1 + mu, 0] = links[(*reversed(where), mu)]
            data[k, :, 1 + mu, 1] = links[(*reversed(_behind(where, mu, part.extent)), mu)]
        before = links
    head = _HEADER.pack(t, x, y, z, 3 * claims["plaquette"])
    return Encoded(data.view(np.float64).reshape(len(data) * data.shape[1], -1).astype("<f8"), lambda checksum: head)
