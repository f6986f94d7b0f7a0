"""Hopping links: a second copy of the links, with phases and both directions, for the solvers (kernels/hopping.h)."""

import numpy as np

from slhmc.errors import InputError
from slhmc.lattice import GaugeField
from slhmc.lattice.fields import Field, convert

OPPOSITE = {"even": "odd", "odd": "even"}


def link_reals(colors: int, rows: int = 2) -> int:
    """Reals of one hopping link: SU(2) a quaternion, SU(3) so many rows."""
    return 4 if colors == 2 else 2 * colors * rows


def _phase_codes(layout, boundary, phases: str) -> tuple[np.ndarray, np.ndarray]:
    """Signs of the hopping links as (codes (2, stride, 2D), table of lane vectors (2 + 4D, lanes)).

    Code 0 is +1, code 1 is -1; 2 + 2d (3 + 2d) is +1 (-1) times the boundary phase in the lanes that cross it in direction d.
    phases: "staggered" (eta_mu, and -1 for backward hops) or "none".
    """
    blocks, dimensions = layout.blocks, layout.blocks.dimensions
    codes = np.empty((2, blocks.stride, 2 * dimensions), np.int8)
    signs = np.ones((2 + 4 * dimensions, blocks.lanes))
    signs[1] = -1
    for mu in range(dimensions):
        odd_eta = blocks.coordinates[:mu].sum(0) % 2  # eta_mu = (-1)^(x_0 + ... + x_{mu-1})
        for ahead, direction in ((True, mu), (False, mu + dimensions)):
            negative = odd_eta ^ (not ahead) if phases == "staggered" else 0
            edge_site = blocks.block[mu] - 1 if ahead else 0
            edge_lane = blocks.lane_grid[mu] - 1 if ahead else 0
            edge_rank = blocks.rank_grid[mu] - 1 if ahead else 0
            crossing = (blocks.coordinates[mu] == edge_site) & (blocks.rank_coordinates[mu] == edge_rank)
            codes[:, :, direction] = np.where(crossing, 2 + 2 * direction, 0) + negative
            lanes = np.where(blocks.lane_digits[mu] == edge_lane, float(boundary[mu]), 1.0)
            signs[2 + 2 * direction], signs[3 + 2 * direction] = lanes, -lanes
    return codes, signs.astype(layout.dtype)


class HoppingLinks(Field):
    """Links of a gauge field as a hopping term wants them; follow it by `update`.

    phases: "staggered" or "none". rows: stored rows of SU(3) matrices, 2 or 3; SU(2) always keeps one row, a quaternion.
    """

    def __init__(self, U: GaugeField, boundary, real: str, phases: str, rows: int = 2):
        if U.colors not in (2, 3):
            raise InputError(f"quarks with {U.colors} colours: the hopping kernels know 2 and 3")
        self.boundary, self.phases, self.rows = tuple(boundary), phases, rows
        self.link_reals = link_reals(U.colors, rows)
        super().__init__(U.lattice.layout(real), (2 * U.lattice.dimensions, self.link_reals))
        codes, signs = _phase_codes(self.layout, boundary, phases)
        self.codes, self.signs = (self.lattice.device.from_host(table) for table in (codes, signs))
        self.phase_pointers = [self.lattice.device.pointer(table) for table in (self.codes, self.signs)]
        self.version = -1

    @classmethod
    def of(cls, U: GaugeField, boundary, real: str, phases: str, rows: int = 2) -> "HoppingLinks":
        """The hopping links of U, made once and shared by all operators on U, brought up to date."""
        key = ("hopping", tuple(boundary), real, phases, rows)
        if key not in U.derived:
            U.derived[key] = cls(U, boundary, real, phases, rows)
        links = U.derived[key]
        links.update(U)
        return links

    def update(self, U: GaugeField) -> None:
        """Rebuild if U changed. Collective."""
        if self.version == U.version:
            return
        if self.lattice.device.in_loop:
            raise RuntimeError("hopping links would be rebuilt in the body of a loop: call prepare() before the loop")
        if self.layout.real == "double":
            U.update_staple_halo()
            kernel = U.kernel("hopping.cc", "hopping_links")
            self.layout.launch(kernel, self.layout.geometry, U.pointer, self.pointer, *self.phase_pointers, self.link_reals,
                               keep=(U, self))
        else:
            convert(HoppingLinks.of(U, self.boundary, "double", self.phases, self.rows), self)
        self.version = U.version
