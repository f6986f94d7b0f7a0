"""[train]: how the guide is trained, and what must hold between its keys and those of the rest of the card."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from slhmc.runcard.base import LARGEST, MOST_REPEATS, Count, NaturalNumber, Positive, Repeats, Table

LEARNING_RATES = {"adam": 1e-3, "sgd": 1e-6, "gauss_newton": 1.0}
Fraction = Annotated[float, Field(ge=0, lt=1)]


class TrainTable(Table):
    """[train]: training of the [guide]: its network's weights and, if asked for, its quark masses and its beta."""

    source: Literal["online", "offline"] = Field(
        "online", description="online: samples from HMC of the target by [hmc]; offline: configurations kept by a run"
    )
    directory: str | None = Field(
        None, min_length=1, description="the run whose configs/ are the samples, relative to the card; offline"
    )
    loss: Literal["published", "centred", "force", "trajectory"] = Field(
        "centred", description="published: mean of D^2 / 2, D = S_guide - S; centred: half the variance of D; force: mean "
        "|F_guide - F|^2 per link; trajectory: mean of (D_end - D_start)^2 / 2 of short trajectories by the guide alone"
    )
    optimizer: Literal["adam", "sgd", "gauss_newton"] = Field(
        "adam", description="torch.optim.Adam or SGD; gauss_newton: least squares over all samples so far, not for the force loss"
    )
    learning_rate: Positive | None = Field(
        None, description="step of the optimizer; adam 1e-3, sgd 1e-6, gauss_newton 1 if left out"
    )
    betas: Annotated[tuple[Fraction, Fraction], Field(strict=False)] = Field(
        (0.9, 0.999), description="decay of Adam's running means; adam"
    )
    decay: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="factor of learning_rate after each step")
    steps: Count = Field(200, description="steps of the optimizer")
    batch: Repeats = Field(8, description="samples of a step")
    spacing: Repeats = Field(1, description="trajectories from one sample to the next; online")
    held_out: Annotated[int, Field(ge=2, le=LARGEST)] = Field(
        32, description="samples that are not trained on, for the losses that are told"
    )
    report_every: Count = Field(5, description="steps between evaluations of the held-out samples")
    patience: NaturalNumber = Field(
        0, description="evaluations without a lower held-out loss after which training stops; 0: never"
    )
    train_mass: bool = Field(False, description="train the guide's quark masses, too")
    train_factor: bool = Field(False, description="train the factors of the guide's quarks, too")
    train_beta: bool = Field(False, description="train the guide's beta, too")
    trajectory_length: Positive | None = Field(
        None, description="molecular-dynamics time of the trajectory loss, in steps like those of [hmc]; [hmc] length if left out"
    )
    checkpoint_every: Count = Field(20, description="steps between checkpoints")

    @property
    def rate(self) -> float:
        """The learning rate of the first step."""
        return LEARNING_RATES[self.optimizer] if self.learning_rate is None else self.learning_rate


def train_faults(card: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    """(path of the key to mend, words) of what [train] and the other tables do not agree on; a faulty value is None here."""
    train = card.train
    if train is None:
        return
    if card.guide is None:
        yield ("train",), "needs a [guide] to train"
    elif not any((train.train_mass, train.train_factor, train.train_beta, card.network, card.guide.network)):
        yield ("train",), "nothing to train: the guide has no network; add [network], or set train_mass or another"
    if card.hmc is None and card.heat_bath is not None:
        yield ("train",), "needs [hmc], whose target the guide is to be close to, found [heat_bath]"
    if train.source == "offline" and train.directory is None:
        yield ("train", "source"), '"offline" needs train.directory, the directory of a run that has kept configurations'
    if train.source == "online" and train.directory is not None:
        yield ("train", "directory"), 'has a meaning only with source = "offline", found source = "online"'
    if train.loss == "centred" and train.batch == 1:
        yield ("train", "batch"), "the variance of one sample is nothing; the centred loss needs 2 or more"
    if train.loss == "force" and train.optimizer == "gauss_newton":
        yield ("train", "optimizer"), '"gauss_newton" is for squares of one number a sample, not for "force"; use "adam"'
    if train.loss not in ("trajectory", None) and train.trajectory_length is not None:
        yield ("train", "trajectory_length"), f'has a meaning only with loss = "trajectory", found loss = "{train.loss}"'
    elif train.trajectory_length is not None and card.hmc is not None and None not in (card.hmc.length, card.hmc.steps):
        steps = card.hmc.steps * train.trajectory_length / card.hmc.length
        if steps > MOST_REPEATS:
            yield ("train", "trajectory_length"), (f"{steps:.3g} steps like those of [hmc] found, at most {MOST_REPEATS} "
                                                   f"expected; give less than {train.trajectory_length:g}")
    for key in ("train_mass", "train_factor"):
        if getattr(train, key) and not card.quarks:
            yield ("train", key), "the card has no [[quarks]]"
