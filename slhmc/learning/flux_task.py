"""`FluxTask`: numbers of a configuration of fluxes as labels; what a `Regression` asks of a `FluxCard`."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from slhmc.backend import Device
from slhmc.errors import InputError
from slhmc.io import load_flux_set
from slhmc.learning.datasets import exact_words
from slhmc.learning.flux_data import FluxMaker, FluxPart, flux_origin, flux_parts
from slhmc.networks.convolutional import Convolutional, Stage, published
from slhmc.runcard import FluxCard

REALS = {"single": "float", "double": "double"}
DTYPES = {"single": torch.float32, "double": torch.float64}
OUTPUTS = {"observables": 2, "violation": 1, "open_worms": 1}
SITES = 65536  # of one batch that no card sizes


class FluxSamples:
    """A data set with its labels. fluxes: integers [sample, channel, x, t]; labels: float64 [sample, output].

    subset: only the first so many of each coupling and number of open worms. Raises InputError if the file is missing, damaged or
    of another card.
    """

    def __init__(self, card: FluxCard, part: FluxPart, directory: Path, device: Device, precision: str,
                 subset: int | None = None):
        found = load_flux_set(part.path(directory), flux_origin(card, part))
        chosen = np.arange(len(found.fluxes))
        if subset is not None:
            chosen = chosen[chosen % getattr(card.data, part.split) < subset]
        self.fluxes, self.couplings = torch.from_numpy(found.fluxes[chosen]), found.couplings[chosen]
        self.open_worms = found.open_worms[chosen]
        labels = {"observables": found.observables[chosen], "violation": (self.open_worms > 0)[:, None],
                  "open_worms": self.open_worms[:, None]}[card.data.label]
        self.labels = torch.from_numpy(labels.astype(np.float64))
        self._type, self._place = DTYPES[precision], device.torch_device()

    def __len__(self) -> int:
        return len(self.fluxes)

    def batch(self, chosen) -> tuple[torch.Tensor, torch.Tensor]:
        """Fluxes as real numbers, and labels, of some samples: a slice or numbers."""
        return self.fluxes[chosen].to(self._place, self._type), self.labels[chosen].to(self._place)


class FluxTask:
    """One or two numbers a configuration. Methods are collective."""

    def __init__(self, card: FluxCard, device: Device, directory: Path, communicator):
        self.card, self.device, self.directory, self.communicator = card, device, directory, communicator

    def model(self, precision: str | None = None) -> torch.nn.Module:
        """The network with its first weights; precision: in place of the card's. InputError if its outputs are not those of the
        label.
        """
        return flux_model(self.card, precision)

    def check(self, model: torch.nn.Module) -> None:
        """InputError unless the network can act on every lattice of the card."""
        for part in flux_parts(self.card):
            model.check(part.extent)

    def make_data(self, halt, tell) -> bool:
        """As `FluxMaker.make`."""
        return FluxMaker(self.card, self.directory, self.device, self.communicator).make(halt, tell)

    def samples(self, split: str) -> FluxSamples:
        """The data set of "training" or "validation", as much of it as data.subset says, in the precision of the card."""
        data, part = self.card.data, next(part for part in flux_parts(self.card) if part.split == split)
        subset = data.subset and max(1, data.subset * getattr(data, split) // data.training)
        return FluxSamples(self.card, part, self.directory, self.device, self.card.model.precision, subset)

    def loss(self, model: torch.nn.Module, fluxes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Of a batch: mean square deviation over samples and outputs; of violations the cross entropy, outputs being logits."""
        return self._losses(model(fluxes), labels).mean()

    def _losses(self, found: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if self.card.data.label == "violation":
            return torch.nn.functional.binary_cross_entropy_with_logits(found, labels.to(found), reduction="none")
        return (found - labels.to(found)).square()

    def least_squares(self, model: torch.nn.Module, fluxes: torch.Tensor, labels: torch.Tensor) -> "LeastSquares":
        """Deviations of a batch and their derivatives."""
        return LeastSquares(model, fluxes, labels)

    def validate(self, model: torch.nn.Module, samples: FluxSamples) -> dict[str, float]:
        """validation: the loss of all samples; there is no mean square at a site."""
        loss = float(self._predict(model, samples)[1].mean())
        return {"validation": loss, "mse_site": np.nan, "mse_average": np.nan if self.card.data.label == "violation" else loss}

    @torch.no_grad()
    def _predict(self, model: torch.nn.Module, samples: FluxSamples) -> tuple[np.ndarray, np.ndarray]:
        """(outputs, loss) of every sample, [sample, output] and [sample]: each rank asks the network for its part of them."""
        mine = np.array_split(np.arange(len(samples)), self.communicator.size)[self.communicator.rank]
        size = max(1, SITES // int(np.prod(samples.fluxes.shape[2:])))
        rows = [np.empty((0, OUTPUTS[self.card.data.label] + 1))]
        for begin in range(0, len(mine), size):
            fluxes, labels = samples.batch(mine[begin:begin + size])
            found = model(fluxes)
            losses = self._losses(found, labels).mean(1, keepdim=True)
            rows.append(torch.cat([found, losses], 1).double().cpu().numpy())
        table = np.concatenate(self.communicator.allgather(np.concatenate(rows)))
        return table[:, :-1], table[:, -1]

    # ---- tests
    @property
    def tests(self) -> list[FluxPart]:
        """What is tested, piece by piece: the validation set of the best weights, then each lattice."""
        return flux_parts(self.card)[1:]

    def numbers(self, model: torch.nn.Module, part: FluxPart) -> dict[str, dict]:
        """Name of a lattice, a coupling and a number of open worms -> what the test finds there."""
        samples = FluxSamples(self.card, part, self.directory, self.device, "double")
        outputs, losses = self._predict(model, samples)
        labels, found = samples.labels.numpy(), {}
        names = [(part.name if part.split == "test" else f"validation {part.name}", eta, mu, count)
                 for (eta, mu), count in zip(samples.couplings, samples.open_worms, strict=True)]
        for key in dict.fromkeys(names):
            chosen = np.array([name == key for name in names])
            entry = {"extent": key[0], "eta": key[1], "mu": key[2], "open_worms": int(key[3]), "samples": int(chosen.sum()),
                     "loss": float(losses[chosen].mean())}
            name = f"{key[0]} eta {exact_words(key[1])} mu {exact_words(key[2])} open worms {key[3]}"
            found[name] = entry | _details(self.card.data.label, outputs[chosen], labels[chosen])
        return found

    def summary(self, found: dict[str, dict]) -> dict[str, Any]:
        """test: for each lattice, for all up to it, and for each range of mu, mean and median of the losses of its combinations;
        combinations: the numbers of each.
        """
        return {"test": summed_up(self.card, list(found.values())), "combinations": found}


class LeastSquares:
    """Deviations r of a batch, [sample x output], as a function of the weights of a network, one after the other in a vector."""

    def __init__(self, model: torch.nn.Module, fluxes: torch.Tensor, labels: torch.Tensor):
        self.model, self.fluxes, self.labels = model, fluxes, labels.to(fluxes)

    @torch.no_grad()
    def deviations(self) -> torch.Tensor:
        """r with the weights that the network has."""
        return (self.model(self.fluxes) - self.labels).flatten()

    def jacobian(self) -> torch.Tensor:
        """dr / dweights, [sample x output, weight]: the way back for each sample, all at once."""
        weights = {name: parameter.detach() for name, parameter in self.model.named_parameters()}

        def outputs(weights, sample):
            return torch.func.functional_call(self.model, weights, (sample[None],))[0]
        found = torch.func.vmap(torch.func.jacrev(outputs), (None, 0))(weights, self.fluxes)
        return torch.cat([found[name].flatten(2).flatten(0, 1) for name in weights], 1)


def flux_model(card: FluxCard, precision: str | None = None) -> Convolutional:
    """The network of a card with its first weights, or for those of a file."""
    table = card.model
    stages = published(table.published) if table.published else [
        Stage(layer.kind, layer.channels or 0, layer.kernel, layer.bias) for layer in table.layers]
    model = Convolutional(stages, extent=card.lattice.extent, activation=table.activation,
                          real=REALS[precision or table.precision], seed=card.run.seed)
    if model.outputs != (wanted := OUTPUTS[card.data.label]):
        raise InputError(f'the network has {model.outputs} outputs, label = "{card.data.label}" {wanted}: change its last stage')
    return model


def _details(label: str, outputs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Of one combination. Of violations: accuracy; of others means of labels and outputs, with statistical errors of
    configurations that were independent.
    """
    if label == "violation":
        return {"accuracy": float(((outputs > 0) == (labels > 0.5)).mean())}
    found, names = {}, ("density", "phi_squared") if label == "observables" else ("count",)
    for column, name in enumerate(names):
        for kind, values in (("label", labels[:, column]), ("output", outputs[:, column])):
            found |= {f"{name}_{kind}": float(values.mean()), f"{name}_{kind}_error": float(values.std() / np.sqrt(len(values)))}
        found[f"{name}_mse"] = float(((outputs - labels)[:, column] ** 2).mean())
    return found


def summed_up(card: FluxCard, entries: list[dict]) -> dict[str, dict[str, float]]:
    """`FluxTask.summary` of combinations."""
    groups: dict[str, list[dict]] = {}
    tested = list(dict.fromkeys(entry["extent"] for entry in entries if not entry["extent"].startswith("validation")))
    for entry in entries:
        groups.setdefault(entry["extent"], []).append(entry)
    if len(tested) > 1:
        groups[f"up to {tested[-1]}"] = [entry for extent in tested for entry in groups[extent]]
    for first, last in card.data.mu_ranges:
        for extent in (*tested, *([f"up to {tested[-1]}"] if len(tested) > 1 else [])):
            chosen = [entry for entry in groups[extent] if first <= entry["mu"] <= last]
            if chosen:
                groups[f"{extent} mu {exact_words(first)} to {exact_words(last)}"] = chosen
    order = sorted(groups, key=lambda name: name.startswith("validation"))  # tests first
    return {name: _summary(groups[name]) for name in order}


def _summary(entries: list[dict]) -> dict[str, float]:
    losses = [entry["loss"] for entry in entries]
    found = {"loss_mean": float(np.mean(losses)), "loss_median": float(np.median(losses)), "combinations": len(losses),
             "samples": sum(entry["samples"] for entry in entries)}
    if "accuracy" in entries[0]:
        violated = [entry["accuracy"] for entry in entries if entry["open_worms"]]
        closed = [entry["accuracy"] for entry in entries if not entry["open_worms"]]
        found |= {"accuracy": float(np.mean([entry["accuracy"] for entry in entries])),
                  "accuracy_violated": float(np.mean(violated)) if violated else np.nan,
                  "accuracy_closed": float(np.mean(closed)) if closed else np.nan,
                  "accuracy_worst": min(entry["accuracy"] for entry in entries)}
    return found
