"""`Lattice`: the one owner of geometry, ranks, lanes and global sums; `Layout`: its lane groups for one precision."""

from itertools import accumulate
from math import prod

import numpy as np

from slhmc.backend import Device, HostDevice
from slhmc.backend.signatures import Geometry, Random, Range
from slhmc.errors import InputError
from slhmc.lattice.communicator import SerialCommunicator
from slhmc.lattice.geometry import Blocks, check_extent, check_rank_grid, choose_lane_grid, choose_rank_grid
from slhmc.lattice.halo import HaloExchange
from slhmc.lattice.tiles import Tiles

REALS = {"double": np.float64, "float": np.float32}
HALO_DEPTH = 2  # rectangles reach two sites
# Kernels fetch ahead beyond so many sites (12 MB of SU(3) links: more than a core may call its own in the last cache), and
# differently beyond so many bytes of one real a site (from memory rather than from the last cache).
PREFETCH_SITES, MEMORY_BYTES = 20_000, 200_000
SEVERAL = 4  # rows of a piece worth its beginning, which is not fetched ahead
NEAREST, FARTHEST = 2, 4  # lane groups: one is too short for memory, more than four are too many for the nearest cache


class Lattice:
    """A periodic lattice of 2 to 4 dimensions, split over the ranks of a communicator and the lanes of a device.

    extent: (x, y, z, t), even; communicator: mpi4py's or None; ranks: rank grid or None (chosen); lanes: forced number.
    `sites` counts all ranks, `local_sites` this one. Raises InputError if extents, ranks and lanes do not fit.
    """

    def __init__(self, extent, device: Device | None = None, communicator=None, ranks=None, lanes: int | None = None):
        self.extent = tuple(int(n) for n in extent)
        check_extent(self.extent)
        self.device = device or HostDevice()
        self.communicator = communicator or SerialCommunicator()
        size = self.communicator.size
        self.rank_grid = tuple(ranks) if ranks is not None else choose_rank_grid(self.extent, size)
        check_rank_grid(self.extent, self.rank_grid, size)
        self.rank_coordinates = self.coordinates_of(self.communicator.rank)
        self.local = tuple(n // r for n, r in zip(self.extent, self.rank_grid, strict=True))
        self.sites, self.local_sites = prod(self.extent), prod(self.local)
        if self.sites >= 1 << 31:
            raise InputError(f"extent = {list(self.extent)}: {self.sites} sites; site numbers have 31 bits")
        self._lanes = lanes
        self._layouts: dict[str, Layout] = {}
        self._partials = self._sums = None

    @property
    def dimensions(self) -> int:
        return len(self.extent)

    @property
    def planes(self) -> int:
        """Number of lattice planes, D (D - 1) / 2."""
        return self.dimensions * (self.dimensions - 1) // 2

    @property
    def is_root(self) -> bool:
        """Whether this rank writes files and logs."""
        return self.communicator.rank == 0

    def coordinates_of(self, rank: int) -> tuple[int, ...]:
        """Position of a rank in the rank grid, x fastest."""
        coordinates = []
        for r in self.rank_grid:
            coordinates.append(rank % r)
            rank //= r
        return tuple(coordinates)

    def rank_of(self, coordinates) -> int:
        """Rank at a position of the (periodic) rank grid."""
        rank = 0
        for c, r in reversed(list(zip(coordinates, self.rank_grid, strict=True))):
            rank = rank * r + c % r
        return rank

    def layout(self, real: str = "double") -> "Layout":
        """Lane groups for real = "double" or "float"; made once."""
        if real not in self._layouts:
            self._layouts[real] = Layout(self, real, self.lane_grid(real))
        return self._layouts[real]

    def lane_grid(self, real: str = "double") -> tuple[int, ...]:
        """Lanes in each direction; InputError if the lattice does not have the number of them that was asked for."""
        lanes = self._lanes or self.device.default_lanes(real)
        grid = choose_lane_grid(self.local, self.rank_grid, lanes, None if real == "double" else self.lane_grid("double"))
        if self._lanes and int(np.prod(grid)) != lanes:
            raise InputError(f"lanes = {lanes}: the local lattice {list(self.local)} over ranks {list(self.rank_grid)} "
                             f"can be split into {int(np.prod(grid))} lanes at most; drop [lattice] lanes")
        return grid

    def partials(self, count: int):
        """Scratch for partial sums of reductions (kernels run one after the other, so one buffer serves all)."""
        if self._partials is None or self._partials.size < count:
            self._partials = self.device.empty((max(count, 4096),), np.float64)
        return self._partials

    def global_sum(self, array) -> None:
        """Add up a small array of doubles over all ranks, in the order of ranks, so that all have the same bits. Collective."""
        if self.communicator.size > 1:
            if self._sums is None:
                self._sums = self.device.rank_sums(self.communicator)
            self.device.call(self._sums.of(array))

    def uniform(self, random: Random) -> float:
        """One uniform deviate in (0, 1), the same on all ranks: site and component 0 of a draw."""
        device, layout = self.device, self.layout("double")
        counter = np.array([0, 0, random.trajectory, random.draw, random.seed, random.purpose], np.uint32)
        counter, words = device.from_host(counter), device.empty((4,), np.uint32)
        kernel = layout.kernel("random.cc", "philox_words")
        device.launch(kernel, kernel.structure(device.pointer(counter), device.pointer(words)), counter, words)
        device.synchronize()
        high, low = (int(w) for w in device.to_host(words)[:2])
        return ((high << 32 | low) >> 12) / 2**52 + 0.5 / 2**52



def partial_places(spans: list[tuple[int, int]], parities: int, summed: int) -> tuple[list[int], int]:
    """Where the partial sums of each span begin, and how many there are, each of `summed` lane groups of all parities: in the
    order of lane groups if all spans begin at whole ones; else those of one span behind those of the one before.
    """
    ends, begins = {parities * end for _, end in spans}, [parities * begin for begin, _ in spans]
    covered = parities * sum(end - begin for begin, end in spans) == max(ends)
    if covered and not any(begin % summed for begin in begins):
        return [begin // summed for begin in begins], -(-max(ends) // summed)
    *places, count = accumulate((-(-parities * (end - begin) // summed) for begin, end in spans), initial=0)
    return places, count


class Layout:
    """Lane groups of a lattice for one precision: device tables, launches and reductions."""

    def __init__(self, lattice: Lattice, real: str, lane_grid: tuple[int, ...]):
        self.lattice, self.real = lattice, real
        self.blocks = Blocks(lattice.extent, lattice.rank_grid, lattice.rank_coordinates, lane_grid, HALO_DEPTH)
        self.lanes = self.blocks.lanes
        self.groups, self.stride = self.blocks.groups, self.blocks.stride
        self.core_groups = self.blocks.core_groups
        self._scratch: dict[str, object] = {}
        self._tiles: dict[tuple[int, int, int], tuple[Tiles, object]] = {}
        self.dtype = np.dtype(REALS[real])
        device = lattice.device
        sites, permutations = lattice.local_sites, self.blocks.permutations()
        low, high = self.blocks.shift_masks()
        self.tables = [device.from_host(np.ascontiguousarray(table)) for table in (
            self.blocks.neighbours(), permutations.astype(np.int64), permutations.astype(np.int32),
            self.blocks.site_numbers().astype(np.int32))]
        prefetch = (sites > PREFETCH_SITES) + (sites * self.dtype.itemsize > MEMORY_BYTES)
        distance = min(max(self.blocks.block[0] // 2, NEAREST), FARTHEST)
        self.geometry = Geometry(*[device.pointer(table) for table in self.tables], self.groups, self.stride, low, high, prefetch,
                                 distance)
        self.halo = HaloExchange(self)
        self.conversion_tables: dict[str, object] = {}

    def tiles(self, reals: int, reach: int = 1, whole: int = 1) -> tuple[Tiles, object]:
        """How to go through the lattice in steps that look so far behind, in tiles where it is large, if the device does well on
        a tile; and `Tiles.positions` on the device. reals: of a site, that the steps read and write. whole: what depends on the
        number of threads, slices for the cache of one core and pieces, only if it is of whole multiples of so many lane groups.
        """
        parts = self._parts(reals, reach)
        slices = parts or int(self._slices_pay(reals, reach))
        found = self._tiles_of(slices, reach, self._rows(reals, slices, reach))
        return found if found[0].begins_at_multiples(whole) else self._tiles_of(parts, reach, 0)

    def _tiles_of(self, *key: int) -> tuple[Tiles, object]:
        if key not in self._tiles:
            tiles = Tiles(self.blocks, *key)
            self._tiles[key] = tiles, self.lattice.device.from_host(tiles.positions().astype(np.int32))
        return self._tiles[key]

    def _rows(self, reals: int, parts: int, reach: int) -> int:
        """Rows of a part in a piece, of which the cache of one core holds what steps read and write; 0 for the whole part.

        Slices in one part of steps to the nearest neighbours are cut only where half of that holds several rows, as of SU(2): in
        pieces of fewer, whose beginning is not fetched ahead, they would take up to 3% longer.
        """
        device, block = self.lattice.device, self.blocks.block
        if not (parts and device.piece_bytes) or self.lattice.dimensions < 3 or not self.blocks.same_parities(2):
            return 0
        held = device.piece_bytes * block[-1] * block[-2] // (self.lattice.local_sites * reals * self.dtype.itemsize)
        if parts == reach == 1:
            held = held // 2 if held >= 2 * SEVERAL else block[-2]
        rows = max(1, held)
        return rows if rows * parts < block[-2] else 0

    def _slices_pay(self, reals: int, reach: int) -> bool:
        """Whether the cache of one core, too small for all, holds two slices for each step behind."""
        limit, work = self.lattice.device.piece_bytes, self.lattice.local_sites * reals * self.dtype.itemsize
        return 2 * reach * work // self.blocks.block[-1] <= limit < work

    def _parts(self, reals: int, reach: int) -> int:
        """Parts of a slice, so many that of a part the cache holds two slices for each step behind; 0 for no slices, as all stays
        there. Of the last `reach` rows of a part all slices are kept, so parts of no more rows would keep everything.
        """
        device, slices = self.lattice.device, self.blocks.block[-1]
        sites, site_bytes = self.lattice.local_sites, reals * self.dtype.itemsize
        if sites * site_bytes < device.tile_bytes or sites < slices * device.least_sites:
            return 0
        if self.lattice.dimensions < 3 or not self.blocks.same_parities(2):
            return 1
        wanted = 2 * reach * sites // slices * site_bytes // device.tile_bytes
        filled = sites // (slices * device.least_sites) if device.least_sites else wanted
        return max(1, min(wanted, filled, self.blocks.block[-2] // (2 * reach)))

    def scratch(self, reals: int, use: str = "plaquettes"):
        """Uninitialised reals for steps of one piece of work (pieces run one after the other: a buffer serves all of one use)."""
        kept = self._scratch.get(use)
        if kept is None or kept.size < reals:
            kept = self._scratch[use] = self.lattice.device.empty((reals,), self.dtype)
        return kept

    def empty(self, *components: int, parities: int = 2):
        """Zero-filled field array (parity, group, component..., lane)."""
        if 2 * self.stride * prod(components) >= 1 << 31:
            raise InputError(f"a field of {prod(components)} reals per site on {self.lattice.local_sites} sites of one rank is "
                             "beyond the kernels' 32-bit counters; use more ranks or more lanes")
        return self.lattice.device.zeros((parities, self.stride, *components, self.lanes), self.dtype)

    def kernel(self, file: str, name: str, colors: int = 0, Ls: int = 0):
        """A kernel specialised for this layout; 0 for kernels that do not know the gauge group or the fifth dimension."""
        dimensions = self.lattice.dimensions if colors else 0
        return self.lattice.device.unit(file, self.real, self.lanes, colors, dimensions, Ls)[name]

    def launch(self, kernel, *arguments, begin=0, end=None, parity=0, parities=2, keep=()):
        """Run a site kernel on groups begin..end of `parities` parities from `parity` on."""
        span = Range(begin, self.groups if end is None else end, parity, parities, 0)
        if span.begin < span.end:
            self.lattice.device.launch(kernel, kernel.structure(span, *arguments), *keep)

    def reduce(self, kernel, result, *arguments, leading=(), spans=None, parity=0, parities=2, keep=(), between=None,
               before=None):
        """Run a reduction into the device array `result`, then sum over ranks. Collective.

        spans: list of (begin, end) run one after the other, `between()` after the first (overlap with communication); before:
        what to call before spans, by their place in the list. Spans that begin at whole partial sums may be cut and ordered in
        any way, bit for bit.
        """
        lattice, device = self.lattice, self.lattice.device
        spans = spans or [(0, self.groups)]
        places, count = partial_places(spans, parities, device.summed_groups(kernel, self.lanes))
        partials = lattice.partials(count * kernel.kind)
        for number, ((begin, end), place) in enumerate(zip(spans, places, strict=True)):
            if before and number in before:
                before[number]()
            if begin < end:
                span = Range(begin, end, parity, parities, place)
                structure = kernel.structure(span, *leading, device.pointer(partials), *arguments)
                device.launch(kernel, structure, partials, *keep)
            if number == 0 and between is not None:
                between()
        self.sum_partials(partials, result, count, kernel.kind)
        lattice.global_sum(result)

    def launch_around(self, kernel, between, result, *arguments, parity=0, keep=()) -> None:
        """A stencil on one parity: core groups, `between()` (other ranks' faces arrive), edge groups. Collective.

        result: device array for the sum over all sites of a reduction kernel; None for site kernels.
        """
        spans = [(0, self.core_groups), (self.core_groups, self.groups)]
        if result is not None:
            self.reduce(kernel, result, *arguments, leading=(self.geometry,), spans=spans, between=between, parity=parity,
                        parities=1, keep=keep)
            return
        for number, (begin, end) in enumerate(spans):
            self.launch(kernel, self.geometry, *arguments, begin=begin, end=end, parity=parity, parities=1, keep=keep)
            if number == 0:
                between()

    def sum_partials(self, partials, result, count: int, components: int) -> None:
        """result[k] = sum over i of partials[i, k], in a fixed order."""
        device = self.lattice.device
        kernel = self.kernel("linear_algebra.cc", "sum_partials")
        structure = kernel.structure(device.pointer(partials), device.pointer(result), count, components)
        device.launch(kernel, structure, partials, result)

    def conversion_table(self, source: "Layout"):
        """Where each site of this layout lies in another, (group * lanes + lane) of the same parity: device int32 array.

        Also the length of the runs of lanes that lie side by side there.
        """
        where = np.empty((2, self.lattice.local_sites), np.int64)
        numbers = source.blocks.local_numbers()
        position = np.arange(source.groups)[:, None] * source.lanes + np.arange(source.lanes)
        for parity in (0, 1):
            where[parity, numbers[parity]] = position
        table = np.zeros((2, self.stride, self.lanes), np.int32)
        mine = self.blocks.local_numbers()
        for parity in (0, 1):
            table[parity, :self.groups] = where[parity][mine[parity]]
        run = self.lanes
        used = table[:, :self.groups].reshape(-1, self.lanes)
        while not (np.diff(used.reshape(-1, run), axis=1) == 1).all():
            run //= 2
        return self.lattice.device.from_host(table), run

