"""Losses: what is asked of each sample, and what a batch makes of the answers."""

from collections.abc import Callable
from dataclasses import dataclass
from math import erfc, sqrt

import torch

from slhmc.learning.functions import difference, force_distance, trajectory_difference
from slhmc.learning.guide import TrainableGuide
from slhmc.learning.samples import Sample


@dataclass(frozen=True)
class Loss:
    """of_sample(theta, guide, sample) -> a number with its gradient; of_batch: the loss, of a vector of such numbers."""

    of_sample: Callable[[torch.Tensor, TrainableGuide, Sample], torch.Tensor]
    of_batch: Callable[[torch.Tensor], torch.Tensor]


def half_square(values: torch.Tensor) -> torch.Tensor:
    """Mean of v^2 / 2."""
    return 0.5 * (values**2).mean()


def half_variance(values: torch.Tensor) -> torch.Tensor:
    """Half the variance, with n - 1 in the denominator, so that it does not depend on the size of the batch."""
    return 0.5 * values.var()


LOSSES = {
    "published": Loss(difference, half_square),  # arXiv:2103.11965
    "centred": Loss(difference, half_variance),
    "force": Loss(force_distance, torch.mean),
    "trajectory": Loss(trajectory_difference, half_square),
}


def predicted_acceptance(losses: dict[str, float]) -> float:
    """erfc(sqrt(<dH>) / 2), an estimate: that of the trajectory loss if it is known, else of the centred loss.

    A guided trajectory without errors of integration has dH = D_start - D_end, and <dH> = <dH^2> / 2 for a small dH: the
    trajectory loss itself. If D at both ends were independent, it would be the variance of D, twice the centred loss; short
    trajectories are correlated, and accept more.
    """
    known = losses["trajectory"]
    return erfc(sqrt(max(0.0, known if known == known else 2 * losses["centred"])) / 2)
