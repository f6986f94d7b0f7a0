"""Work in steps on a lattice larger than the caches, slice by slice: a later step finds there what an earlier one made."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from slhmc.lattice.geometry import EDGE, REACHED, Blocks


@dataclass(frozen=True)
class Slices:
    """Order of work whose first step makes something of each lane group, and whose second reads it there and up to `reach` steps
    behind.

    A slice is what has one last coordinate, of this rank's sites and of its halo. What the first step makes is kept for some
    slices, the present one and at least `reach` before. With `whole`, and where too few slices are there or the two parities of
    one differ, everything is slice 0.
    """

    blocks: Blocks
    whole: bool
    reach: int = 1

    @cached_property
    def count(self) -> int:
        """Number of slices."""
        return 1 if self.whole or not self._kept or not self.blocks.same_parities else self.blocks.block[-1]

    @cached_property
    def _kept(self) -> int:
        """Slices that are kept: so many that they go into the lattice without remainder; 0 if it has too few."""
        length = self.blocks.block[-1]
        return next((kept for kept in range(self.reach + 1, length + 1) if length % kept == 0), 0)

    @cached_property
    def _groups(self) -> list[np.ndarray]:
        """Lane groups of each slice of the block and of the halo behind it, the lowest first."""
        times, classes = self.blocks.coordinates[-1, 0], self.blocks.classes[0]
        numbers = range(-self.blocks.margins[-1], self.blocks.block[-1])
        return [np.flatnonzero((times == t) & (classes <= REACHED)) for t in numbers]

    @cached_property
    def _size(self) -> int:
        return max(map(len, self._groups))

    @property
    def window(self) -> int:
        """Lane groups of each parity that are kept."""
        return self.blocks.stride if self.count == 1 else self._kept * self._size

    def positions(self) -> np.ndarray:
        """Where what is made of each lane group is kept, below `window`; shape (stride,)."""
        if self.count == 1:
            return np.arange(self.blocks.stride)
        places = np.zeros(self.blocks.stride, np.int64)
        for number, groups in enumerate(self._groups, -self.blocks.margins[-1]):
            places[groups] = number % self._kept * self._size + np.arange(len(groups))
        return places

    def spans(self, number: int, last: int = EDGE) -> list[tuple[int, int]]:
        """Lane groups (begin, end) of a slice, of the classes up to `last`: EDGE, BEHIND or REACHED (geometry.py)."""
        if self.count == 1:
            return [(0, self.blocks.class_end(last))]
        below = self.blocks.margins[-1]
        groups = self._groups[number + below if below else number % self.count]
        groups = groups[self.blocks.classes[0][groups] <= last]
        return [(int(run[0]), int(run[-1]) + 1) for run in np.split(groups, np.flatnonzero(np.diff(groups) != 1) + 1) if len(run)]

    @property
    def steps(self) -> list[tuple[list[int], int]]:
        """One after the other: slices for the first step, and then the one for the second. What is behind on other ranks is made
        here, too."""
        if self.count == 1:
            return [([0], 0)]
        return [(list(range(-self.reach if k == 0 else k, k + 1)), k) for k in range(self.count)]
