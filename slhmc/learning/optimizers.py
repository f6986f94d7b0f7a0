"""Optimizers of torch, and their state as arrays that come back to the last bit."""

import numpy as np
import torch

from slhmc.runcard import TrainTable


def make_optimizer(train: TrainTable, parameters: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimizer of [train] on what there is to train."""
    trained = [p for p in parameters.parameters() if p.numel()]
    if train.optimizer == "adam":
        return torch.optim.Adam(trained, lr=train.learning_rate, betas=train.betas)
    return torch.optim.SGD(trained, lr=train.learning_rate)


def state_arrays(optimizer: torch.optim.Optimizer) -> dict[str, dict[str, np.ndarray]]:
    """What the optimizer remembers of each parameter; nothing before the first step."""
    state = optimizer.state_dict()["state"]
    return {str(index): {name: value.numpy().copy() for name, value in entry.items() if value is not None}
            for index, entry in state.items()}


def load_state(optimizer: torch.optim.Optimizer, arrays: dict[str, dict[str, np.ndarray]]) -> None:
    """Inverse of `state_arrays`."""
    state = {int(index): {name: torch.from_numpy(np.array(value)) for name, value in entry.items()}
             for index, entry in arrays.items()}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
