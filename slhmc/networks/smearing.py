"""A network on one gauge field: the links after each layer, and what the way back through the layers needs.

Everything here is made once and kept with the gauge field, so that tapes may be recorded; kernels: kernels/stout.cc,
kernels/plaquette_layer.cc and kernels/rectangle_layer.cc.
"""

from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np

from slhmc.lattice import AlgebraField, GaugeField, LinkField
from slhmc.networks.exponents import PlaquetteExponents, RectangleExponents
from slhmc.networks.loops import REAL_BYTES, shape_of
from slhmc.networks.terms import loop_terms, sum_paths


def terms_of(network, U: GaugeField, without=()) -> dict:
    """The terms of a network's loops by shape."""
    shapes = {shape_of(loop) for loop in network.loops}
    return {term.shape: term for term in loop_terms(U.lattice, U.colors, shapes - {*without})}


class Smearing(ABC):
    """Fields of a network's layers on one gauge field U, which is an argument throughout. Abstract; leaves: StoutSmearing,
    ApeSmearing.

    links: after each layer. Methods are collective.
    """

    def __init__(self, network, U: GaugeField):
        lattice, self.network, self.count = U.lattice, network, len(network.weight_table)
        self.device, self.layout = lattice.device, lattice.layout("double")
        self.links = [GaugeField(lattice, U.colors) for _ in range(self.count)]
        self.weights = network.weights_on(self.device)
        self.forces = [AlgebraField(lattice, U.colors) for _ in range(min(2, self.count - 1))]
        self.version = None

    def update(self, U: GaugeField) -> GaugeField:
        """The smeared links, computed anew if U or the weights have changed."""
        version = (U.version, self.network.version)
        if self.version != version:
            if self.device.in_loop:
                raise RuntimeError("smeared links would be rebuilt in the body of a loop: call smear() before the loop")
            for layer, after in enumerate(self.links):
                self._forward(self._input(U, layer), layer)
                after.changed()
            self.version = version
        return self.links[-1]

    def pull_back(self, U: GaugeField, smeared_force: AlgebraField, force: AlgebraField, weight: float) -> None:
        """force += weight times the force on U."""
        self.update(U)
        for layer in reversed(range(self.count)):
            target = force if layer == 0 else self.forces[(layer - 1) % 2]
            factor, links = weight if layer == 0 else 1.0, self._input(U, layer)
            self._back(links, layer, smeared_force, target, factor, add=layer == 0)
            self._back_through_loops(links, layer, target, factor)
            smeared_force = target

    def weight_gradients(self, U: GaugeField, smeared_force: AlgebraField) -> np.ndarray:
        """dS/dw for the weight of each layer and loop, shape (layers, loops)."""
        self.update(U)
        scalars, unused = {}, AlgebraField(U.lattice, U.colors)
        masks = self.device.from_host(self.network.masks)
        for layer in reversed(range(self.count)):
            target, links = self.forces[(layer - 1) % 2] if layer else unused, self._input(U, layer)
            self._back(links, layer, smeared_force, target, 1.0, add=False)
            for number, loop in enumerate(self.network.loops):
                address = self.device.pointer(masks) + number * masks.shape[1] * REAL_BYTES
                scalars[layer, number] = self._derivative(links, shape_of(loop), address)
            if layer:
                self._back_through_loops(links, layer, target, 1.0)
            smeared_force = target
        shape = self.count, len(self.network.loops)
        return np.array([float(scalars[index]) for index in np.ndindex(shape)]).reshape(shape)

    @abstractmethod
    def _forward(self, links: GaugeField, layer: int) -> None:
        """self.links[layer] <- the layer on `links`."""

    @abstractmethod
    def _back(self, links, layer, smeared_force, force, weight, add) -> None:
        """force <- what it is, or 0, plus weight times the force on `links` at fixed loops; what loops are then turned with."""

    @abstractmethod
    def _back_through_loops(self, links, layer, force, weight) -> None:
        """force += weight times what comes through the loops, after `_back`."""

    @abstractmethod
    def _derivative(self, links, shape: str, weights: int):
        """dS/dw of loops of a shape with these weights of 0 and 1, after `_back`: a scalar on the device."""

    def _input(self, U, layer) -> GaugeField:
        return self.links[layer - 1] if layer else U

    def _weights(self, layer: int) -> int:
        return self.device.pointer(self.weights) + layer * self.weights.shape[1] * REAL_BYTES

    def _launch(self, links: GaugeField, name: str, *arguments) -> None:
        """Fields among the arguments stand for their pointers."""
        pointers = [getattr(argument, "pointer", argument) for argument in arguments]
        fields = [argument for argument in arguments if hasattr(argument, "pointer")]
        self.layout.launch(links.kernel("stout.cc", name), self.layout.geometry, links.pointer, *pointers,
                           keep=(links, self, *fields))


class MatrixLoops:
    """The sums C of loops as matrices, one for each layer, and the way back through them by D: dS = -sum_l Re tr D_l dC_l^+."""

    def __init__(self, terms: dict, lattice, colors: int, layers: int):
        self.terms, self.lattice, self.colors = terms, lattice, colors
        self.staples = [LinkField(lattice, colors) for _ in range(layers)]
        self.insertions = LinkField(lattice, colors)
        self.staples_halo = any(term.staples_halo for term in terms.values())
        self.real_trace = 2.0 if colors == 2 else 1.0  # of quaternions, in reals

    def find(self, links: GaugeField, layer: int, weights: int) -> LinkField:
        """C of a layer."""
        self._fetch(links)
        sum_paths(self.terms.values(), links, self.staples[layer], weights)
        return self.staples[layer]

    def add_force(self, links: GaugeField, force: AlgebraField, weights: int, factor: float) -> None:
        """What comes through C."""
        self._fetch(links)
        self._fetch(self.insertions)
        for term in self.terms.values():
            term.add_force(links, self.insertions, force, weights, factor)

    def derivative(self, links: GaugeField, shape: str, weights: int):
        """-sum_l Re tr D_l C_l^+, C of one shape."""
        self._fetch(links)
        sum_paths([self.terms[shape]], links, self._paths, weights)
        return -self.real_trace * self.insertions.inner(self._paths)

    @cached_property
    def _paths(self) -> LinkField:
        return LinkField(self.lattice, self.colors)

    def _fetch(self, field) -> None:
        """The halo that the loops read."""
        if self.staples_halo:
            field.update_staple_halo()


class ApeSmearing(Smearing):
    """U' = N(U + C)."""

    def __init__(self, network, U: GaugeField):
        super().__init__(network, U)
        self.loops = MatrixLoops(terms_of(network, U), U.lattice, U.colors, self.count)

    def _forward(self, links, layer):
        self._launch(links, "ape_links", self.loops.find(links, layer, self._weights(layer)), self.links[layer])

    def _back(self, links, layer, smeared_force, force, weight, add):
        self._launch(links, "ape_pull_back", self.loops.staples[layer], self.links[layer], smeared_force, self.loops.insertions,
                     force, weight, int(add))

    def _back_through_loops(self, links, layer, force, weight):
        self.loops.add_force(links, force, self._weights(layer), weight)

    def _derivative(self, links, shape, weights):
        return self.loops.derivative(links, shape, weights)


class StoutSmearing(Smearing):
    """U' = exp(Q) U. Plaquettes and rectangles go by the coefficients of their part of Q, other loops by matrices."""

    def __init__(self, network, U: GaugeField):
        super().__init__(network, U)
        shapes, kinds = {shape_of(loop) for loop in network.loops}, (PlaquetteExponents, RectangleExponents)
        self.parts = {kind.shape: kind(U.lattice, U.colors, owner=self) for kind in kinds if kind.shape in shapes}
        others = terms_of(network, U, without=self.parts)
        self.loops = MatrixLoops(others, U.lattice, U.colors, self.count) if others else None
        self.exponent_force = AlgebraField(U.lattice, U.colors) if self.parts else None
        self.exponents = [AlgebraField(U.lattice, U.colors) if self.parts else None for _ in range(self.count)]

    def _forward(self, links, layer):
        weights, exponents, after = self._weights(layer), self.exponents[layer], self.links[layer]
        for number, part in enumerate(self.parts.values()):
            last = number + 1 == len(self.parts) and not self.loops
            part.find(links, weights, exponents, after if last else None, add=number > 0)
        if self.loops:
            self._launch(links, "stout_links", self.loops.find(links, layer, weights), exponents, after)

    def _back(self, links, layer, smeared_force, force, weight, add):
        staples, D = (self.loops.staples[layer], self.loops.insertions) if self.loops else (None, None)
        self._launch(links, "stout_pull_back", staples, self.exponents[layer], smeared_force, D, force, weight, int(add),
                     self.exponent_force)

    def _back_through_loops(self, links, layer, force, weight):
        for part in self.parts.values():
            part.add_force(links, self._weights(layer), self.exponent_force, force, weight)
        if self.loops:
            self.loops.add_force(links, force, self._weights(layer), weight)

    def _derivative(self, links, shape, weights):
        if shape not in self.parts:
            return self.loops.derivative(links, shape, weights)
        self.parts[shape].find(links, weights, self._exponents)
        return -self.exponent_force.inner(self._exponents)

    @cached_property
    def _exponents(self) -> AlgebraField:
        return self.exponent_force.like()


def smearing_of(network, U: GaugeField) -> Smearing:
    """What a network of stout or projected layers needs on U."""
    return (ApeSmearing if network.step == "ape" else StoutSmearing)(network, U)
