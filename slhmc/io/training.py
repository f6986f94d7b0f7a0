"""The history of a training: losses and parameters step by step, and what the held-out samples said."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from slhmc.io.checkpoint import owner_of
from slhmc.io.sealed import open_sealed, write_sealed

if TYPE_CHECKING:
    import h5py

STEP = np.dtype([("step", "i8"), ("loss", "f8"), ("learning_rate", "f8"), ("seconds", "f8")])
EVALUATION = np.dtype([("step", "i8"), ("published", "f8"), ("centred", "f8"), ("force", "f8"), ("trajectory", "f8"),
                       ("acceptance", "f8")])


class TrainingFile:
    """Steps, parameters after each, and evaluations of held-out samples, in memory; `flush` replaces the file atomically.

    `parameter_names`: of the numbers that are trained, in physical units; `inherited`: masses, factors and coupling of the guide
    that were trained before. Step 0 is the start; numbers of steps only grow. `owner`: of its checkpoints, by the first card.
    """

    def __init__(self, path: str | os.PathLike, card_text: str, version: str, parameter_names,
                 inherited: Mapping[str, float] | None = None):
        self.path, self.card_text, self.version = Path(path), card_text, version
        self.owner = owner_of("training", card_text)
        self.parameter_names, self.inherited = list(parameter_names), dict(inherited or {})
        self._steps: list[tuple] = []
        self._parameters: list[np.ndarray] = []
        self._evaluations: list[tuple] = []

    @classmethod
    def open(cls, path: str | os.PathLike) -> Self:
        """The history in `path`; InputError if the file is missing, damaged or of another kind."""
        with open_sealed(path, "training") as file:
            history = cls(path, file["card"].asstr()[()], file.attrs["version"], file["parameter_names"].asstr()[()].tolist(),
                          json.loads(file.attrs.get("inherited", "{}")))
            history.owner = str(file.attrs.get("owner", history.owner))
            history._steps = file["steps"][()].astype(STEP).tolist()
            history._parameters = list(file["parameters"][()])
            history._evaluations = file["held_out"][()].astype(EVALUATION).tolist()
            if len(history._steps) != len(history._parameters):
                raise ValueError(f"{len(history._steps)} steps, {len(history._parameters)} rows of parameters")
        return history

    @property
    def steps(self) -> np.ndarray:
        """All steps, a structured array of dtype STEP; `loss` is that of the batch, before the step."""
        return np.array(self._steps, STEP)

    @property
    def parameters(self) -> np.ndarray:
        """float64 [step, parameter], after each step."""
        return np.array(self._parameters, np.float64).reshape(len(self._steps), len(self.parameter_names))

    @property
    def evaluations(self) -> np.ndarray:
        """All evaluations of the held-out samples, a structured array of dtype EVALUATION."""
        return np.array(self._evaluations, EVALUATION)

    def append(self, step: int, loss: float, learning_rate: float, seconds: float, parameters) -> None:
        """Add a step."""
        _check_grows(step, self._steps)
        self._steps.append((int(step), float(loss), float(learning_rate), float(seconds)))
        self._parameters.append(np.array(parameters, np.float64))

    def append_evaluation(self, step: int, losses: dict[str, float]) -> None:
        """Add what the held-out samples say after a step: a number for each field of EVALUATION but the step."""
        _check_grows(step, self._evaluations)
        self._evaluations.append((int(step), *(float(losses[name]) for name in EVALUATION.names[1:])))

    def truncate(self, step: int) -> None:
        """Forget everything later than `step`: what a resumed training will make again."""
        self._steps = [row for row in self._steps if row[0] <= step]
        self._parameters = self._parameters[:len(self._steps)]
        self._evaluations = [row for row in self._evaluations if row[0] <= step]

    def flush(self) -> None:
        """Write all under a temporary name and rename it; InputError if that cannot be done, the old file then stays."""
        write_sealed(self.path, "training", self._fill)

    def _fill(self, file: "h5py.File") -> None:
        import h5py

        file.attrs["version"], file.attrs["owner"] = self.version, self.owner
        if self.inherited:
            file.attrs["inherited"] = json.dumps(self.inherited)
        file.create_dataset("card", data=self.card_text)
        file.create_dataset("parameter_names", data=np.array(self.parameter_names, dtype=object), dtype=h5py.string_dtype())
        file.create_dataset("steps", data=self.steps)
        file.create_dataset("parameters", data=self.parameters)
        file.create_dataset("held_out", data=self.evaluations)


def _check_grows(step: int, rows: list[tuple]) -> None:
    if rows and step <= rows[-1][0]:
        raise ValueError(f"step {step} after step {rows[-1][0]}; numbers of steps must grow")
