"""Networks with attention: each link weighs the loops through it by how they change when queries and keys are smeared.

After CASK, Nagai, Ohno and Tomiya, arXiv:2501.16955; kernels: kernels/attention.cc.
"""

import numpy as np

from slhmc.lattice import AlgebraField, GaugeField, LinkField
from slhmc.networks.loops import path_count, shape_of
from slhmc.networks.network import Network
from slhmc.networks.smearing import Smearing, terms_of
from slhmc.networks.terms import REAL_BYTES, sum_paths

SMEARED = ("query", "key", "value")
ROLES = ("rho", *SMEARED)  # rows of parameters of each layer


class AttentionNetwork(Network):
    """Layers U' = exp(2 [C U^+]_TA) U, C = sum_i (n_i rho_i + a_i) c_i(U^V), one attention a_i for each loop i and link.

    c_i: the mean of the n_i open paths of loop i. a = s / sqrt(1 + s^2), s_i = (4 / Nc) Re tr(U^Q c_i(U^K)^+ - U c_i(U)^+); U^Q,
    U^K and U^V are stout layers on U of the same loops. weights: (4 layers, loops), the rows of a layer in the order of `ROLES`.
    With queries, keys and values of weight zero a layer is a stout layer of weights rho.
    """

    def __init__(self, kind: str, colors: int, dimensions: int, layers: int, loops, weights=None, time_degree: int = 0):
        loops = tuple(loops)
        self.path_counts = np.ones(len(loops))  # known when the loops have been checked
        self.smeared = [[Network("stout", colors, dimensions, 1, loops) for _ in SMEARED] for _ in range(layers)]
        super().__init__(kind, colors, dimensions, layers, loops, weights, time_degree)
        self.path_counts = np.array([path_count(loop, dimensions) for loop in self.loops], float)

    def _row_map(self):
        return np.eye(len(ROLES) * self.layers)

    @property
    def row_name(self):
        return "layer's " + ", ".join(ROLES)

    @property
    def parameter_names(self):
        return [f"layer{layer + 1}.{role}.{loop}" for layer in range(self.layers) for role in ROLES for loop in self.loops]

    @property
    def weight_table(self):
        """n_i times the parameters, (4 layers, loops): kernels read the first row of each layer."""
        return self._parameters.reshape(len(ROLES) * self.layers, len(self.loops)) * self.path_counts

    def set_parameters(self, values):
        super().set_parameters(values)
        for networks, rows in zip(self.smeared, self._parameters.reshape(self.layers, len(ROLES), len(self.loops)), strict=True):
            for network, row in zip(networks, rows[1:], strict=True):
                network.set_parameters(row)

    def _on(self, U):
        return AttentionLayers(self, U)


class _Layer:
    """Fields of one layer: queries, keys and values of its links, c_i on links, keys and values, scores."""

    def __init__(self, network: AttentionNetwork, number: int, U: GaugeField, terms: dict):
        lattice, loops = U.lattice, range(len(network.loops))
        self.smearings = {name: Smearing(part, U, terms) for name, part in zip(SMEARED, network.smeared[number], strict=True)}
        self.paths = {name: [LinkField(lattice, U.colors) for _ in loops] for name in ("link", "key", "value")}
        self.scores = [lattice.layout("double").empty(lattice.dimensions) for _ in loops]
        self.sum = LinkField(lattice, U.colors)  # C
        self.links = GaugeField(lattice, U.colors)

    def smeared(self, name: str) -> GaugeField:
        return self.smearings[name].links[0]


class AttentionLayers:
    """Fields of an attention network on one gauge field U, which is an argument throughout; as `Smearing`. Collective."""

    def __init__(self, network: AttentionNetwork, U: GaugeField):
        lattice, self.network = U.lattice, network
        self.device, self.layout = lattice.device, lattice.layout("double")
        self.terms = terms_of(network, U)
        self.staples_halo = any(term.staples_halo for term in self.terms.values())
        self.weights = network.weights_on(self.device)
        self.means = self.device.from_host(network.masks / network.path_counts[:, None])  # weights of c_i
        self.layers: list[_Layer] = []
        for number in range(network.layers):
            self.layers.append(_Layer(network, number, self._input(U, number), self.terms))
        self.insertions = {name: LinkField(lattice, U.colors) for name in ("sum", "link", "key", "value")}
        self.forces = {name: AlgebraField(lattice, U.colors) for name in SMEARED}
        self.between = [AlgebraField(lattice, U.colors) for _ in range(min(2, network.layers - 1))]
        self.scale, self.version = 4.0 / U.colors, None

    def update(self, U: GaugeField) -> GaugeField:
        """The smeared links, computed anew if U or the weights have changed."""
        version = (U.version, self.network.version)
        if self.version != version:
            if self.device.in_loop:
                raise RuntimeError("smeared links would be rebuilt in the body of a loop: call smear() before the loop")
            for number in range(len(self.layers)):
                self._forward(U, number)
            self.version = version
        return self.layers[-1].links

    def pull_back(self, U: GaugeField, smeared_force: AlgebraField, force: AlgebraField, weight: float) -> None:
        """force += weight times the force on U."""
        self.update(U)
        for number in reversed(range(len(self.layers))):
            target = self.between[(number - 1) % 2] if number else force
            self._step_back(U, number, smeared_force, target, 1.0 if number else weight, add=number == 0)
            for name in SMEARED:
                self.layers[number].smearings[name].pull_back(self._input(U, number), self.forces[name], target,
                                                              1.0 if number else weight)
            smeared_force = target

    def weight_gradients(self, U: GaugeField, smeared_force: AlgebraField) -> np.ndarray:
        """dS/dw for each row of weights and loop: of rho -sum_l Re tr D_l n_i c_i,l^+, of the others by their stout layers."""
        self.update(U)
        rows, real_trace = [], 2.0 if U.colors == 2 else 1.0  # of quaternions, in reals
        for number in reversed(range(len(self.layers))):
            layer, links = self.layers[number], self._input(U, number)
            target = self.between[(number - 1) % 2] if number else AlgebraField(U.lattice, U.colors)
            self._step_back(U, number, smeared_force, target, 1.0, add=False)
            own = [-real_trace * n * float(self.insertions["sum"].inner(paths))
                   for n, paths in zip(self.network.path_counts, layer.paths["value"], strict=True)]
            others = [layer.smearings[name].weight_gradients(links, self.forces[name])[0] for name in SMEARED]
            rows = [own, *others, *rows]
            for name in SMEARED:
                layer.smearings[name].pull_back(links, self.forces[name], target, 1.0)
            smeared_force = target
        return np.array(rows)

    def _input(self, U: GaugeField, number: int) -> GaugeField:
        return self.layers[number - 1].links if number else U

    def _forward(self, U, number) -> None:
        layer, links = self.layers[number], self._input(U, number)
        seen = {"link": links} | {name: smearing.update(links) for name, smearing in layer.smearings.items()}
        for name, fields in layer.paths.items():
            self._fetch(seen[name])
            for loop, paths in enumerate(fields):
                sum_paths([self._term(loop)], seen[name], paths, self._mean(loop))
        for loop, scores in enumerate(layer.scores):
            link, key, value = (layer.paths[name][loop] for name in ("link", "key", "value"))
            self._launch(links, "attention_scores", links, seen["query"], link, key, self._pointer(scores), self.scale)
            self._launch(links, "attended_paths", self._pointer(scores), value, self._rho(number, loop), layer.sum, int(loop > 0))
        self._launch(links, "stout_links", links, layer.sum, layer.links)
        layer.links.changed()

    def _step_back(self, U, number, smeared_force, force, weight, add) -> None:
        """Through one layer: force <- what it is, or 0, plus weight times what comes not by way of queries, keys and values, and
        the forces on these."""
        layer, links, D = self.layers[number], self._input(U, number), self.insertions
        self._launch(links, "stout_pull_back", links, layer.sum, smeared_force, D["sum"], force, weight, int(add))
        for name in ("key", "value"):
            self.forces[name].clear()
        seen = {"link": (links, force, weight)} | {name: (layer.smeared(name), self.forces[name], 1.0) for name in ("key", "value")}
        for loop in range(len(self.network.loops)):
            paths = (layer.paths[name][loop] for name in ("link", "key", "value"))
            self._launch(links, "attention_pull_back", links, layer.smeared("query"), *paths, self._pointer(layer.scores[loop]),
                         self._rho(number, loop), D["sum"], D["value"], D["key"], D["link"], self.forces["query"], force,
                         self.scale, weight, int(loop > 0))
            for name, (on, target, factor) in seen.items():
                self._fetch(on)
                self._fetch(D[name])
                self._term(loop).add_force(on, D[name], target, self._mean(loop), factor)

    def _term(self, loop: int):
        return self.terms[shape_of(self.network.loops[loop])]

    def _mean(self, loop: int) -> int:
        return self._pointer(self.means) + loop * self.means.shape[1] * REAL_BYTES

    def _rho(self, number: int, loop: int) -> int:
        return self._pointer(self.weights) + (number * len(ROLES) * self.weights.shape[1] + loop) * REAL_BYTES

    def _pointer(self, array) -> int:
        return self.device.pointer(array)

    def _fetch(self, links) -> None:
        """The halo that the loops read."""
        if self.staples_halo:
            links.update_staple_halo()

    def _launch(self, links: GaugeField, name: str, *arguments) -> None:
        """Fields among the arguments stand for their pointers."""
        file = "stout.cc" if name.startswith("stout") else "attention.cc"
        pointers = [getattr(argument, "pointer", argument) for argument in arguments]
        fields = [argument for argument in arguments if hasattr(argument, "pointer")]
        self.layout.launch(links.kernel(file, name), self.layout.geometry, *pointers, keep=(self, links, *fields))
