"""MILC files, version 5: SU(3) links in single precision and either byte order. Source: io_lat of the MILC code's manual."""

import struct
from typing import Any

from slhmc.errors import InputError
from slhmc.io.formats.bounded import BoundedFile, check_extent, check_payload, printable
from slhmc.io.formats.checksums import MILCChecksum
from slhmc.io.formats.description import SINGLE, Description
from slhmc.io.formats.layout import Encoded
from slhmc.io.formats.part import Part
from slhmc.io.formats.source import SitePayload, encode_sites

NAME = "milc"
SUFFIXES = (".milc",)
PRECISIONS = (SINGLE,)
CHECKSUM = MILCChecksum
_MAGIC = 20103
_HEADER = "i4i64siII"  # magic, x y z t, time stamp, order of sites, two checksums
_SIZE = struct.calcsize("<" + _HEADER)


def recognises(head: bytes, size: int) -> bool:
    """Whether a file begins like this, in either byte order."""
    return len(head) >= 4 and _MAGIC in struct.unpack("<i", head[:4]) + struct.unpack(">i", head[:4])


def open_source(file: BoundedFile, extent: tuple[int, ...] | None, colors: int | None) -> SitePayload:
    """The links of a file; `extent` and `colors` are known by the file."""
    head = bytes(file.read(0, _SIZE, "the header of a MILC file"))
    order = "<" if struct.unpack("<i", head[:4])[0] == _MAGIC else ">"
    _, *lengths, stamp, sites, sum29, sum31 = struct.unpack(order + _HEADER, head)
    if sites:
        raise InputError(f"{file.path}: sites in order {sites} found in the header, 0 (x fastest) expected; write the file with "
                         "MILC's save_serial")
    description = Description(NAME, check_extent(file.path, tuple(lengths)), 3, SINGLE, None, None, f"{sum29:x} {sum31:x}",
                              {"time stamp": printable(stamp.partition(b"\0")[0].decode("ascii", "replace")),
                               "byte order": "little" if order == "<" else "big"})
    check_payload(file, _SIZE, description.sites * description.site_bytes(), file.size - _SIZE,
                  f"a lattice {'x'.join(map(str, lengths))}")
    return SitePayload(file, description, _SIZE, order + "f4", MILCChecksum())


# ---- writing
def encode(part: Part, claims: dict[str, Any]) -> Encoded:
    """The bytes of this rank's links, little-endian, and the header, without a time: equal links give equal bytes."""
    def head(checksum: str) -> bytes:
        words = (int(word, 16) for word in checksum.split())
        return struct.pack("<" + _HEADER, _MAGIC, *part.extent, b"slhmc".ljust(63), 0, *words)
    return Encoded(encode_sites(part.links, "<f4"), head)
