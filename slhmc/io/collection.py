"""Configurations to measure on: which files of a directory they are, what numbers they have, and how one is known again."""

import hashlib
import logging
import os
import re
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path

from slhmc.errors import InputError
from slhmc.io.atomic import TEMPORARY_SUFFIX, read_error
from slhmc.io.directory import RunDirectory
from slhmc.io.formats import FORMATS, is_links_file, name_of_part, parts_beside
from slhmc.io.sealed import sealed_kind

NUMBER = "{n}"  # stands for the number in a pattern of names
LARGEST_NUMBER = 2**32 - 1  # of the counters of random numbers
_ENDS = 1 << 16
_DIGITS = re.compile(r"\d+")
_SUFFIXES = tuple(suffix for module in FORMATS for suffix in module.SUFFIXES)
_HOW = "say where the number is by --files, such as --files 'cfg_{n}.lime'"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeptConfiguration:
    """A file of links: the number of its trajectory, from which its noise is drawn, and how it is called."""

    number: int
    path: Path
    label: str


def run_configurations(files: RunDirectory) -> list[KeptConfiguration]:
    """What a run has kept in configs/; InputError if there is nothing."""
    paths = sorted(path for path in files.configurations.glob("cfg_*.h5") if path.stem[4:].isdecimal())
    if not paths:
        raise InputError(f"{files.configurations}: no configurations found, cfg_NNNNNN.h5 expected; a run keeps them if its "
                         f"card has run.save_every: `slhmc resume {files.path} --set run.save_every=10` with more --trajectories")
    by_number: dict[int, Path] = {}
    for path in paths:
        if (other := by_number.setdefault(int(path.stem[4:]), path)) is not path:
            raise InputError(f"{files.configurations}: {other.name} and {path.name} are both of trajectory {int(path.stem[4:])}, "
                             "one expected; move one of them away")
    return [KeptConfiguration(number, path, f"trajectory {number}") for number, path in sorted(by_number.items())]


def found_configurations(directory: str | os.PathLike, pattern: str | None = None) -> list[KeptConfiguration]:
    """Files of links of any format in a directory, by their numbers.

    pattern: of their names, with * and ?, {n} for the number; None: files that begin as one of the formats, or end on a suffix of
    one, and those whose names differ from such in digits alone. Of a file in parts (NAME.volNNNN) the first stands for all. The
    number is {n}; else the digits in which the names differ; else, of a single file, the last digits; else the place in the order
    of names. Raises InputError if there are no such files, if the number is not plain, or if two files have the same.
    """
    directory = Path(directory)
    paths = _files(directory, pattern)
    try:
        number_of = _numbers([path.name for path in paths], pattern)
    except InputError as error:
        raise InputError(f"{directory}: {error}") from None
    by_number: dict[int, Path] = {}
    for path in paths:
        number = number_of[path.name]
        if number > LARGEST_NUMBER:
            raise InputError(f"{path}: number {number} found in the name, at most {LARGEST_NUMBER} expected; {_HOW}")
        if (other := by_number.setdefault(number, path)) is not path:
            raise InputError(f"{directory}: {other.name} and {path.name} both have number {number}; measure those of one chain "
                             "at a time: choose them by --files, with {n} for the number, and give each its own -o")
    return [KeptConfiguration(number, path, path.name) for number, path in sorted(by_number.items())]


def fingerprint(path: str | os.PathLike) -> str:
    """Size, and sha256 of the first and last 64 KiB: where checksums of the formats and links of their own are; of all its parts
    if it has several. ReadError if it cannot be read."""
    total, digest = 0, hashlib.sha256()
    for part in parts_beside(path):
        try:
            with open(part, "rb") as handle:
                size = os.fstat(handle.fileno()).st_size
                digest.update(handle.read(_ENDS))
                handle.seek(max(size - _ENDS, 0))
                digest.update(handle.read(_ENDS))
        except OSError as error:
            raise read_error(part, error) from error
        total += size
    return f"{total} {digest.hexdigest()}"


def _files(directory: Path, pattern: str | None) -> list[Path]:
    try:
        everything = sorted(path for path in directory.iterdir() if _is_file(path) and not path.name.startswith(".")
                            and not path.name.endswith(TEMPORARY_SUFFIX))
    except OSError as error:
        raise read_error(directory, error) from error
    if pattern is not None:
        expression = _expression(pattern)
        paths = [path for path in everything if expression.fullmatch(path.name)]
    else:
        paths = _recognised(directory, everything)
    paths = _first_parts(paths)
    if not paths:
        what = "of links of any format" if pattern is None else f"named {pattern}"
        raise InputError(f"{directory}: no files {what} found among {len(everything)}; check the path, or choose files "
                         "by --files")
    return paths


def _is_file(path: Path) -> bool:
    """A link that leads nowhere is a file that is missing."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def _first_parts(paths: list[Path]) -> list[Path]:
    """Without parts of files beyond the first: together they are one configuration."""
    seen: set[str] = set()
    kept = []
    for path in sorted(paths):
        name = name_of_part(path.name)
        if name is None or name not in seen:
            kept.append(path)
        seen |= set() if name is None else {name}
    return kept


def _recognised(directory: Path, everything: list[Path]) -> list[Path]:
    """Files of links by suffix or first bytes, and those that are not but have the same kind of name: damaged or unreadable."""
    paths, others = [], []
    for path in everything:
        try:
            if is_links_file(path):
                paths.append(path)
            elif path.suffix != ".toml" and sealed_kind(path) is None:
                others.append(path)
        except InputError:
            (paths if path.name.endswith(_SUFFIXES) else others).append(path)
    kinds = {_kind(path.name) for path in paths}
    passed = [path.name for path in others if _kind(path.name) not in kinds]
    if paths and passed:
        logger.warning("%s: %s passed over, %d in all: no files of links by suffix or first bytes; --files chooses others",
                       directory, ", ".join(passed[:3]), len(passed))
    return sorted([*paths, *(path for path in others if _kind(path.name) in kinds)])


def _kind(name: str) -> str:
    """The name with a sign in place of its numbers."""
    return _DIGITS.sub("#", _stem(name))


def _expression(pattern: str) -> re.Pattern[str]:
    parts = pattern.split(NUMBER)
    if len(parts) > 2 or "/" in pattern or not pattern:
        raise InputError(f"--files {pattern}: a pattern of file names expected, with * and ?, and {NUMBER} at most once for the "
                         "number, such as 'cfg_{n}.lime'")
    ended = [translate(part) for part in parts]  # by \Z, or \z from Python 3.14 on
    return re.compile(r"(\d+)".join(part.removesuffix(r"\Z").removesuffix(r"\z") for part in ended))


def _numbers(names: list[str], pattern: str | None) -> dict[str, int]:
    if pattern is not None and NUMBER in pattern:
        expression = _expression(pattern)
        return {name: int(expression.fullmatch(name)[1]) for name in names}
    stems = {name: _stem(name) for name in names}
    fields = {name: _DIGITS.findall(stem) for name, stem in stems.items()}
    kinds = {_kind(name): name for name in names}
    if not any(fields.values()):
        return {name: place for place, name in enumerate(sorted(names), 1)}
    if len(kinds) > 1:
        first, second = sorted(kinds.values())[:2]
        raise InputError(f"names of {len(kinds)} kinds found, such as {first} and {second}: which are one chain is not plain; "
                         f"{_HOW}")
    columns = list(zip(*fields.values(), strict=True))
    varying = [place for place, column in enumerate(columns) if len(set(column)) > 1]
    if len(varying) > 1:
        raise InputError(f"the names {names[0]}, {names[-1]}, ... differ in {len(varying)} numbers; {_HOW}")
    place = varying[0] if varying else -1
    return {name: int(found[place]) for name, found in fields.items()}


def _stem(name: str) -> str:
    """The name without the suffix of a format, or of a part, whose digits (.h5, .vol0000) are no numbers."""
    name = name_of_part(name) or name
    return next((name.removesuffix(suffix) for suffix in _SUFFIXES if name.endswith(suffix)), name)
