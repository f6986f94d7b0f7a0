"""A network on one gauge field: the links after each layer, and what the way back through the layers needs.

Everything here is made once and kept with the gauge field, so that tapes may be recorded; kernels: kernels/stout.cc.
"""

import numpy as np

from slhmc.lattice import AlgebraField, GaugeField, LinkField
from slhmc.networks.loops import shape_of
from slhmc.networks.terms import REAL_BYTES, loop_terms, sum_paths


def terms_of(network, U: GaugeField) -> dict:
    """The terms of a network's loops by shape."""
    return {term.shape: term for term in loop_terms(U.lattice, U.colors, {shape_of(loop) for loop in network.loops})}


class Smearing:
    """Fields of a network's layers on one gauge field U, which is an argument throughout.

    links: after each layer; staples: C of each layer. Methods are collective.
    """

    def __init__(self, network, U: GaugeField):
        lattice, self.network, self.count = U.lattice, network, len(network.weight_table)
        self.device, self.layout, self.colors = lattice.device, lattice.layout("double"), U.colors
        self.links = [GaugeField(lattice, U.colors) for _ in range(self.count)]
        self.staples = [LinkField(lattice, U.colors) for _ in range(self.count)]
        self.terms = terms_of(network, U)
        self.staples_halo = any(term.staples_halo for term in self.terms.values())
        self.weights = network.weights_on(self.device)
        self.insertions = LinkField(lattice, U.colors)
        self.forces = [AlgebraField(lattice, U.colors) for _ in range(min(2, self.count - 1))]
        self.version = None

    def update(self, U: GaugeField) -> GaugeField:
        """The smeared links, computed anew if U or the weights have changed."""
        version = (U.version, self.network.version)
        if self.version != version:
            if self.device.in_loop:
                raise RuntimeError("smeared links would be rebuilt in the body of a loop: call smear() before the loop")
            for layer, (before, after) in enumerate(zip([U, *self.links], self.links, strict=False)):
                self._fetch(before)
                sum_paths(self.terms.values(), before, self.staples[layer], self._weights(layer))
                self._launch(before, "links", self.staples[layer].pointer, after.pointer, keep=(self.staples[layer], after))
                after.changed()
            self.version = version
        return self.links[-1]

    def pull_back(self, U: GaugeField, smeared_force: AlgebraField, force: AlgebraField, weight: float) -> None:
        """force += weight times the force on U."""
        self.update(U)
        for layer in reversed(range(self.count)):
            target = force if layer == 0 else self.forces[(layer - 1) % 2]
            self._step_back(U, layer, smeared_force, target, weight if layer == 0 else 1.0, add=layer == 0)
            smeared_force = target

    def weight_gradients(self, U: GaugeField, smeared_force: AlgebraField) -> np.ndarray:
        """dS/dw for the weight of each layer and loop, shape (layers, loops): -sum_l Re tr D_l C_l^+, C of that loop alone."""
        self.update(U)
        scalars, scratch, unused = {}, LinkField(U.lattice, U.colors), AlgebraField(U.lattice, U.colors)
        masks = self.device.from_host(self.network.masks)
        real_trace = 2.0 if self.colors == 2 else 1.0  # of quaternions, in reals
        for layer in reversed(range(self.count)):
            target = self.forces[(layer - 1) % 2] if layer else unused
            self._step_back(U, layer, smeared_force, target, 1.0, add=False, through_loops=layer > 0)
            for number, loop in enumerate(self.network.loops):
                address = self.device.pointer(masks) + number * masks.shape[1] * REAL_BYTES
                sum_paths([self.terms[shape_of(loop)]], self._input(U, layer), scratch, address)
                scalars[layer, number] = self.insertions.inner(scratch)
            smeared_force = target
        shape = self.count, len(self.network.loops)
        return np.array([-real_trace * float(scalars[index]) for index in np.ndindex(shape)]).reshape(shape)

    def _step_back(self, U, layer, smeared_force, force, weight, add, through_loops=True) -> None:
        """Through one layer: D, and force <- what it is, or 0, plus weight times the force on the links before the layer."""
        links, smeared, D, staples = self._input(U, layer), self.links[layer], self.insertions, self.staples[layer]
        used = (staples, smeared) if self.network.step == "ape" else (staples,)
        self._launch(links, "pull_back", *(field.pointer for field in (*used, smeared_force, D, force)), weight, int(add),
                     keep=(*used, smeared_force, D, force))
        if not through_loops:
            return
        self._fetch(links)
        if self.staples_halo:
            D.update_staple_halo()
        for term in self.terms.values():
            term.add_force(links, D, force, self._weights(layer), weight)

    def _input(self, U, layer) -> GaugeField:
        return self.links[layer - 1] if layer else U

    def _weights(self, layer: int) -> int:
        return self.device.pointer(self.weights) + layer * self.weights.shape[1] * REAL_BYTES

    def _fetch(self, links: GaugeField) -> None:
        """The halo that the loops read."""
        if self.staples_halo:
            links.update_staple_halo()

    def _launch(self, links: GaugeField, what: str, *arguments, keep) -> None:
        kernel = links.kernel("stout.cc", f"{self.network.step}_{what}")
        self.layout.launch(kernel, self.layout.geometry, links.pointer, *arguments, keep=(links, self, *keep))
