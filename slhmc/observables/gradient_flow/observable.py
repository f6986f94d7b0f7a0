"""Energy density and topological charge along the gradient flow."""

from math import pi

import numpy as np

from slhmc.errors import ComputationError, InputError
from slhmc.lattice import GaugeField, Lattice, Scalar, field_strength_sums, plaquette_sum
from slhmc.observables.gradient_flow.charge import FiveLoopCharge
from slhmc.observables.gradient_flow.flow import GradientFlow
from slhmc.observables.observable import Observable

QUANTITIES = ("time", "energy_plaquette", "energy_clover", "charge_clover", "charge_improved")  # charges in four dimensions
TOLERANCE = 3e-4


def default_time(extent) -> float:
    """The flow time at which the smoothing radius sqrt(8 t) is half the smallest extent L: L^2 / 32."""
    return min(extent) ** 2 / 32


class FlowedLinks(Observable):
    """What flowed links have at the flow times 0, t_max / points, ..., t_max: real [quantity, time], see QUANTITIES.

    E per site from plaquettes and from clovers, in four dimensions Q from clovers and from five loops (docs/conventions.md,
    "Gradient flow"). U itself stays as it is. action, step: of GradientFlow, with `tolerance` if step is None; t_max:
    `default_time` if None. Raises InputError as GradientFlow does, ComputationError if numbers are not finite.
    """

    name = "gradient_flow"

    def __init__(self, lattice: Lattice, colors: int, action: str = "wilson", t_max: float | None = None, points: int = 20,
                 step: float | None = None, tolerance: float = TOLERANCE):
        t_max = default_time(lattice.extent) if t_max is None else t_max
        if not 0 < t_max < float("inf") or points < 1:
            raise InputError(f"flow to t = {t_max} in {points} parts asked for; a time above 0 and 1 part or more expected")
        self.times = [t_max * k / points for k in range(points + 1)]
        self.channels = QUANTITIES if lattice.dimensions == 4 else QUANTITIES[:3]
        self._links = GaugeField(lattice, colors)
        self.flow = GradientFlow(self._links, action, 0.02 if step is None else step, tolerance if step is None else None)
        self._charge = FiveLoopCharge(lattice, colors) if lattice.dimensions == 4 else None
        self._recorded: dict[int, tuple] = {}

    def measure(self, U, draws):
        self._links.assign(U)
        self.flow.restart()
        rows = [[time, *self._values(self.flow.advance_links(time))] for time in self.times]
        values = np.array(rows).T
        if not np.isfinite(values).all():
            raise ComputationError(f"{self.name}: numbers that are not finite; the links are damaged")
        return values

    def _values(self, links: GaugeField) -> list[float]:
        """E from plaquettes, E from clovers, both charges."""
        device, lattice = links.lattice.device, links.lattice
        if id(links) not in self._recorded:
            self._recorded[id(links)] = self._record(links)
        tape, plaquettes, strength, charge = self._recorded[id(links)]
        tape.run()
        plaquette, sums = float(plaquettes) / lattice.sites, device.to_host(strength)
        energies = [2 * (lattice.planes * links.colors - plaquette), float(sums[0]) / lattice.sites]
        return energies + ([] if charge is None else [float(sums[1]) / (8 * pi**2), float(charge)])

    def _record(self, links: GaugeField) -> tuple:
        """Sums over the lattice on a tape, and where they go."""
        with links.lattice.device.record() as tape:
            links.changed()  # the tape fetches what other ranks have
            strength, plaquettes = field_strength_sums(links), plaquette_sum(links)
            charge: Scalar | None = None if self._charge is None else self._charge.measure(links)
        return tape, plaquettes, strength, charge
