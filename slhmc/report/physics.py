"""What the cards of runs must have in common for their averages to be compared, and what else differs between them."""

from collections.abc import Iterator, Sequence

from slhmc.runcard import QuarkTable, RunCard, card_entries, toml_value
from slhmc.runcard.quarks import FIELD_FLAVORS

# keys, or tables with all their keys, that fix what a chain samples and whose numbers its observables are
PHYSICS = ("lattice.extent", "lattice.colors", "lattice.fermion_boundary", "gauge.action", "gauge.beta", "gauge.c1", "quarks",
           "smearing", "measure.quarks")
ALGORITHM = {"hasenbusch", "level", "rational"}  # keys of a quark that change its trajectories, not its determinant
UNIMPORTANT = ("reference", "train")  # a run does not read them


def physics(card: RunCard) -> dict[str, str]:
    """Dotted key -> TOML value of the physics of a card; kappa as a mass, flavours written out, so that equals look equal."""
    entries = {key: value for key, value in card_entries(card).items() if _is_physics(key)}
    for path, quark in _quarks(card):
        entries.pop(f"{path}.kappa", None)
        entries[f"{path}.mass"] = toml_value(float(f"{quark.bare_mass:.12g}"))
        entries[f"{path}.flavors"] = toml_value(round(quark.power * FIELD_FLAVORS[quark.operator]))
    return entries


def foreign_keys(card: RunCard, reference: RunCard) -> list[str]:
    """`KEY = VALUE (there VALUE)` for each key in which the physics of a card is not that of the reference."""
    ours, theirs = physics(card), physics(reference)
    return [_words(card, reference, key) for key in ours | theirs if ours.get(key) != theirs.get(key)]


def differences(cards: Sequence[RunCard]) -> dict[str, list[str]]:
    """Dotted key -> its TOML value in each card, "" where a card lacks it, of all that differs and is not physics."""
    entries = [card_entries(card) for card in cards]
    keys = [key for key in dict.fromkeys(key for card in entries for key in card)
            if not _is_physics(key) and not _within(key, UNIMPORTANT)]
    values = {key: [card.get(key, "") for card in entries] for key in keys}
    return {key: row for key, row in values.items() if len(set(row)) > 1}


def _quarks(card: RunCard) -> Iterator[tuple[str, QuarkTable]]:
    for name, quarks in (("quarks", card.quarks), ("measure.quarks", card.measure.quarks)):
        yield from ((f"{name}.{number}", quark) for number, quark in enumerate(quarks))


def _is_physics(key: str) -> bool:
    return _within(key, PHYSICS) and not ALGORITHM & set(key.split("."))


def _within(key: str, names: tuple[str, ...]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _words(card: RunCard, reference: RunCard, key: str) -> str:
    """With the values, and the name of the key, that the card has."""
    shown = []
    for entries, complete in ((card_entries(card), physics(card)), (card_entries(reference), physics(reference))):
        kappa = key.removesuffix("mass") + "kappa" if key.endswith(".mass") else key
        shown.append((kappa, entries[kappa]) if kappa in entries else (key, complete.get(key, "nothing")))
    (name, ours), (other, theirs) = shown
    return f"{name} = {ours} (there {theirs if other == name else f'{other} = {theirs}'})"
