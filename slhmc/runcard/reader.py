"""From TOML text and overrides to a checked `RunCard`; every fault is reported at once, each with its line."""

import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from slhmc.errors import RunCardError
from slhmc.runcard.checks import Fault
from slhmc.runcard.faults import card_faults, kind_of_card
from slhmc.runcard.overrides import apply_overrides
from slhmc.runcard.positions import key_lines
from slhmc.runcard.tables import RunCard

# keys that name files
FILES = (("run", "start_file"), ("guide", "network"), ("train", "directory"), ("data", "directory"),
         ("measure", "learned_flow", "weights"))


def load_card(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> RunCard:
    """The card in the file `path` with `overrides` (each `table.key=value`); names of files are made absolute: those in the card
    are relative to its folder, those in overrides to the current one.

    It is a `FluxCard` if [data] has a `kind`. Raises RunCardError, one line for each fault.
    """
    path = Path(path)
    return with_paths(parse_card(read_card_text(path), str(path), overrides), path.absolute().parent, overrides)


def read_card_text(path: Path) -> str:
    """The text of a card; RunCardError if it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RunCardError(f"{path}: not a TOML file: byte {error.start} is not UTF-8 text") from None
    except OSError as error:
        raise RunCardError(f"{path}: cannot read the run card: {(error.strerror or str(error)).lower()}") from None


def with_paths(card: RunCard, folder: Path, overrides: list[str] | tuple[str, ...] = ()) -> RunCard:
    """The card with the files that it names absolute: relative to `folder`, or to the current one if `overrides` set them."""
    overridden = {override.partition("=")[0].strip() for override in overrides}
    for path in FILES:
        if (file := _value(card, path)) is not None:
            base = Path.cwd() if overridden & {".".join(path[:n + 1]) for n in range(len(path))} else folder
            card = _with_value(card, path, str((base / file).resolve()))
    return card


def _value(table: Any, path: tuple[str, ...]) -> Any:
    """What stands at `path`; None if there is no such table or key."""
    for key in path:
        table = getattr(table, key, None)
    return table


def _with_value(table: Any, path: tuple[str, ...], value: str) -> Any:
    """The card, or a table of it, with another value at `path`."""
    if not path:
        return value
    return table.model_copy(update={path[0]: _with_value(getattr(table, path[0]), path[1:], value)})


def parse_card(text: str, name: str, overrides: list[str] | tuple[str, ...] = ()) -> RunCard:
    """The card in `text`; `name` stands before the line number of each fault.

    Raises RunCardError, one line for each fault.
    """
    raw = _parse_toml(text, name)
    origins, misplaced = apply_overrides(raw, list(overrides))
    faults: list[Fault] = []
    try:
        card = kind_of_card(raw).model_validate(raw)
    except ValidationError as error:
        faults = card_faults(raw, error)
    if not faults and not misplaced:
        return card
    lines = key_lines(text)
    located = sorted((_locate(fault, name, lines, origins) for fault in faults), key=lambda entry: entry[0])
    raise RunCardError("\n".join([line for _, line in located] + misplaced))


def _parse_toml(text: str, name: str) -> dict:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message, line, column = _syntax_error(str(error), text)
        raise RunCardError(f"{name}:{line}:{column}: not valid TOML: {message}") from None
    except RecursionError:
        raise RunCardError(f"{name}: not a run card: lists or tables are nested too deeply") from None


def _syntax_error(words: str, text: str) -> tuple[str, int, int]:
    """Message, line and column of a tomllib error, which has them only in its words."""
    match = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", words, re.DOTALL)
    if match:
        return match[1], int(match[2]), int(match[3])
    *before, last = text.rstrip("\n").split("\n")
    return words.replace("(at end of document)", "at the end of the card"), len(before) + 1, len(last) + 1


def _locate(fault: Fault, name: str, lines: dict, origins: dict) -> tuple[tuple[int, int], str]:
    """Sort key and text of a fault: at its override if one set the key, else at its line or that of its table."""
    path, message = fault
    key = ".".join(map(str, path))
    for depth in range(len(path), 0, -1):
        if path[:depth] in origins:
            where = f"--set {origins[path[:depth]]}"
            return (1, 0), f"{where}: {message}" if depth == len(path) else f"{where}: {key}: {message}"
    for depth in range(len(path), 0, -1):
        if path[:depth] in lines:
            return (0, lines[path[:depth]]), f"{name}:{lines[path[:depth]]}: {key}: {message}"
    made_by = next((override for target, override in origins.items() if target[: len(path)] == path), None)
    if made_by is not None:
        return (1, 0), f"--set {made_by}: {key}: {message}"
    return (0, 0), f"{name}: {key}: {message}"
