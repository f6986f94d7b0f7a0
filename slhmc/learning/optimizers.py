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


class LevenbergMarquardt(torch.optim.Optimizer):
    """theta <- theta - (J^T J + lambda diag J^T J)^-1 J^T r for the loss sum r^2 / n of a batch, J = dr / dtheta.

    A step that does not lower the loss of its batch is taken back, and lambda grows by GROWTH; after one that does lambda falls.
    A network without biases and with piecewise linear activations is piecewise linear in the weights of a layer, so that steps
    find weights that fit exactly, where such are, to rounding, as no rate has to fall to 0. J^T J has a row for each weight.
    """

    FALL, GROWTH, LEAST, LARGEST, TRIALS = 3.0, 4.0, 1e-12, 1e8, 8

    def __init__(self, parameters):
        super().__init__(parameters, {})

    def fit(self, problem, samples: int, share) -> float:
        """One step on a batch; the loss before it. problem: `LeastSquares` of this rank's part of the batch, None without one;
        samples: numbers r of the whole batch; share(arrays): their sums over ranks. Collective.
        """
        weights = [p for group in self.param_groups for p in group["params"]]
        state = self.state[weights[0]]
        damping = float(state.get("damping", 1e-2))
        matrix, vector, squares = share(_normal_equations(problem, sum(p.numel() for p in weights)))
        loss, start = float(squares) / samples, [p.detach().clone() for p in weights]
        diagonal = torch.diag(matrix)
        floor = 1e-12 * diagonal.max().clamp(min=1e-300)
        for _ in range(self.TRIALS):
            change = torch.linalg.solve(matrix + damping * torch.diag(diagonal + floor), vector)
            _move(weights, start, change)
            now = float(share([_squares(problem)])[0]) / samples
            if now < loss:
                damping = max(damping / self.FALL, self.LEAST)
                break
            _move(weights, start, torch.zeros_like(change))
            damping = min(damping * self.GROWTH, self.LARGEST)
        state["damping"] = torch.tensor(damping, dtype=torch.float64)
        return loss


def _normal_equations(problem, weights: int) -> list[torch.Tensor]:
    """J^T J, J^T r and r^2 of a part of a batch, in double."""
    if problem is None:
        return [torch.zeros(shape, dtype=torch.float64) for shape in ((weights, weights), (weights,), ())]
    J, r = problem.jacobian().double(), problem.deviations().double()
    return [(J.T @ J).cpu(), (J.T @ r).cpu(), (r @ r).cpu()]


def _squares(problem) -> torch.Tensor:
    if problem is None:
        return torch.zeros((), dtype=torch.float64)
    r = problem.deviations().double()
    return (r @ r).cpu()


@torch.no_grad()
def _move(weights: list[torch.Tensor], start: list[torch.Tensor], change: torch.Tensor) -> None:
    """weights = start - change."""
    for p, before, part in zip(weights, start, change.split([p.numel() for p in weights]), strict=True):
        p.copy_(before - part.reshape(p.shape).to(p))


def make_optimizer(train: TrainTable, parameters: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimizer of [train] on what there is to train; InputError if there is nothing."""
    trained = [p for p in parameters.parameters() if p.numel()]
    if not trained:
        raise InputError("nothing to train: the guide's network has no layers; give it some, or set train.train_mass, "
                         "train.train_factor or train.train_beta")
    if train.optimizer == "adam":
        return torch.optim.Adam(trained, lr=train.rate, betas=train.betas)
    return (torch.optim.SGD if train.optimizer == "sgd" else GaussNewton)(trained, lr=train.rate)


def make_fit_optimizer(fit: FitTable, model: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimizer of [fit] on all weights of a network."""
    if fit.optimizer == "levenberg_marquardt":
        return LevenbergMarquardt(model.parameters())
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
