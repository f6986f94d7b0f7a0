"""NERSC archive files: a header in text, then SU(3) links in two rows or three.

Source: the archive format of the Gauge Connection (NERSC); SU(N) with all rows has the names that Grid gives.
"""

import re
from typing import Any

from slhmc.errors import InputError
from slhmc.io.formats.bounded import BoundedFile, check_extent, check_payload, printable
from slhmc.io.formats.checksums import NERSCChecksum
from slhmc.io.formats.description import DOUBLE, REALS, SINGLE, Claim, Description
from slhmc.io.formats.layout import Encoded
from slhmc.io.formats.part import Part
from slhmc.io.formats.source import SitePayload, encode_sites

NAME = "nersc"
SUFFIXES = (".nersc",)
PRECISIONS = (SINGLE, DOUBLE)
CHECKSUM = NERSCChecksum
_BEGIN, _END = b"BEGIN_HEADER", b"END_HEADER\n"
_REALS = {"IEEE32": ">f4", "IEEE32BIG": ">f4", "IEEE32LITTLE": "<f4", "IEEE64BIG": ">f8", "IEEE64LITTLE": "<f8"}
_LONGEST = 200  # letters of a value
# codes in single precision add up their plaquette and trace in it, whatever they store
_LEAST = {SINGLE: 1e-6, DOUBLE: 1e-7}


def recognises(head: bytes, size: int) -> bool:
    """Whether a file begins like this."""
    return head.startswith(_BEGIN)


def open_source(file: BoundedFile, extent: tuple[int, ...] | None, colors: int | None) -> SitePayload:
    """The links of a file; `extent` and `colors` are in its header."""
    head, end, _ = file.head().partition(_END)
    if not end:
        raise InputError(f"{file.path}: damaged: no END_HEADER found in the first {len(head)} bytes; use another copy")
    keys = _keys(head.decode("latin-1"))
    number, rows = _data_type(file, keys.get("DATATYPE", ""))
    real = _REALS.get(keys.get("FLOATING_POINT", ""))
    lengths = [keys.get(f"DIMENSION_{k}", "") for k in (1, 2, 3, 4)]
    if real is None or not all(re.fullmatch("[0-9]{1,9}", length) for length in lengths):
        raise InputError(f"{file.path}: header has FLOATING_POINT = {keys.get('FLOATING_POINT')} and dimensions {lengths}; one "
                         f"of {', '.join(_REALS)} and four numbers expected; the header is damaged")
    precision = SINGLE if real[-1] == "4" else DOUBLE
    description = Description(
        NAME, check_extent(file.path, tuple(map(int, lengths))), number, precision,
        *(_claim(file, keys, name, precision) for name in ("PLAQUETTE", "LINK_TRACE")), _checksum(file, keys),
        {key: keys[key] for key in ("DATATYPE", "FLOATING_POINT", "ENSEMBLE_ID", "SEQUENCE_NUMBER") if key in keys})
    begin = len(head) + len(end)
    what = f"{keys['DATATYPE']} in {keys['FLOATING_POINT']} on {'x'.join(lengths)}"
    check_payload(file, begin, description.sites * description.site_bytes(rows), file.size - begin, what)
    return SitePayload(file, description, begin, real, NERSCChecksum(), rows)


def _keys(head: str) -> dict[str, str]:
    """What stands on both sides of equality signs. Cut, not matched: a pattern can be made to take hours."""
    pairs = (line.partition("=") for line in head.split("\n"))
    return {name.strip(): printable(value) for name, sign, value in pairs if sign and len(value.strip()) <= _LONGEST}


def _data_type(file: BoundedFile, found: str) -> tuple[int, int]:
    """Colors, and rows of a matrix that are in the file."""
    match = re.fullmatch(r"4D_SU([2-9])_GAUGE(_([2-9])[xX]([2-9]))?", found)
    if match and (match[2] is None) == (match[1] == "3") and match[2] is None:
        return 3, 2
    if match and match[2] and match[1] == match[3] == match[4]:
        return int(match[1]), int(match[1])
    raise InputError(f"{file.path}: DATATYPE = {found or 'nothing'} found, 4D_SU3_GAUGE (two rows), 4D_SU3_GAUGE_3x3 or the like "
                     "expected; other fields are not read")


def _claim(file: BoundedFile, keys: dict[str, str], name: str, precision: str) -> Claim | None:
    if name not in keys:
        return None
    try:
        return Claim.of_text(keys[name], _LEAST[precision])
    except (ValueError, OverflowError):
        raise InputError(f"{file.path}: {name} = {keys[name]} found in the header, a number expected; it is damaged") from None


def _checksum(file: BoundedFile, keys: dict[str, str]) -> str | None:
    word = keys.get("CHECKSUM")
    if word is None:
        return None
    if not re.fullmatch(r"(0[xX])?[0-9a-fA-F]{1,8}", word):
        raise InputError(f"{file.path}: CHECKSUM = {word} found in the header, a hexadecimal word expected; it is damaged")
    return f"{int(word, 16):x}"


# ---- writing
def encode(part: Part, claims: dict[str, Any]) -> Encoded:
    """The bytes of this rank's links in big-endian numbers, and the header.

    `claims` as for all, `rows`: 2 or None, all, and `trajectory`, 0 if left out.
    """
    colors, bits, rows = part.colors, 8 * REALS[claims["precision"]], claims.get("rows")
    name = "4D_SU3_GAUGE" if rows == 2 else f"4D_SU{colors}_GAUGE_{colors}x{colors}"
    lines = ["BEGIN_HEADER", "HDR_VERSION = 1.0", f"DATATYPE = {name}", "STORAGE_FORMAT = 1.0",
             *(f"DIMENSION_{k} = {length}" for k, length in enumerate(part.extent, 1)),
             f"LINK_TRACE = {claims['link_trace']:.12g}", f"PLAQUETTE = {claims['plaquette']:.12g}",
             *(f"BOUNDARY_{k} = PERIODIC" for k in (1, 2, 3, 4))]
    after = ["ENSEMBLE_ID = slhmc", f"SEQUENCE_NUMBER = {claims.get('trajectory', 0)}", f"FLOATING_POINT = IEEE{bits}BIG"]

    def head(checksum: str) -> bytes:
        return "\n".join([*lines, f"CHECKSUM = {checksum:0>8}", *after, ""]).encode() + _END
    return Encoded(encode_sites(part.links, f">f{bits // 8}", rows), head)
