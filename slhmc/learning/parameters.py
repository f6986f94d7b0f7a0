"""What torch trains: theta of a `TrainableGuide` as nn.Parameters, free to take any value."""

import numpy as np
import torch

from slhmc.runcard import RunCard

BOUNDS = {"staggered": (0.0, np.inf), "domain_wall": (0.0, 1.0), "moebius": (0.0, 1.0)}  # of masses; none for others


class GuideParameters(torch.nn.Module):
    """weights: those of the network. couplings: masses, factors and beta that are trained, through functions
    that keep them in range.

    A number that must be positive is exp(p), one in (0, 1) is 1 / (1 + exp(-p)), others are p itself. So a step of the optimizer
    is relative for masses, factors and beta, absolute for weights.
    """

    def __init__(self, names, start: np.ndarray, card: RunCard):
        super().__init__()
        self.bounds = [_bounds(name, card) for name in names if name == "gauge.beta" or name.startswith("quarks.")]
        split = len(names) - len(self.bounds)
        free = [_free(value, bounds) for value, bounds in zip(start[split:], self.bounds, strict=True)]
        self.weights = torch.nn.Parameter(torch.tensor(start[:split], dtype=torch.float64))
        self.couplings = torch.nn.Parameter(torch.tensor(free, dtype=torch.float64))

    def forward(self) -> torch.Tensor:
        """theta."""
        values = [_bounded(p, bounds).reshape(1) for p, bounds in zip(self.couplings, self.bounds, strict=True)]
        return torch.cat([self.weights, *values])

    def values(self) -> np.ndarray:
        """theta as numbers."""
        return self().detach().numpy().copy()

    def state(self) -> np.ndarray:
        """What `load` needs to put all parameters back to the last bit."""
        return torch.cat([self.weights.detach(), self.couplings.detach()]).numpy().copy()

    def load(self, state: np.ndarray) -> None:
        with torch.no_grad():
            self.weights.copy_(torch.from_numpy(state[:len(self.weights)]))
            self.couplings.copy_(torch.from_numpy(state[len(self.weights):]))


def _bounds(name: str, card: RunCard) -> tuple[float, float]:
    if name == "gauge.beta" or name.endswith(".factor"):
        return 0.0, np.inf
    return BOUNDS.get(card.quarks[int(name.split(".")[1])].operator, (-np.inf, np.inf))


def _free(value: float, bounds: tuple[float, float]) -> float:
    if bounds == (0.0, np.inf):
        return float(np.log(value))
    return float(np.log(value / (1 - value))) if bounds == (0.0, 1.0) else value


def _bounded(p: torch.Tensor, bounds: tuple[float, float]) -> torch.Tensor:
    if bounds == (0.0, np.inf):
        return torch.exp(p)
    return torch.sigmoid(p) if bounds == (0.0, 1.0) else p
