"""Faults of a card in the words of its author: what was found at which key, and what was expected."""

import difflib
import json
from collections.abc import Iterator
from math import isfinite
from types import SimpleNamespace
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from slhmc.runcard.checks import Fault
from slhmc.runcard.guide import GuideQuarkTable
from slhmc.runcard.quarks import QuarkTable
from slhmc.runcard.tables import RunCard

Path = tuple[str | int, ...]

# the checks ask only whether these are there, so a faulty one need not be hidden from them
_ONLY_PRESENCE_MATTERS = {"c1", "start_file"}


def card_faults(raw: dict, error: ValidationError, card: type[BaseModel] = RunCard) -> list[Fault]:
    """Every fault of the parsed card `raw` of the type `card` that `error` reports, and those between its valid keys."""
    found = [entry for entry in error.errors(include_url=False) if entry["type"] != "inconsistent"]
    listed = [(entry["loc"], _words(card, entry)) for entry in found if not _follows_from_entries(entry, found)]
    return listed + list(card.cross_faults(_valid_part(card, raw, {entry["loc"] for entry in found})))


def _follows_from_entries(entry: dict, found: list[dict]) -> bool:
    """A list whose entries are faulty is also called too short; one fault is enough."""
    depth = len(entry["loc"])
    return entry["type"] == "too_short" and any(
        other is not entry and other["loc"][:depth] == entry["loc"] for other in found
    )


def _valid_part(card: type[BaseModel], raw: dict, faulty: set[Path]) -> SimpleNamespace:
    """The card as far as it is valid: a table that is left out, or a faulty value, is None."""
    tables: dict[str, Any] = dict.fromkeys(card.model_fields)
    for name in card.model_fields.keys() & raw.keys() - {"quarks"}:
        model = _table_type(card.model_fields[name].annotation)
        table = raw[name] if isinstance(raw[name], dict) else dict.fromkeys(model.model_fields)
        tables[name] = _valid_table(model, table, faulty, (name,))
    if card is not RunCard:
        return SimpleNamespace(**tables)
    tables["quarks"] = _valid_quarks(QuarkTable, raw.get("quarks", []), faulty, ("quarks",))
    for name, model in (("measure", QuarkTable), ("guide", GuideQuarkTable)):
        if isinstance(raw.get(name), dict) and "quarks" in raw[name]:
            quarks = _valid_quarks(model, raw[name]["quarks"], faulty, (name, "quarks"))
            tables[name] = tables[name].model_copy(update={"quarks": quarks})
    return SimpleNamespace(**tables)


def _valid_quarks(model: type[BaseModel], value: Any, faulty: set[Path], path: Path) -> tuple | None:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        return None
    return tuple(_valid_table(model, entry, faulty, (*path, index)) for index, entry in enumerate(value))


def _valid_table(model: type[BaseModel], raw: dict, faulty: set[Path], path: Path) -> BaseModel:
    depth = len(path)
    spoiled = {loc[depth] for loc in faulty if len(loc) > depth and loc[:depth] == path} - _ONLY_PRESENCE_MATTERS
    values = {name: raw.get(name) for name, field in model.model_fields.items() if field.is_required() or name in raw}
    for name in values.keys() - spoiled:
        if isinstance(values[name], dict) and (inner := _table_type(model.model_fields[name].annotation)):
            values[name] = _valid_table(inner, values[name], faulty, (*path, name))
    return model.model_construct(**{name: None if name in spoiled else value for name, value in values.items()})


def _table_type(annotation: Any) -> type[BaseModel] | None:
    """The table inside `tuple[Table, ...]`, `Table | None`, `Table`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_table_type, get_args(annotation))), None)


def _words(card: type[BaseModel], entry: dict) -> str:
    """One pydantic error as words."""
    kind, path, context = entry["type"], entry["loc"], entry.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(card, path, entry["input"])
    if kind == "missing" and isinstance(path[-1], int):
        return f"missing: the list has no entry {path[-1]}, counted from 0"
    if kind == "missing":
        return _missing(card, path)
    if kind in ("too_short", "too_long"):
        bound = f"at least {context['min_length']}" if kind == "too_short" else f"at most {context['max_length']}"
        return f"expected {bound} entries, found {len(entry['input'])}"
    expected = _EXPECTED.get(kind, lambda context: entry["msg"])(context)
    if kind in ("tuple_type", "list_type") and isinstance(entry["input"], dict):
        expected = f"expected a list of tables, written [[{path[-1]}]]"
    words = f"{expected}, found {_shown(entry['input'])}"
    if kind == "literal_error":
        words += _did_you_mean(entry["input"], context["expected"].replace("'", "").replace(" or ", ", ").split(", "))
    return words


_EXPECTED = {
    "float_type": lambda context: "expected a number",
    "int_type": lambda context: "expected an integer",
    "bool_type": lambda context: "expected true or false",
    "string_type": lambda context: "expected a string",
    "string_too_short": lambda context: "expected a string that is not empty",
    "finite_number": lambda context: "expected a finite number",
    "tuple_type": lambda context: "expected a list",
    "list_type": lambda context: "expected a list",
    "model_type": lambda context: "expected a table",
    "literal_error": lambda context: f"expected {context['expected']}".replace("'", '"'),
    "greater_than": lambda context: f"must be greater than {context['gt']:g}",
    "greater_than_equal": lambda context: f"must be at least {context['ge']:g}",
    "less_than": lambda context: f"must be less than {context['lt']:g}",
    "less_than_equal": lambda context: f"must be at most {context['le']:.10g}",
    "multiple_of": lambda context: "must be even",  # the only multiple that a card asks for
}


def _unknown_key(card: type[BaseModel], path: Path, value: Any) -> str:
    key = path[-1]
    keys = list(_model_at(card, path[:-1]).model_fields)
    noun = "table" if len(path) == 1 and isinstance(value, (dict, list)) else "key"
    words = f"unknown {noun}"
    guess = _did_you_mean(key, keys)
    if guess:
        return words + guess
    homes = [table for table in _tables_with(card, key) if table != path[:-1]]
    if homes:
        return f"{words}; {key} belongs to {' or '.join(f'[{name}]' for name in dict.fromkeys(map('.'.join, homes)))}"
    where = ".".join(str(part) for part in path[:-1] if isinstance(part, str))
    return f"{words}; {f'[{where}]' if where else 'a card'} has {', '.join(keys)}"


def _did_you_mean(word: Any, choices: list[str]) -> str:
    close = difflib.get_close_matches(word, choices, n=1) if isinstance(word, str) else []
    return f"; did you mean {close[0]}?" if close else ""


def _missing(card: type[BaseModel], path: Path) -> str:
    field = _model_at(card, path[:-1]).model_fields[path[-1]]
    if len(path) == 1:
        return f"the card needs a table [{path[0]}]: {field.description}"
    return f"missing: {field.description}"


def _model_at(card: type[BaseModel], path: Path) -> type[BaseModel]:
    model = card
    for part in path:
        if isinstance(part, str):
            field = model.model_fields.get(part)
            model = _table_type(field.annotation if field else model.__annotations__["__pydantic_extra__"])
    return model


def _tables_with(card: type[BaseModel], key: str) -> Iterator[tuple[str, ...]]:
    for name, field in card.model_fields.items():
        model = _table_type(field.annotation)
        if key in model.model_fields and name != "measure":
            yield (name,)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, float) and not isfinite(value):
        return str(value)  # as TOML has it: inf, -inf, nan
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else text[:37] + "..."
