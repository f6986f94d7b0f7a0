"""Networks with attention: each link weighs the loops through it by how they change when queries and keys are smeared.

After CASK, Nagai, Ohno and Tomiya, arXiv:2501.16955; kernels: kernels/attention.cc.
"""

import numpy as np

from slhmc.lattice import AlgebraField, GaugeField, LinkField
from slhmc.networks.loops import REAL_BYTES, path_count, shape_of
from slhmc.networks.network import Network
from slhmc.networks.smearing import terms_of
from slhmc.networks.terms import sum_paths

SMEARED = ("query", "key", "value")
ROLES = ("rho", *SMEARED)  # rows of parameters of each layer
SMEARINGS = ("out", *SMEARED)  # what each of them smears


class AttentionNetwork(Network):
    """Layers U' = exp(2 [C U^+]_TA) U, C = sum_i (n_i rho_i + a_i) c_i(U^V), one attention a_i for each loop i and link.

    c_i: the mean of the n_i open paths of loop i. a = s / sqrt(1 + s^2), s_i = (4 / Nc) Re tr(U^Q c_i(U^K)^+ - U c_i(U)^+); U^Q,
    U^K and U^V are stout layers on U of the same loops. weights: (4 layers, loops), the rows of a layer in the order of `ROLES`.
    With queries, keys and values of weight zero a layer is a stout layer of weights rho.
    """

    kinds = ("attention",)

    def __init__(self, kind: str, colors: int, dimensions: int, layers: int, loops, weights=None, time_degree: int = 0):
        super().__init__(kind, colors, dimensions, layers, loops, weights, time_degree)
        self.path_counts = np.array([path_count(loop, dimensions) for loop in self.loops], float)

    def _row_map(self) -> np.ndarray:
        return np.eye(len(ROLES) * self.layers)

    @property
    def row_name(self) -> str:
        return "layer's " + ", ".join(ROLES)

    @property
    def parameter_names(self) -> list[str]:
        """`layer1.rho.plaquette`, ...: in the order of layers, roles, loops."""
        return [f"layer{layer + 1}.{role}.{loop}" for layer in range(self.layers) for role in ROLES for loop in self.loops]

    @property
    def weight_table(self) -> np.ndarray:
        """n_i times the parameters, the weights of the c_i, (4 layers, loops): by loop, not by class of links as elsewhere."""
        return self._parameters.reshape(len(ROLES) * self.layers, len(self.loops)) * self.path_counts

    def _on(self, U):
        return AttentionLayers(self, U)


class _Layer:
    """Fields of one layer. paths: c_i on links, keys and values; sums: C of queries, keys, values and of the links after it."""

    def __init__(self, lattice, colors: int, loops: int):
        self.paths = {name: [LinkField(lattice, colors) for _ in range(loops)] for name in ("link", "key", "value")}
        self.scores = [lattice.layout("double").empty(lattice.dimensions) for _ in range(loops)]
        self.sums = {name: LinkField(lattice, colors) for name in SMEARINGS}
        self.links = {name: GaugeField(lattice, colors) for name in SMEARINGS}


class AttentionLayers:
    """Fields of an attention network on one gauge field U, which is an argument throughout; as `Smearing`. Collective."""

    def __init__(self, network: AttentionNetwork, U: GaugeField):
        lattice, self.network, self.loops = U.lattice, network, range(len(network.loops))
        self.device, self.layout = lattice.device, lattice.layout("double")
        self.terms = terms_of(network, U)
        self.weights = network.weights_on(self.device)
        self.means = self.device.from_host(network.masks / network.path_counts[:, None])  # tables of weights of the c_i
        self.layers = [_Layer(lattice, U.colors, len(network.loops)) for _ in range(network.layers)]
        self.D = {name: LinkField(lattice, U.colors) for name in (*SMEARINGS, "to key", "to value")}
        self.to_link = [LinkField(lattice, U.colors) for _ in self.loops]
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
                self._forward(self._input(U, number), number)
            self.version = version
        return self.layers[-1].links["out"]

    def pull_back(self, U: GaugeField, smeared_force: AlgebraField, force: AlgebraField, weight: float) -> None:
        """force += weight times the force on U."""
        self.update(U)
        for number in reversed(range(len(self.layers))):
            target, factor = (self.between[(number - 1) % 2], 1.0) if number else (force, weight)
            self._step_back(self._input(U, number), number, smeared_force, target, factor, add=number == 0)
            smeared_force = target

    def weight_gradients(self, U: GaugeField, smeared_force: AlgebraField) -> np.ndarray:
        """dS/dw for each row of weights and loop, -n_i sum_l Re tr D_l c_i,l^+ with D of what the row is for."""
        self.update(U)
        scalars, unused = {}, AlgebraField(U.lattice, U.colors)
        for number in reversed(range(len(self.layers))):
            target = self.between[(number - 1) % 2] if number else unused
            self._step_back(self._input(U, number), number, smeared_force, target, 1.0, add=False, through_loops=number > 0)
            for row, name in enumerate(SMEARINGS):
                seen = self.layers[number].paths["value" if name == "out" else "link"]
                for loop in self.loops:
                    scalars[number * len(ROLES) + row, loop] = self.D[name].inner(seen[loop])
            smeared_force = target
        real_trace = 2.0 if U.colors == 2 else 1.0  # of quaternions, in reals
        shape = len(ROLES) * len(self.layers), len(self.loops)
        values = np.array([float(scalars[index]) for index in np.ndindex(shape)]).reshape(shape)
        return -real_trace * self.network.path_counts * values

    def _input(self, U: GaugeField, number: int) -> GaugeField:
        return self.layers[number - 1].links["out"] if number else U

    def _forward(self, U: GaugeField, number: int) -> None:
        layer = self.layers[number]
        self._find_paths(U, layer.paths["link"])
        for name in SMEARED:
            for loop in self.loops:
                self._add_paths(U, None, layer.paths["link"][loop], number, name, loop)
            self._launch(U, "stout_links", U, layer.sums[name], None, layer.links[name])
            layer.links[name].changed()
        for name in ("key", "value"):
            self._find_paths(layer.links[name], layer.paths[name])
        for loop, scores in enumerate(layer.scores):
            link, key, value = (layer.paths[name][loop] for name in ("link", "key", "value"))
            self._launch(U, "attention_scores", U, layer.links["query"], link, key, self.device.pointer(scores), self.scale)
            self._add_paths(U, scores, value, number, "out", loop)
        self._launch(U, "stout_links", U, layer.sums["out"], None, layer.links["out"])
        layer.links["out"].changed()

    def _find_paths(self, links: GaugeField, paths: list[LinkField]) -> None:
        if any(term.staples_halo for term in self.terms.values()):
            links.update_staple_halo()
        for loop in self.loops:
            sum_paths([self._term(loop)], links, paths[loop], self._mean(loop))

    def _add_paths(self, U, scores, paths, number, name, loop) -> None:
        """To the sum of a role, from 0 with the first loop: its weight and, with scores, the attention times these paths."""
        self._launch(U, "attended_paths", scores if scores is None else self.device.pointer(scores), paths,
                     self._weight(number, name, loop), self.layers[number].sums[name], int(loop > 0))

    def _step_back(self, U: GaugeField, number, smeared_force, force, weight: float, add: bool, through_loops=True) -> None:
        """Through one layer: force <- what it is, or 0, plus weight times the force on the links before the layer; D of each
        role. through_loops: with what comes through loops of the links."""
        layer = self.layers[number]
        self._stout_back(U, number, "out", smeared_force, force, weight, add)
        for name in ("key", "value"):
            self.forces[name].clear()
        for loop, scores in enumerate(layer.scores):
            paths = (layer.paths[name][loop] for name in ("link", "key", "value"))
            self._launch(U, "attention_pull_back", U, layer.links["query"], *paths, self.device.pointer(scores),
                         self._weight(number, "out", loop), self.D["out"], self.D["to value"], self.D["to key"],
                         self.to_link[loop], self.forces["query"], force, self.scale, weight, int(loop > 0))
            for name in ("key", "value"):
                self._add_force(layer.links[name], self.D[f"to {name}"], loop, self.forces[name], 1.0)
        for name in SMEARED:
            self._stout_back(U, number, name, self.forces[name], force, weight, add=True)
            for loop in self.loops if through_loops else ():
                self._launch(U, "attended_paths", None, self.D[name], self._weight(number, name, loop), self.to_link[loop], 1)
        for loop in self.loops if through_loops else ():
            self._add_force(U, self.to_link[loop], loop, force, weight)

    def _stout_back(self, U, number, name, smeared_force, force, weight, add) -> None:
        paths, D = self.layers[number].sums[name], self.D[name]
        self._launch(U, "stout_pull_back", U, paths, None, smeared_force, D, force, weight, int(add), None)

    def _add_force(self, links: GaugeField, D: LinkField, loop: int, force, factor: float) -> None:
        term = self._term(loop)
        if term.staples_halo:
            links.update_staple_halo()
            D.update_staple_halo()
        term.add_force(links, D, force, self._mean(loop), factor)

    def _term(self, loop: int):
        return self.terms[shape_of(self.network.loops[loop])]

    def _mean(self, loop: int) -> int:
        return self.device.pointer(self.means) + loop * self.means.shape[1] * REAL_BYTES

    def _weight(self, number: int, name: str, loop: int) -> int:
        row = number * len(SMEARINGS) + SMEARINGS.index(name)
        return self.device.pointer(self.weights) + (row * self.weights.shape[1] + loop) * REAL_BYTES

    def _launch(self, links: GaugeField, name: str, *arguments) -> None:
        """Fields among the arguments stand for their pointers."""
        file = "stout.cc" if name.startswith("stout") else "attention.cc"
        pointers = [getattr(argument, "pointer", argument) for argument in arguments]
        fields = [argument for argument in arguments if hasattr(argument, "pointer")]
        self.layout.launch(links.kernel(file, name), self.layout.geometry, *pointers, keep=(self, links, *fields))
