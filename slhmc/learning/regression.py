"""`Regression`: a network fitted to labels of configurations, with its files; `create` or `resume`, then `run`."""

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slhmc import __version__
from slhmc.backend import open_device
from slhmc.errors import ComputationError, InputError
from slhmc.io import FitFile, load_fit_state, save_fit_state, save_model
from slhmc.lattice.communicator import SerialCommunicator
from slhmc.learning.figures import draw_fit
from slhmc.learning.journal import closed_on_error
from slhmc.learning.models import load_tensors, parameter_count, tensors
from slhmc.learning.optimizers import LevenbergMarquardt, learning_rate, load_state, make_fit_optimizer, state_arrays
from slhmc.learning.reports import FitReport
from slhmc.learning.session import Session, resumed
from slhmc.learning.start import check_fit_changes
from slhmc.learning.tasks import task_of
from slhmc.runcard import RunCard, card_text
from slhmc.simulation.simulation import on_root

logger = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 10.0  # between checkpoints, which are at the end of epochs
TELL_SECONDS = 1.0  # between reports within an epoch


def create(card: RunCard, directory, *, device: str = "cpu", communicator=None) -> "Regression":
    """A new fit in `directory`, which must not hold another, a training or a run. Collective."""
    if card.fit is None:
        raise InputError("the card has no [fit]; add it, with [data] and [model]")
    fit = Regression(card, Path(directory), device, communicator or SerialCommunicator())
    with closed_on_error(fit.journal):
        on_root(fit.communicator, lambda: fit.begin_files(card_text(card)))
    return fit


def resume(directory, *, device: str = "cpu", communicator=None, overrides=()) -> "Regression":
    """`session.resumed` for a fit."""
    return resumed(Regression, directory, device, communicator, overrides)


class Regression(Session):
    """Data sets are read by all ranks. Each rank takes its part of every batch; gradients are added in the order of ranks, so
    that all have the same weights.
    """

    unit, table = "epochs", "fit"

    def __init__(self, card: RunCard, directory: Path, device: str, communicator):
        super().__init__(card, directory, communicator)
        self.device = open_device(device)
        data = Path(card.data.directory) if card.data.directory else self.files.data
        self.task = task_of(card, self.device, data, communicator)
        self.model = self.task.model().to(self.device.torch_device())
        self.task.check(self.model)
        self.optimizer = make_fit_optimizer(card.fit, self.model)
        self.training: Any = None
        self.epoch, self.batch = 0, 0  # done; batches of the next epoch that are done
        self.waited = 0  # epochs since the best one
        self.best = {"epoch": -1, "loss": np.inf, "tensors": tensors(self.model)}
        self.row = {"epoch": -1, "loss": np.nan, "validation": np.nan, "mse_site": np.nan, "mse_average": np.nan,
                    "learning_rate": card.fit.learning_rate, "seconds": 0.0}  # of the last epoch
        self.sum, self.seconds = 0.0, 0.0  # of the epoch at work: losses of batches, time
        self.rms: dict[str, list[float]] = {}
        self.results: dict | None = None
        self._saved = time.monotonic()

    # ---- beginning
    def _new_history(self, text: str) -> FitFile:
        return FitFile(self.files.fit, text, __version__)

    def _read_history(self, card: RunCard) -> FitFile:
        history = FitFile.open(self.files.fit)
        check_fit_changes(history, self.files.card, card)
        return history

    def _read_checkpoint(self) -> dict:
        state = load_fit_state(self.files.checkpoint, self.history.owner)
        self._check_length(state["epoch"])
        self.history.truncate(state["epoch"] if state["row"]["epoch"] >= 0 else -1)
        return state

    def continue_from(self, state: dict | None) -> None:
        """The state of the checkpoint that rank 0 has read; the start if there was none."""
        if state is None:
            return
        self._take_threads(state.get("threads", torch.get_num_threads()))
        load_tensors(self.model, state["tensors"])
        load_state(self.optimizer, state["optimizer"])
        self.epoch, self.batch, self.waited = state["epoch"], state["batch"], state["waited"]
        self.best = state["best"] | {"loss": float(state["best"]["loss"])}
        self.row = {name: float(value) for name, value in state["row"].items()} | {"epoch": int(state["row"]["epoch"])}
        self.sum, self.seconds, self.rms = float(state["sum"]), float(state["seconds"]), state["rms"]
        self.journal.go_on(self._report("training"))

    def _take_threads(self, threads: int) -> None:
        """Sums of other numbers of threads round otherwise."""
        here = torch.get_num_threads()
        if threads != here:
            logger.warning("%s: the fit goes on with %d threads of torch, as it began, for the same bits; %d here",
                           self.files.checkpoint, threads, here)
            torch.set_num_threads(threads)

    # ---- running
    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or patience is at its end."""
        fit = self.card.fit
        return self.row["epoch"] >= 0 and (self.epoch >= fit.epochs or (fit.patience > 0 and self.waited >= fit.patience))

    def _run(self, observer) -> bool:
        """Make data, train and test; reports are after each chain, each epoch, each test, and on the way."""
        if self.finished and self.files.results.exists() and self._tested():
            on_root(self.communicator, self._restore_weights)
            return True
        if not self._make_data(observer):
            return False
        stopped = False
        self.validation = self.task.samples("validation")
        if not self.finished:
            self.training = self.task.samples("training")
            stopped = not self._train(observer)
            self.checkpoint()
        return not stopped and self._test(observer)

    def _make_data(self, observer) -> bool:
        begun = time.monotonic()

        def tell(done: int, total: int) -> None:
            seconds = time.monotonic() - begun
            report = (FitReport("data", done, total, seconds=seconds, eta_seconds=seconds / done * (total - done)) if done
                      else FitReport("waiting for data", 0, total, seconds=seconds))
            self.journal.tell(report, observer)
        return self.task.make_data(self._halt, tell)

    def _train(self, observer) -> bool:
        """Epochs until the end: True; False if stopped before."""
        self._synchronize()
        if self.row["epoch"] < 0:
            self._note_rms("start")
            self._validate(np.nan)
            self._tell(observer, self._report("training"))
            self.checkpoint()  # before the history has an epoch that would be lost without one
        longest, told, stopped = 0.0, time.monotonic(), self._agree(self._halt())
        order = self._order()
        while not self.finished and not stopped:
            begun = time.monotonic()
            self._one_batch(order)
            self.seconds += time.monotonic() - begun
            if self.batch == self.batches:
                self._end_epoch(observer)
                order = self._order()
            elif time.monotonic() - told > TELL_SECONDS:
                told = time.monotonic()
                if self.communicator.rank == 0:
                    self.journal.tell(self._report("training"), observer)
            longest = max(longest, time.monotonic() - begun)
            stopped = self._agree(self._halt(2 * longest))
        return self.finished

    @property
    def batches(self) -> int:
        """Of an epoch."""
        return -(-len(self.training) // self.card.fit.batch)

    def _order(self) -> np.ndarray:
        """Numbers of the samples in the order of the next epoch, by run.seed and the number of the epoch."""
        generator = np.random.Generator(np.random.Philox(key=[self.card.run.seed, self.epoch + 1]))
        return generator.permutation(len(self.training))

    def _one_batch(self, order: np.ndarray) -> None:
        fit, communicator = self.card.fit, self.communicator
        chosen = order[self.batch * fit.batch:(self.batch + 1) * fit.batch]
        mine = np.array_split(chosen, communicator.size)[communicator.rank]
        if isinstance(self.optimizer, LevenbergMarquardt):
            loss = self._least_squares(mine, len(chosen))
            self.sum += loss * len(chosen)
            self.batch += 1
            return
        self.optimizer.zero_grad(set_to_none=False)
        loss = 0.0
        if len(mine):
            part = self.task.loss(self.model, *self.training.batch(mine)) * (len(mine) / len(chosen))
            part.backward()
            loss = float(part.detach())
        loss = self._share(loss)
        if not np.isfinite(loss):
            raise self._run_away(f"epoch {self.epoch + 1}, step {self.batch + 1}: the loss is {loss:g}")
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        self.optimizer.step()
        self.sum += loss * len(chosen)
        self.batch += 1

    def _least_squares(self, mine: np.ndarray, samples: int) -> float:
        """A step of LevenbergMarquardt on a batch of so many samples, of which `mine` are this rank's; the loss before it."""
        problem = self.task.least_squares(self.model, *self.training.batch(mine)) if len(mine) else None

        def share(arrays: list) -> list:
            if self.communicator.size == 1:
                return arrays
            everyone = self.communicator.allgather([array.numpy() for array in arrays])
            return [torch.from_numpy(np.asarray(sum(parts[1:], start=parts[0]))) for parts in zip(*everyone, strict=True)]
        outputs = self.training.labels.shape[1]
        return self.optimizer.fit(problem, samples * outputs, share)

    def _rate(self) -> float:
        return learning_rate(self.card.fit, self.epoch + self.batch / self.batches)

    def _share(self, loss: float) -> float:
        """Loss and gradients, added up over ranks in their order."""
        if self.communicator.size == 1:
            return loss
        weights = [p for p in self.model.parameters() if p.requires_grad]
        mine = [np.zeros(tuple(p.shape)) if p.grad is None else p.grad.cpu().numpy() for p in weights]
        everyone = self.communicator.allgather((loss, mine))
        for index, p in enumerate(weights):
            total = sum((gradients[index] for _, gradients in everyone[1:]), start=everyone[0][1][index])
            p.grad = torch.from_numpy(np.ascontiguousarray(total)).to(p)
        return float(sum(part for part, _ in everyone))

    def _synchronize(self) -> None:
        """Rank 0's weights are everyone's."""
        if self.communicator.size > 1:
            load_tensors(self.model, self.communicator.bcast(tensors(self.model)))

    def _end_epoch(self, observer) -> None:
        begun = time.monotonic()
        rate = self._rate()
        self.epoch, self.batch = self.epoch + 1, 0
        loss, self.sum = self.sum / len(self.training), 0.0
        self._synchronize()
        self._validate(loss, rate, self.seconds + time.monotonic() - begun)
        self.seconds = 0.0
        self._tell(observer, self._report("training"))
        if self._agree(self.finished or time.monotonic() - self._saved > CHECKPOINT_SECONDS):
            self.checkpoint()

    def _validate(self, loss: float, rate: float | None = None, seconds: float = 0.0) -> None:
        """A row of the history; the weights are kept if they are the best so far."""
        found = self.task.validate(self.model, self.validation)
        validation = found["validation"]
        if not np.isfinite(validation):
            raise self._run_away(f"epoch {self.epoch}: the validation loss is {validation:g}")
        self.row = {"epoch": self.epoch, "loss": loss, **found, "learning_rate": rate or self._rate(), "seconds": seconds}
        self.waited += self.epoch > 0
        if validation < self.best["loss"]:
            self.best = {"epoch": self.epoch, "loss": validation, "tensors": tensors(self.model)}
            self.waited = 0
        on_root(self.communicator, lambda: self.history.append(self.row))

    def _run_away(self, found: str) -> ComputationError:
        """What to do about a loss that is no number: before the first step it is not for the learning rate."""
        if self.epoch == self.batch == 0:
            return ComputationError(f"{found} before any step: it has run away by labels or first weights that are too large for "
                                    f"{self.card.model.precision} precision; lower data.scale (now {self.card.data.scale:g}), or "
                                    "give fewer layers")
        return ComputationError(f"{found}: training has run away; lower fit.learning_rate (now {self._rate():g}) and train anew")

    # ---- testing
    def _tested(self) -> bool:
        """Whether results.json is of this state."""
        found = on_root(self.communicator, self.files.read_results)
        self.results = found if found.get("epochs") == self.epoch and found.get("best_epoch") == self.best["epoch"] else None
        return self.results is not None

    def _test(self, observer) -> bool:
        """The best weights in double precision on all that is tested: True; False if stopped before."""
        model = self.task.model("double").to(self.device.torch_device())
        load_tensors(model, self.best["tensors"])
        load_tensors(self.model, self.best["tensors"])
        self._note_rms("end")
        tests, found, begun = self.task.tests, {}, time.monotonic()
        for number, part in enumerate(tests, 1):
            if self._agree(self._halt()):
                return False
            found |= self.task.numbers(model, part)
            seconds = time.monotonic() - begun
            report = FitReport("testing", number, len(tests), validation=self.best["loss"], seconds=seconds,
                               eta_seconds=seconds / number * (len(tests) - number))
            self._tell(observer, report)
        self.results = {
            "parameters": parameter_count(self.model), "epochs": self.epoch, "best_epoch": self.best["epoch"],
            "seed": self.card.run.seed, "seconds": float(self.history_seconds), "validation": self.best["loss"],
            **self.task.summary(found), "field_rms": self.rms}
        on_root(self.communicator, lambda: self.files.write_results(self.results))
        self.journal.go_on(self._report("training"))
        return True

    @property
    def history_seconds(self) -> float:
        """Time of all epochs."""
        return on_root(self.communicator, lambda: float(self.history.epochs["seconds"].sum()))

    def _note_rms(self, when: str) -> None:
        """Root mean square of the field behind each layer, on some validation samples, for the log."""
        if hasattr(self.model, "field_rms"):
            links, _ = self.validation.batch(slice(0, self.card.fit.batch))
            self.rms[when] = [float(value) for value in self.model.field_rms(links)]
            words = " ".join(f"{value:.4g}" for value in self.rms[when])
            on_root(self.communicator, lambda: self.files.write_log(f"field rms at the {when}, layer by layer: {words}\n"))

    # ---- telling, files
    def _report(self, phase: str) -> FitReport:
        total, batches = self.card.fit.epochs, 0 if self.training is None else self.batches
        part = self.batch / batches if batches else 0.0
        pace = self.seconds / part if part else self.row["seconds"] or np.nan
        return FitReport(phase, self.epoch, total, self.row["loss"], self.row["validation"], self.row["mse_average"], self.batch,
                         batches, self.row["seconds"], pace * (total - self.epoch - part))

    def _tell(self, observer, report: FitReport) -> None:
        on_root(self.communicator, lambda: self.journal.tell(report, observer))

    def checkpoint(self) -> None:
        """Write history, weights, then the state: a kill in between leaves a history that is longer, and `resume` cuts it."""
        state = {"epoch": self.epoch, "batch": self.batch, "waited": self.waited, "tensors": tensors(self.model),
                 "optimizer": state_arrays(self.optimizer), "best": self.best | {"loss": np.float64(self.best["loss"])},
                 "row": {name: np.float64(value) for name, value in self.row.items()}, "sum": np.float64(self.sum),
                 "seconds": np.float64(self.seconds), "rms": self.rms, "threads": torch.get_num_threads()}

        def write() -> None:
            self.history.flush()
            self._save_weights()
            save_fit_state(self.files.checkpoint, state, self.history.owner)
        on_root(self.communicator, write)
        self._saved = time.monotonic()

    def _save_weights(self) -> None:
        if self.best["epoch"] >= 0:
            save_model(self.files.weights, self.best["tensors"], self.history.card_text, self.best["epoch"])

    def _restore_weights(self) -> None:
        """Of a fit that is done: the checkpoint has them, too."""
        if not self.files.weights.exists():
            self._save_weights()

    def _draw(self) -> None:
        draw_fit(self.history, self.files.path)
