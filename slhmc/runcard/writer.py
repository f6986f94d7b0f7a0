"""Canonical TOML of a card, with every default written out."""

import json
from collections.abc import Iterator
from typing import Any

from slhmc.runcard.tables import RunCard


def card_text(card: RunCard) -> str:
    """TOML of `card`; parsing it gives an equal card."""
    blocks = list(_blocks((), card.model_dump(exclude_none=True)))
    return "\n".join(blocks)


def card_entries(card: RunCard) -> dict[str, str]:
    """Dotted key -> TOML value of everything in the tables of a card; entries of a list of tables are counted from 0."""
    return dict(_entries("", card.model_dump(exclude_none=True)))


def _entries(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, (list, tuple)) and all(map(_is_table, value)):  # an empty list may be one of tables
        value = dict(enumerate(value))
    if not _is_table(value):
        yield path, toml_value(value)
        return
    for key, entry in value.items():
        yield from _entries(f"{path}.{key}" if path else key, entry)


def _blocks(path: tuple[str, ...], table: dict, brackets: int = 1):
    """The text of a table and its sub-tables, one block for each header; an entry of a list of tables has two brackets."""
    values = {key: value for key, value in table.items() if not _is_table(value) and not _is_table_list(value)}
    if path and (values or not table or brackets == 2):
        yield _block("[" * brackets + ".".join(path) + "]" * brackets, values)
    for key, value in table.items():
        inner = (*path, _key(key))
        if _is_table(value):
            yield from _blocks(inner, value)
        elif _is_table_list(value):
            for entry in value:
                yield from _blocks(inner, entry, 2)


def _block(header: str, values: dict) -> str:
    return header + "\n" + "".join(f"{_key(key)} = {toml_value(value)}\n" for key, value in values.items())


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _is_table_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and isinstance(value[0], dict)


def toml_value(value: Any) -> str:
    """`value` as TOML: a string, a number, a bool or a list of them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml_value, value))}]"
    return repr(value)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    bare = key and all(char.isascii() and (char.isalnum() or char in "_-") for char in key)
    return key if bare else _string(key)
