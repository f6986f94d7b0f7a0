"""Cards of measurements on files of links that no run of ours has made: what they may leave out of a run card."""

import tomllib
from pathlib import Path

from slhmc.errors import RunCardError
from slhmc.runcard.reader import parse_card, read_card_text
from slhmc.runcard.tables import RunCard


def load_measurement_card(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> RunCard:
    """The card in the file `path`, of which a measurement needs [lattice] and [measure], with quarks if they are measured.

    [gauge], [hmc] and [run] may be left out: gauge.beta is None then, and run.seed, the seed of noise, is 0. Names of files
    stay as they are (`with_paths` makes them absolute). Raises RunCardError, one line for each fault, also for a [fit].
    """
    text = read_card_text(Path(path))
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raw = {}  # told by parse_card
    if "fit" in raw:
        raise RunCardError(f"{path}: a card with [fit] found, which makes its own links; a card with [lattice] and [measure] "
                           "expected")
    card = parse_card(text, str(path), [*_left_out(raw), *overrides])
    if "gauge" in raw or any(override.lstrip().startswith("gauge") for override in overrides):
        return card
    return card.model_copy(update={"gauge": card.gauge.model_copy(update={"beta": None})})


def _left_out(raw: dict) -> list[str]:
    """What stands for the tables of a run that the card does not have, as overrides."""
    added = [] if "gauge" in raw else ['gauge={action="wilson", beta=1.0}']
    added += [] if {"hmc", "heat_bath"} & raw.keys() else ['hmc={scheme="leapfrog", steps=1}']
    run = raw.get("run", {})
    if not isinstance(run, dict):
        return added  # told by parse_card
    return added + [f"run.{key}={value}" for key, value in (("seed", 0), ("trajectories", 1)) if key not in run]
