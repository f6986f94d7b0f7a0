"""Labelled configurations in memory, and how far a network is from their labels."""

from pathlib import Path

import numpy as np
import torch

from slhmc.backend import Device
from slhmc.io import load_data_set
from slhmc.learning.datasets import Part, origin, target
from slhmc.learning.labels import chunks, labels_of
from slhmc.learning.models import REALS
from slhmc.networks.lcnn import LinkBatch
from slhmc.runcard import RunCard

DTYPES = {"single": torch.float32, "double": torch.float64}


class Labelled:
    """A data set with its labels. links: tensor [sample, mu, real, site] in `precision`; labels: float64 [sample, site] or, of
    flows, [sample, site, component].

    time: flow time of the label in place of data.flow_time. Raises InputError if the file is missing, damaged or of another card,
    or if a label is not finite.
    """

    def __init__(self, card: RunCard, part: Part, directory: Path, device: Device, precision: str, time: float | None = None):
        data = card.data if time is None else card.data.model_copy(update={"flow_time": time})
        path, flowed = part.path(directory), target(card, part, time)
        found = load_data_set(path, origin(card, part))
        if flowed is not None:
            path = flowed.path(directory)
            flowed = load_data_set(path, origin(card, flowed))
        self.device, self.extent, self.colors, self.real = device, found.extent, found.colors, REALS[precision]
        self.labels = torch.from_numpy(labels_of(data, found, device, path, flowed))
        self.links = torch.from_numpy(found.links).to(DTYPES[precision])
        self.beta = found.beta

    def __len__(self) -> int:
        return len(self.links)

    def batch(self, chosen) -> tuple[LinkBatch, torch.Tensor]:
        """Links and labels of some samples: a slice or numbers."""
        return LinkBatch(self.device, self.links[chosen], self.extent, self.colors, real=self.real), self.labels[chosen]


def deviation(model: torch.nn.Module, links: LinkBatch, labels: torch.Tensor) -> torch.Tensor:
    """Prediction minus label, (samples, sites, components); of lattice averages, (samples, 1, 1), if a network has one number a
    sample.
    """
    predicted, labels = model(links), labels.flatten(2) if labels.ndim > 2 else labels[..., None]
    if predicted.shape[1] != labels.shape[1]:
        labels = labels.mean(1, keepdim=True)
    return predicted - labels.to(predicted)


def mean_square(found: torch.Tensor) -> torch.Tensor:
    """The loss: mean over samples and sites of squared deviations, summed over components."""
    return found.square().sum(-1).mean()


@torch.no_grad()
def evaluate(model: torch.nn.Module, samples: Labelled, communicator) -> dict[str, float]:
    """Mean squares over all samples. Collective: each rank asks the network for its part of them.

    mse_site: mean over samples and sites of (prediction - label)^2, summed over components; NaN if the network has one number a
    configuration. mse_average: both averaged over the lattice first; NaN for links. label_variance_site, label_variance_average:
    of the labels alone.
    """
    mine = np.array_split(np.arange(len(samples)), communicator.size)[communicator.rank]
    rows, labels = [np.empty((0, 2))], samples.labels.numpy()
    for chosen in chunks(len(mine), samples.links.shape[-1]):
        links, wanted = samples.batch(mine[chosen])
        found = deviation(model, links, wanted).double().cpu().numpy()
        site = (found**2).sum(-1).mean(1) if found.shape[1] == wanted.shape[1] else np.full(len(found), np.nan)
        average = found[..., 0].mean(1) ** 2 if labels.ndim == 2 else np.full(len(found), np.nan)
        rows.append(np.stack([site, average], -1))
    table = np.concatenate(communicator.allgather(np.concatenate(rows)))
    links = labels.ndim > 2
    return {"mse_site": float(table[:, 0].mean()), "mse_average": float(table[:, 1].mean()),
            "label_variance_site": float(labels.var((0, 1)).sum()) if links else float(labels.var()),
            "label_variance_average": np.nan if links else float(labels.mean(1).var()), "samples": len(samples)}
