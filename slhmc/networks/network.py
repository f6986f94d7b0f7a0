"""A network of smearing layers with trainable weights: U -> U' and back, for forces and for gradients of the weights."""

import numpy as np

from slhmc.errors import InputError
from slhmc.lattice import AlgebraField, GaugeField
from slhmc.networks.loops import weight_mask
from slhmc.networks.smearing import Smearing, smearing_of


class Network:
    """Layers U -> U' of loops with a weight for each layer and loop (docs/conventions.md, "Networks"). No layers: the identity.

    kind: "stout" U' = exp(Q) U, Q = 2 [C U^+]_TA; "ape" U' = N(U + C), N the projection on SU(Nc); "flow" `layers` stout steps
    of length 1 / layers with rho(t) = sum_k a_k t^k, k up to time_degree, at t = (step + 1/2) / layers; "attention":
    AttentionNetwork (attention.py). weights: (layers, loops), for a flow (time_degree + 1, loops); zeros if left out. Raises
    InputError if something does not fit.
    """

    kinds: tuple[str, ...] = ("stout", "ape", "flow")

    def __init__(self, kind: str, colors: int, dimensions: int, layers: int, loops, weights=None, time_degree: int = 0):
        self.kind, self.colors, self.dimensions, self.layers = kind, colors, dimensions, layers
        self.loops, self.time_degree = tuple(loops), time_degree
        self._check()
        self.masks = np.array([weight_mask(loop, dimensions) for loop in self.loops])
        self._rows = self._row_map()
        self.version = 0
        self._on_devices: dict[int, tuple] = {}
        shape = (self._rows.shape[1], len(self.loops))
        weights = np.zeros(shape) if weights is None or len(weights) == shape[0] == 0 else np.asarray(weights, float)
        if weights.shape != shape:
            raise InputError(f"weights of shape {weights.shape} found, {shape} expected: a row for each {self.row_name}, a "
                             f"number for each of {', '.join(self.loops)}")
        self.set_parameters(weights.ravel())

    def _check(self) -> None:
        if self.kind not in self.kinds:
            raise InputError(f"{type(self).__name__} of kind {self.kind!r}: one of {', '.join(self.kinds)} expected")
        if self.colors not in (2, 3):
            raise InputError(f"a network with {self.colors} colours: its kernels know 2 and 3")
        if self.dimensions not in (2, 3, 4):
            raise InputError(f"a network in {self.dimensions} dimensions: 2, 3 or 4 expected")
        if self.layers < 0:
            raise InputError(f"layers = {self.layers}: 0 or more expected")
        if not self.loops and self.layers:
            raise InputError("loops = []: a layer needs at least one loop; give loops, or layers = 0")
        if len(set(self.loops)) < len(self.loops):
            raise InputError(f"loops = {list(self.loops)}: a loop is there twice; name each once")
        if self.time_degree < 0 or (self.time_degree and self.kind != "flow"):
            raise InputError(f"time_degree = {self.time_degree} of a network of kind {self.kind!r}: 0 or more for a flow, else 0")

    def _row_map(self) -> np.ndarray:
        """(layers, rows): rho of a layer is this matrix times the rows of parameters."""
        if self.kind != "flow":
            return np.eye(self.layers)
        times = (np.arange(self.layers) + 0.5) / max(1, self.layers)
        return times[:, None] ** np.arange(self.time_degree + 1) / max(1, self.layers)

    @property
    def row_name(self) -> str:
        """What has a row of parameters."""
        return "power of t" if self.kind == "flow" else "layer"

    @property
    def is_identity(self) -> bool:
        """Whether there are no layers: U' is U itself."""
        return self.layers == 0

    @property
    def step(self) -> str:
        """What a layer does with its loops: "stout" or "ape"."""
        return "ape" if self.kind == "ape" else "stout"

    @property
    def parameters(self) -> np.ndarray:
        """The weights, flat, as a copy on the host; `parameter_names` in the same order."""
        return self._parameters.copy()

    @property
    def parameter_names(self) -> list[str]:
        """`layer1.plaquette`, ...; of a flow `t0.plaquette`, ..., the power of t."""
        row = "t{}" if self.kind == "flow" else "layer{}"
        first = 0 if self.kind == "flow" else 1
        return [f"{row.format(k + first)}.{loop}" for k in range(self._rows.shape[1]) for loop in self.loops]

    def set_parameters(self, values) -> None:
        """New weights, also in the memory of devices: recorded tapes see them. Smeared links are stale then."""
        values = np.array(values, float).ravel()
        expected = self._rows.shape[1] * len(self.loops)
        if values.size != expected or not np.isfinite(values).all():
            raise InputError(f"{values.size} weights {values} found, {expected} finite numbers expected: "
                             f"{', '.join(self.parameter_names)}")
        self._parameters = values
        self.version += 1
        for device, array in self._on_devices.values():
            device.assign(array, self.weight_table)

    @property
    def weight_table(self) -> np.ndarray:
        """Weights by shape and class of links, (layers, `loops.table_length`)."""
        return self._rows @ self._parameters.reshape(-1, len(self.loops)) @ self.masks

    def weights_on(self, device):
        """The weight table in a device's memory, kept up to date."""
        if id(device) not in self._on_devices:
            self._on_devices[id(device)] = device, device.from_host(self.weight_table)
        return self._on_devices[id(device)][1]

    def smear(self, U: GaugeField) -> GaugeField:
        """U' on U: an object that stays the same, up to date with U and the weights. Recordable. Collective."""
        return U if self.is_identity else self._smearing(U).update(U)

    def pull_back(self, U: GaugeField, smeared_force: AlgebraField, force: AlgebraField, weight: float = 1.0) -> None:
        """force += weight F(U), F = -d_a S(U'(U)), from smeared_force = -d_a S on U' = smear(U), another field. Recordable.
        Collective."""
        if self.is_identity:
            force.assign_combination(1.0, force, weight, smeared_force)
        else:
            self._smearing(U).pull_back(U, smeared_force, force, weight)

    def parameter_gradient(self, U: GaugeField, smeared_force: AlgebraField) -> np.ndarray:
        """dS(U'(U)) / d parameters from smeared_force = -d_a S on smear(U). Not while a tape is recorded. Collective."""
        if self.is_identity:
            return np.zeros(self._parameters.size)
        return (self._rows.T @ self._smearing(U).weight_gradients(U, smeared_force)).ravel()

    def table(self) -> dict:
        """What a file of weights must agree with: everything but the weights, in types of JSON."""
        return {"kind": self.kind, "colors": self.colors, "dimensions": self.dimensions, "layers": self.layers,
                "loops": list(self.loops), "time_degree": self.time_degree}

    def _smearing(self, U: GaugeField) -> Smearing:
        if (U.colors, U.lattice.dimensions) != (self.colors, self.dimensions):
            raise InputError(f"links of SU({U.colors}) in {U.lattice.dimensions} dimensions found, SU({self.colors}) in "
                             f"{self.dimensions} dimensions expected: the network was made for these")
        key = ("network", self)
        if key not in U.derived:
            U.derived[key] = self._on(U)
        return U.derived[key]

    def _on(self, U: GaugeField):
        return smearing_of(self, U)
