"""Records of LIME files (c-lime, USQCD) and the little XML that they hold for gauge fields."""

import re
import struct
from typing import NamedTuple

from slhmc.errors import InputError
from slhmc.io.formats.bounded import HEADER_BYTES, BoundedFile, printable

MAGIC = 0x456789AB
MAGIC_BYTES = struct.pack(">I", MAGIC)
HEADER = struct.Struct(">IHHQ128s")  # magic, version, flags, bytes of data, type; data are padded to 8 bytes
_BEGIN, _END = 0x8000, 0x4000  # flags: first and last record of a message
_MOST_RECORDS = 1024


class Record(NamedTuple):
    """Where the data of a record are."""

    kind: str
    offset: int
    size: int


def records(file: BoundedFile) -> list[Record]:
    """All records of a file; InputError if one of them is damaged, reaches beyond the file, or if they do not end."""
    found, offset = [], 0
    while offset < file.size:
        if len(found) == _MOST_RECORDS:
            raise InputError(f"{file.path}: more than {_MOST_RECORDS} LIME records found; a file of links has a dozen")
        magic, version, _, size, kind = HEADER.unpack(file.read(offset, HEADER.size, f"LIME record {len(found) + 1}"))
        if magic != MAGIC or version != 1:
            raise InputError(f"{file.path}: damaged: LIME record {len(found) + 1}, at byte {offset}, has magic number {magic:x} "
                             f"and version {version}, {MAGIC:x} and 1 expected; use another copy")
        name = printable(kind.partition(b"\0")[0].decode("ascii", "replace"))
        offset += HEADER.size
        if size > file.size - offset:
            raise InputError(f"{file.path}: truncated, or damaged in its header: LIME record {name!r} of {size} bytes found, "
                             f"{file.size - offset} are left in the file; use another copy")
        found.append(Record(name, offset, size))
        offset += size + -size % 8
    return found


def text(file: BoundedFile, record: Record | None) -> str:
    """A record of text, empty if there is none; InputError if it is longer than any that we need."""
    if record is None:
        return ""
    if record.size > HEADER_BYTES:
        raise InputError(f"{file.path}: LIME record {record.kind!r} has {record.size} bytes, at most {HEADER_BYTES} expected")
    return file.read(record.offset, record.size, f"LIME record {record.kind!r}").rstrip(b"\0").decode("utf-8", "replace")


def element(xml: str, name: str) -> str | None:
    """The text of the first element of a name, None if there is none. No parser: entities are never expanded."""
    match = re.search(rf"<(?:\w+:)?{name}(?:\s[^<>]*)?>([^<]{{0,200}})</", xml)
    return None if match is None else match[1].strip()


def record_bytes(kind: str, data: bytes, first: bool, last: bool) -> bytes:
    """A whole record."""
    return record_header(kind, len(data), first, last) + data + bytes(-len(data) % 8)


def record_header(kind: str, size: int, first: bool, last: bool) -> bytes:
    """The header of a record; its data and their padding follow."""
    return HEADER.pack(MAGIC, 1, first * _BEGIN | last * _END, size, kind.encode())
