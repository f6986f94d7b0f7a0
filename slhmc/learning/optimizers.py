"""Optimizers: those of torch, and one for sums of squares; their state as arrays that come back to the last bit."""

import math

import numpy as np
import torch

from slhmc.errors import InputError
from slhmc.runcard import FitTable, TrainTable

DAMPING = 1e-2  # relative to the diagonal of the normal matrix


class GaussNewton(torch.optim.Optimizer):
    """theta <- theta - rate N^-1 grad L for L = sum q^2 / 2n, q(theta) a number a sample; N sums J^T J / n over all batches.

    J = dq / dtheta. As N grows by a batch at a time, the t-th step is 1 / t of one of Newton's: after it theta is near the least
    squares of all samples so far, not of the last batch (recursive least squares). N begins with the diagonal of the first batch,
    and its diagonal is raised by DAMPING, for weights that do the same to the links. `observe` a batch before `step`.
    """

    def __init__(self, parameters, lr: float):
        super().__init__(parameters, {"lr": lr})

    @property
    def _parameters(self) -> list[torch.Tensor]:
        return self.param_groups[0]["params"]

    def observe(self, values: list[torch.Tensor], centred: bool) -> None:
        """Numbers q of a batch, with their graph. centred: q less its mean is what is squared."""
        rows = [torch.cat([g.reshape(-1) for g in torch.autograd.grad(value, self._parameters, retain_graph=True)])
                for value in values]
        J = torch.stack(rows)
        J = J - J.mean(0) if centred else J
        matrix, state = J.T @ J / (len(J) - centred), self.state[self._parameters[0]]
        state["normal"] = state["normal"] + matrix if "normal" in state else matrix + torch.diag(torch.diag(matrix))

    @torch.no_grad()
    def step(self, closure=None):
        normal = self.state[self._parameters[0]]["normal"]
        diagonal = torch.diag(normal)
        scale = torch.where(diagonal > 0, diagonal, 1.0).sqrt()
        matrix = normal / scale / scale[:, None] + DAMPING * torch.eye(len(scale), dtype=normal.dtype)
        gradient = torch.cat([p.grad.reshape(-1) for p in self._parameters])
        change = torch.linalg.solve(matrix, gradient / scale) / scale
        for p, part in zip(self._parameters, change.split([p.numel() for p in self._parameters]), strict=True):
            p -= self.param_groups[0]["lr"] * part.reshape(p.shape)


def make_optimizer(train: TrainTable, parameters: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimizer of [train] on what there is to train; InputError if there is nothing."""
    trained = [p for p in parameters.parameters() if p.numel()]
    if not trained:
        raise InputError("nothing to train: the guide's network has no layers; give it some, or set train.train_mass or "
                         "train.train_beta")
    if train.optimizer == "adam":
        return torch.optim.Adam(trained, lr=train.rate, betas=train.betas)
    return (torch.optim.SGD if train.optimizer == "sgd" else GaussNewton)(trained, lr=train.rate)


def make_fit_optimizer(fit: FitTable, model: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimizer of [fit] on all weights of a network."""
    kind = torch.optim.AdamW if fit.optimizer == "adamw" else torch.optim.Adam
    return kind(model.parameters(), lr=fit.learning_rate, weight_decay=fit.weight_decay, amsgrad=fit.amsgrad)


def learning_rate(fit: FitTable, epochs: float) -> float:
    """The learning rate after so many epochs (a fraction within one)."""
    rate = fit.learning_rate * fit.decay ** int(epochs)
    return rate * (1 + math.cos(math.pi * epochs / fit.epochs)) / 2 if fit.schedule == "cosine" else rate


def state_arrays(optimizer: torch.optim.Optimizer) -> dict[str, dict[str, np.ndarray]]:
    """What the optimizer remembers of each parameter; nothing before the first step."""
    state = optimizer.state_dict()["state"]
    return {str(index): {name: value.cpu().numpy().copy() for name, value in entry.items() if value is not None}
            for index, entry in state.items()}


def load_state(optimizer: torch.optim.Optimizer, arrays: dict[str, dict[str, np.ndarray]]) -> None:
    """Inverse of `state_arrays`."""
    state = {int(index): {name: torch.from_numpy(np.array(value)) for name, value in entry.items()}
             for index, entry in arrays.items()}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
