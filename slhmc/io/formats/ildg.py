"""ILDG and SciDAC gauge fields in LIME files.

Sources: ILDG file format 1.2 (hep-lat working group); QIO of USQCD for the SciDAC records and their checksum.
"""

import re
from typing import Any

from slhmc.errors import InputError
from slhmc.io.formats.bounded import BoundedFile, check_extent, check_payload
from slhmc.io.formats.checksums import SciDACChecksum
from slhmc.io.formats.description import DOUBLE, REALS, SINGLE, Claim, Description
from slhmc.io.formats.layout import Encoded
from slhmc.io.formats.lime import MAGIC_BYTES, Record, element, record_bytes, record_header, records, text
from slhmc.io.formats.part import Part
from slhmc.io.formats.source import SitePayload, encode_sites

NAME = "ildg"
SUFFIXES = (".ildg", ".lime", ".scidac")
PRECISIONS = (SINGLE, DOUBLE)
CHECKSUM = SciDACChecksum
_BINARY = ("ildg-binary-data", "scidac-binary-data")
_WORDS = {SINGLE: ("32", "F"), DOUBLE: ("64", "D")}
_XML = '<?xml version="1.0" encoding="UTF-8"?>'


def recognises(head: bytes, size: int) -> bool:
    """Whether a file begins like this."""
    return head.startswith(MAGIC_BYTES)


def open_source(file: BoundedFile, extent: tuple[int, ...] | None, colors: int | None) -> SitePayload:
    """The links of a file. `extent` and `colors` are used where the file has nothing but its binary record."""
    found = records(file)
    by_kind = {record.kind: record for record in reversed(found)}
    binary = [record for record in found if record.kind in _BINARY]
    if len(binary) != 1:
        raise InputError(f"{file.path}: {len(binary)} LIME records of links found ({' or '.join(_BINARY)}), one expected; the "
                         f"file has: {', '.join(dict.fromkeys(record.kind for record in found)) or 'nothing'}")
    if element(text(file, by_kind.get("scidac-private-file-xml")), "volfmt") not in (None, "0"):
        raise InputError(f"{file.path}: one part of a SciDAC file in several parts; join them, for instance by QIO's "
                         "qio-convert-mesh-singlefs, and give the single file")
    stated = [_ildg_format(file, by_kind), _scidac_format(file, by_kind)]
    shape = _agreed(file, [entry for entry in stated if entry]) or _from_caller(file, binary[0], extent, colors)
    description = Description(binary[0].kind.partition("-")[0], *shape, _plaquette(file, by_kind, shape[2]), None,
                              _checksum(file, by_kind), {"records": [record.kind for record in found]})
    what = f"SU({description.colors}) links in {description.precision} precision on {'x'.join(map(str, description.extent))}"
    check_payload(file, binary[0].offset, description.sites * description.site_bytes(), binary[0].size, what)
    return SitePayload(file, description, binary[0].offset, f">f{REALS[description.precision]}", SciDACChecksum())


def _ildg_format(file: BoundedFile, by_kind: dict[str, Record]) -> tuple | None:
    xml = text(file, by_kind.get("ildg-format"))
    if not xml:
        return None
    group = re.fullmatch(r"su([2-9])gauge", element(xml, "field") or "")
    precision = next((name for name, words in _WORDS.items() if words[0] == element(xml, "precision")), None)
    lengths = [_number(element(xml, name)) for name in ("lx", "ly", "lz", "lt")]
    if group is None or precision is None or None in lengths:
        raise InputError(f"{file.path}: record ildg-format has field {element(xml, 'field')!r}, precision "
                         f"{element(xml, 'precision')!r}, lattice {lengths}; su3gauge (su2gauge, ...), 32 or 64, and lx, ly, "
                         "lz, lt expected")
    return check_extent(file.path, tuple(lengths)), int(group[1]), precision


def _scidac_format(file: BoundedFile, by_kind: dict[str, Record]) -> tuple | None:
    lattice, record = (text(file, by_kind.get(f"scidac-private-{name}-xml")) for name in ("file", "record"))
    if not lattice or not record:
        return None
    lengths = [_number(word) for word in (element(lattice, "dims") or "").split()]
    colors, size, count = (_number(element(record, name)) for name in ("colors", "typesize", "datacount"))
    precision = next((name for name, words in _WORDS.items() if words[1] == element(record, "precision")), None)
    if None in lengths or not colors or precision is None or count != len(lengths) or size != 2 * colors**2 * REALS[precision]:
        raise InputError(f"{file.path}: SciDAC records tell of lattice {lengths}, {colors} colors, precision "
                         f"{element(record, 'precision')!r}, {count} objects of {size} bytes a site; a matrix for each "
                         "direction in precision F or D expected: this is no gauge field, or the header is damaged")
    return check_extent(file.path, tuple(lengths)), colors, precision


def _agreed(file: BoundedFile, stated: list[tuple]) -> tuple | None:
    if len(set(stated)) > 1:
        raise InputError(f"{file.path}: records ildg-format and scidac-private-record-xml disagree: {stated[0]} and {stated[1]} "
                         "found; the file is damaged")
    return stated[0] if stated else None


def _from_caller(file: BoundedFile, binary: Record, extent: tuple[int, ...] | None, colors: int | None) -> tuple:
    if extent is None or colors is None:
        raise InputError(f"{file.path}: no record tells lattice and group (ildg-format is missing); give --extent and --colors")
    reals = len(extent) * 2 * colors**2
    for length in extent:
        reals *= length
    return tuple(extent), colors, SINGLE if binary.size == 4 * reals else DOUBLE


def _plaquette(file: BoundedFile, by_kind: dict[str, Record], precision: str) -> Claim | None:
    """Of the record xlf-info that tmLQCD and its kin write."""
    match = re.search(r"plaquette\s*=\s*([-+.\deE]{1,40})", text(file, by_kind.get("xlf-info")))
    try:
        return None if match is None else Claim.of_text(match[1], 1e-6 if precision == SINGLE else 1e-9)
    except (ValueError, OverflowError):
        return None


def _checksum(file: BoundedFile, by_kind: dict[str, Record]) -> str | None:
    record = by_kind.get("scidac-checksum")
    if record is None:
        return None
    xml = text(file, record)
    words = [element(xml, name) or "" for name in ("suma", "sumb")]
    if not all(re.fullmatch(r"[0-9a-fA-F]{1,8}", word) for word in words):
        raise InputError(f"{file.path}: record scidac-checksum has {words}, two hexadecimal words expected; it is damaged")
    return " ".join(f"{int(word, 16):x}" for word in words)


def _number(word: str | None) -> int | None:
    return int(word) if word is not None and re.fullmatch(r"[0-9]{1,9}", word) else None


# ---- writing
def encode(part: Part, claims: dict[str, Any]) -> Encoded:
    """The bytes of this rank's links, and what stands around those of all ranks once their checksum is known."""
    precision = claims["precision"]
    extent, colors, real = part.extent, part.colors, REALS[precision]
    data = encode_sites(part.links, f">f{real}")
    total = part.slices * (data.nbytes // len(part.links))
    head = _head(extent, colors, precision) + record_header("ildg-binary-data", total, False, False)

    def tail(checksum: str) -> bytes:
        words = "".join(f"<{name}>{word}</{name}>" for name, word in zip(("suma", "sumb"), checksum.split(), strict=True))
        xml = f"{_XML}<scidacChecksum><version>1.0</version>{words}</scidacChecksum>"
        return bytes(-total % 8) + record_bytes("scidac-checksum", xml.encode(), False, True)
    return Encoded(data, lambda checksum: head, tail)


def _head(extent: tuple[int, ...], colors: int, precision: str) -> bytes:
    bits, letter = _WORDS[precision]
    dimensions, size = " ".join(map(str, extent)), 2 * colors**2 * REALS[precision]
    lengths = "".join(f"<{name}>{length}</{name}>" for name, length in zip(("lx", "ly", "lz", "lt"), extent, strict=True))
    return b"".join((
        record_bytes("scidac-private-file-xml", f"{_XML}<scidacFile><version>1.1</version><spacetime>{len(extent)}</spacetime>"
                     f"<dims>{dimensions} </dims><volfmt>0</volfmt></scidacFile>".encode(), True, False),
        record_bytes("scidac-file-xml", f"{_XML}<title>gauge configuration written by slhmc</title>".encode(), False, True),
        record_bytes("scidac-private-record-xml", f"{_XML}<scidacRecord><version>1.1</version><recordtype>0</recordtype>"
                     f"<datatype>QDP_{letter}{colors}_ColorMatrix</datatype><precision>{letter}</precision>"
                     f"<colors>{colors}</colors><typesize>{size}</typesize><datacount>{len(extent)}</datacount>"
                     "</scidacRecord>".encode(), True, False),
        record_bytes("scidac-record-xml", f"{_XML}<info>SU({colors}) links</info>".encode(), False, False),
        record_bytes("ildg-format", f'{_XML}<ildgFormat xmlns="http://www.lqcd.org/ildg" '
                     'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
                     'xsi:schemaLocation="http://www.lqcd.org/ildg/filefmt.xsd"><version>1.0</version>'
                     f"<field>su{colors}gauge</field><precision>{bits}</precision>{lengths}</ildgFormat>".encode(),
                     False, False)))
