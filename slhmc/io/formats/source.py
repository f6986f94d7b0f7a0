"""From the bytes of a file to links, block by block, each checked before the next is read."""

from abc import ABC, abstractmethod

import numpy as np

from slhmc.errors import InputError
from slhmc.io.formats.bounded import BoundedFile
from slhmc.io.formats.checksums import Checksum
from slhmc.io.formats.description import SINGLE, Description
from slhmc.io.formats.matrices import DEVIATION_LIMIT, deviations, last_row

BLOCK_BYTES = 1 << 23


class Source(ABC):
    """An open file of links. `checksum` adds up what `read` has read; None for formats without one."""

    def __init__(self, file: BoundedFile, description: Description, checksum: Checksum | None = None):
        self.file, self.description, self.checksum = file, description, checksum
        self.rows = description.colors  # of a matrix that are in the file
        self.deviation = 0.0  # largest of the matrices read so far, infinite if one was not finite
        self.worst = 0  # how many matrices were beyond the limit

    @abstractmethod
    def fill(self, links: np.ndarray, begin: int, end: int) -> None:
        """Put slices begin ... end - 1 into `links`."""

    def read(self, begin: int, end: int) -> np.ndarray:
        """Slices of the last direction, in the precision of the file. `deviation` knows how unitary they are.

        InputError if the file ends before, if not one link of a block is unitary, or if there is not the memory for them.
        """
        shape = (end - begin, *self.description.shape[1:])
        kind = np.dtype(np.complex64 if self.description.precision == SINGLE else np.complex128)
        try:
            links = np.empty(shape, kind)
            self.fill(links, begin, end)
        except MemoryError as error:
            size = np.prod(shape, dtype=float) * kind.itemsize / 2**30
            raise InputError(f"{self.file.path}: {size:.1f} GiB of links do not fit into memory; use more ranks") from error
        return links

    def check(self, matrices: np.ndarray) -> None:
        """Look at the matrices of a block; InputError if all of them are wrong, as then so is what the header says."""
        with np.errstate(invalid="ignore"):
            found = deviations(matrices.astype(np.complex128, copy=False))
        beyond = int((~(found <= DEVIATION_LIMIT)).sum())
        self.deviation = max(self.deviation, float(found.max()) if np.isfinite(found).all() else np.inf)
        self.worst += beyond
        if beyond == found.size:
            with np.errstate(invalid="ignore"):
                swapped = matrices.byteswap().astype(np.complex128)
            swapped = deviations(swapped if self.rows == matrices.shape[-1] else last_row(swapped[..., :self.rows, :]))
            why = ("the numbers are in the other byte order" if (swapped <= DEVIATION_LIMIT).any() else
                   "the file is damaged, its header is wrong, or it holds other fields")
            raise InputError(f"{self.file.path}: unitarity: no link of a block is in SU({self.description.colors}); {why}")


class SitePayload(Source):
    """Sites one after the other, x fastest, with all directions of a site side by side.

    offset: where site 0 begins; real: NumPy's name of a number, such as ">f8"; rows: of a matrix that are there.
    """

    def __init__(self, file: BoundedFile, description: Description, offset: int, real: str, checksum: Checksum | None = None,
                 rows: int | None = None):
        super().__init__(file, description, checksum)
        self.offset, self.real = offset, np.dtype(real)
        self.rows = rows or description.colors

    def fill(self, links: np.ndarray, begin: int, end: int) -> None:
        """As in Source."""
        size = self.description.site_bytes(self.rows)
        slice_sites = self.description.sites // self.description.extent[-1]
        step = max(1, BLOCK_BYTES // size)
        flat = links.reshape(-1, *links.shape[-3:])
        for first in range(begin * slice_sites, end * slice_sites, step):
            last = min(first + step, end * slice_sites)
            data = self.file.read(self.offset + first * size, (last - first) * size, "the links")
            block = np.frombuffer(data, self.real).reshape(last - first, -1)
            if self.checksum is not None:
                self.checksum.add(block, first)
            matrices = self._matrices(block)
            self.check(matrices)
            flat[first - begin * slice_sites:last - begin * slice_sites] = matrices

    def _matrices(self, block: np.ndarray) -> np.ndarray:
        description = self.description
        native = block.astype(block.dtype.newbyteorder("="))
        complexes = native.view(np.complex64 if native.itemsize == 4 else np.complex128)
        matrices = complexes.reshape(len(block), len(description.extent), self.rows, description.colors)
        return matrices if self.rows == description.colors else last_row(matrices)


def encode_sites(links: np.ndarray, real: str, rows: int | None = None) -> np.ndarray:
    """Links as SitePayload reads them: reals [site, reals of a site]."""
    kept = np.ascontiguousarray(links[..., :rows, :] if rows else links)
    sites = int(np.prod(links.shape[:-3]))
    return kept.reshape(-1).view(np.float32 if kept.dtype == np.complex64 else np.float64).reshape(sites, -1).astype(real)
