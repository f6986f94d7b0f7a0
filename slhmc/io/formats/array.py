"""Plain NumPy files, .npy: one array [t, z, y, x, mu, row, column] of complex numbers, any group, two to four directions."""

import io
import re
from typing import Any

import numpy as np

from slhmc.errors import InputError
from slhmc.io.formats.bounded import BoundedFile, check_extent, check_payload
from slhmc.io.formats.description import DOUBLE, REALS, SINGLE, Description
from slhmc.io.formats.layout import Encoded
from slhmc.io.formats.part import Part
from slhmc.io.formats.source import SitePayload, encode_sites
from slhmc.io.links import lattice_of

NAME = "npy"
SUFFIXES = (".npy",)
PRECISIONS = (SINGLE, DOUBLE)
CHECKSUM = None
MOST_COLORS = 64  # beyond any in use; checks of larger matrices would go on for hours
_HEADER = re.compile(rb"\{'descr': '([<>]c(?:8|16))', 'fortran_order': False, 'shape': \(((?:\d{1,9}, ){3,6}\d{1,9})\), \}\s*")


def recognises(head: bytes, size: int) -> bool:
    """Whether a file begins like this."""
    return head.startswith(np.lib.format.MAGIC_PREFIX)


def open_source(file: BoundedFile, extent: tuple[int, ...] | None, colors: int | None) -> SitePayload:
    """The links of a file; `extent` and `colors` are in the shape of its array."""
    shape, kind, begin = _header(file)
    try:
        found, group = lattice_of(shape)
    except ValueError as error:
        raise InputError(f"{file.path}: no array of links: {error}") from None
    if group > MOST_COLORS:
        raise InputError(f"{file.path}: SU({group}) found, at most SU({MOST_COLORS}) expected; this is no array of links")
    precision = SINGLE if kind.itemsize == 8 else DOUBLE
    description = Description(NAME, check_extent(file.path, found), group, precision)
    check_payload(file, begin, description.sites * description.site_bytes(), file.size - begin, f"an array {shape}")
    return SitePayload(file, description, begin, kind.str[0] + f"f{REALS[precision]}")


def _header(file: BoundedFile) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape, type, and where the numbers begin. Read by patterns: nothing of the file is evaluated."""
    head = file.head()
    width = 2 if head[6:7] == b"\1" else 4
    begin = 8 + width + int.from_bytes(head[8:8 + width], "little")
    match = _HEADER.fullmatch(head[8 + width:begin])
    if match is None or len(head) < begin:
        raise InputError(f"{file.path}: not links in a NumPy file: complex64 or complex128 in C order, [t, z, y, x, mu, row, "
                         f"column], expected, {head[8 + width:begin][:120].decode('latin-1').strip()!r} found; write it with "
                         "numpy.save(path, numpy.ascontiguousarray(links)), or use another copy")
    return tuple(int(length) for length in re.findall(rb"\d+", match[2])), np.dtype(match[1].decode()), begin


# ---- writing
def encode(part: Part, claims: dict[str, Any]) -> Encoded:
    """The bytes of this rank's links, and numpy.save's header."""
    real, head = f"<f{REALS[claims['precision']]}", io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": f"<c{2 * REALS[claims['precision']]}", "fortran_order": False,
                                                "shape": (part.slices, *part.links.shape[1:])})
    return Encoded(encode_sites(part.links, real), lambda checksum: head.getvalue())
