"""What a `Regression` asks of its card: network, data sets, loss, tests; of links, and by `task_of` of others."""

from pathlib import Path

import numpy as np
import torch

from slhmc.backend import Device
from slhmc.learning.datasets import Maker, Part, exact_words, parts
from slhmc.learning.evaluation import Labelled, deviation, evaluate, mean_square
from slhmc.learning.flow_tests import flow_numbers
from slhmc.learning.flux_task import FluxTask
from slhmc.learning.models import model_of
from slhmc.runcard import FluxCard, RunCard


def task_of(card: RunCard | FluxCard, device: Device, directory: Path, communicator) -> "LinkTask | FluxTask":
    """The task of a card with a [fit]; its data sets are in `directory`."""
    return (FluxTask if isinstance(card, FluxCard) else LinkTask)(card, device, directory, communicator)


class LinkTask:
    """Labels at each site of links, or flowed links. Methods are collective."""

    def __init__(self, card: RunCard, device: Device, directory: Path, communicator):
        self.card, self.device, self.directory, self.communicator = card, device, directory, communicator

    def model(self, precision: str | None = None) -> torch.nn.Module:
        """The network with its first weights; precision: in place of the card's."""
        return model_of(self.card, precision)

    def check(self, model: torch.nn.Module) -> None:
        """InputError unless the network can act on every lattice of the card."""
        for part in parts(self.card):
            model.check(part.extent, self.card.lattice.colors)

    def make_data(self, halt, tell) -> bool:
        """As `Maker.make`."""
        return Maker(self.card, self.directory, self.device, self.communicator).make(halt, tell)

    def samples(self, split: str) -> Labelled:
        """The data set of "training" or "validation", in the precision of the card."""
        part = next(part for part in parts(self.card) if part.split == split)
        return Labelled(self.card, part, self.directory, self.device, self.card.model.precision)

    def loss(self, model: torch.nn.Module, links, labels: torch.Tensor) -> torch.Tensor:
        """Of a batch."""
        return mean_square(deviation(model, links, labels))

    def validate(self, model: torch.nn.Module, samples: Labelled) -> dict[str, float]:
        """validation: the loss of all samples; with it the mean squares that the history has."""
        found = evaluate(model, samples, self.communicator)
        loss = found["mse_average"] if np.isnan(found["mse_site"]) else found["mse_site"]
        return {"validation": loss, "mse_site": found["mse_site"], "mse_average": found["mse_average"]}

    @property
    def tests(self) -> list[Part]:
        """What is tested, piece by piece."""
        return parts(self.card)[2:]

    def numbers(self, model: torch.nn.Module, part: Part) -> dict:
        """Name of a piece -> what the test finds there."""
        samples, data = Labelled(self.card, part, self.directory, self.device, "double"), self.card.data
        found = evaluate(model, samples, self.communicator)
        if self.card.model.kind == "flow":
            found |= flow_numbers(data.label, model, samples, self.communicator)
        for later in data.later_times:
            samples = Labelled(self.card, part, self.directory, self.device, "double", later)
            found.setdefault("later", {})[exact_words(later)] = flow_numbers(data.label, model, samples, self.communicator, later)
        return {part.name: found}

    def summary(self, found: dict) -> dict:
        """What results.json has of the numbers of all pieces."""
        return {"test": found}
