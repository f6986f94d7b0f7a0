"""Wilson loops between spatially smeared lines, from which the static potential is found."""

import numpy as np

from slhmc.lattice import GaugeField, Lattice
from slhmc.lattice.fields import Field, link_reals
from slhmc.observables.observable import Observable

FILE = "static_potential.cc"


class StaticPotential(Observable):
    """W_ij(r, t), the mean over sites x and directions k of space of Re tr S_i(x) T(x + r k) S_j(x + t)^+ T(x)^+ / Nc.

    S_i(x) is the straight line of r links from x to x + r k after levels[i] stout steps in space with weight rho, T(x) that of t
    thin links in time, the last direction; r = 1 ... r_max, t = 0 ... t_max. The value is an array [i, j, r - 1, t]. Lines are
    brought back by L(x) <- U_t(x) L(x + 1) U_t(x + r k)^+, one step for each t, so they may cross ranks. Buffers are made once,
    for links of one lattice and group.
    """

    name = "static_potential"

    def __init__(self, lattice: Lattice, colors: int, r_max: int, t_max: int, levels, rho: float):
        self.lattice, self.layout, self.colors = lattice, lattice.layout("double"), colors
        self.r_max, self.t_max, self.levels, self.rho = r_max, t_max, tuple(levels), rho
        self.time, self.reals = lattice.dimensions - 1, link_reals(colors)
        self._smeared = {level: GaugeField(lattice, colors) for level in self.levels if level}
        self._between = GaugeField(lattice, colors) if self._smeared else None
        self._lines = [[self._matrices(), self._matrices()] for _ in self.levels]
        self._rungs, self._rails = ([self._matrices(), self._matrices()] for _ in range(2))
        self._left = self._matrices()

    def measure(self, U, draws):
        count = len(self.levels)
        sums = self.lattice.device.zeros((self.time, self.r_max, count, self.t_max + 1, count), np.float64)
        fields = self.smear(U)
        self._transport(U, self.time, None, self._left)
        for k in range(self.time):
            self._measure_direction(fields, k, sums[k])
        self.lattice.device.synchronize()
        loops = self.lattice.device.to_host(sums).sum(0).transpose(3, 1, 0, 2)
        trace = 2.0 if self.colors == 2 else 1.0  # of quaternions, in reals
        return loops * (trace / (self.time * self.lattice.sites * self.colors))

    def smear(self, U: GaugeField) -> list[GaugeField]:
        """The links of each level, U itself for level 0; they are kept until the next call. Collective."""
        fields, links, done = [], U, 0
        for level in self.levels:
            for step in range(done, level):
                target = self._smeared[level] if (level - step) % 2 else self._between
                links.update_staple_halo()
                self._launch("spatial_stout", links.pointer, target.pointer, self.rho, keep=(links, target))
                target.changed()
                links = target
            fields, done = [*fields, links], level
        return fields

    def _measure_direction(self, fields: list[GaugeField], k: int, sums) -> None:
        """Fill sums[r - 1, j, t, i]."""
        lines, spare = ([pair[place] for pair in self._lines] for place in (0, 1))
        rail, other = self._rails
        rail.assign(self._left)
        for r in range(self.r_max):
            for level, links in enumerate(fields):
                self._transport(links, k, lines[level] if r else None, spare[level])
            lines, spare = spare, lines
            self._ahead(rail, k)
            self._launch("shifted", rail.pointer, other.pointer, k, keep=(rail, other))
            rail, other = other, rail
            for j, line in enumerate(lines):
                self._climb(line, rail, lines, sums[r, j])

    def _climb(self, line: Field, rail: Field, lines: list[Field], sums) -> None:
        """Fill sums[t, i] of one line at its later end."""
        rung, longer = line, self._rungs[0]
        for t in range(self.t_max + 1):
            if t:
                self._ahead(rung, self.time)
                self._launch("ladder", rung.pointer, self._left.pointer, rail.pointer, longer.pointer, self.time,
                             keep=(rung, rail, longer))
                rung, longer = longer, self._rungs[1] if longer is self._rungs[0] else self._rungs[0]
            for i, first in enumerate(lines):
                first.inner_into(rung, sums[t, i:i + 1])

    def _transport(self, links: GaugeField, mu: int, line: Field | None, longer: Field) -> None:
        """longer(x) <- U_mu(x) line(x + mu), U_mu(x) alone without a line."""
        if line is not None:
            self._ahead(line, mu)
        source = None if line is None else line.pointer
        self.layout.launch(links.kernel("links.cc", "transport"), self.layout.geometry, links.pointer, source, longer.pointer, mu,
                           keep=(links, line, longer))

    def _matrices(self) -> Field:
        return Field(self.layout, (self.reals,))

    def _ahead(self, field: Field, mu: int) -> None:
        self.layout.halo.ahead(field.array, self.reals, mu)

    def _launch(self, name: str, *arguments, keep) -> None:
        self.layout.launch(self.layout.kernel(FILE, name, self.colors), self.layout.geometry, *arguments, keep=(self, *keep))
