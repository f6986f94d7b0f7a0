"""What may change in the card of a run between two sessions of one chain, and what did."""

from collections.abc import Iterable
from typing import NamedTuple

from slhmc.errors import InputError
from slhmc.runcard import RunCard, card_entries, potential_choices

# a key, or a table with all its keys; none of them changes what the chain samples
CHANGEABLE = ("run.trajectories", "run.checkpoint_every", "run.save_every", "run.time_limit", "run.max_delta_h",
              "solver.max_iterations", "lattice.ranks", "lattice.lanes", "measure", "reference")
FIXED = ("measure.quarks",)  # within them: whose numbers a series of the chain file has


class Change(NamedTuple):
    """A key of the card with both values as TOML, "" where the card had no such key."""

    key: str
    was: str
    now: str

    def __str__(self) -> str:
        return f"{self.key} = {self.now or 'nothing'} (was {self.was or 'nothing'})"

    @property
    def allowed(self) -> bool:
        """Whether one chain may have both values."""
        return _changeable(self.key)


def check_overrides(overrides: Iterable[str]) -> None:
    """InputError for a `table.key=value` whose key must stay what it was when the chain began."""
    if refused := [override for override in overrides if not _changeable(override.partition("=")[0].strip())]:
        raise InputError(f"--set {refused[0]}: a run that goes on may not change this key; it may change "
                         f"{', '.join(CHANGEABLE)}; for another value start a new run by `slhmc run`")


def changes(before: RunCard, now: RunCard) -> list[Change]:
    """All keys in which two cards differ."""
    old, new = card_entries(before), card_entries(now)
    return [Change(key, old.get(key, ""), new.get(key, "")) for key in old | new if old.get(key) != new.get(key)]


def check_potential(before: RunCard, now: RunCard) -> None:
    """InputError if two cards measure other loops, which would not make one series of the chain file."""
    tables = [card.measure.static_potential for card in (before, now)]
    if None in tables:
        return
    for key in ("r_max", "t_max", "levels", "rho"):
        was, is_now = (table.rho if key == "rho" else getattr(potential_choices(table, card.lattice.extent), key)
                       for table, card in zip(tables, (before, now), strict=True))
        if was != is_now:
            raise InputError(f"measure.static_potential.{key} = {_words(is_now)} found, but the chain holds measurements with "
                             f"{_words(was)}; keep that, and measure others on kept configurations by `slhmc measure`")


def _words(value: float | tuple[int, ...]) -> str:
    return str(list(value)) if isinstance(value, tuple) else f"{value:g}"


def _changeable(key: str) -> bool:
    def within(names):
        return any(key == name or key.startswith(f"{name}.") for name in names)
    return within(CHANGEABLE) and not within(FIXED)
