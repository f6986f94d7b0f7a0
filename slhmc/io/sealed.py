"""HDF5 files under a seal: a 512-byte user block with kind, size and sha256 of all that follows.

HDF5 readers skip a user block, so any HDF5 tool opens these files. We check the seal before the HDF5 library sees a
byte: a damaged HDF5 file can make that library crash, loop, or ask for absurd amounts of memory.
"""

import hashlib
import io
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from slhmc.errors import InputError
from slhmc.io.atomic import read_error, replace_file

if TYPE_CHECKING:
    import h5py

SEAL_BYTES = 512
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SEAL = re.compile(rb"slhmc (\w+) file, format (\d+)\nHDF5 from byte 512: (\d{1,18}) bytes, sha256 ([0-9a-f]{64})\n")
_FORMAT = 1
_BLOCK = 1 << 20
_REMEDY = {
    "links": "use another configuration, or a copy of this one",
    "checkpoint": "restore a copy, or start a new run from a configuration kept in configs/ (start = \"file\")",
    "weights": "use another weights file, or a copy of this one",
    "measurements": "restore a copy, or remove it and measure anew",
    "fit": "restore a copy, or train anew into another directory",
    "model": "use another file of a trained network, or a copy of this one",
    "dataset": "remove it and it is made anew, or restore a copy",
    "fluxset": "remove it and it is made anew, or restore a copy",
    "scalar": "restore a copy; the configurations in configs/ are files of their own",
    "fluxes": "use another configuration, or a copy of this one",
    "training": "restore a copy, or train anew into another directory",
    "chain": "restore a copy; the configurations in configs/ are files of their own",
}
# what else is right about the path: kind found, kind expected
_ELSEWHERE = {("scalar", "chain"): "n and |phi|^2 of runs of the scalar field are shown by `slhmc summary`"}


def write_sealed(path: str | os.PathLike, kind: str, fill: Callable[["h5py.File"], None]) -> None:
    """Replace `path` atomically by a sealed HDF5 file that `fill(file)` writes. Equal contents give equal bytes.

    The file is made in memory: an HDF5 library that meets a full disk half-way cannot close its file any more.
    """
    import h5py

    image = io.BytesIO()
    with h5py.File(image, "w", userblock_size=SEAL_BYTES) as file:
        fill(file)
    body = image.getbuffer()[SEAL_BYTES:]
    replace_file(path, [_seal(kind, len(body), hashlib.sha256(body).hexdigest()), body])


@contextmanager
def open_sealed(path: str | os.PathLike, kind: str) -> Iterator["h5py.File"]:
    """The verified file, open for reading; InputError for anything but an undamaged slhmc file of this `kind`.

    Checked and read through one open handle, so a writer that replaces the file meanwhile does no harm.
    """
    import h5py

    with _open_regular(Path(path)) as handle:
        _verify(handle, path, kind)
        try:
            with h5py.File(handle, "r") as file:
                yield file
        except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
            raise InputError(
                f"{path}: undamaged, but its contents are not those of a {kind} file of this version of slhmc "
                f"({error}); {_REMEDY[kind]}") from error


def sealed_kind(path: str | os.PathLike) -> str | None:
    """The kind that the header of a file names; None where there is none. Nothing is verified. InputError: it cannot be read."""
    with _open_regular(Path(path)) as handle:
        found = _SEAL.match(handle.read(SEAL_BYTES))
    return None if found is None else found[1].decode()


def _open_regular(path: Path) -> BinaryIO:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path}: not a regular file; give the path of an HDF5 file written by slhmc")
        return open(path, "rb")
    except (OSError, ValueError) as error:
        raise read_error(path, error if isinstance(error, OSError) else OSError(str(error))) from error


def _seal(kind: str, size: int, digest: str) -> bytes:
    text = f"slhmc {kind} file, format {_FORMAT}\nHDF5 from byte {SEAL_BYTES}: {size} bytes, sha256 {digest}\n"
    return text.encode().ljust(SEAL_BYTES - 1) + b"\n"


def _verify(handle: BinaryIO, path: str | os.PathLike, kind: str) -> None:
    try:
        seal = handle.read(SEAL_BYTES)
        size = os.fstat(handle.fileno()).st_size - SEAL_BYTES
        found = _SEAL.match(seal)
        if found is None:
            raise InputError(f"{path}: {_why_no_seal(seal)}")
        _check_kind(path, kind, *found.group(1, 2))
        expected = int(found[3])
        if size != expected:
            what = "truncated" if size < expected else "too long"
            raise InputError(f"{path}: {what}: {max(size, 0)} bytes found after the header, {expected} expected; "
                             f"{_REMEDY[kind]}")
        if seal != _seal(kind, size, _digest(handle)):
            raise InputError(f"{path}: damaged, or edited by another program: the sha256 of its contents is not "
                             f"the one written with them; {_REMEDY[kind]}")
    except OSError as error:
        raise read_error(path, error) from error


def _check_kind(path: str | os.PathLike, kind: str, found: bytes, version: bytes) -> None:
    if int(version) != _FORMAT:
        raise InputError(f"{path}: file format {int(version)} found, {_FORMAT} expected; "
                         f"read it with the version of slhmc that wrote it")
    if found.decode(errors="replace") != kind:
        raise InputError(f"{path}: an slhmc {found.decode(errors='replace')} file found, a {kind} file expected; "
                         + _ELSEWHERE.get((found.decode(errors="replace"), kind), "check the path"))


def _why_no_seal(seal: bytes) -> str:
    if not seal:
        return "empty file found, an HDF5 file written by slhmc expected; use a copy"
    if seal.startswith(_HDF5_SIGNATURE):
        return ("an HDF5 file found, but not written by slhmc (no header with size and checksum); "
                "convert configurations of other programs by `slhmc convert` or slhmc.io.save_links")
    if len(seal) < SEAL_BYTES or seal.startswith(b"slhmc"):
        return (f"truncated or damaged in its header ({len(seal)} bytes found, {SEAL_BYTES} with size and checksum "
                f"expected), or not written by slhmc; check the path, or use a copy")
    return "not an HDF5 file written by slhmc, or damaged in its first bytes; check the path, or use a copy"


def _digest(handle: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := handle.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()
