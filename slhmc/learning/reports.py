"""What a fit tells of a piece of work, for people."""

from dataclasses import dataclass
from math import isnan, nan


@dataclass(frozen=True)
class FitReport:
    """phase: "waiting for data" (that another process makes), "data" (done: chains), "training" (epochs) or "testing" (lattices).

    loss: of the last epoch, validation: after it, average: of lattice averages; NaN while unknown. batch: of `batches` in the
    epoch that is at work.
    """

    phase: str
    done: int
    total: int
    loss: float = nan
    validation: float = nan
    average: float = nan
    batch: int = 0
    batches: int = 0
    seconds: float = 0.0
    eta_seconds: float = nan

    @property
    def log_line(self) -> str:
        """Its line of log.txt; none within an epoch."""
        if self.batch:
            return ""
        losses = "".join(f" {name} {value:.6e}" for name, value in (
            ("loss", self.loss), ("validation", self.validation), ("average", self.average)) if not isnan(value))
        return f"{self.phase} {self.done}/{self.total}{losses} {self.seconds:.4g} s"

    @property
    def status(self) -> dict:
        """What status.json has of it."""
        return {"phase": self.phase, "step": self.done, "total": self.total, "loss": self.loss, "validation": self.validation,
                "mse_average": self.average, "eta_seconds": self.eta_seconds}
