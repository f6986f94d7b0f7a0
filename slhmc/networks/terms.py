"""The loops of one shape on one gauge field: their weighted open paths C, and their part of the force through C.

`weights` is the address of the layer's table of weights on the device (`loops.table_length` doubles). All methods are
collective and may be recorded. Kernels: kernels/loops.cc.
"""

from abc import ABC, abstractmethod

from slhmc.lattice import AlgebraField, GaugeField, Lattice, LinkField
from slhmc.lattice.fields import link_reals
from slhmc.networks.loops import REAL_BYTES, SHAPES, table_offset


class LoopTerm(ABC):
    """Loops of one shape, weights by the class of the link. Abstract; leaves: Plaquettes, GluedPlaquettes, Lines."""

    staples_halo = False  # whether the halo of plaquette staples is read
    assigns = False  # whether add_staples overwrites

    def __init__(self, lattice: Lattice, colors: int, shape: str):
        self.lattice, self.layout, self.colors = lattice, lattice.layout("double"), colors
        self.shape = shape
        self.offset = table_offset(shape, lattice.dimensions) * REAL_BYTES

    @abstractmethod
    def add_staples(self, U: GaugeField, staples: LinkField, weights: int) -> None:
        """staples_mu(x) += the sum of the open paths, each with its weight; assigned by plaquettes, which come first."""

    @abstractmethod
    def add_force(self, U: GaugeField, D: LinkField, force: AlgebraField, weights: int, factor: float) -> None:
        """force += factor d_a sum_l Re tr D_l C_l^+ at fixed D, D with the halo that links have."""

    def _launch(self, U: GaugeField, name: str, *arguments, keep) -> None:
        self.layout.launch(U.kernel("loops.cc", name), self.layout.geometry, *arguments, keep=(self, *keep))


class Plaquettes(LoopTerm):
    """All plaquettes."""

    staples_halo, assigns = True, True

    def add_staples(self, U, staples, weights):
        self._launch(U, "plaquette_staples", U.pointer, staples.pointer, weights, keep=(U, staples))

    def add_force(self, U, D, force, weights, factor):
        self._launch(U, "plaquette_pull_back", U.pointer, D.pointer, force.pointer, weights, -0.5 * factor, keep=(U, D, force))


class GluedPlaquettes(LoopTerm):
    """Two plaquettes glued together at a link: rectangles if they lie in one plane, else chairs."""

    staples_halo = True

    def __init__(self, lattice, colors, shape):
        super().__init__(lattice, colors, shape)
        others = lattice.dimensions - 1
        self.slots = others if shape == "chair" else 2 * others
        self.replaced, self.tangents = (
            self.layout.empty(lattice.dimensions, self.slots * link_reals(colors)) for _ in range(2))
        self.pointers = [lattice.device.pointer(field) for field in (self.replaced, self.tangents)]

    def add_staples(self, U, staples, weights):
        self._replace(U)
        self._launch(U, "glued_staples", U.pointer, self.pointers[0], staples.pointer, weights + self.offset, self.slots,
                     keep=(U, staples))

    def add_force(self, U, D, force, weights, factor):
        self._replace(U)
        self._launch(U, "sided_tangents", U.pointer, D.pointer, self.pointers[1], weights + self.offset, self.slots, keep=(U, D))
        self._fetch(self.tangents)
        self._launch(U, "glued_pull_back", U.pointer, D.pointer, *self.pointers, force.pointer, weights + self.offset,
                     -0.5 * factor, self.slots, keep=(U, D, force))

    def _replace(self, U: GaugeField) -> None:
        """What replaces a link, from its staples."""
        self._launch(U, "sided_staples", U.pointer, self.pointers[0], self.slots, keep=(U,))
        self._fetch(self.replaced)

    def _fetch(self, field) -> None:
        self.layout.halo.staple_links(field, self.slots * link_reals(self.colors))


class Lines(LoopTerm):
    """Closed straight lines (Polyakov loops), by transport: as long as the lattice, across any number of ranks."""

    def __init__(self, lattice, colors, shape):
        super().__init__(lattice, colors, shape)
        self.line, self.longer, self.tangent, self.longer_tangent = (self.layout.empty(link_reals(colors)) for _ in range(4))

    def add_staples(self, U, staples, weights):
        pointer = self.lattice.device.pointer
        for mu, length in enumerate(self.lattice.extent):
            line, longer = self.line, self.longer
            for step in range(length - 1):
                arguments = U.pointer, pointer(line) if step else None, pointer(longer), mu
                self.layout.launch(U.kernel("links.cc", "transport"), self.layout.geometry, *arguments, keep=(U, self))
                line, longer = longer, line
                self._fetch(mu, line)
            self._launch(U, "line_staples", pointer(line), staples.pointer, weights + self.offset, mu, keep=(staples,))

    def add_force(self, U, D, force, weights, factor):
        pointer = self.lattice.device.pointer
        for mu, length in enumerate(self.lattice.extent):
            now, after = (self.line, self.tangent), (self.longer, self.longer_tangent)
            for step in range(length - 1):
                sources = [pointer(field) if step else None for field in now]
                self._launch(U, "line_tangent", U.pointer, D.pointer, *sources, *map(pointer, after), mu, keep=(U, D))
                now, after = after, now
                self._fetch(mu, *now)
            self._launch(U, "line_pull_back", U.pointer, pointer(now[1]), force.pointer, weights + self.offset, -0.5 * factor, mu,
                         keep=(U, force))

    def _fetch(self, mu: int, *fields) -> None:
        for field in fields:
            self.layout.halo.ahead(field, link_reals(self.colors), mu)


def loop_terms(lattice: Lattice, colors: int, shapes) -> list[LoopTerm]:
    """A term for each shape, in the order that `add_staples` needs."""
    makers = {"plaquette": Plaquettes, "polyakov": Lines}
    return [makers.get(shape, GluedPlaquettes)(lattice, colors, shape) for shape in SHAPES if shape in shapes]


def sum_paths(terms, links: GaugeField, paths: LinkField, weights: int) -> None:
    """paths <- the sum of what the terms have, whose halo of links is there."""
    if not any(term.assigns for term in terms):
        paths.clear()
    for term in terms:
        term.add_staples(links, paths, weights)
