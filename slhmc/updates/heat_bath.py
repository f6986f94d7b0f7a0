"""Heat bath and over-relaxation: local updates of the Wilson action, any Nc, without quarks."""

from slhmc.errors import InputError
from slhmc.lattice import Draws, GaugeField
from slhmc.lattice.random import Purpose
from slhmc.updates.hmc import Transition


class HeatBath:
    """Heat bath of S = beta sum (1 - Re tr P / Nc), with microcanonical sweeps that carry the links further.

    A trajectory is one heat-bath sweep and `over_relaxation` over-relaxation sweeps; a sweep visits every link once,
    direction by direction, even sites then odd. For Nc > 2 each visit goes through all SU(2) subgroups in turn.
    Raises InputError if beta or over_relaxation is negative.
    """

    def __init__(self, beta: float, over_relaxation: int):
        if not beta >= 0:
            raise InputError(f"beta = {beta}: the heat bath draws from exp(-S) with beta >= 0 only; use [hmc]")
        if over_relaxation < 0:
            raise InputError(f"over_relaxation = {over_relaxation}: expected a number of sweeps, 0 or more")
        self.beta, self.over_relaxation = float(beta), over_relaxation

    def step(self, U: GaugeField, seed: int, trajectory: int) -> Transition:
        """One trajectory; U always changes. Collective."""
        self.heat_bath_sweep(U, Draws(seed, trajectory))
        for _ in range(self.over_relaxation):
            self.over_relaxation_sweep(U)
        U.reunitarize()
        return Transition(accepted=True, delta_h=0.0, iterations=0)

    def heat_bath_sweep(self, U: GaugeField, draws: Draws) -> None:
        """Each link anew from exp(-S) with all others held fixed (Nc > 2: from its SU(2) subgroups). Collective."""
        strength, random = 2 * self.beta / U.colors, draws.next(Purpose.HEAT_BATH)
        for mu, parity in _visits(U):
            _update(U, "heat_bath", parity, mu, strength, random)

    def over_relaxation_sweep(self, U: GaugeField) -> None:
        """Each link to the other value of equal action, subgroup by subgroup: S stays what it is. Collective."""
        for mu, parity in _visits(U):
            _update(U, "over_relaxation", parity, mu)


def _visits(U: GaugeField) -> list[tuple[int, int]]:
    return [(mu, parity) for mu in range(U.lattice.dimensions) for parity in (0, 1)]


def _update(U: GaugeField, name: str, parity: int, mu: int, *arguments) -> None:
    U.update_staple_halo()
    U.layout.launch(U.kernel("heat_bath.cc", name), U.layout.geometry, U.pointer, mu, *arguments,
                    parity=parity, parities=1, keep=(U,))
    U.part_changed(mu, parity)
