"""The engine's own configurations, so that they go the same ways as those of others."""

import numpy as np

from slhmc.io.formats.bounded import BoundedFile, printable
from slhmc.io.formats.description import DOUBLE, Description
from slhmc.io.formats.source import Source
from slhmc.io.links import load_links

NAME = "slhmc"
SUFFIXES = (".h5",)
PRECISIONS = (DOUBLE,)
CHECKSUM = None
_HDF5 = b"\x89HDF\r\n\x1a\n"


def recognises(head: bytes, size: int) -> bool:
    """Whether a file has the seal; other HDF5 files come here to be refused."""
    return head.startswith((b"slhmc ", _HDF5))


def open_source(file: BoundedFile, extent: tuple[int, ...] | None, colors: int | None) -> "SealedLinks":
    """The links of a file, whose seal is verified."""
    links, attributes = load_links(file.path)
    details = {printable(name): printable(value) if isinstance(value, str) else value
               for name, value in attributes.items() if name not in ("extent", "colors")}
    description = Description(NAME, tuple(attributes["extent"]), attributes["colors"], DOUBLE, details=details)
    return SealedLinks(file, description, links)


class SealedLinks(Source):
    """Links that are in memory; each rank reads the whole file."""

    def __init__(self, file: BoundedFile, description: Description, links: np.ndarray):
        super().__init__(file, description)
        self._links = links

    def fill(self, links: np.ndarray, begin: int, end: int) -> None:
        """As in Source."""
        links[:] = self._links[begin:end]
        for part in links:
            self.check(part)
