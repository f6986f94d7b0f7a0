"""What may change in the card of a run between two sessions of one chain, and what did; what measured values depend on."""

import json
from collections.abc import Iterable
from typing import NamedTuple

from slhmc.errors import InputError
from slhmc.io.fit import model_digest
from slhmc.runcard import ANALYSIS_KEYS, RunCard, card_entries, potential_choices
from slhmc.simulation.build import QUARK_OBSERVABLES

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


def settings(card: RunCard, name: str) -> dict:
    """What the values of an observable depend on besides the links: its table, its quark, the boundary, the seed."""
    base, _, number = name.rpartition("_")
    base, number = (base, int(number)) if number.isdecimal() else (name, 1)
    told = {key: value for key, value in getattr(card.measure, base).model_dump().items() if key != "every"}
    if base == "static_potential":
        told |= potential_choices(card.measure.static_potential, card.lattice.extent)._asdict()
        told = {key: value for key, value in told.items() if key not in ANALYSIS_KEYS}
    if base == "gradient_flow":
        told |= {"tolerance": None, "step": None} | card.measure.gradient_flow.control
    if base == "learned_flow":
        told["weights"] = model_digest(told["weights"])  # wherever it lies
    if base in QUARK_OBSERVABLES:
        dynamics = {"level", "hasenbusch", "rational", "flavors"}
        quark = card.measured_quarks[number - 1].model_dump(exclude_none=True, exclude=dynamics)
        told |= {"quark": quark, "fermion_boundary": list(card.lattice.fermion_boundary), "seed": card.run.seed}
        told |= {} if card.smearing is None else {"smearing": card.smearing.model_dump(exclude_none=True)}
    return told


def check_settings(name: str, kept: dict, now: dict) -> None:
    """InputError if values of an observable were made with other settings than those that are to follow in the same series."""
    for key in kept | now:
        if kept.get(key) != now.get(key):
            raise InputError(f"measure.{name}: {key} = {json.dumps(now.get(key))} found, but chain.h5 holds measurements with "
                             f"{json.dumps(kept.get(key))}; keep that, and measure otherwise on kept configurations by "
                             "`slhmc measure`")


def _changeable(key: str) -> bool:
    def within(names):
        return any(key == name or key.startswith(f"{name}.") for name in names)
    return within(CHANGEABLE) and not within(FIXED)
