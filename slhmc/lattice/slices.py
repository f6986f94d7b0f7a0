"""Work in two steps on a lattice larger than the caches, slice by slice: the second step finds there what the first made."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from slhmc.lattice.geometry import Blocks


@dataclass(frozen=True)
class Slices:
    """Order of work whose first step makes something of each lane group and whose second reads it there and one step behind.

    A slice is the part of a tile (`Blocks.tile`) with one last coordinate. What the first step makes is kept for few slices at
    a time: of the slice, the one before it, and of those of the tile before, whose edge is made once more. With `whole`, and
    where ranks split the lattice, there is one slice.
    """

    blocks: Blocks
    whole: bool

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Tiles, slices of a tile."""
        if self.whole or self.blocks.stride > self.blocks.groups:
            return 1, 1
        return self.blocks.block[-2] // self.blocks.tile, self.blocks.block[-1]

    @cached_property
    def _places(self) -> np.ndarray:
        """Where each slice is kept: no two that are needed together, nor two successive ones of a tile, share a place."""
        tiles, length = self.shape
        colour = np.arange(tiles) % 2
        if tiles > 1 and tiles % 2:
            colour[-1] = 2
        return (min(length, 2) * colour[:, None] + np.arange(length) % 2).ravel()

    @cached_property
    def _size(self) -> int:
        return self.blocks.groups // (self.shape[0] * self.shape[1])

    @property
    def window(self) -> int:
        """Lane groups of each parity that are kept."""
        return self.blocks.stride if self.shape == (1, 1) else self._size * int(self._places.max() + 1)

    def positions(self) -> np.ndarray:
        """Where what is made of each lane group is kept, below `window`; shape (stride,)."""
        groups = np.arange(self.blocks.stride)
        if self.shape == (1, 1):
            return groups
        return self._places[groups // self._size] * self._size + groups % self._size

    @cached_property
    def steps(self) -> list[tuple[list[tuple[int, int]], tuple[int, int]]]:
        """One after the other: groups (begin, end) of either parity for the first step, and then those for the second."""
        if self.shape == (1, 1):  # what is behind on other ranks is made here, too
            return [([(0, self.blocks.near_groups)], (0, self.blocks.groups))]
        behind = self.blocks.neighbours()[:, :, self.blocks.dimensions:] >> 5
        kept, steps = {}, []
        for k in range(len(self._places)):
            begin, end = k * self._size, (k + 1) * self._size
            first = []
            for span in [*self._spans(behind[:, begin:end], k), (begin, end)]:
                place, low, high = self._places[span[0] // self._size], *kept.get(self._places[span[0] // self._size], (0, 0))
                if not low <= span[0] < span[1] <= high:
                    kept[place] = span
                    first.append(span)
            steps.append((first, (begin, end)))
        return steps

    def _spans(self, groups: np.ndarray, k: int) -> list[tuple[int, int]]:
        """The parts of slices other than k in which all of `groups` are."""
        slices = groups // self._size
        return [(int(groups[slices == n].min()), int(groups[slices == n].max()) + 1) for n in np.unique(slices) if n != k]
