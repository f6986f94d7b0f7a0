"""Files whose headers are not to be trusted: nothing is read, and no memory taken, beyond what the file has."""

import os
import stat
from pathlib import Path

from slhmc.errors import InputError
from slhmc.io.atomic import read_error

HEADER_BYTES = 1 << 16
LARGEST_EXTENT = 1 << 20


class BoundedFile:
    """A regular file open for reading at any place. Close it, or use it as a context."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        try:
            if not stat.S_ISREG(self.path.stat().st_mode):
                raise InputError(f"{path}: not a regular file; give the path of a file of links")
            self._handle = open(self.path, "rb", buffering=0)  # noqa: SIM115 - closed by `close`
            self.size = os.fstat(self._handle.fileno()).st_size
        except (OSError, ValueError) as error:
            raise read_error(path, error if isinstance(error, OSError) else OSError(str(error))) from error

    def close(self) -> None:
        self._handle.close()

    def __enter__(self) -> "BoundedFile":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def read(self, offset: int, count: int, what: str) -> bytearray:
        """`count` bytes from `offset` on; InputError, naming `what`, if the file ends before."""
        if count < 0 or offset < 0 or offset + count > self.size:
            raise InputError(f"{self.path}: truncated, or damaged in its header: {what} would need bytes {offset} to "
                             f"{offset + count}, the file has {self.size}; use another copy")
        data = bytearray(count)
        view, done = memoryview(data), 0
        try:
            while done < count:
                got = os.preadv(self._handle.fileno(), [view[done:done + (1 << 30)]], offset + done)
                if not got:
                    raise InputError(f"{self.path}: became shorter while it was read; read it again when its writer is done")
                done += got
        except OSError as error:
            raise read_error(self.path, error) from error
        return data

    def head(self, count: int = HEADER_BYTES) -> bytes:
        """The first bytes, fewer if there are fewer."""
        return bytes(self.read(0, min(count, self.size), "the header"))


def printable(text: str) -> str:
    """Text of a file without what a terminal would take for a command."""
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


def check_extent(path: str | os.PathLike, extent: tuple[int, ...]) -> tuple[int, ...]:
    """The extent of a header (x first), refused if it is not one of a lattice of two to four directions."""
    if not 2 <= len(extent) <= 4 or not all(1 <= length <= LARGEST_EXTENT for length in extent):
        raise InputError(f"{path}: lattice {'x'.join(map(str, extent))} found in the header, two to four extents from 1 to "
                         f"{LARGEST_EXTENT} expected; the header is damaged, or the file is no file of links")
    return extent


def check_payload(file: BoundedFile, offset: int, expected: int, found: int, what: str) -> None:
    """InputError if the links of the header's lattice do not fill their place in the file exactly."""
    if found != expected or offset + expected > file.size:
        reason = "truncated" if found < expected else "too long"
        raise InputError(f"{file.path}: {reason}, or damaged in its header: {found} bytes of links found, {expected} expected "
                         f"for {what}; use another copy")
