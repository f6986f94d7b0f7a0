"""Models of kind "flow": what a learned flow makes of links, as numbers that are compared with labels."""

from math import sqrt

import numpy as np
import torch

from slhmc.networks.flow import LearnedFlow, clover_charge
from slhmc.networks.lcnn import LinkBatch
from slhmc.runcard import RunCard
from slhmc.simulation.learned_flow import make_flow


def norm(colors: int, dimensions: int) -> float:
    """Factor of packed reals of the links of a site such that their square is the mean over mu of |U_mu|^2 (Frobenius)."""
    return sqrt((2 if colors == 2 else 1) / dimensions)


def as_vectors(links: np.ndarray, colors: int) -> np.ndarray:
    """Packed links [sample, mu, real, site] as labels [sample, site, mu x real], times `norm`."""
    return norm(colors, links.shape[1]) * links.transpose(0, 3, 1, 2).reshape(len(links), links.shape[3], -1)


class FlowedLinks(torch.nn.Module):
    """The links that a flow ends at, (samples, sites, mu x real), times `norm`."""

    def __init__(self, flow: LearnedFlow, norm: float):
        super().__init__()
        self.flow, self.norm = flow, norm
        self.check, self.field_rms = flow.check, flow.field_rms

    @property
    def parameter_count(self) -> int:
        return self.flow.parameter_count

    def forward(self, batch: LinkBatch, time: float | None = None) -> torch.Tensor:
        return self.norm * self.flow.links(batch, time)


class FlowedCharge(FlowedLinks):
    """The charge from clovers of the links that a flow ends at, (samples, 1, 1)."""

    def forward(self, batch: LinkBatch, time: float | None = None) -> torch.Tensor:
        return clover_charge(self.flow(batch, time))[:, None, None]


def flow_model(card: RunCard, real: str) -> FlowedLinks:
    """The flow of a card and what its label compares."""
    kind = FlowedCharge if card.data.label == "flowed_charge" else FlowedLinks
    return kind(make_flow(card, real), norm(card.lattice.colors, len(card.lattice.extent)))


def square_trace_flow(links: np.ndarray, time: float) -> np.ndarray:
    """The flow dU/dt = i t^a (dS/dA^a) U of S = Re tr U^2 for each link of SU(2), t^a = sigma^a / 2, dU = i dA U; it ascends S.

    U = exp(i theta n.sigma): n stays, tan theta(t) = tan theta(0) exp(-2 t), so theta goes to 0 or to pi, whichever is nearer.
    links: packed, [sample, mu, real, site].
    """
    vector = np.linalg.norm(links[:, :, 1:], axis=2, keepdims=True)
    later = np.arctan2(vector * np.exp(-2 * time), links[:, :, :1])
    direction = np.divide(links[:, :, 1:], vector, out=np.zeros_like(links[:, :, 1:]), where=vector > 0)
    return np.concatenate([np.cos(later), np.sin(later) * direction], 2)
