"""`Training`: held-out samples, then optimizer steps, with their files; `create` or `resume`, then `run`."""

import time
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np
import torch

from slhmc import __version__
from slhmc.backend import open_device
from slhmc.errors import ComputationError, InputError
from slhmc.io import (
    TrainingFile,
    load_checkpoint,
    load_configuration,
    load_links,
    save_checkpoint,
    save_links,
    save_weights,
)
from slhmc.lattice import Draws, GaugeField, Purpose
from slhmc.lattice.communicator import SerialCommunicator
from slhmc.learning.figures import draw_figures
from slhmc.learning.guide import TrainableGuide
from slhmc.learning.journal import closed_on_error
from slhmc.learning.losses import LOSSES, predicted_acceptance
from slhmc.learning.optimizers import GaussNewton, load_state, make_optimizer, state_arrays
from slhmc.learning.parameters import GuideParameters
from slhmc.learning.samples import OfflineSource, OnlineSource, Sample
from slhmc.learning.session import Session, resumed
from slhmc.learning.start import check_changes, self_contained, trained_before
from slhmc.runcard import RunCard, card_text
from slhmc.simulation.build import kernel_units, make_lattice, make_update
from slhmc.simulation.measure import on_root_alone
from slhmc.simulation.simulation import on_root


@dataclass(frozen=True)
class TrainingReport:
    """One piece of work, for people. phase: "thermalizing", "held-out samples" or "training"; losses are NaN while unknown.

    loss: of the batch; held_out, acceptance: of the last evaluation.
    """

    phase: str
    done: int
    total: int
    loss: float
    held_out: float
    acceptance: float
    seconds: float
    eta_seconds: float

    @property
    def log_line(self) -> str:
        """Its line of log.txt."""
        losses = "" if self.loss != self.loss else f" loss {self.loss:.6e}"
        if self.held_out == self.held_out:
            losses += f" held-out {self.held_out:.6e} acceptance {self.acceptance:.3f}"
        return f"{self.phase} {self.done}/{self.total}{losses} {self.seconds:.4g} s"

    @property
    def status(self) -> dict:
        """What status.json has of it."""
        return {"phase": self.phase, "step": self.done, "total": self.total, "loss": self.loss, "held_out": self.held_out,
                "predicted_acceptance": self.acceptance, "eta_seconds": self.eta_seconds}


def create(card: RunCard, directory, *, device: str = "cpu", communicator=None) -> "Training":
    """A new training in `directory`, which must not hold another, or a run. Collective."""
    communicator = communicator or SerialCommunicator()
    if card.train is None:
        raise InputError("the card has no [train] and no [fit], one of which `slhmc train` needs; add it, or `slhmc run` the "
                         "card")
    inherited = on_root(communicator, lambda: trained_before(card))
    card = on_root(communicator, lambda: self_contained(card))
    training = Training(card, Path(directory), device, communicator)
    training.inherited = inherited
    with closed_on_error(training.journal):
        on_root(communicator, lambda: training.begin_files(card_text(card)))
        training.start()
    return training


def resume(directory, *, device: str = "cpu", communicator=None, overrides=()) -> "Training":
    """`session.resumed` for the training of a guide."""
    return resumed(Training, directory, device, communicator, overrides)


class Training(Session):
    """Numbers of torch are the same on all ranks."""

    unit, table = "steps", "train"

    def __init__(self, card: RunCard, directory: Path, device: str, communicator):
        super().__init__(card, directory, communicator)
        self.lattice = make_lattice(card, open_device(device), communicator)
        self.lattice.device.prepare(kernel_units(card, self.lattice))
        self.U = GaugeField(self.lattice, card.lattice.colors)
        prior = make_update(card.model_copy(update={"guide": None, "network": None}), self.lattice)
        online = card.train.source == "online"
        self.source = OnlineSource(card, self.U, prior) if online else OfflineSource(card, self.U, communicator)
        self.sample = Sample(self.lattice, card.lattice.colors, prior.target, card.run.seed)
        self.guide = TrainableGuide(card, self.lattice)
        self.parameters = GuideParameters(self.guide.names, self.guide.start, card)
        self.optimizer = make_optimizer(card.train, self.parameters)
        self.loss = LOSSES[card.train.loss]
        self.step = 0
        self.held_out: list[tuple[GaugeField, int, float]] = []  # links, number, S
        self.best = {"step": -1, "loss": np.inf, "values": self.parameters.values()}
        self.waited = 0  # evaluations since the best one
        self.inherited: dict[str, float] = {}  # of a new training: what the weights that it begins with have of the guide
        self.last = {"loss": np.nan, "held_out": np.nan, "acceptance": np.nan}

    # ---- beginning
    def _new_history(self, text: str) -> TrainingFile:
        return TrainingFile(self.files.training, text, __version__, self.guide.names, self.inherited)

    def _read_history(self, card: RunCard) -> TrainingFile:
        history = TrainingFile.open(self.files.training)
        check_changes(history, self.files.card, card)
        return history

    def _read_checkpoint(self) -> tuple:
        self._links, trajectory, state = load_checkpoint(self.files.checkpoint, self.history.owner, self.lattice.extent,
                                                         self.U.colors)
        self._check_length(state["step"])
        self.history.truncate(state["step"] if len(state["actions"]) == self.card.train.held_out else -1)
        return trajectory, state

    def start(self) -> None:
        """Links of [run] start."""
        run = self.card.run
        if run.start == "hot":
            self.U.randomize(Draws(run.seed, 0).next(Purpose.START))
        elif run.start == "file":
            self.U.from_sites(on_root_alone(self.communicator, lambda: load_configuration(
                run.start_file, self.lattice.extent, self.U.colors)[0]))
        self.checkpoint()

    def continue_from(self, found: tuple | None) -> None:
        """The state of the checkpoint that rank 0 has read; the start if there was none."""
        if found is None:
            self.start()
            return
        trajectory, state = found
        if state.get("samples"):
            self.source.keep_to(state["samples"])
        for number, action in enumerate(state["actions"]):
            path = self._held_out_path(number)
            self.U.from_sites(on_root_alone(self.communicator, lambda path=path: load_links(
                path, self.lattice.extent, self.U.colors)[0]))
            self.held_out.append((self.U.copy(), number, float(action)))
        self.U.from_sites(self._links if self.lattice.is_root else None)
        self._links = None
        self.source.trajectory, self.step, self.waited = trajectory, state["step"], state["waited"]
        self.parameters.load(state["parameters"])
        load_state(self.optimizer, state["optimizer"])
        self.best = {"step": state["best"]["step"], "loss": float(state["best"]["loss"]), "values": state["best"]["values"]}
        self.last = {name: float(value) for name, value in state["last"].items()}
        if self.step:
            self.journal.go_on(TrainingReport("training", self.step, self.card.train.steps, **self.last, seconds=0.0,
                                              eta_seconds=np.nan))

    # ---- running
    @property
    def finished(self) -> bool:
        """Whether all steps are done, or patience is at its end."""
        train = self.card.train
        return self.step >= train.steps or (train.patience > 0 and self.waited >= train.patience)

    def _run(self, observer) -> bool:
        """Trajectories of preparation, then steps; a report after each."""
        halt, longest = not self.finished and self._agree(self._stop.requested), 0.0
        entered, first = time.monotonic(), self.step
        while not self.finished and not halt:
            begun = time.monotonic()
            phase, done, total = self._work()
            pace = (time.monotonic() - entered) / max(1, self.step - first) if self.step > first else np.nan
            report = TrainingReport(phase, done, total, **self.last, seconds=time.monotonic() - begun,
                                    eta_seconds=pace * (self.card.train.steps - self.step))
            on_root(self.communicator, lambda report=report: self.journal.tell(report, observer))
            longest = max(longest, time.monotonic() - begun)
            halt = self._agree(self._halt(2 * longest))
            every = self.card.train.checkpoint_every if self.step else self.card.run.checkpoint_every
            if halt or self.finished or done % every == 0:
                self.checkpoint()
        return self.finished

    def _work(self) -> tuple[str, int, int]:
        """A trajectory of preparation, or a step; (phase, how far it is, of how many)."""
        if len(self.held_out) == self.card.train.held_out:
            self._one_step()
            return "training", self.step, self.card.train.steps
        if self.source.advance():
            number = self.source.position - 1
            self.sample.draw(self.U, number)
            self.held_out.append((self.U.copy(), number, self.sample.action))
            self._keep_held_out(number)
        if len(self.held_out) == self.card.train.held_out:
            on_root(self.communicator, lambda: self.history.append(0, np.nan, 0.0, 0.0, self.parameters.values()))
            self._evaluate()
        return ("held-out samples" if self.held_out else "thermalizing"), self.source.trajectory, self._preparation

    @property
    def _preparation(self) -> int:
        """Trajectories before the first step; offline: configurations."""
        train, online = self.card.train, self.card.train.source == "online"
        return self.card.run.thermalization + train.held_out * train.spacing if online else train.held_out

    def _one_step(self) -> None:
        number, train, begun = self.step + 1, self.card.train, time.perf_counter()
        self.optimizer.zero_grad()
        theta, values = self.parameters(), []
        try:
            for _ in range(train.batch):
                sample = self.source.next()
                self.sample.draw(self.U, sample)
                values.append(self.loss.of_sample(theta, self.guide, self.sample))
        except ComputationError as error:
            raise type(error)(f"step {number}: {error}; if it happens again, lower train.learning_rate (now "
                              f"{train.rate:g})") from None
        loss = self.loss.of_batch(torch.stack(values))
        if isinstance(self.optimizer, GaussNewton):
            self.optimizer.observe(values, centred=train.loss == "centred")
        loss.backward()
        rate = train.rate * train.decay**self.step
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.parameters.load(self.communicator.bcast(self.parameters.state()))
        if not (isfinite(float(loss.detach())) and np.isfinite(self.parameters.values()).all()):
            raise ComputationError(f"step {number}: the loss is {float(loss.detach()):g} and the parameters after it are "
                                   f"{self.parameters.values().tolist()}: training has run away; lower train.learning_rate "
                                   f"(now {rate:g}) or raise train.batch, and train anew")
        self.step, self.last["loss"] = number, float(loss.detach())
        row = (number, self.last["loss"], rate, time.perf_counter() - begun, self.parameters.values())
        on_root(self.communicator, lambda: self.history.append(*row))
        if number % train.report_every == 0 or number == train.steps:
            self._evaluate()

    def _evaluate(self) -> None:
        """Losses of the held-out samples by the parameters of now."""
        kinds = ("difference", "force") + ("trajectory",) * (self.card.train.loss == "trajectory")
        ask = {"difference": LOSSES["centred"], "force": LOSSES["force"], "trajectory": LOSSES["trajectory"]}
        answers: dict[str, list] = {kind: [] for kind in kinds}
        with torch.no_grad():
            theta = self.parameters()
            for links, number, action in self.held_out:
                self.sample.draw(links, number, action)
                for kind in kinds:
                    answers[kind].append(ask[kind].of_sample(theta, self.guide, self.sample))
        found = {kind: torch.stack(values) for kind, values in answers.items()}
        losses = {name: float(loss.of_batch(found.get(name, found["difference"]))) for name, loss in LOSSES.items()
                  if name != "trajectory" or name in found}
        losses = {"trajectory": np.nan} | losses
        losses["acceptance"] = predicted_acceptance(losses)
        on_root(self.communicator, lambda: self.history.append_evaluation(self.step, losses))
        self.last |= {"held_out": losses[self.card.train.loss], "acceptance": losses["acceptance"]}
        self.waited += self.step % self.card.train.report_every == 0  # not the last step of a training that may go on
        if self.last["held_out"] < self.best["loss"]:
            self.best = {"step": self.step, "loss": self.last["held_out"], "values": self.parameters.values()}
            self.waited = 0

    # ---- files
    def _held_out_path(self, number: int) -> Path:
        """Where the links of a held-out sample are kept: beside other files of an online training, or where they came from."""
        return self.files.configuration(number) if self.card.train.source == "online" else self.source.path(number)

    def _keep_held_out(self, number: int) -> None:
        if self.card.train.source == "online":
            links, trajectory = self.U.to_sites(), self.source.trajectory
            on_root(self.communicator, lambda: save_links(self._held_out_path(number), links, trajectory=trajectory))

    def checkpoint(self) -> None:
        """Write history, weights, then the state: a kill in between leaves a history that is longer, and `resume` cuts it."""
        links = self.U.to_sites()
        state = {"samples": self.source.kept, "step": self.step, "waited": self.waited, "parameters": self.parameters.state(),
                 "optimizer": state_arrays(self.optimizer), "last": self._numbers(self.last),
                 "actions": np.array([action for _, _, action in self.held_out]),
                 "best": {"step": self.best["step"], "loss": np.float64(self.best["loss"]), "values": self.best["values"]}}

        def write():
            self.history.flush()
            if self.best["step"] >= 0:
                self._save_weights(self.files.weights, self.best["values"], self.best["step"])
                self._save_weights(self.files.last_weights, self.parameters.values(), self.step)
            save_checkpoint(self.files.checkpoint, links, self.source.trajectory, state, self.history.owner)
        on_root(self.communicator, write)

    def _numbers(self, values: dict[str, float]) -> dict:
        """Ready for a checkpoint, whose JSON has no NaN."""
        return {name: np.float64(value) for name, value in values.items()}

    def _save_weights(self, path: Path, values: np.ndarray, step: int) -> None:
        table, parameters = self.guide.file_entries(values)
        save_weights(path, table, parameters | {name: value for name, value in self.history.inherited.items()
                                                if name not in parameters},
                     self.history.card_text, len(self.card.quarks), {"step": np.array(step)})

    def _draw(self) -> None:
        draw_figures(self.history, self.card.train.loss, self.files.path)
