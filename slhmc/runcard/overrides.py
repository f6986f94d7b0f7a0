"""Overrides `table.key=value` of a card's keys, as given by `--set`."""

import tomllib
from typing import Any

Path = tuple[str | int, ...]


def apply_overrides(raw: dict, overrides: list[str]) -> tuple[dict[Path, str], list[str]]:
    """Set each override in the parsed card `raw`.

    Returns which override set which path, and a line for each override that cannot be applied.
    """
    origins: dict[Path, str] = {}
    faults: list[str] = []
    for override in overrides:
        try:
            path, value = parse_override(override)
            _set(raw, path, value)
            origins[path] = override
        except ValueError as fault:
            faults.append(f"--set {override}: {fault}")
    return origins, faults


def parse_override(override: str) -> tuple[Path, Any]:
    """Path and value of `table.key=value`; ValueError says what is wrong. A number in the path is a list index."""
    name, equals, text = override.partition("=")
    path = tuple(int(part) if part.isdecimal() else part for part in name.strip().split("."))
    if not equals or "" in path:
        raise ValueError("expected table.key=value, such as gauge.beta=5.7 or quarks.0.mass=0.1")
    return path, _value(text.strip())


def _value(text: str) -> Any:
    """`text` as a TOML value; a word that is none is a string, so that run.start=cold needs no quotes."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        parsed = {}
    if list(parsed) == ["value"]:
        return parsed["value"]
    if not text or text[0] in "[{\"'":
        raise ValueError(f"{text or 'nothing'} is not a TOML value")
    return text


def _set(raw: dict, path: Path, value: Any) -> None:
    holder: Any = raw
    for depth, part in enumerate(path):
        where = ".".join(map(str, path[:depth])) or "the card"
        _require_place(holder, part, where)
        if depth == len(path) - 1:
            _store(holder, part, value)
        elif (isinstance(part, int) and part == len(holder)) or (isinstance(part, str) and part not in holder):
            _store(holder, part, [] if isinstance(path[depth + 1], int) else {})
        if depth < len(path) - 1:
            holder = holder[part]


def _require_place(holder: Any, part: str | int, where: str) -> None:
    if isinstance(part, int):
        if not isinstance(holder, list):
            raise ValueError(f"{where} is not a list, so it has no entry {part}")
        if part > len(holder):
            raise ValueError(f"{where} has {len(holder)} {'entry' if len(holder) == 1 else 'entries'}, counted from 0")
    elif not isinstance(holder, dict):
        raise ValueError(f"{where} is not a table, so it has no key {part}")


def _store(holder: Any, part: str | int, value: Any) -> None:
    if isinstance(part, int) and part == len(holder):
        holder.append(value)
    else:
        holder[part] = value
