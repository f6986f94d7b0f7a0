"""Actions on smeared links, and combinations of actions that share their pseudofermions."""

from slhmc.actions.action import Action
from slhmc.dirac import take_wall_slices
from slhmc.lattice import AlgebraField, FermionField


class SmearedAction(Action):
    """S(U, phi) = base(V(U), phi), V the links that `network` (slhmc.networks.Network) makes of U.

    base: any action; a CompositeAction of several, so that one way back through the network serves the forces of all.
    """

    def __init__(self, network, base: Action):
        self.network, self.base = network, base
        self._smeared_force: AlgebraField | None = None

    def refresh(self, U, draws, phi=None):
        return self.base.refresh(self.network.smear(U), draws, phi)

    def action(self, U, phi):
        return self.base.action(self.network.smear(U), phi)

    def add_force(self, U, phi, force, weight):
        self._smeared_force = self._smeared_force or AlgebraField(U.lattice, U.colors)
        self._smeared_force.clear()
        self.base.add_force(self.network.smear(U), phi, self._smeared_force, 1.0)
        self.network.pull_back(U, self._smeared_force, force, weight)

    def begin_trajectory(self):
        self.base.begin_trajectory()

    def inspect(self, U, draws):
        self.base.inspect(self.network.smear(U), draws)

    def solvers(self):
        return self.base.solvers()


class LinearCombination(Action):
    """S(U, phi) = sum_k w_k S_k(U, phi), terms [(w_k, S_k)]: all take the same dictionary phi, each the names that it knows.

    Pseudofermions can be drawn where no two terms have a name in common and all weights are 1.
    """

    def __init__(self, terms: list[tuple[float, Action]]):
        self.terms = list(terms)

    def refresh(self, U, draws, phi=None):
        drawn = {}
        for weight, action in self.terms:
            if weight != 1.0:
                raise ValueError(f"pseudofermions of an action with weight {weight} cannot be drawn from exp(-S)")
            drawn |= action.refresh(U, draws, phi)
        return drawn

    def action(self, U, phi):
        values = [weight * action.action(U, phi) for weight, action in self.terms]
        total = values[0]
        for value in values[1:]:
            total = total + value
        return total

    def add_force(self, U, phi, force, weight):
        for own, action in self.terms:
            action.add_force(U, phi, force, weight * own)

    def begin_trajectory(self):
        for _, action in self.terms:
            action.begin_trajectory()

    def inspect(self, U, draws):
        for _, action in self.terms:
            action.inspect(U, draws)

    def solvers(self):
        return [solver for _, action in self.terms for solver in action.solvers()]


class WallSlicesAction(Action):
    """S(U, phi) = base(U, phi'), phi' the Ls' / 2 lowest and the Ls' / 2 highest slices of a phi with more, Ls' even.

    For a guide of domain-wall quarks with a shorter fifth dimension than its target: light quarks live at the walls.
    """

    def __init__(self, base: Action, Ls: int):
        self.base, self.Ls = base, Ls
        self._slices: FermionField | None = None

    def slices(self, phi: FermionField) -> FermionField:
        """phi', taken anew: phi may have other values at each replay of a tape."""
        if self._slices is None:
            self._slices = FermionField(phi.lattice, phi.colors, phi.parity, phi.layout.real, phi.spins, self.Ls)
        take_wall_slices(phi, self._slices)
        return self._slices

    def action(self, U, phi):
        return self.base.action(U, self.slices(phi))

    def add_force(self, U, phi, force, weight):
        self.base.add_force(U, self.slices(phi), force, weight)

    def begin_trajectory(self):
        self.base.begin_trajectory()

    def inspect(self, U, draws):
        self.base.inspect(U, draws)

    def solvers(self):
        return self.base.solvers()
