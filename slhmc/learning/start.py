"""The card of a training: made to need no other file, and what may change in it on the way."""

from pathlib import Path

from slhmc.errors import InputError
from slhmc.io import FitFile, TrainingFile
from slhmc.runcard import FitCard, GuideQuarkTable, NetworkTable, RunCard, parse_card
from slhmc.simulation.changes import changes
from slhmc.simulation.guide import read_weights

# a key, or a table with all its keys; none of them changes a step
CHANGEABLE = ("train.steps", "train.patience", "train.checkpoint_every", "run.trajectories", "run.checkpoint_every",
              "run.save_every", "run.time_limit", "run.max_delta_h", "solver.max_iterations", "lattice.ranks", "lattice.lanes",
              "measure", "reference")
FIT_CHANGEABLE = ("fit.epochs", "fit.patience", "data.directory", "run.time_limit")


def trained_before(card: RunCard) -> dict[str, float]:
    """Masses, factors and coupling that the file guide.network has, which those trained from it must have, too."""
    weights = read_weights(card)
    return {} if weights is None else dict(weights.trained)


def self_contained(card: RunCard) -> RunCard:
    """The card with the numbers of the file guide.network, if it names one, in [network] and [guide]; errors are of that file."""
    weights = read_weights(card)
    if weights is None:
        return card
    table, values = weights.table, weights.network_values.tolist()
    loops = len(table["loops"]) or 1
    network = NetworkTable(kind=table["kind"], layers=table["layers"], loops=tuple(table["loops"]),
                           time_degree=table["time_degree"],
                           weights=tuple(tuple(values[k:k + loops]) for k in range(0, len(values), loops)) or None)
    quarks = list(card.guide.quarks or (GuideQuarkTable(),) * len(card.quarks))
    for number, own in enumerate(quarks):
        if (mass := weights.trained.get(f"quarks.{number}.mass")) is not None:
            own = own.model_copy(update={"mass": mass, "kappa": None})
        if (factor := weights.trained.get(f"quarks.{number}.factor")) is not None:
            own = own.model_copy(update={"factor": factor})
        quarks[number] = own
    update = {"network": None, "quarks": tuple(quarks), "beta": weights.trained.get("gauge.beta", card.guide.beta)}
    return card.model_copy(update={"network": network, "guide": card.guide.model_copy(update=update)})


def check_changes(history: TrainingFile, path: Path, card: RunCard) -> None:
    """InputError if the card in `path` would have trained otherwise than that of the history."""
    _check_changes(history, path, card, CHANGEABLE)


def check_fit_changes(history: FitFile, path: Path, card: RunCard) -> None:
    """As check_changes, for a fit; the number of epochs matters to steps on a cosine."""
    _check_changes(history, path, card, FIT_CHANGEABLE[card.fit is not None and card.fit.schedule == "cosine":])


def _check_changes(history: TrainingFile | FitFile, path: Path, card: RunCard, names: tuple[str, ...]) -> None:
    def changeable(key):
        return any(key == name or key.startswith(f"{name}.") for name in names)
    found = changes(parse_card(history.card_text, f"card in {history.path}", kinds=FitCard), card)
    if refused := [str(change) for change in found if not changeable(change.key)]:
        raise InputError(f"{path}: not the card of this training: {', '.join(refused)}; a training that goes on may change "
                         f"{', '.join(names)}; restore the others, or train anew into another directory")
