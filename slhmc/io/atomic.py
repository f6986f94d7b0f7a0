"""Files that appear whole or not at all: temporary name, fsync, rename, fsync of the directory."""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

from slhmc.errors import InputError

TEMPORARY_SUFFIX = ".slhmc-tmp"

_FULL = "free some space or write elsewhere"
_REFUSED = "make the directory writable or write elsewhere"
_WRITE_ADVICE = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "raise the limit on file sizes (ulimit -f) or write elsewhere",
    errno.EACCES: _REFUSED,
    errno.EPERM: _REFUSED,
    errno.EROFS: _REFUSED,
    errno.ENOENT: "make the directory first",
    errno.ENOTDIR: "a part of the path is a file where a directory was expected; choose another path",
    errno.EEXIST: "a file of this name is in the way; choose another path",
    errno.EISDIR: "a directory of this name is in the way; choose another path",
}
_READ_ADVICE = {
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "a part of the path is a file where a directory was expected; check the path",
    errno.EACCES: "ask its owner for permission to read it",
    errno.EPERM: "ask its owner for permission to read it",
}


def replace_file(path: str | os.PathLike, chunks: Iterable[bytes | memoryview], *, durable: bool = True) -> None:
    """Make `path` hold the concatenated `chunks`, at once.

    A process killed at any instant leaves the old file or the new one; with `durable` this holds for a power cut too.
    A symbolic link stays a link, and the file it leads to is replaced.
    Raises InputError (disk full, no permission, a pipe or a device in the way ...) with the old file, if any, unchanged.
    """
    target = target_of(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    try:
        _write(temporary, chunks, durable)
        os.replace(temporary, target)
    except OSError as error:
        fate = "the file that was there is unchanged" if target.is_file() else "no file was made"
        raise InputError(f"{path}: cannot be written: {describe(error, _WRITE_ADVICE)} ({fate})") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    if durable:
        sync_directory(target.parent)


def target_of(path: str | os.PathLike) -> Path:
    """The file that a link leads to.

    InputError if it is a pipe or a device, as /dev/null would become a file for everybody, or if nobody may write to it: renaming
    a file over it needs no leave.
    """
    target = Path(os.path.realpath(path))
    try:
        mode = target.stat().st_mode
    except OSError:
        return target
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(f"{path}: cannot be written: not a regular file; files are replaced as a whole: give another path")
    if stat.S_ISREG(mode) and not mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH):
        raise InputError(f"{path}: cannot be written: write-protected; chmod u+w it or give another path")
    return target


def remove_stale(directory: Path) -> None:
    """Remove what writers killed in mid-write left in `directory`; only for the one process that may write there."""
    for temporary in directory.glob(f".*{TEMPORARY_SUFFIX}"):
        with contextlib.suppress(OSError):
            temporary.unlink()


class ReadError(InputError):
    """The system does not read a file, whatever is in it."""


def read_error(path: str | os.PathLike, error: OSError) -> ReadError:
    """The InputError for an OSError met while opening or reading `path`."""
    return ReadError(f"{path}: cannot be read: {describe(error, _READ_ADVICE)}")


def describe(error: OSError, advice: dict[int, str] = _WRITE_ADVICE) -> str:
    """What the system said, with what to do about it."""
    reason = (error.strerror or str(error)).lower()
    return f"{reason}; {advice.get(error.errno, 'check the disk and the file system, then run again')}"


def _write(path: Path, chunks: Iterable[bytes | memoryview], durable: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    with open(descriptor, "wb") as handle:
        handle.writelines(chunks)
        handle.flush()
        if durable:
            os.fsync(handle.fileno())


def sync_directory(directory: Path) -> None:
    """Make the rename itself durable; file systems that cannot sync a directory have nothing more to offer."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF):
            raise InputError(f"{directory}: a file was renamed but may not be on disk: {describe(error)}") from error
