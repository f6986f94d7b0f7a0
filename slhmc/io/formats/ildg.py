"""ILDG and SciDAC gauge fields in LIME files.

Sources: ILDG file format 1.2 (hep-lat working group); QIO of USQCD for the SciDAC records and their checksum.
"""

from typing import Any

from slhmc.errors import InputError
from slhmc.io.formats.bounded import BoundedFile, check_payload
from slhmc.io.formats.checksums import SciDACChecksum
from slhmc.io.formats.description import DOUBLE, REALS, SINGLE
from slhmc.io.formats.layout import Encoded
from slhmc.io.formats.lime import MAGIC_BYTES, element, record_bytes, record_header, records, text
from slhmc.io.formats.part import Part
from slhmc.io.formats.partfile import SITE_LIST, open_parts
from slhmc.io.formats.scidac_headers import WORDS, binary_record, describe, words_of
from slhmc.io.formats.source import SitePayload, Source, encode_sites

NAME = "ildg"
SUFFIXES = (".ildg", ".lime", ".scidac")
PRECISIONS = (SINGLE, DOUBLE)
CHECKSUM = SciDACChecksum
_XML = '<?xml version="1.0" encoding="UTF-8"?>'


def recognises(head: bytes, size: int) -> bool:
    """Whether a file begins like this."""
    return head.startswith(MAGIC_BYTES)


def open_source(file: BoundedFile, extent: tuple[int, ...] | None, colors: int | None) -> Source:
    """The links of a file. `extent` and `colors` are used where the file has nothing but its binary record."""
    found = records(file)
    if any(record.kind == SITE_LIST for record in found):
        return open_parts(file)
    volumes = element(text(file, next((record for record in found if record.kind == "scidac-private-file-xml"), None)), "volfmt")
    if volumes not in (None, "0"):
        raise InputError(f"{file.path}: volume format {volumes} without a list of sites found; the file is damaged")
    description, binary = describe(file, found, extent, colors), binary_record(file, found)
    check_payload(file, binary.offset, description.sites * description.site_bytes(), binary.size, words_of(description))
    return SitePayload(file, description, binary.offset, f">f{REALS[description.precision]}", SciDACChecksum())


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
    bits, letter = WORDS[precision]
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
