"""Where the sites of a lattice live: ranks, lanes and lane groups. Pure arithmetic on NumPy arrays, no device."""

from dataclasses import dataclass, field
from functools import cached_property
from math import prod

import numpy as np

from slhmc.errors import InputError

DIRECTION_NAMES = "xyzt"
# Classes of lane groups, in the order of their numbers: no neighbour on another rank, at the boundary; in the halo one step
# behind in one direction, elsewhere behind (ahead in none), and ahead
CORE, EDGE, BEHIND, REACHED, AHEAD = range(5)


def direction_names(dimensions: int) -> str:
    """x, y, z, t; the last direction of any lattice is time."""
    return DIRECTION_NAMES[:dimensions - 1] + "t"


def check_extent(extent: tuple[int, ...]) -> None:
    """Raise InputError unless 2 to 4 even extents of at least 2 are given."""
    if not 2 <= len(extent) <= 4:
        raise InputError(f"extent = {list(extent)}: expected 2, 3 or 4 numbers, in the order x, y, z, t")
    for name, n in zip(direction_names(len(extent)), extent, strict=True):
        if n < 2 or n % 2:
            raise InputError(f"extent = {list(extent)}: {n} in {name}; every extent must be even and at least 2")


def choose_rank_grid(extent: tuple[int, ...], size: int) -> tuple[int, ...]:
    """The rank grid with the smallest halo surface; splits t, then z, y, x when equal. Raises InputError if none fits."""
    best = None

    def visit(mu, left, grid):
        nonlocal best
        if mu < 0:
            if left == 1:
                grid = tuple(reversed(grid))
                local = [n // r for n, r in zip(extent, grid, strict=True)]
                surface = sum(np.prod(local) // n for n, r in zip(local, grid, strict=True) if r > 1)
                order = (surface, grid)
                if best is None or order < best:
                    best = order
            return
        for ranks in range(1, min(left, extent[mu] // 2) + 1):
            if left % ranks == 0 and extent[mu] % (2 * ranks) == 0:
                visit(mu - 1, left // ranks, [*grid, ranks])
    visit(len(extent) - 1, size, [])
    if best is None:
        raise InputError(f"{size} ranks do not divide the lattice {list(extent)} into blocks of even extents; "
                         "use another number of ranks (products of divisors of half the extents)")
    return best[1]


def check_rank_grid(extent, grid, size) -> None:
    """Raise InputError unless `grid` has `size` ranks and divides the lattice into blocks of even extents."""
    if len(grid) != len(extent) or int(np.prod(grid)) != size:
        raise InputError(f"ranks = {list(grid)}: {int(np.prod(grid))} ranks in {len(grid)} directions, but the job has "
                         f"{size} and the lattice {len(extent)} directions; change [lattice] ranks or the launch")
    for name, n, r in zip(direction_names(len(extent)), extent, grid, strict=True):
        if n % (2 * r):
            raise InputError(f"ranks = {list(grid)}: {n} sites in {name} over {r} ranks leave blocks of odd extent; "
                             f"{n} must be a multiple of {2 * r}")


def choose_lane_grid(local: tuple[int, ...], grid: tuple[int, ...], lanes: int, fewer: tuple[int, ...] | None = None):
    """Split lanes over directions that ranks do not split, as many as fit over x, then y, z, t; fewer lanes if they do not fit.

    Splitting the fastest directions keeps rows, planes and slices of lane groups small: neighbours in y, z and t are then used
    again while the cache holds them. fewer: a lane grid to split further, if possible in directions behind its own, so that its
    lanes stay side by side (conversions between precisions copy such runs).
    """
    lane_grid = list(fewer or (1,) * len(local))
    begin = 1 + max((mu for mu, w in enumerate(lane_grid) if w > 1), default=-1)
    for mu in (*range(begin, len(local)), *range(begin)):
        while grid[mu] == 1 and local[mu] // lane_grid[mu] % 4 == 0 and 2 * prod(lane_grid) <= lanes:
            lane_grid[mu] *= 2
    return tuple(lane_grid)


@dataclass(frozen=True)
class Blocks:
    """Lane groups of one rank: a block of `local / lane_grid` sites, extended by `depth` where ranks split a direction.

    Groups of each parity are numbered by class (CORE to AHEAD), within one by coordinates, the last direction slowest.
    Arrays run over (parity, group): `coordinates` has shape (dimensions, 2, stride), relative to the block.
    """

    extent: tuple[int, ...]
    rank_grid: tuple[int, ...]
    rank_coordinates: tuple[int, ...]
    lane_grid: tuple[int, ...]
    depth: int
    local: tuple[int, ...] = field(init=False)
    block: tuple[int, ...] = field(init=False)

    def __post_init__(self):
        local = tuple(n // r for n, r in zip(self.extent, self.rank_grid, strict=True))
        object.__setattr__(self, "local", local)
        object.__setattr__(self, "block", tuple(n // w for n, w in zip(local, self.lane_grid, strict=True)))

    @property
    def dimensions(self) -> int:
        return len(self.extent)

    @property
    def lanes(self) -> int:
        return int(np.prod(self.lane_grid))

    @cached_property
    def margins(self) -> tuple[int, ...]:
        """Halo depth of each direction: 0 where one rank holds all of it."""
        return tuple(self.depth if r > 1 else 0 for r in self.rank_grid)

    @cached_property
    def _enumeration(self):
        shape = [b + 2 * m for b, m in zip(self.block, self.margins, strict=True)]
        # x fastest: enumerate t slowest by reversing
        points = np.stack([g.ravel() for g in np.meshgrid(
            *[np.arange(-m, b + m) for b, m in zip(reversed(self.block), reversed(self.margins), strict=True)],
            indexing="ij")][::-1])
        classes = self._classes(points)
        parity = points.sum(0) % 2
        order = [np.flatnonzero(parity == p)[np.argsort(classes[parity == p], kind="stable")] for p in (0, 1)]
        index = np.empty(points.shape[1], np.int64)
        for o in order:
            index[o] = np.arange(len(o))
        return points, order, index, shape

    def _classes(self, points: np.ndarray) -> np.ndarray:
        """CORE to AHEAD of block coordinates, shape (dimensions, n) -> (n,)."""
        sides = [(p, b, m) for p, b, m in zip(points, self.block, self.margins, strict=True) if m]
        if not sides:
            return np.full(points.shape[1], CORE)
        back = sum(np.maximum(-p, 0) for p, _, _ in sides)  # steps
        edge, ahead = (np.any(conditions, axis=0) for conditions in (
            [(p == 0) | (p == b - 1) for p, b, _ in sides], [p >= b for p, b, _ in sides]))
        return np.select([ahead, back > 1, back == 1, edge], [AHEAD, REACHED, BEHIND, EDGE], CORE)

    @property
    def groups(self) -> int:
        """Lane groups of one parity, without halo."""
        return int(np.sum(self.classes[0] <= EDGE))

    @property
    def core_groups(self) -> int:
        """The first so many groups of either parity need no halo of depth 1."""
        return int(np.min(np.sum(self.classes == CORE, axis=1)))

    def class_end(self, last: int) -> int:
        """The first so many groups of either parity hold the classes up to `last`."""
        return int(np.max(np.sum(self.classes <= last, axis=1)))

    @property
    def stride(self) -> int:
        """Lane groups of one parity, with halo."""
        return len(self._enumeration[1][0])

    @cached_property
    def coordinates(self) -> np.ndarray:
        points, order, *_ = self._enumeration
        return np.stack([points[:, o] for o in order], axis=1)

    @cached_property
    def classes(self) -> np.ndarray:
        """CORE to AHEAD of each lane group, shape (2, stride)."""
        return self._classes(self.coordinates.reshape(self.dimensions, -1)).reshape(2, -1)

    def same_parities(self, directions: int) -> bool:
        """Whether groups of one number have the same class and the same coordinates in so many last directions on both parities:
        not so in corners of a site.
        """
        return all(np.array_equal(*pair) for pair in (self.classes, *self.coordinates[-directions:]))

    @cached_property
    def lane_digits(self) -> np.ndarray:
        """Position of each lane in the lane grid, shape (dimensions, lanes)."""
        digits, rest = [], np.arange(self.lanes)
        for w in self.lane_grid:
            digits.append(rest % w)
            rest = rest // w
        return np.stack(digits)

    @cached_property
    def lane_bits(self) -> list[tuple[int, int]]:
        """(offset, width) of each direction's field in a lane number."""
        fields, offset = [], 0
        for w in self.lane_grid:
            fields.append((offset, w.bit_length() - 1))
            offset += w.bit_length() - 1
        return fields

    def group_index(self, points: np.ndarray) -> np.ndarray:
        """Group numbers (within their parity) of block coordinates, shape (dimensions, n) -> (n,)."""
        *_, index, shape = self._enumeration
        flat = np.zeros(points.shape[1], np.int64)
        for mu in reversed(range(self.dimensions)):
            flat = flat * shape[mu] + points[mu] + self.margins[mu]
        return index[flat]

    def neighbours(self) -> np.ndarray:
        """Table of kernels/target.h: shape (2, stride, 2 dimensions), group << 5 | lane shift."""
        table = np.zeros((2, self.stride, 2 * self.dimensions), np.int64)
        for mu in range(self.dimensions):
            offset, bits = self.lane_bits[mu]
            for sign, column in ((1, mu), (-1, mu + self.dimensions)):
                points = self.coordinates.reshape(self.dimensions, -1).copy()
                points[mu] += sign
                shift = np.zeros(points.shape[1], np.int64)
                if self.margins[mu] == 0:
                    crossing = (points[mu] < 0) | (points[mu] >= self.block[mu])
                    points[mu] %= self.block[mu]
                    shift[crossing] = (sign % (1 << bits)) << offset
                else:  # beyond the halo: never read, but must be an address
                    low, high = -self.margins[mu], self.block[mu] + self.margins[mu] - 1
                    points[mu] = np.clip(points[mu], low, high)
                table[:, :, column] = (self.group_index(points) << 5 | shift).reshape(2, -1)
        if table.max() > np.iinfo(np.int32).max:
            raise InputError(f"a block of {self.local} sites on one rank is too large for the neighbour table; use more ranks")
        return table.astype(np.int32)

    def permutations(self) -> np.ndarray:
        """permutations[shift, lane] = lane that is read; shape (lanes, lanes)."""
        digits = self.lane_digits
        target = np.zeros((self.lanes, self.lanes), np.int64)
        for mu, w in enumerate(self.lane_grid):
            moved = (digits[mu][None, :] + digits[mu][:, None]) % w
            target |= moved << self.lane_bits[mu][0]
        return target

    def shift_masks(self) -> tuple[int, int]:
        """Low bits and top bit of each direction's lane field, for field-wise addition."""
        high = sum(1 << (offset + bits - 1) for offset, bits in self.lane_bits if bits)
        everything = self.lanes - 1
        return everything & ~high, high

    def site_coordinates(self) -> np.ndarray:
        """Global coordinates, shape (dimensions, 2, stride, lanes); halo sites wrap round the lattice."""
        result = np.empty((self.dimensions, 2, self.stride, self.lanes), np.int64)
        for mu in range(self.dimensions):
            origin = self.rank_coordinates[mu] * self.local[mu]
            result[mu] = (origin + self.coordinates[mu][..., None] + self.lane_digits[mu] * self.block[mu]) % self.extent[mu]
        return result

    def site_numbers(self) -> np.ndarray:
        """Global lexicographic site number, x fastest; shape (2, stride, lanes)."""
        coordinates, number = self.site_coordinates(), 0
        for mu in reversed(range(self.dimensions)):
            number = number * self.extent[mu] + coordinates[mu]
        return number

    def local_numbers(self) -> np.ndarray:
        """Lexicographic number within the rank, x fastest, of the sites without halo; shape (2, groups, lanes)."""
        number = 0
        for mu in reversed(range(self.dimensions)):
            c = self.coordinates[mu][:, :self.groups, None] + self.lane_digits[mu] * self.block[mu]
            number = number * self.local[mu] + c
        return number

    def slab(self, mu: int, low: int, high: int, depth: int, extended: tuple[int, ...]) -> np.ndarray:
        """Flat indices parity * stride + group of the groups with low <= y_mu < high, in coordinate order.

        Other directions run over the block, over its halo of `depth` too where listed in `extended`.
        """
        ranges = []
        for nu in range(self.dimensions):
            margin = depth if nu in extended else 0
            ranges.append(np.arange(low, high) if nu == mu else np.arange(-margin, self.block[nu] + margin))
        points = np.stack([g.ravel() for g in np.meshgrid(*ranges[::-1], indexing="ij")][::-1])
        return points.sum(0) % 2 * self.stride + self.group_index(points)
