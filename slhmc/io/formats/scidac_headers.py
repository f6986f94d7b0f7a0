"""What the text records of a LIME file say about its gauge field."""

import re

from slhmc.errors import InputError
from slhmc.io.formats.bounded import HEADER_BYTES, BoundedFile, check_extent
from slhmc.io.formats.description import DOUBLE, REALS, SINGLE, Claim, Description
from slhmc.io.formats.lime import Record, element, text

BINARY = ("ildg-binary-data", "scidac-binary-data")
WORDS = {SINGLE: ("32", "F"), DOUBLE: ("64", "D")}


def binary_record(file: BoundedFile, found: list[Record]) -> Record:
    """The record of the links; InputError if there is not exactly one."""
    binary = [record for record in found if record.kind in BINARY]
    if len(binary) != 1:
        raise InputError(f"{file.path}: {len(binary)} LIME records of links found ({' or '.join(BINARY)}), one expected; the "
                         f"file has: {', '.join(dict.fromkeys(record.kind for record in found)) or 'nothing'}")
    return binary[0]


def describe(file: BoundedFile, found: list[Record], extent: tuple[int, ...] | None = None,
             colors: int | None = None) -> Description:
    """Lattice, group and claims; `extent` and `colors` are used where no record tells them. InputError if records disagree."""
    by_kind, binary = {record.kind: record for record in reversed(found)}, binary_record(file, found)
    stated = [_ildg_format(file, by_kind), _scidac_format(file, by_kind)]
    shape = _agreed(file, [entry for entry in stated if entry]) or _from_caller(file, binary, extent, colors)
    return Description(binary.kind.partition("-")[0], *shape, *_claims(file, by_kind, shape[2]), _checksum(file, by_kind),
                       {"records": [record.kind for record in found]})


def words_of(description: Description) -> str:
    """For messages."""
    lattice = "x".join(map(str, description.extent))
    return f"SU({description.colors}) links in {description.precision} precision on {lattice}"


def _ildg_format(file: BoundedFile, by_kind: dict[str, Record]) -> tuple | None:
    xml = text(file, by_kind.get("ildg-format"))
    if not xml:
        return None
    group = re.fullmatch(r"su([2-9])gauge", element(xml, "field") or "")
    precision = next((name for name, words in WORDS.items() if words[0] == element(xml, "precision")), None)
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
    precision = next((name for name, words in WORDS.items() if words[1] == element(record, "precision")), None)
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


def _claims(file: BoundedFile, by_kind: dict[str, Record], precision: str) -> tuple[Claim | None, Claim | None]:
    """Plaquette and link trace: of usqcdInfo (QIO; MILC, CPS, Grid), else of the record xlf-info (tmLQCD and its kin)."""
    records = (by_kind.get(f"scidac-{name}-xml") for name in ("record", "file"))
    texts = (text(file, record) for record in records if record is not None and record.size <= HEADER_BYTES)
    info = next((xml for xml in texts if "<usqcdInfo" in xml), "")
    plaquette, trace = (_claim(element(info, name), precision, 1e-7) for name in ("plaq", "linktr"))
    found = re.search(r"plaquette\s*=\s*([-+.\deE]{1,40})", text(file, by_kind.get("xlf-info")))
    return plaquette or _claim(found and found[1], precision, 1e-9), trace


def _claim(word: str | None, precision: str, least: float) -> Claim | None:
    """None as well for words such as `unknown`."""
    try:
        return None if word is None else Claim.of_text(word, 1e-6 if precision == SINGLE else least)
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
