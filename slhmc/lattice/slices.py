"""Work in two steps on a lattice larger than the caches, slice by slice: the second step finds there what the first made."""

from dataclasses import dataclass

import numpy as np

from slhmc.lattice.geometry import Blocks


@dataclass(frozen=True)
class Slices:
    """Order of work whose first step makes something of each lane group and whose second reads it there and one step behind.

    A slice is what has one last coordinate. What the first step makes is kept for two slices, the present one and the one before.
    With `whole`, and where ranks split the lattice, there is one slice.
    """

    blocks: Blocks
    whole: bool

    @property
    def count(self) -> int:
        """Number of slices."""
        return 1 if self.whole or self.blocks.stride > self.blocks.groups else self.blocks.block[-1]

    @property
    def _size(self) -> int:
        return self.blocks.groups // self.count

    @property
    def window(self) -> int:
        """Lane groups of each parity that are kept."""
        return self.blocks.stride if self.count == 1 else 2 * self._size

    def positions(self) -> np.ndarray:
        """Where what is made of each lane group is kept, below `window`; shape (stride,)."""
        return np.arange(self.blocks.stride) % self.window

    @property
    def steps(self) -> list[tuple[list[tuple[int, int]], tuple[int, int]]]:
        """One after the other: groups (begin, end) of either parity for the first step, and then those for the second."""
        if self.count == 1:  # what is behind on other ranks is made here, too
            return [([(0, self.blocks.near_groups)], (0, self.blocks.groups))]
        spans = [(k * self._size, (k + 1) * self._size) for k in range(self.count)]
        return [([spans[-1]] * (k == 0) + [span], span) for k, span in enumerate(spans)]
