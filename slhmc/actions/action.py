"""The contract of an action, and sums of actions."""

from abc import ABC, abstractmethod

from slhmc.lattice import AlgebraField, Draws, GaugeField, Scalar


class Action(ABC):
    """S(U, phi). Pseudofermions phi are arguments, so that target and guide can share them; gauge actions ignore them.

    All methods are collective and may be recorded on a tape: they must not look at values.
    """

    def refresh(self, U: GaugeField, draws: Draws, phi=None):
        """Draw phi from exp(-S) at fixed U, into `phi` if given; returns phi (None if the action has none)."""
        return None

    @abstractmethod
    def action(self, U: GaugeField, phi) -> Scalar:
        """S(U, phi)."""

    @abstractmethod
    def add_force(self, U: GaugeField, phi, force: AlgebraField, weight: float) -> None:
        """force += weight F, F_a(x, mu) = -d_a S with d_a f(U) = d/ds f(exp(s T_a) U)."""

    def force(self, U: GaugeField, phi) -> AlgebraField:
        """F_a(x, mu) = -d_a S."""
        force = AlgebraField(U.lattice, U.colors)
        self.add_force(U, phi, force, 1.0)
        return force

    def begin_trajectory(self) -> None:
        """Forget what was remembered from earlier forces (start vectors of solvers)."""

    def inspect(self, U: GaugeField, draws: Draws) -> None:
        """Look, between trajectories and off the tape, whether what the action assumes holds; ComputationError if not."""

    def solvers(self) -> list:
        """Solvers whose iterations a trajectory should report."""
        return []


class CompositeAction(Action):
    """A sum of named actions; phi is a dictionary by the same names."""

    def __init__(self, parts: dict[str, Action]):
        self.parts = dict(parts)

    def refresh(self, U, draws, phi=None):
        phi = phi or {}
        return {name: part.refresh(U, draws, phi.get(name)) for name, part in self.parts.items()}

    def action(self, U, phi):
        values = [part.action(U, phi[name]) for name, part in self.parts.items()]
        total = values[0]
        for value in values[1:]:
            total = total + value
        return total

    def add_force(self, U, phi, force, weight):
        for name, part in self.parts.items():
            part.add_force(U, phi[name], force, weight)

    def begin_trajectory(self):
        for part in self.parts.values():
            part.begin_trajectory()

    def inspect(self, U, draws):
        for part in self.parts.values():
            part.inspect(U, draws)

    def solvers(self):
        return [solver for part in self.parts.values() for solver in part.solvers()]
