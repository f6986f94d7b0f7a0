"""Work in steps on a lattice larger than the caches, slice by slice: a later step finds there what an earlier one made."""

from dataclasses import dataclass

import numpy as np

from slhmc.lattice.geometry import Blocks


@dataclass(frozen=True)
class Slices:
    """Order of work whose first step makes something of each lane group, and whose second reads it there and up to `reach` steps
    behind.

    A slice is what has one last coordinate. What the first step makes is kept for some slices, the present one and at least
    `reach` before. With `whole`, where ranks split the lattice, and where too few slices are there, there is one slice.
    """

    blocks: Blocks
    whole: bool
    reach: int = 1

    @property
    def count(self) -> int:
        """Number of slices."""
        return 1 if self.whole or self.blocks.stride > self.blocks.groups or not self._kept else self.blocks.block[-1]

    @property
    def _kept(self) -> int:
        """Slices that are kept: so many that they go into the lattice without remainder; 0 if it has too few."""
        length = self.blocks.block[-1]
        return next((kept for kept in range(self.reach + 1, length + 1) if length % kept == 0), 0)

    @property
    def _size(self) -> int:
        return self.blocks.groups // self.count

    @property
    def window(self) -> int:
        """Lane groups of each parity that are kept."""
        return self.blocks.stride if self.count == 1 else self._kept * self._size

    def positions(self) -> np.ndarray:
        """Where what is made of each lane group is kept, below `window`; shape (stride,)."""
        return np.arange(self.blocks.stride) % self.window

    def span(self, slice_number: int) -> tuple[int, int]:
        """Lane groups (begin, end) of a slice, counted round the lattice."""
        k = slice_number % self.count
        return k * self._size, (k + 1) * self._size

    @property
    def steps(self) -> list[tuple[list[tuple[int, int]], tuple[int, int]]]:
        """One after the other: groups (begin, end) of either parity for the first step, and then those for the second."""
        if self.count == 1:  # what is behind on other ranks is made here, too
            return [([(0, self.blocks.near_groups)], (0, self.blocks.groups))]
        return [([self.span(j) for j in range(-self.reach if k == 0 else k, k + 1)], self.span(k)) for k in range(self.count)]
