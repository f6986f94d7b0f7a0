"""What larger machines would do: a model of an iteration of the solver, and of a trajectory, on many ranks."""

from dataclasses import dataclass
from math import log2, prod

from slhmc.bench.cases import hopping_bytes, hopping_flops, plaquette_force_flops
from slhmc.bench.spinors import hop_flops
from slhmc.lattice.fields import link_reals
from slhmc.lattice.geometry import choose_rank_grid

COLORS, SINGLE = 3, 4
GAUGE_FORCE_BYTES = 1088  # a site, SU(3) in double: links, and a force that is read and written


@dataclass(frozen=True)
class Machine:
    """Rates of one rank in bytes and flops a second, seconds of a message and of the start of a kernel.

    network: out of a rank, all directions together. exchange: seconds that each exchange costs the host besides.
    """

    name: str
    memory: float
    flops: float
    network: float
    latency: float
    launch: float
    exchange: float = 0.0


@dataclass(frozen=True)
class Operator:
    """An iteration of even-odd conjugate gradient in single precision, SU(3): numbers a site of the whole lattice.

    face: bytes of a site of a face that one hop sends; hops: exchanges; kernels: launches.
    """

    name: str
    flops: float
    moved: float
    face: int
    hops: int
    kernels: int


def operators() -> dict[str, Operator]:
    """Flops and bytes by the formulas of the benchmark, whose "CG step" rows they are, for half of the sites."""
    vector, spinor = 2 * COLORS, 8 * COLORS
    staggered = Operator("staggered", (2 * hopping_flops(COLORS, 4) + 14 * vector) / 2,
                         (2 * hopping_bytes(COLORS, 4, SINGLE) + 9 * vector * SINGLE) / 2, vector * SINGLE, 2, 8)
    wilson = Operator("wilson", (4 * hop_flops(COLORS) + 14 * spinor) / 2,
                      SINGLE * (4 * (8 * link_reals(COLORS) + 2 * spinor) + 10 * spinor) / 2, spinor * SINGLE, 4, 12)
    return {"staggered": staggered, "wilson": wilson}


@dataclass(frozen=True)
class Iteration:
    """Seconds of an iteration on each of several ranks, by what takes them, and bytes that a rank sends."""

    grid: tuple[int, ...]
    local: tuple[int, ...]
    work: float
    halo: float
    halo_bytes: float
    waiting: float

    @property
    def seconds(self) -> float:
        """Messages travel beside the work on inner sites; latencies and launches come on top."""
        return max(self.work, self.halo) + self.waiting

    @property
    def bottleneck(self) -> str:
        """What takes the largest part."""
        return max((self.work, "memory"), (self.halo, "network"), (self.waiting, "latency"))[1]


def iteration(machine: Machine, operator: Operator, extent: tuple[int, ...], ranks: int) -> Iteration:
    """The longer of bytes over bandwidth and flops over peak; faces of one parity over the network; a latency for the messages
    of each hop, which leave side by side, and log2(ranks) of them for each of two sums."""
    grid = choose_rank_grid(extent, ranks)
    local = tuple(n // r for n, r in zip(extent, grid, strict=True))
    sites, split = prod(local), [mu for mu, r in enumerate(grid) if r > 1]
    # two faces of each direction that is split, half of their sites
    halo_bytes = operator.hops * operator.face * sum(sites // local[mu] for mu in split)
    hops, sums = operator.hops * bool(split), 2 * (ranks > 1)
    waiting = (hops + sums * log2(ranks)) * machine.latency + (hops + sums) * machine.exchange + operator.kernels * machine.launch
    work = max(sites * operator.moved / machine.memory, sites * operator.flops / machine.flops)
    return Iteration(grid, local, work, halo_bytes / machine.network, halo_bytes, waiting)


@dataclass(frozen=True)
class Trajectory:
    """Iterations and gauge forces of one trajectory; flops, bytes and halo bytes of all ranks."""

    operator: Operator
    iterations: int
    gauge_forces: int

    def flops(self, sites: int) -> float:
        return sites * (self.iterations * self.operator.flops + self.gauge_forces * plaquette_force_flops(COLORS, 4))

    def moved(self, sites: int) -> float:
        return sites * (self.iterations * self.operator.moved + self.gauge_forces * GAUGE_FORCE_BYTES)

    def seconds(self, machine: Machine, extent: tuple[int, ...], ranks: int) -> float:
        """Gauge forces by their bytes; in double precision their flops count twice."""
        sites = prod(extent) // ranks
        force = max(sites * GAUGE_FORCE_BYTES / machine.memory, 2 * sites * plaquette_force_flops(COLORS, 4) / machine.flops)
        return self.iterations * iteration(machine, self.operator, extent, ranks).seconds + self.gauge_forces * force
