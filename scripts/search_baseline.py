#!/usr/bin/env python3
"""Search networks for the labels of cards with a [fit], by optuna: every trial is a training of its own.

    .venv/bin/python scripts/search_baseline.py run_cards/lcnn/wilson_loop_1x2.toml -o runs/baselines --trials 40 --minutes 20
    .venv/bin/python scripts/search_baseline.py run_cards/scalar/counting_worms.toml --family strided -o runs/strided

Needs `pip install 'slhmc[search]'`. Of labels of links baseline CNNs are searched, of those of fluxes one of three families
(scripts/flux_families.py), with the budget of the card's [search] where no other is given. For each CARD, OUTPUT/CARD has the
trainings, trials.csv with a line for each trial, and search.json with the results of the best one. Data sets are in OUTPUT/data,
or where --data says. The objective is the validation loss alone: trials are pruned by it (worse than the median of others at the
same epoch), and the best one is chosen by it before its test errors are looked at. A search that is called again goes on to its
number of trials.
"""

import argparse
import csv
import json
import sys
import time
from pathlib import Path

import optuna
from commands import guarded
from flux_families import model_of_trial
from pages import filled, markdown

from slhmc.errors import ComputationError, InputError
from slhmc.learning import regression
from slhmc.runcard import FitCard, FluxCard, card_text, load_card

ACTIVATIONS = ("relu", "leaky_relu", "tanh", "sigmoid")
LAYERS, WIDTHS, KERNELS, RATES = 6, (4, 8, 16, 32, 64, 128, 256, 512), (1, 2, 3), (1e-4, 3e-2)
FIELDS = ("trial", "state", "validation", "epochs", "seconds", "parameters", "learning_rate", "activation", "layers")


class Stop:
    """Told to a training: whether it is to stop; `pruned` says that this trial was worse than others.

    Its clock begins with the training: the first trial also makes the data.
    """

    def __init__(self, trial: optuna.Trial, minutes: float):
        self.trial, self.entered, self.limit, self.begun = trial, time.monotonic(), 60 * minutes, None
        self.pruned, self.epochs, self.best = False, 0, float("inf")

    @property
    def late(self) -> bool:
        return self.begun is not None and time.monotonic() - self.begun > self.limit

    @property
    def requested(self) -> bool:
        return self.pruned or self.late

    def observe(self, report) -> None:
        """Of the training, after each epoch."""
        if report.phase == "training" and self.begun is None:
            self.begun = time.monotonic()
        if report.phase != "training" or report.batch or report.done <= self.epochs:
            return
        self.epochs, self.best = report.done, min(self.best, report.validation)
        self.trial.report(self.best, report.done)
        self.pruned = self.trial.should_prune()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cards", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="directory of the data sets")
    parser.add_argument("--trials", type=int, help="of each card, those of earlier calls counted; 40 if neither card nor you say")
    parser.add_argument("--minutes", type=float, help="for each card; no trial begins later; 60 likewise")
    parser.add_argument("--family", default="equivariant", help="of networks on fluxes: equivariant, strided, flattening")
    parser.add_argument("--trial-minutes", type=float, default=10.0, help="a trial that takes longer ends as it is")
    parser.add_argument("--deepest", type=int, default=LAYERS, help="convolutions of a network at most")
    parser.add_argument("--widest", type=int, default=WIDTHS[-1], help="channels of a convolution at most")
    parser.add_argument("--seed", type=int, default=1, help="of the search, and run.seed of every trial")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="keys of the cards, before those of a trial")
    parser.add_argument("--page", type=Path, help="Markdown page whose table `baselines` is replaced")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found = {card.stem: search(card, options) for card in options.cards}
    lines = table(found)
    if options.page:
        options.page.write_text(filled(options.page.read_text(), {"baselines": lines}))
    print(lines)
    return 0


def search(card: Path, options: argparse.Namespace) -> dict:
    """Run the trials of a card; what is in its search.json."""
    place = (options.output / card.stem).resolve()
    place.mkdir(parents=True, exist_ok=True)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(place / "trials.log")))
    pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2)
    study = optuna.create_study(study_name=card.stem, storage=storage, load_if_exists=True, pruner=pruner)
    keep_to(study, place, card, options)
    # another search from the trial where one was interrupted: the first draws are not drawn again
    study.sampler = optuna.samplers.TPESampler(seed=options.seed + len(study.trials))
    begun, (trials, minutes) = time.monotonic(), budget(card, options)
    study.optimize(lambda trial: train(trial, card, place, options), max(0, trials - len(study.trials)),
                   timeout=60 * minutes, catch=(ComputationError,), callbacks=[lambda study, _: record(study, place)])
    return summary(study, place, time.monotonic() - begun)


def keep_to(study: optuna.Study, place: Path, card: Path, options: argparse.Namespace) -> None:
    """InputError if trials that are there are of another card, family or choice of networks."""
    found = load_card(card, options.set, FitCard)
    if isinstance(found, FluxCard):
        found = found.model_copy(update={"search": None})  # its budget may grow
    asked = {"card": card_text(found), "--family": options.family, "--deepest": options.deepest,
             "--widest": options.widest}
    kept = study.user_attrs.get("asked", asked)
    differing = [f"{key} {asked[key]} (was {kept[key]})" if key != "card" else f"the card {card}, with --set"
                 for key in asked if kept[key] != asked[key]]
    if differing:
        raise InputError(f"{place}: trials of another search are here, differing in {', '.join(differing)}; go on as it began, "
                         "or give another --output")
    study.set_user_attr("asked", asked)


def budget(card: Path, options: argparse.Namespace) -> tuple[int, float]:
    """(trials, minutes): what is asked for, or what the card says, or 40 and 60."""
    table = getattr(load_card(card, options.set, FitCard), "search", None)
    return (options.trials if options.trials is not None else table.trials if table else 40,
            options.minutes if options.minutes is not None else table.minutes if table else 60.0)


def cnn_of_trial(trial: optuna.Trial, options: argparse.Namespace) -> tuple[str, str]:
    """(override of [model], its layers in short words) of a baseline CNN."""
    depth = trial.suggest_int("depth", 1, options.deepest)
    widths = [width for width in WIDTHS if width <= options.widest]
    layers = [{"kernel": trial.suggest_categorical(f"kernel{layer}", KERNELS),
               "channels": trial.suggest_categorical(f"channels{layer}", widths)} for layer in range(1, depth + 1)]
    activation = trial.suggest_categorical("activation", ACTIVATIONS)
    words = ", ".join(f"{{kernel = {layer['kernel']}, channels = {layer['channels']}}}" for layer in layers)
    return (f"model={{kind = 'cnn', activation = '{activation}', layers = [{words}]}}",
            " ".join(f"{layer['channels']}@{layer['kernel']}" for layer in layers))


def train(trial: optuna.Trial, card: Path, place: Path, options: argparse.Namespace) -> float:
    """The validation loss of one architecture."""
    asked = load_card(card, options.set, FitCard)
    if isinstance(asked, FluxCard):
        model, layers = model_of_trial(trial, asked, options.family, options.deepest, options.widest)
    else:
        model, layers = cnn_of_trial(trial, options)
    rate = trial.suggest_float("learning_rate", *RATES, log=True)
    data = (options.data or options.output / "data").resolve()
    overrides = [*options.set, model, f"fit.learning_rate={rate!r}",
                 f"data.directory={json.dumps(str(data))}", f"run.seed={options.seed}"]
    fit = regression.create(load_card(card, overrides, FitCard), place / f"trial_{trial.number:04d}")
    stop = Stop(trial, options.trial_minutes)
    trial.set_user_attr("layers", layers)
    trial.set_user_attr("parameters", fit.model.parameter_count)
    try:
        fit.run(stop.observe, stop)
    finally:
        trial.set_user_attr("epochs", stop.epochs)
    if stop.pruned:
        raise optuna.TrialPruned
    if not stop.epochs:
        raise ComputationError(f"trial {trial.number}: no epoch in {options.trial_minutes:g} minutes; give --trial-minutes more")
    return stop.best


def record(study: optuna.Study, place: Path) -> None:
    """trials.csv anew: every trial that is over."""
    with (place / "trials.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(FIELDS)
        for trial in study.trials:
            told = trial.user_attrs
            losses = list(trial.intermediate_values.values())
            writer.writerow([trial.number, trial.state.name.lower(), min(losses, default=""), told.get("epochs", 0),
                             f"{trial.duration.total_seconds():.1f}" if trial.duration else "", told.get("parameters", ""),
                             trial.params.get("learning_rate", ""), trial.params.get("activation", ""), told.get("layers", "")])


def summary(study: optuna.Study, place: Path, seconds: float) -> dict:
    """Write search.json: numbers of trials, and the best one with its test errors."""
    states = [trial.state.name.lower() for trial in study.trials]
    if "complete" not in states:
        raise SystemExit(f"{place}: none of {len(states)} trials was completed; give more --minutes or --trial-minutes")
    best = study.best_trial
    directory = place / f"trial_{best.number:04d}"
    if not (directory / "results.json").exists():  # stopped by --trial-minutes before its tests
        regression.resume(directory, overrides=[f"fit.epochs={best.user_attrs['epochs']}"]).run()
    before = json.loads((place / "search.json").read_text())["seconds"] if (place / "search.json").exists() else 0.0
    told = {"trials": len(states), **{name: states.count(name) for name in ("complete", "pruned", "fail")},
            "seconds": before + seconds, "best": best.number, "params": best.params, "layers": best.user_attrs["layers"],
            "results": json.loads((directory / "results.json").read_text())}
    (place / "search.json").write_text(json.dumps(told, indent=1))
    return told


def table(found: dict[str, dict]) -> str:
    """A line for each card."""
    extents = list(dict.fromkeys(extent for entry in found.values() for extent in entry["results"]["test"]))
    rows = []
    for name, entry in found.items():
        results, params = entry["results"], entry["params"]
        activation = f"{params['activation']}, " if "activation" in params else ""
        architecture = f"{entry['layers']}, {activation}rate {params['learning_rate']:.1e}"
        errors = {extent: f"{numbers.get('mse_average', numbers.get('loss_median')):.2g}"
                  for extent, numbers in results["test"].items()}
        label = name.replace("wilson_loop_", "").replace("su3_", "SU(3) ")
        rows.append([label, str(entry["trials"]), str(entry["pruned"]), f"{entry['seconds']:.0f}", architecture,
                     str(results["parameters"]), f"{results['validation']:.2g}",
                     *(errors.get(extent, "-") for extent in extents)])
    heads = ["loop", "trials", "of them pruned", "seconds", "channels@kernel of each layer", "parameters", "validation"]
    word = "median loss" if any("combinations" in entry["results"] for entry in found.values()) else "MSE of averages"
    return markdown([*heads, *(f"{word} {extent}" for extent in extents)], rows)


if __name__ == "__main__":
    sys.exit(guarded(main))
