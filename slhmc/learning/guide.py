"""The guide as a function of what is trained: S_theta(U, phi), its force, and dS_theta / dtheta."""

from dataclasses import dataclass

import numpy as np

from slhmc.actions import CompositeAction, LogDeterminantAction, SmearedAction
from slhmc.backend.tape import Tape
from slhmc.dirac import forget_clover_terms
from slhmc.errors import ComputationError
from slhmc.lattice import AlgebraField, GaugeField, Scalar
from slhmc.networks import make_network
from slhmc.runcard import GuideQuarkTable, RunCard
from slhmc.runcard.base import LARGEST_MASS
from slhmc.runcard.checks import quark_faults
from slhmc.simulation.build import make_update
from slhmc.simulation.guide import guide_network, guide_parts, on_links

# fourth-order central difference of the first derivative: error h^4 / 30 times the fifth derivative
STENCIL = {1: 2 / 3, -1: -2 / 3, 2: -1 / 12, -2: 1 / 12}
MASS_STEP, SMALLEST_MASS = 3e-3, 0.3  # step relative to a mass, or to this one if it is smaller


@dataclass
class _Recorded:
    """A tape of S_theta and of the force on the smeared links; it lives as long as masses, factors and beta stay."""

    tape: Tape
    U: GaugeField
    phi: dict
    gauge: Scalar
    quarks: dict[str, Scalar]
    smeared_force: AlgebraField | None

    def fits(self, U, phi) -> bool:
        return self.U is U and all(self.phi[name] is field for name, field in phi.items())


class TrainableGuide:
    """S_theta of [guide]; theta are the weights of its network, then masses, factors and beta if [train] says so.

    names: of the entries of theta ("layer1.plaquette", "quarks.0.mass", "gauge.beta"). start: theta of the card, or of
    `weights`, the slhmc.io.Weights of [guide] network. `set` comes before everything else. All methods are collective.
    """

    def __init__(self, card: RunCard, lattice, weights=None):
        self.card, self.lattice = card, lattice
        self.network = guide_network(card, lattice, weights)
        trained = {} if weights is None else weights.trained
        masses = {f"quarks.{k}.mass": quark.bare_mass for k, quark in enumerate(card.guide_quarks)}
        factors = {f"quarks.{k}.factor": factor for k, factor in enumerate(card.guide_factors)}
        self._fixed = masses | factors | {"gauge.beta": card.guide.beta or card.gauge.beta} | trained
        # without [network] the guide sees the target's smearing, which stays
        self.names = [] if card.network is None else list(self.network.parameter_names)
        self._weights = len(self.names)
        self.names += list(masses) * card.train.train_mass + list(factors) * card.train.train_factor
        self.names += ["gauge.beta"] * card.train.train_beta
        first = list(self.network.parameters) if self._weights else []
        self.start = np.array(first + [self._fixed[name] for name in self.names[self._weights:]], np.float64)
        self.values = np.full(len(self.names), np.nan)
        self._couplings: dict[str, float] = {}
        self._parts: dict[tuple, dict] = {}
        self._records: list[_Recorded] = []
        self._moved = self._force = self._dynamics = None

    def set(self, values: np.ndarray) -> None:
        """Take another theta. Raises ComputationError if a mass of it is none that its operator or Hasenbusch masses allow."""
        values = np.array(values, np.float64)
        couplings = self._fixed | dict(zip(self.names[self._weights:], values[self._weights:].tolist(), strict=True))
        if self._weights and not np.array_equal(values[:self._weights], self.values[:self._weights]):
            self.network.set_parameters(values[:self._weights])
        if couplings != self._couplings:  # baked into actions and tapes
            self._check_masses(couplings)
            self._forget()
            self._couplings = couplings
        self.values = values

    def _check_masses(self, couplings: dict[str, float]) -> None:
        for number, quark in enumerate(self._card(couplings).guide_quarks):
            beyond = [] if abs(quark.bare_mass) <= LARGEST_MASS else [(("mass",), f"beyond {LARGEST_MASS:g}")]
            for key, words in [*beyond, *quark_faults(quark)]:
                raise ComputationError(f"the guide's quarks.{number}.mass has become {quark.bare_mass:.6g}: "
                                       f"{'.'.join(map(str, key))} {words}; other masses, or no train_mass")

    def _forget(self) -> None:
        """Give back all that knows the masses, factors and beta of now."""
        masses = {mass for name, mass in self._couplings.items() if name.endswith(".mass")} | {mass for _, mass in self._parts}
        masses -= {quark.bare_mass for quark in self.card.quarks}
        for U in {id(record.U): record.U for record in self._records}.values():
            for links in {id(links): links for links in (U, U if self.network is None else self.network.smear(U))}.values():
                forget_clover_terms(links, masses)
        self._parts.clear()
        self._records.clear()
        self._dynamics = None

    def file_entries(self, values: np.ndarray) -> tuple[dict, dict[str, float]]:
        """(table of the network, parameters) for a file of weights: the network of the quarks, trained or not, and couplings."""
        network = self.network or make_network("stout", self.card.lattice.colors, self.lattice.dimensions, 0, ())
        fixed = dict(zip(network.parameter_names, network.parameters.tolist(), strict=True))
        return network.table(), fixed | dict(zip(self.names, values.tolist(), strict=True))

    # ---- actions
    def _card(self, couplings: dict[str, float]) -> RunCard:
        """The card with these masses, factors and this beta of the guide, and no file that could have others."""
        own = self.card.guide.quarks or tuple(GuideQuarkTable() for _ in self.card.quarks)
        quarks = tuple(table.model_copy(update={"mass": couplings[f"quarks.{k}.mass"], "kappa": None,
                                                "factor": couplings[f"quarks.{k}.factor"]}) for k, table in enumerate(own))
        update = {"quarks": quarks, "beta": couplings["gauge.beta"], "network": None}
        return self.card.model_copy(update={"guide": self.card.guide.model_copy(update=update)})

    def _made(self, name: str | None = None, mass: float = 0.0) -> dict:
        """The parts of S_theta by name, with another mass of one quark if it is named."""
        if (name, mass) not in self._parts:
            couplings = self._couplings if name is None else self._couplings | {name: mass}
            made = guide_parts(self._card(couplings), self.lattice, self.network)
            self._parts[name, mass] = {part: action for part, (action, _) in made.items()}
        return self._parts[name, mass]

    def _is_trained(self, part) -> bool:
        return isinstance(part, SmearedAction) and part.network is self.network

    def _recorded(self, U: GaugeField, phi: dict) -> _Recorded:
        """S_theta and the force on the smeared links, on a tape that reads U, phi and the weights anew at each run."""
        for record in self._records:
            if record.fits(U, phi):
                return record
        quarks = {name: part for name, part in self._made().items() if name != "gauge"}
        force = AlgebraField(self.lattice, U.colors) if self._weights else None
        CompositeAction(quarks).begin_trajectory()  # a start vector from elsewhere would leave its mark in the last bits
        with self.lattice.device.record() as tape:
            U.changed()
            gauge = self._made()["gauge"].action(U, None)
            values = {name: part.action(U, phi[name]) for name, part in quarks.items()}
            if force is not None:
                force.clear()
                for name, part in quarks.items():
                    if self._is_trained(part):
                        part.base.add_force(self.network.smear(U), phi[name], force, 1.0)
        self._records.append(_Recorded(tape, U, dict(phi), gauge, values, force))
        return self._records[-1]

    def _run(self, U, phi) -> tuple[float, _Recorded]:
        record = self._recorded(U, phi)
        record.tape.run()
        return float(record.gauge) + sum(float(value) for value in record.quarks.values()), record

    def value_and_gradient(self, U: GaugeField, phi: dict, wanted: bool = True) -> tuple[float, np.ndarray]:
        """S_theta(U, phi) and dS_theta / dtheta at fixed U and phi; zeros in its place if it is not wanted."""
        value, record = self._run(U, phi)
        if not wanted:
            return value, np.zeros_like(self.values)
        gradient = [self.network.parameter_gradient(U, record.smeared_force)] if self._weights else []
        for name in self.names[self._weights:]:
            gradient.append([self._derivative(name, U, phi, record)])
        return value, np.concatenate(gradient)

    def _derivative(self, name: str, U, phi, record: _Recorded) -> float:
        """dS_theta / d(beta, factor or mass): S is proportional to the first two."""
        if name.endswith(".mass"):
            return self._mass_derivative(name, U, phi)
        of_name = [record.gauge] if name == "gauge.beta" else [
            value for part, value in record.quarks.items() if self._is_multiplied(part, name.removesuffix(".factor"))]
        return sum(float(value) for value in of_name) / self._couplings[name]

    def _is_multiplied(self, part: str, quark: str) -> bool:
        """Whether a part is one that the factor of a quark multiplies."""
        action = self._made()[part]
        base = action.base if isinstance(action, SmearedAction) else action
        return (part == quark or part.startswith(f"{quark}.")) and not isinstance(base, LogDeterminantAction)

    def _mass_derivative(self, name: str, U, phi) -> float:
        """dS_theta / dm by central differences, alike for all operators."""
        mass, total = self._couplings[name], 0.0
        step = MASS_STEP * max(abs(mass), SMALLEST_MASS)
        quark = name.removesuffix(".mass")
        for k, weight in STENCIL.items():
            parts = {part: action for part, action in self._made(name, mass + k * step).items()
                     if part == quark or part.startswith(f"{quark}.")}
            total += weight * float(CompositeAction(parts).action(U, phi))
        return total / step

    # ---- forces
    def add_force(self, U: GaugeField, phi: dict, force: AlgebraField, weight: float) -> None:
        """force += weight times the force of S_theta."""
        bare = {name: part.base if isinstance(part, SmearedAction) else part for name, part in self._made().items()}
        guide = on_links(bare, self.network)  # one way back through the network for all quarks
        guide.begin_trajectory()
        guide.add_force(U, phi, force, weight)

    def gradient_along(self, U: GaugeField, phi: dict, direction: AlgebraField, step: float) -> np.ndarray:
        """d/ds dS_theta / dtheta (exp(s direction) U) at s = 0, by central differences."""
        if self._moved is None:
            self._moved = GaugeField(self.lattice, U.colors)
        total = 0.0
        for k, weight in STENCIL.items():
            self._moved.assign(U)
            self._moved.drift(direction, k * step)
            total = total + weight * self.value_and_gradient(self._moved, phi)[1]
        return total / step

    def dynamics(self):
        """HMC along the guide as it is now: trajectories of [train] trajectory_length in steps like those of [hmc].

        Without a nested correction, which would keep the target's energy: dH would not be a difference of D then.
        """
        if self._dynamics is None:
            card, hmc = self._card(self._couplings), self.card.hmc
            length = self.card.train.trajectory_length or hmc.length
            steps = max(1, round(hmc.steps * length / hmc.length))
            card = card.model_copy(update={"hmc": hmc.model_copy(update={"length": length, "steps": steps}),
                                           "guide": card.guide.model_copy(update={"correction": None})})
            self._dynamics = make_update(card, self.lattice, self.network)
        return self._dynamics
