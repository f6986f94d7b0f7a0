"""Work in steps on a lattice larger than the caches, tile by tile: a later step finds there what an earlier one made."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from slhmc.lattice.geometry import EDGE, REACHED, Blocks


@dataclass(frozen=True)
class Tiles:
    """Order of work whose first step makes something of each lane group, and whose second reads it there and up to `reach` steps
    behind.

    The last direction is cut into slices, the one before into `parts` parts: a tile is what a part has in a slice, of this rank's
    sites and of its halo, or, with rows > 0, a piece of that, so many rows of it at most. Parts come one after the other, each
    from slice to slice, and there from piece to piece. What the first step makes is kept for some slices, the present one and at
    least `reach` before, and, of the highest `reach` coordinates of a part, for all slices, as the next part reads it, too. With
    parts = 0, where too few slices are there or where the parities of a tile differ, everything is one tile.
    """

    blocks: Blocks
    parts: int
    reach: int = 1
    rows: int = 0

    @cached_property
    def count(self) -> int:
        """Number of tiles."""
        cut = self.parts and self._kept and self.blocks.same_parities(2 if self._by_rows else 1)
        return len(self._pieces) if cut else 1

    @cached_property
    def _kept(self) -> int:
        """Slices that are kept: so many that they go into the lattice without remainder; 0 if it has too few."""
        length = self.blocks.block[-1]
        return next((kept for kept in range(self.reach + 1, length + 1) if length % kept == 0), 0)

    @property
    def _by_rows(self) -> bool:
        """Whether a slice is ever cut."""
        return self.parts > 1 or self.rows > 0

    @cached_property
    def _pieces(self) -> list[tuple[range, int]]:
        """Rows and slice of each tile, in their order."""
        parts = [self._part(number) for number in range(self.parts)]
        return [(part[begin:begin + (self.rows or len(part))], t) for part in parts for t in range(self.blocks.block[-1])
                for begin in range(0, len(part), self.rows or len(part))]

    @cached_property
    def _rows(self) -> tuple[np.ndarray, int, int]:
        """Coordinates of lane groups in the direction of parts, its length and its margin; an uncut slice is one row."""
        if self._by_rows:
            return self.blocks.coordinates[-2, 0], self.blocks.block[-2], self.blocks.margins[-2]
        return np.zeros(self.blocks.stride, np.int64), 1, 0

    @cached_property
    def _groups(self) -> dict[tuple[int, int], np.ndarray]:
        """Lane groups of each row of each slice, of the block and of the halo behind it."""
        (rows, length, margin), times, below = self._rows, self.blocks.coordinates[-1, 0], self.blocks.margins[-1]
        count, slices = length + margin, self.blocks.block[-1] + below
        here = np.flatnonzero((self.blocks.classes[0] <= REACHED) & (rows < length) & (times < self.blocks.block[-1]))
        keys = (times[here] + below) * count + rows[here] + margin
        ends = np.cumsum(np.bincount(keys, minlength=count * slices))[:-1]
        found = np.split(here[np.argsort(keys, kind="stable")], ends)
        return {(key % count - margin, key // count - below): groups for key, groups in enumerate(found)}

    def _part(self, number: int) -> range:
        length = self._rows[1]
        return range(length * number // self.parts, length * (number + 1) // self.parts)

    @cached_property
    def _slots(self) -> dict[tuple[int, int], int]:
        """Where in the window a row is kept."""
        margin, below, length = self._rows[2], self.blocks.margins[-1], self.blocks.block[-1] + self.blocks.margins[-1]
        parts = [self._part(number) for number in range(self.parts)]
        last = [*range(-margin, 0), *(z for part in parts for z in part[-self.reach:] if self.parts > 1)]
        slots = {(z, t): place * length + t + below for place, z in enumerate(last) for t in range(-below, length - below)}
        others = {z: z - part[0] for part in parts for z in part if z not in last}
        return slots | {(z, t): len(last) * length + place * self._kept + t % self._kept
                        for z, place in others.items() for t in range(-below, length - below)}

    @cached_property
    def _size(self) -> int:
        return max(map(len, self._groups.values()))

    @cached_property
    def window(self) -> int:
        """Lane groups of each parity that are kept."""
        return self.blocks.stride if self.count == 1 else (max(self._slots.values()) + 1) * self._size

    def begins_at_multiples(self, whole: int) -> bool:
        """Whether every tile is of runs of lane groups that begin at multiples of so many."""
        if whole not in self._whole:
            self._whole[whole] = not any(begin % whole for number in range(self.count) for begin, _ in self.spans(number))
        return self._whole[whole]

    @cached_property
    def _whole(self) -> dict[int, bool]:
        return {1: True}

    def positions(self) -> np.ndarray:
        """Where what is made of each lane group is kept, below `window`; shape (stride,)."""
        if self.count == 1:
            return np.arange(self.blocks.stride)
        places = np.zeros(self.blocks.stride, np.int64)
        for row, slot in self._slots.items():
            groups = self._groups[row]
            places[groups] = slot * self._size + np.arange(len(groups))
        return places

    def spans(self, number: int, last: int = EDGE, reach: int = 0) -> list[tuple[int, int]]:
        """Lane groups (begin, end) of a tile, of the classes up to `last`: EDGE, BEHIND or REACHED (geometry.py).

        reach: with those up to so many steps behind that no tile before had. What is behind on other ranks is made here, too, and
        what was made behind the first rows, on this rank, is not made again.
        """
        key = number, last, reach
        if key not in self._spans:
            self._spans[key] = self._find_spans(*key)
        return self._spans[key]

    @cached_property
    def _spans(self) -> dict[tuple[int, int, int], list[tuple[int, int]]]:
        """What `spans` has found: forces ask for the same ones in each step."""
        return {}

    def _find_spans(self, number: int, last: int, reach: int) -> list[tuple[int, int]]:
        if self.count == 1:
            return [(0, self.blocks.class_end(last))]
        rows, t = self._pieces[number]
        _, length, margin = self._rows
        times = range(-reach, 1) if t == 0 else [t]
        if self._by_rows and reach:
            # but in slices that were behind the first ones, too: a step may change in place what the one before it has made
            again = margin or t >= self.blocks.block[-1] - self.reach
            rows = [*(range(-reach, 0) if rows[0] == 0 else ()), *(z for z in rows if again or z < length - reach)]
        if not rows:
            return []
        groups = np.concatenate([self._groups[z if margin else z % length, t if self.blocks.margins[-1]
                                              else t % self.blocks.block[-1]] for t in times for z in rows])
        groups = np.unique(groups[self.blocks.classes[0][groups] <= last])
        return [(int(run[0]), int(run[-1]) + 1) for run in np.split(groups, np.flatnonzero(np.diff(groups) != 1) + 1) if len(run)]


def plane_order(blocks: Blocks, mu: int, nu: int) -> tuple[np.ndarray, int]:
    """Lane groups of this rank, (parity, place), so that those of one plane of mu and nu stand side by side, and how many they
    are of each parity: what stays within such planes can be done with some of them, all steps, before the next ones. Groups in
    their own order, all of them, where planes cross ranks or parities differ.
    """
    rest = [rho for rho in range(blocks.dimensions) if rho not in (mu, nu)]
    coordinates = blocks.coordinates[:, :, :blocks.groups]
    order = np.stack([np.lexsort(coordinates[[mu, nu, *rest], parity]) for parity in (0, 1)])
    across = [coordinates[rest][:, parity, order[parity]] for parity in (0, 1)]
    size = blocks.block[mu] * blocks.block[nu] // 2
    if blocks.rank_grid[mu] * blocks.rank_grid[nu] > 1 or not np.array_equal(*across):
        return np.tile(np.arange(blocks.groups), (2, 1)), blocks.groups
    return order, size
