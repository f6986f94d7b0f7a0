"""The contract of an observable."""

from abc import ABC, abstractmethod

import numpy as np

from slhmc.lattice import Draws, GaugeField


class Observable(ABC):
    """Something measured on links: a name (as in files and summaries) and a value per configuration."""

    name: str

    @abstractmethod
    def measure(self, U: GaugeField, draws: Draws) -> np.ndarray:
        """The value on U, a real or complex number or array; `draws` supplies noise. Collective."""
