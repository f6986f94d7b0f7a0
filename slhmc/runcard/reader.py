"""From TOML text and overrides to a checked `RunCard`; every fault is reported at once, each with its line."""

import re
import tomllib
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from slhmc.errors import RunCardError
from slhmc.runcard.checks import Fault
from slhmc.runcard.faults import card_faults
from slhmc.runcard.fluxes import FluxCard
from slhmc.runcard.overrides import apply_overrides
from slhmc.runcard.positions import key_lines
from slhmc.runcard.scalar import ScalarCard
from slhmc.runcard.tables import RunCard

Card = RunCard | ScalarCard | FluxCard
FitCard = RunCard | FluxCard
# what a kind of card has that others have not, and the command that is for it
_KINDS = {RunCard: ("[gauge]", "run"), ScalarCard: ("[scalar]", "run"), FluxCard: ("data.kind", "train")}
_MOST_BYTES = 4 << 20  # of a card
# keys that name files
_FILES = (("run", "start_file"), ("guide", "network"), ("train", "directory"), ("data", "directory"),
          ("measure", "learned_flow", "weights"))


def load_card(path: str | Path, overrides: list[str] | tuple[str, ...] = (), kinds: Any = RunCard) -> Any:
    """The card in the file `path` with `overrides` (each `table.key=value`); names of files are made absolute: those in the card
    are relative to its folder, those in overrides to the current one. kinds: what it may be: RunCard, ScalarCard, FluxCard, or a
    union of them.

    Raises RunCardError, one line for each fault.
    """
    path = Path(path)
    card = parse_card(read_card_text(path), str(path), overrides, kinds)
    return with_paths(card, path.absolute().parent, overrides)


def read_card_text(path: Path) -> str:
    """The text of a card; RunCardError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            found = file.read(_MOST_BYTES + 1)
        if len(found) > _MOST_BYTES:
            raise RunCardError(f"{path}: more than {_MOST_BYTES >> 20} MiB found, which is no run card")
        return found.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RunCardError(f"{path}: not a TOML file: byte {error.start} is not UTF-8 text") from None
    except OSError as error:
        raise RunCardError(f"{path}: cannot read the run card: {(error.strerror or str(error)).lower()}") from None


def with_paths(card: RunCard, folder: Path | None, overrides: list[str] | tuple[str, ...] = ()) -> RunCard:
    """The card with the files that it names absolute: relative to `folder`, or to the current one if `overrides` set them; only
    these without a folder.
    """
    overridden = {override.partition("=")[0].strip() for override in overrides}
    for path in _FILES:
        if (file := _value(card, path)) is not None:
            base = Path.cwd() if overridden & {".".join(path[:n + 1]) for n in range(len(path))} else folder
            card = card if base is None else _with_value(card, path, str((base / file).resolve()))
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


def parse_card(text: str, name: str, overrides: list[str] | tuple[str, ...] = (), kinds: Any = RunCard) -> Any:
    """The card in `text`; `name` stands before the line number of each fault. kinds: as of load_card.

    Raises RunCardError, one line for each fault.
    """
    raw = _parse_toml(text, name)
    kind = _kind(raw, name, kinds)
    origins, misplaced = apply_overrides(raw, list(overrides))
    faults: list[Fault] = []
    try:
        card = kind.model_validate(raw)
    except ValidationError as error:
        faults = card_faults(raw, error, kind)
    if not faults and not misplaced:
        return card
    lines = key_lines(text)
    located = sorted((_locate(fault, name, lines, origins) for fault in faults), key=lambda entry: entry[0])
    raise RunCardError("\n".join([line for _, line in located] + misplaced))


def _kind(raw: dict, name: str, kinds: Any) -> type[RunCard] | type[ScalarCard] | type[FluxCard]:
    """What the tables of a card make it; RunCardError for a kind that is not asked for."""
    fluxes = isinstance(raw.get("data"), dict) and "kind" in raw["data"]
    kind = FluxCard if fluxes else ScalarCard if "scalar" in raw and "gauge" not in raw else RunCard
    if kind not in (asked := get_args(kinds) or (kinds,)):
        found, command = _KINDS[kind]
        expected = " or ".join(_KINDS[each][0] for each in asked)
        raise RunCardError(f"{name}: a card with {found} found, one with {expected} expected; it is for `slhmc {command}`")
    return kind


def json_schema() -> dict:
    """JSON schema of run cards, for editors that check TOML while it is written: a ScalarCard if there is a [scalar], a
    FluxCard if [data] has a kind.
    """
    scalar, fluxes, run = (kind.model_json_schema() for kind in (ScalarCard, FluxCard, RunCard))
    tables = scalar.pop("$defs") | fluxes.pop("$defs") | run.pop("$defs")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": tables, "if": {"required": ["scalar"]},
            "then": scalar, "else": {
                "if": {"required": ["data"], "properties": {"data": {"required": ["kind"]}}}, "then": fluxes, "else": run}}


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
        return _twice(match[1]), int(match[2]), int(match[3])
    *before, last = text.rstrip("\n").split("\n")
    return words.replace("(at end of document)", "at the end of the card"), len(before) + 1, len(last) + 1


def _twice(words: str) -> str:
    """tomllib's words for what is there twice, with what to do."""
    if table := re.fullmatch(r"Cannot declare \((.*?),?\) twice", words):
        keys = ".".join(re.findall(r"'([^']*)'", table[1]))
        return f"[{keys}] is there twice; keep one table, with the keys of both"
    return "this key is there twice in its table; keep one" if words == "Cannot overwrite a value" else words


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
