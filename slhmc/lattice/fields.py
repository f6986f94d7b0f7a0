"""Fields on a lattice. Arrays are (parity, group, component..., lane); public arrays are complex, [t, z, y, x, ...]."""

import numpy as np

from slhmc.errors import InputError
from slhmc.lattice.communicator import receive_array, send_array
from slhmc.lattice.lattice import Lattice, Layout
from slhmc.lattice.scalar import Scalar

PARITIES = {"even": 0, "odd": 1}


def link_reals(colors: int) -> int:
    """Reals of one stored link: SU(2) is a real quaternion (its first row), otherwise the full complex matrix."""
    return 4 if colors == 2 else 2 * colors * colors


def algebra_dimension(colors: int) -> int:
    """Number of generators, Nc^2 - 1."""
    return colors * colors - 1


class Field:
    """An array of `components` reals per site on one layout, on both parities or one."""

    def __init__(self, layout: Layout, components: tuple[int, ...], parity: str = "both"):
        self.layout, self.lattice = layout, layout.lattice
        self.components, self.parity = components, parity
        self.array = layout.empty(*components, parities=2 if parity == "both" else 1)
        self.pointer = self.lattice.device.pointer(self.array)

    @property
    def component_count(self) -> int:
        return int(np.prod(self.components))

    @property
    def _span(self):
        """(end, parities) of the linear kernels: vectors of lanes of each parity, without halo."""
        return self.layout.groups * self.component_count, 2 if self.parity == "both" else 1

    @property
    def _parity_stride(self) -> int:
        return self.layout.stride * self.component_count

    @property
    def parity_bytes(self) -> int:
        """Distance in memory between the even and the odd part."""
        return self._parity_stride * self.layout.lanes * self.layout.dtype.itemsize

    def assign_combination(self, a: float, x: "Field", b: float = 0.0, y: "Field | None" = None) -> None:
        """self <- a x + b y (component by component)."""
        end, parities = self._span
        kernel = self.layout.kernel("linear_algebra.cc", "combine")
        y = x if y is None else y
        self.layout.launch(kernel, self._parity_stride, x.pointer, y.pointer, self.pointer, a, b,
                           end=end, parities=parities, keep=(x, y, self))

    def assign(self, other: "Field") -> None:
        """self <- other."""
        self.assign_combination(1.0, other)

    def clear(self) -> None:
        """self <- 0, even where it held something that is not a number."""
        end, parities = self._span
        kernel = self.layout.kernel("linear_algebra.cc", "clear")
        self.layout.launch(kernel, self._parity_stride, self.pointer, end=end, parities=parities, keep=(self,))

    def inner(self, other: "Field") -> Scalar:
        """Sum over all sites and components of self * other: Re <self, other>. Collective."""
        result = Scalar(self.lattice)
        self.inner_into(other, result.array)
        return result

    def inner_into(self, other: "Field", result) -> None:
        """As `inner`, into a device array of one double. Collective."""
        end, parities = self._span
        kernel = self.layout.kernel("linear_algebra.cc", "dot")
        self.layout.reduce(kernel, result, self.pointer, other.pointer, leading=(self._parity_stride,),
                           spans=[(0, end)], parities=parities, keep=(self, other))

    def draw_gaussian(self, random, scale: float = 1.0) -> None:
        """Independent normal deviates of width `scale` in every component."""
        kernel = self.layout.kernel("random.cc", "gaussian")
        parity = PARITIES.get(self.parity, 0)
        pointer = self.pointer - parity * self.parity_bytes  # the kernel adds the parity's offset
        self.layout.launch(kernel, self.layout.geometry, pointer, self.component_count, scale, random,
                           parity=parity, parities=self._span[1], keep=(self,))

    # ---- public order
    def _local_reals(self) -> np.ndarray:
        """This rank's values in site order: shape (local_sites, components), x fastest; 0 on sites of a parity not held."""
        host = self.lattice.device.to_host(self.array)[:, :self.layout.groups]
        host = host.reshape(host.shape[0], self.layout.groups, self.component_count, self.layout.lanes)
        host = host.transpose(0, 1, 3, 2)
        values = np.zeros((self.lattice.local_sites, self.component_count), self.layout.dtype)
        numbers = self.layout.blocks.local_numbers()
        for k, parity in enumerate(_parity_numbers(self.parity)):
            values[numbers[parity]] = host[k]
        return values

    def _assign_local_reals(self, values: np.ndarray) -> None:
        numbers = self.layout.blocks.local_numbers()
        host = self.lattice.device.to_host(self.array)
        flat = host.reshape(host.shape[0], self.layout.stride, self.component_count, self.layout.lanes)
        for k, parity in enumerate(_parity_numbers(self.parity)):
            flat[k, :self.layout.groups] = values[numbers[parity]].transpose(0, 2, 1)
        self.lattice.device.assign(self.array, host)

    def gather_reals(self) -> np.ndarray | None:
        """All sites on the root rank, shape [t, z, y, x, components]; None elsewhere. Collective."""
        lattice = self.lattice
        communicator, mine = lattice.communicator, self._local_reals()
        if not lattice.is_root:
            send_array(communicator, mine, 0)
            return None
        result = np.empty((*reversed(lattice.extent), self.component_count), self.layout.dtype)
        for rank in range(communicator.size):
            values = receive_array(communicator, np.empty_like(mine), rank) if rank else mine
            block = values.reshape(*reversed(lattice.local), self.component_count)
            result[_rank_slices(lattice, lattice.coordinates_of(rank))] = block
        return result

    def scatter_reals(self, values: np.ndarray | None) -> None:
        """Inverse of `gather_reals`: `values` on the root rank reach all ranks. Collective."""
        lattice = self.lattice
        mine = np.empty((lattice.local_sites, self.component_count), self.layout.dtype)
        if lattice.is_root:
            for rank in reversed(range(lattice.communicator.size)):  # its own part last
                mine[:] = values[_rank_slices(lattice, lattice.coordinates_of(rank))].reshape(mine.shape)
                if rank:
                    send_array(lattice.communicator, mine, rank)
        else:
            receive_array(lattice.communicator, mine, 0)
        self._assign_local_reals(mine)


def _parity_numbers(parity: str) -> tuple[int, ...]:
    return (0, 1) if parity == "both" else (PARITIES[parity],)


def _rank_slices(lattice: Lattice, coordinates) -> tuple[slice, ...]:
    return tuple(slice(c * n, (c + 1) * n) for c, n in zip(reversed(coordinates), reversed(lattice.local), strict=True))


class GaugeField(Field):
    """Links U_mu(x) in SU(colors), x -> x + mu. New fields hold unit links.

    `changed()` must follow every write to the links, so that halos and derived fields know.
    """

    def __init__(self, lattice: Lattice, colors: int):
        if not 2 <= colors <= 6:
            raise InputError(f"colors = {colors}: the gauge kernels know SU(2) to SU(6)")
        super().__init__(lattice.layout("double"), (lattice.dimensions, link_reals(colors)))
        self.colors = colors
        self.version = 0
        self._halo_version = self._staples_version = -1
        self.derived: dict = {}
        unit = np.zeros((lattice.local_sites, lattice.dimensions, link_reals(colors)))
        unit[:, :, [0] if colors == 2 else [2 * (i * colors + i) for i in range(colors)]] = 1
        self._assign_local_reals(unit.reshape(lattice.local_sites, -1))

    def kernel(self, file: str, name: str):
        return self.layout.kernel(file, name, self.colors)

    def changed(self) -> None:
        """The links were written."""
        self.version += 1

    def assign(self, other: "GaugeField") -> None:
        super().assign(other)
        self.changed()

    def update_halo(self) -> None:
        """Bring other ranks' links up to date, if any changed. Collective."""
        if self._halo_version != self.version:
            self.layout.halo.all_links(self.array, self.component_count)
            self._halo_version = self._staples_version = self.version

    def update_staple_halo(self) -> None:
        """As `update_halo`, but only what plaquettes and their staples read: depth 1. Collective."""
        if self._staples_version != self.version:
            self.layout.halo.staple_links(self.array, link_reals(self.colors))
            self._staples_version = self.version

    def part_changed(self, mu: int, parity: int) -> None:
        """The links in direction mu on one parity were written: if other ranks have the rest, only these travel. Collective."""
        fresh = self._staples_version == self.version
        self.changed()
        if fresh:
            self.layout.halo.staple_links(self.array, link_reals(self.colors), (mu,), parity)
            self._staples_version = self.version

    def copy(self) -> "GaugeField":
        result = GaugeField(self.lattice, self.colors)
        result.assign(self)
        return result

    def randomize(self, random) -> None:
        """Haar-random links (hot start)."""
        self.layout.launch(self.kernel("links.cc", "random_links"), self.layout.geometry, self.pointer, random, keep=(self,))
        self.changed()

    def reunitarize(self) -> None:
        """Remove rounding errors from the links: rows orthonormal, determinant 1."""
        self.layout.launch(self.kernel("links.cc", "reunitarize"), self.layout.geometry, self.pointer, keep=(self,))
        self.changed()

    def drift(self, momenta: "AlgebraField", step: float) -> None:
        """U <- exp(step P) U."""
        self.layout.launch(self.kernel("links.cc", "link_update"), self.layout.geometry, self.pointer, momenta.pointer, step,
                           keep=(self, momenta))
        self.changed()

    def to_sites(self) -> np.ndarray | None:
        """Links on the root rank, complex [t, z, y, x, mu, row, column]; None elsewhere. Collective."""
        reals = self.gather_reals()
        if reals is None:
            return None
        n, shape = self.colors, (*reals.shape[:-1], self.lattice.dimensions)
        if n > 2:
            return reals.view(np.complex128).reshape(*shape, n, n)
        row = reals.view(np.complex128).reshape(*shape, 2)
        return np.stack([row, np.stack([-row[..., 1].conj(), row[..., 0].conj()], -1)], -2)

    def from_sites(self, links: np.ndarray | None) -> None:
        """Take links given on the root rank in the order of `to_sites`; InputError if their shape is another. Collective."""
        n, lattice, fault = self.colors, self.lattice, None
        expected = (*reversed(lattice.extent), lattice.dimensions, n, n)
        if lattice.is_root and np.shape(links) != expected:
            fault = (f"links of shape {np.shape(links)} found, {expected} expected: [t, z, y, x, mu, row, column]; give links "
                     "of this lattice and group, the last direction first")
        if fault := lattice.communicator.bcast(fault):
            raise InputError(fault)
        if links is not None:
            rows = links[..., 0, :] if n == 2 else links
            values = np.ascontiguousarray(rows, np.complex128).view(np.float64)
            links = values.reshape(*reversed(self.lattice.extent), self.component_count)
        self.scatter_reals(links)
        self.changed()


class LinkField(Field):
    """A matrix for each link that transforms like it, stored like links: sums of paths, derivatives with respect to links.

    SU(2): real quaternions, multiples of group elements.
    """

    def __init__(self, lattice: Lattice, colors: int):
        super().__init__(lattice.layout("double"), (lattice.dimensions, link_reals(colors)))
        self.colors = colors

    def update_staple_halo(self) -> None:
        """Fetch what plaquettes and their staples read. Collective."""
        self.layout.halo.staple_links(self.array, link_reals(self.colors))


class AlgebraField(Field):
    """Momenta or forces: real coefficients P_a of P = sum_a P_a T_a for each link."""

    def __init__(self, lattice: Lattice, colors: int):
        super().__init__(lattice.layout("double"), (lattice.dimensions, algebra_dimension(colors)))
        self.colors = colors

    def like(self) -> "AlgebraField":
        return AlgebraField(self.lattice, self.colors)

    def kinetic_energy(self) -> Scalar:
        """sum P_a^2 / 2. Collective."""
        return 0.5 * self.inner(self)


class FermionField(Field):
    """Quark field psi(x) on "even", "odd" or "both" parities, in double or single precision.

    A site holds Ls * spins colour vectors: one for staggered quarks, 4 spins for Wilson quarks, Ls times that for domain-wall
    quarks; order (s, spin, colour, re/im). Ls counts vectors as well where staggered ones are in a block of right-hand sides.
    """

    def __init__(self, lattice: Lattice, colors: int, parity: str = "both", real: str = "double", spins: int = 1, Ls: int = 1):
        super().__init__(lattice.layout(real), (Ls * spins * 2 * colors,), parity)
        self.colors, self.spins, self.Ls = colors, spins, Ls

    def like(self, parity: str | None = None, real: str | None = None) -> "FermionField":
        """A zero field of the same components."""
        return FermionField(self.lattice, self.colors, parity or self.parity, real or self.layout.real, self.spins, self.Ls)

    def parity_pointer(self, parity: str) -> int:
        """Address of the part on one parity."""
        if self.parity == "both":
            return self.pointer + PARITIES[parity] * self.parity_bytes
        return self.pointer

    def parity_array(self, parity: str):
        """The part on one parity, shape (1, stride, components, lanes)."""
        return self.array[PARITIES[parity]:PARITIES[parity] + 1] if self.parity == "both" else self.array

    def assign_parity(self, other: "FermionField") -> None:
        """Copy a field of one parity into that part of this field on both parities."""
        kernel = self.layout.kernel("linear_algebra.cc", "combine")
        target = self.parity_pointer(other.parity)
        self.layout.launch(kernel, self._parity_stride, other.pointer, other.pointer, target, 1.0, 0.0,
                           end=self._span[0], parities=1, keep=(self, other))

    def insert(self, s: int, source: "FermionField", factor: float = 1.0) -> None:
        """Part s of this field <- factor source, a field of Ls = 1 on the same parity."""
        self._copy_part(source, source.pointer, self, self.pointer + s * self._part_bytes(source), factor)

    def extract(self, s: int, target: "FermionField", factor: float = 1.0) -> None:
        """target <- factor part s of this field: inverse of `insert`."""
        self._copy_part(self, self.pointer + s * self._part_bytes(target), target, target.pointer, factor)

    def _part_bytes(self, part: "FermionField") -> int:
        return part.component_count * self.layout.lanes * self.layout.dtype.itemsize

    def _copy_part(self, source: "FermionField", begin: int, target: "FermionField", to: int, factor: float) -> None:
        kernel = self.layout.kernel("linear_algebra.cc", "copy_part")
        counts = source.component_count, target.component_count
        self.layout.launch(kernel, begin, to, *counts, min(counts), factor, parities=1, keep=(source, target))

    def update_halo(self) -> None:
        """Fetch the faces of a field on both parities from other ranks. Collective."""
        self.layout.halo.all_faces(self.array, self.component_count)

    @property
    def site_shape(self) -> tuple[int, ...]:
        """Axes of a site in public order: (s, spin, colour), without those of length one but colour."""
        return (*(n for n in (self.Ls, self.spins) if n > 1), self.colors)

    @property
    def _local_shape(self) -> tuple[int, ...]:
        return (*reversed(self.lattice.local), *self.site_shape)

    def local_sites(self) -> np.ndarray:
        """The part of this rank, complex double [t, z, y, x, (s,) (spin,) colour]; 0 on sites of a parity not held."""
        self.lattice.device.synchronize()
        return self._local_reals().astype(np.float64).view(np.complex128).reshape(self._local_shape)

    def assign_local_sites(self, psi: np.ndarray) -> None:
        """Inverse of `local_sites`: each rank gives its own part."""
        values = np.ascontiguousarray(psi, np.complex128).view(np.float64)
        self._assign_local_reals(values.reshape(self.lattice.local_sites, self.component_count))

    def to_sites(self) -> np.ndarray | None:
        """The field on the root rank, complex [t, z, y, x, (s,) (spin,) colour]. Collective."""
        reals = self.gather_reals()
        if reals is None:
            return None
        return reals.astype(np.float64).view(np.complex128).reshape(*reals.shape[:-1], *self.site_shape)

    def from_sites(self, psi: np.ndarray | None) -> None:
        """Take values in the order of `to_sites`; sites of a parity not held are ignored. Collective."""
        if psi is not None:
            psi = np.ascontiguousarray(psi, np.complex128).view(np.float64)
            psi = psi.reshape(*reversed(self.lattice.extent), self.component_count)
        self.scatter_reals(psi)


def convert(source: Field, target: Field, previous: float = 0.0) -> None:
    """target <- previous target + source, between precisions and lane layouts, for fields on the same parities."""
    layout, components = target.layout, target.component_count
    tables = layout.conversion_tables
    if source.layout.real not in tables:
        tables[source.layout.real] = layout.conversion_table(source.layout)
    table, run = tables[source.layout.real]
    kernel = layout.kernel("linear_algebra.cc", "convert")
    for k, parity in enumerate(_parity_numbers(target.parity)):
        pointers = [f.pointer + k * f.parity_bytes for f in (source, target)]
        layout.launch(kernel, layout.geometry, *pointers, layout.lattice.device.pointer(table),
                      int(source.layout.real == "double"), source.layout.lanes, components, run, previous,
                      parity=parity, parities=1, keep=(source, target, table))
