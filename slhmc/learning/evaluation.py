"""Labelled configurations in memory, and how far a network is from their labels."""

from pathlib import Path

import numpy as np
import torch

from slhmc.backend import Device
from slhmc.io import load_data_set
from slhmc.learning.datasets import Part, origin
from slhmc.learning.labels import chunks, labels_of
from slhmc.learning.models import REALS
from slhmc.networks.lcnn import LinkBatch
from slhmc.runcard import RunCard

DTYPES = {"single": torch.float32, "double": torch.float64}


class Labelled:
    """A data set with its labels. links: tensor [sample, mu, real, site] in `precision`; labels: float64 [sample, site].

    Raises InputError if the file is missing, damaged or of another card, or if a label is not finite.
    """

    def __init__(self, card: RunCard, part: Part, directory: Path, device: Device, precision: str):
        path = part.path(directory)
        found = load_data_set(path, origin(card, part))
        self.device, self.extent, self.colors, self.real = device, found.extent, found.colors, REALS[precision]
        self.labels = torch.from_numpy(labels_of(card.data, found, device, path))
        self.links = torch.from_numpy(found.links).to(DTYPES[precision])
        self.beta = found.beta

    def __len__(self) -> int:
        return len(self.links)

    def batch(self, chosen) -> tuple[LinkBatch, torch.Tensor]:
        """Links and labels of some samples: a slice or numbers."""
        return LinkBatch(self.device, self.links[chosen], self.extent, self.colors, real=self.real), self.labels[chosen]


def deviation(model: torch.nn.Module, links: LinkBatch, labels: torch.Tensor) -> torch.Tensor:
    """Prediction minus label, (samples, sites); of lattice averages, (samples, 1), if a network has one number a sample."""
    predicted = model(links)[..., 0]
    if predicted.shape[1] != labels.shape[1]:
        labels = labels.mean(1, keepdim=True)
    return predicted - labels.to(predicted)


@torch.no_grad()
def evaluate(model: torch.nn.Module, samples: Labelled, communicator) -> dict[str, float]:
    """Mean squares over all samples. Collective: each rank asks the network for its part of them.

    mse_site: mean over samples and sites of (prediction - label)^2; NaN if the network has one number a configuration.
    mse_average: both averaged over the lattice first. label_variance_site, label_variance_average: of the labels alone.
    """
    mine = np.array_split(np.arange(len(samples)), communicator.size)[communicator.rank]
    rows = [np.empty((0, 2))]
    for chosen in chunks(len(mine), samples.labels.shape[1]):
        links, labels = samples.batch(mine[chosen])
        found = deviation(model, links, labels).double().cpu().numpy()
        site = (found**2).mean(1) if found.shape[1] == labels.shape[1] else np.full(len(found), np.nan)
        rows.append(np.stack([site, found.mean(1) ** 2], -1))
    table = np.concatenate(communicator.allgather(np.concatenate(rows)))
    labels = samples.labels.numpy()
    return {"mse_site": float(table[:, 0].mean()), "mse_average": float(table[:, 1].mean()),
            "label_variance_site": float(labels.var()), "label_variance_average": float(labels.mean(1).var()),
            "samples": len(samples)}
