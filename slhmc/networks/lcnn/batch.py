"""`LinkBatch`: the links of several configurations as the kernels of networks read them, samples in the lanes."""

from functools import cached_property
from math import prod

import numpy as np
import torch

from slhmc.errors import InputError

REALS = {2: 4, 3: 18}  # of a packed link
MOST_WEIGHTS = 10**8  # of one layer, 0.8 GB in double
TORCH_TYPES = {"double": torch.float64, "float": torch.float32}
# second row (-b*, a*) of an SU(2) matrix from Re a, Im a, Re b, Im b: rows are the eight reals of the matrix
SU2_MATRIX = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1],
                       [0, 0, -1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, -1, 0, 0]], np.float64)


def check_weights(shape) -> None:
    """InputError, before memory is taken, for a layer with weights of an absurd shape."""
    if prod(shape) > MOST_WEIGHTS:
        raise InputError(f"a layer with {' x '.join(map(str, shape))} = {prod(shape):.1e} weights; {MOST_WEIGHTS:.0e} are the "
                         "most: make it smaller (channels, kernel, nodes, time_degree)")


class LinkBatch:
    """Links of several configurations of one extent, and what is made of them once.

    links: [sample, mu, real, site], sites lexicographic with x fastest; SU(2): Re a, Im a, Re b, Im b of the first row, SU(3): 18
    reals, row by row, real and imaginary part side by side. `links` here is a tensor (block, mu, real, site, lane): blocks of as
    many samples as a vector has lanes, the last one filled up with copies. algebra: "quaternion" or "matrix", the form of fields
    made of these links (kernels/lcnn.h). Raises InputError for links of another shape.
    """

    def __init__(self, device, links, extent, colors: int, real: str = "double"):
        extent, links = tuple(extent), torch.as_tensor(links)
        expected = (len(extent), REALS.get(colors), prod(extent))
        if colors not in REALS:
            raise InputError(f"networks of SU({colors}) links are not built; Nc = 2 and 3 are")
        if links.ndim != 4 or tuple(links.shape[1:]) != expected or len(links) == 0:
            raise InputError(f"links of shape {tuple(links.shape)}; [sample, mu, real, site] of a {'x'.join(map(str, extent))} "
                             f"lattice of SU({colors}) is [1 or more, {', '.join(map(str, expected))}]")
        self.device, self.extent, self.colors, self.real, self.samples = device, extent, colors, real, len(links)
        self.lanes = choose_lanes(self.samples, device.default_lanes(real))
        blocks = -(-self.samples // self.lanes)
        order = torch.arange(blocks * self.lanes) % self.samples
        packed = links[order].to(TORCH_TYPES[real]).unflatten(0, (blocks, self.lanes))
        self.links = packed.permute(0, 2, 3, 4, 1).contiguous().to(device.torch_device())
        self.algebra = "quaternion" if colors == 2 else "matrix"
        self._derived: dict = {}

    # ---- shape
    @property
    def blocks(self) -> int:
        return -(-self.samples // self.lanes)

    @property
    def sites(self) -> int:
        return prod(self.extent)

    @property
    def dimensions(self) -> int:
        return len(self.extent)

    @property
    def components(self) -> int:
        """Real components of a matrix of fields on these links."""
        return 4 if self.algebra == "quaternion" else 2 * self.colors**2

    @property
    def link_reals(self) -> int:
        """Reals of a link as it is kept for this algebra."""
        return 4 if self.algebra == "quaternion" else 2 * self.colors**2

    @property
    def hermitian(self) -> int:
        """How many of the components are those of the Hermitian part; they come first."""
        return 1 if self.algebra == "quaternion" else self.colors**2

    @cached_property
    def kernels(self) -> dict:
        """The kernels of this algebra, precision and number of lanes."""
        return self.device.unit(f"lcnn_{self.algebra}.cc", self.real, self.lanes, self.colors)

    # ---- relatives
    def with_links(self, links) -> "LinkBatch":
        """The same batch with other links, a tensor of the shape of `links`."""
        other = object.__new__(LinkBatch)
        other.__dict__.update({name: value for name, value in self.__dict__.items() if name not in ("links", "_derived")})
        other.links, other._derived = links, {}
        return other

    def bare(self) -> "LinkBatch":
        """The same without links: what a function of torch keeps for its way back. With links it would be part of a ring,
        function -> batch -> what is derived of its links -> function, that no one ever frees.
        """
        return self.with_links(None)

    def in_algebra(self, algebra: str) -> "LinkBatch":
        """The same links, for fields of that algebra: SU(2) in quaternions or in full matrices."""
        if algebra == self.algebra:
            return self
        if (self.algebra, algebra) != ("quaternion", "matrix"):
            raise InputError(f"SU({self.colors}) matrices are not quaternions, found algebra = {algebra!r}; use complex weights")
        if algebra not in self._derived:
            full = torch.einsum("rq,bmqsl->bmrsl", torch.as_tensor(SU2_MATRIX).to(self.links), self.links).contiguous()
            other = self.with_links(full)
            other.__dict__.pop("kernels", None)
            other.algebra = algebra
            self._derived[algebra] = other
        return self._derived[algebra]

    def derived(self, key, make):
        """`make()`, kept with these links under `key`."""
        if key not in self._derived:
            self._derived[key] = make()
        return self._derived[key]

    # ---- tables and tensors
    def targets(self, *steps: tuple[int, int]) -> torch.Tensor:
        """int32 [site]: the site that (mu, number of steps) ... lead to from each site."""
        return shifted_sites(self.device, self.extent, steps)

    def launch(self, name: str, sites: int, *values, begin: int = 0) -> None:
        """A kernel on the sites begin..begin + sites; tensors among `values` stand for their addresses, None for no array."""
        kernel = self.kernels[name]
        fields = [value.data_ptr() if isinstance(value, torch.Tensor) else value for value in values]
        self.device.launch(kernel, kernel.structure((begin, begin + sites, 0, 1, 0), *fields))

    def expect(self, **tensors: tuple[torch.Tensor, tuple[int, ...]]) -> None:
        """ValueError unless each tensor is (block, ..., site, lane) with these numbers in the middle: kernels see addresses."""
        for name, (tensor, middle) in tensors.items():
            shape = (self.blocks, *middle, self.sites, self.lanes)
            if tuple(tensor.shape) != shape or tensor.dtype != TORCH_TYPES[self.real]:
                raise ValueError(f"{name}: {tuple(tensor.shape)} of {tensor.dtype}, expected {shape} of {TORCH_TYPES[self.real]}")

    def of_samples(self, field: torch.Tensor) -> torch.Tensor:
        """A field (block, ..., site, lane) as (sample, site, ...)."""
        return field.movedim((-1, -2), (1, 2)).flatten(0, 1)[:self.samples]

    def links_of_samples(self) -> torch.Tensor:
        """The links as (sample, mu, real, site)."""
        return self.links.movedim(-1, 1).flatten(0, 1)[:self.samples]


def choose_lanes(samples: int, most: int) -> int:
    """The power of 2 up to `most` with the least work: matrix products grow with the samples, copies in the last block counted;
    kernels, about as dear with four lanes, with the number of vectors, of which those beyond 8 lanes gain little.
    """
    def work(lanes):
        padded = -(-samples // lanes) * lanes
        return padded * (1 + 4 / min(lanes, 8)), -lanes
    return min((1 << k for k in range(most.bit_length()) if 1 << k <= most), key=work)


_TABLES: dict = {}


def shifted_sites(device, extent: tuple[int, ...], steps: tuple[tuple[int, int], ...]) -> torch.Tensor:
    """int32 [site] on the device: where the steps (mu, how many) lead to from each site, in a periodic lattice; kept."""
    key = (device.name, extent, steps)
    if key not in _TABLES:
        numbers = np.arange(prod(extent), dtype=np.int32).reshape(extent[::-1])
        for mu, count in steps:
            numbers = np.roll(numbers, -count, axis=len(extent) - 1 - mu)
        _TABLES[key] = torch.as_tensor(numbers.ravel().copy()).to(device.torch_device())
    return _TABLES[key]
