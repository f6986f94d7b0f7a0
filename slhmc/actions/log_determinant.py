"""The part of a quark determinant that even-odd preconditioning leaves outside: S = -Nf log det A_oo."""

from slhmc.actions.action import Action


class LogDeterminantAction(Action):
    """S = -flavors log det A_oo, summed over the odd sites; no pseudofermions.

    make_operator(U) -> an EvenOddOperator whose `determinant` is not None (CloverEvenOdd).
    """

    def __init__(self, make_operator, flavors: float = 2):
        self.make_operator, self.flavors = make_operator, flavors
        self._determinants: dict[int, tuple] = {}

    def determinant(self, U):
        """log det A_oo on the links U, made once."""
        key = id(U)
        if key not in self._determinants:
            self._determinants[key] = (U, self.make_operator(U).determinant)
        return self._determinants[key][1]

    def action(self, U, phi):
        return -self.flavors * self.determinant(U).value()

    def add_force(self, U, phi, force, weight):
        self.determinant(U).add_force(force, -weight * self.flavors)
