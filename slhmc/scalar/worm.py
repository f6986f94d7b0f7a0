"""`WormSampler`: Markov chains of the dual variables k and l by worms and local updates.

**Weights** (arXiv:1206.2954). With S = sum_x (eta |phi|^2 + lambda |phi|^4 - sum_nu (e^(mu delta_(nu,2)) phi*_x phi_(x+nu) +
e^(-mu delta_(nu,2)) phi*_x phi_(x-nu))) and eta = 4 + m^2, integers k of any sign and l >= 0 on the links have the probability

    prod_(x,nu) 1 / ((|k| + l)! l!)  prod_x e^(mu k_(x,2)) W(f_x) delta(sum_nu (k_(x,nu) - k_(x-nu,nu))),
    f_x = sum_nu (|k_(x,nu)| + |k_(x-nu,nu)| + 2 (l_(x,nu) + l_(x-nu,nu))).

**The worm** walks in a larger set of configurations, those with one flux line open between a tail v and a head u, of charge s
= +-1, with the weight A times that of the insertion of phi at one end and phi* at the other: delta is violated by s at v and
-s at u, and each end adds one power of |phi|, so that the site weight is W(f_x + number of ends at x) = W(2 p_x). If head and
tail are at the same site the flux is conserved and that site has W(f_x + 2).

- Opening: x of N sites and s are drawn, p_x grows by 1. Closing: at u = v half of the draws try it, p_x falls by 1. The ratio
  of weights is A r(p_x), r(p) = W(2p + 2) / W(2p), that of the proposals (1/2) / (1/2N). With A = 1 / (N r(0)) the Metropolis
  probabilities are min(1, r(p_x) / r(0)) = 1, as r grows with p, for opening and r(0) / r(p_x - 1) for closing.
- Moving: one of four directions, k of that link by +-s. If |k| grows, the link has the factor 1 / (|k| + 1 + l), f grows by 1
  at both sites: the power of the site that the head comes to grows by 1, that of the site that it leaves stays, as an end
  goes and a link comes. If |k| falls, the factor is |k| + l, and the power of the site left falls by 1. Hence the ratio is
  r(p_new site) / (|k| + 1 + l) or (|k| + l) / r(p_old site - 1), times e^(+-mu) in time. A move away from home is proposed
  half as often as the one back, which is made up for by factors 2 and 1/2.

Each step satisfies detailed balance, so the chain that is looked at only when the worm is closed does, too, for the weights
of closed configurations: a sweep has a fixed number of worms, not of steps. Local updates are Metropolis proposals l +- 1
with the ratios of the weights above. Worms and local updates together reach all configurations.
"""

import numpy as np

from slhmc.backend.signatures import Random
from slhmc.errors import ComputationError, InputError
from slhmc.lattice.random import Purpose
from slhmc.scalar.weights import weight_ratios

TABLE_LENGTH = 1 << 16  # W(f) up to f = 131072


class WormSampler:
    """`chains` independent chains on a lattice extent = (Nx, Nt), each with its eta = 4 + m^2, lambda = `coupling` and mu.

    device: a `Device`. eta, coupling, mu: numbers, or one for each chain. A sweep is `worms` closed worms (default: one for
    each 32 sites, at least 1) and one proposal for every l. Chains begin empty, k = l = 0. All random numbers follow from
    seed, number of the chain and number of the sweep (Philox; docs/conventions.md), so chains do not depend on threads,
    devices or on how many sweeps a call makes. Raises InputError for numbers that have no meaning.
    """

    def __init__(self, device, extent: tuple[int, int], eta, coupling, mu, chains: int, seed: int, worms: int | None = None):
        self.extent, self.chains, self.seed = _checked_extent(extent), chains, seed
        self.sites = self.extent[0] * self.extent[1]
        self.worms = max(1, self.sites // 32) if worms is None else worms
        if chains < 1 or self.worms < 1:
            raise InputError(f"chains = {chains}, worms = {self.worms}: at least 1 of each expected")
        self.eta, self.coupling, self.mu = (_per_chain(name, value, chains) for name, value in
                                            (("eta", eta), ("lambda", coupling), ("mu", mu)))
        _check_bounded(self.eta, self.coupling, self.mu)
        self.device, self.kernels = device, device.unit("worm.cc", "double", 1)
        self._make_tables()
        self._k, self._l = (device.zeros((chains, self.sites, 2), np.int32) for _ in range(2))
        self._powers = device.zeros((chains, self.sites), np.int32)
        self._faults, self._steps = device.zeros(chains, np.int32), device.zeros(chains, np.int64)
        self._values = device.zeros((chains, 2), np.float64)
        self.sweep, self._opened = 0, 0

    def _make_tables(self) -> None:
        pairs = np.stack([self.eta, self.coupling], 1)
        different, which = np.unique(pairs, axis=0, return_inverse=True)
        tables = np.stack([weight_ratios(*pair, TABLE_LENGTH) for pair in different])
        factors = np.exp(np.stack([self.mu, -self.mu], 1))
        self._tables = tuple(map(self.device.from_host, (
            tables, which.reshape(-1).astype(np.int32), factors, _neighbours(self.extent))))

    # ---- running
    def update(self, sweeps: int = 1, *, worms: int | None = None, local: bool = True) -> None:
        """Sweeps of all chains. worms, local: other than a sweep has (worms = 0, local = False leave out that part).

        Raises ComputationError if a power of |phi| at a site leaves the table of weights; the chains are then of no more use.
        """
        worms = self.worms if worms is None else worms
        self._launch("worm_sweeps", self._k, self._l, self._powers, *self._fluxes(), self._steps, sweeps, worms, int(local),
                     Random(self.seed, Purpose.WORM, self.sweep + 1, 0))
        self.sweep += sweeps
        self._check_faults()

    @property
    def k(self) -> np.ndarray:
        """int32 [chain, t, x, nu], conserved; nu = 0 is x, nu = 1 time. A copy."""
        return self._sites(self._k)

    @property
    def l(self) -> np.ndarray:  # noqa: E743 - the name that it has in the literature
        """int32 [chain, t, x, nu], not negative. A copy."""
        return self._sites(self._l)

    @property
    def steps(self) -> np.ndarray:
        """int64 [chain]: proposals of worms in all sweeps made by this object."""
        return self.device.to_host(self._steps)

    def observables(self) -> tuple[np.ndarray, np.ndarray]:
        """(n, |phi|^2), each float64 [chain]: (1/N) sum_x k_(x,2) and (1/N) sum_x W(f_x + 2) / W(f_x)."""
        ratios, tables = self._tables[:2]
        self._launch("flux_averages", self._k, self._powers, ratios, tables, self._values, self.sites, TABLE_LENGTH)
        values = self.device.to_host(self._values)
        return values[:, 0], values[:, 1]

    def restore(self, k: np.ndarray, ell: np.ndarray, sweep: int) -> None:
        """Go on from k and l (`ell`), of the shapes of the properties, after so many sweeps. InputError if they are none."""
        shape = (self.chains, *reversed(self.extent), 2)
        if k.shape != shape or ell.shape != shape:
            raise InputError(f"k of shape {k.shape} and l of shape {ell.shape} found, {shape} expected: [chain, t, x, nu]")
        powers, rest = np.divmod(_powers_times_two(k, ell), 2)
        if rest.any() or divergence(k).any() or ell.min() < 0 or powers.max() >= TABLE_LENGTH:
            raise InputError(f"k and l are no configuration: k conserved, l >= 0 and f < {2 * TABLE_LENGTH} expected")
        for array, values in ((self._k, k), (self._l, ell), (self._powers, powers)):
            self.device.assign(array, values.reshape(array.shape).astype(np.int32))
        self.sweep, self._opened = sweep, 0

    def open_worms(self, count, moves: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Copies of (k, l) with `count` open worms in each chain (a number, or one for each chain); the chains stay as they are.

        Convention: worms are put in one after the other. Each starts at a random site where none ends, with a random charge,
        and its head makes a number of proposals drawn from 1 ... `moves` (default: the number of sites) by the moves of the
        class, closing left out; if it stops where another end is, or at home, it makes another such number. So the flux is
        violated, by +-1, at exactly 2 count sites, and after many moves the configuration has the weight of the class with
        these ends apart. Other open ends count in the powers of their sites. Every call draws anew. Raises InputError if 2
        count sites are not there.
        """
        counts = np.broadcast_to(np.asarray(count), (self.chains,)).astype(np.int32)
        if counts.min() < 0 or 2 * int(counts.max()) > self.sites:
            raise InputError(f"{counts.min()} to {counts.max()} open worms asked for; {self.sites} sites have room for the ends "
                             f"of 0 to {self.sites // 2}")
        moves = self.sites if moves is None else moves
        if moves < 1:
            raise InputError(f"moves = {moves}: a head makes at least 1 proposal")
        k, ell, powers = (self.device.from_host(self.device.to_host(array)) for array in (self._k, self._l, self._powers))
        counts = self.device.from_host(counts)
        random = Random(self.seed, Purpose.OPEN_WORM, self.sweep, self._opened)
        self._opened += 1
        self._launch("open_worms", k, ell, powers, *self._fluxes(), counts, moves, random)
        self._check_faults()
        return self._sites(k), self._sites(ell)

    # ---- kernels
    def _fluxes(self) -> tuple:
        return *self._tables, self._faults, self.sites, TABLE_LENGTH

    def _launch(self, name: str, *values) -> None:
        kernel = self.kernels[name]
        words = [self.device.pointer(value) if hasattr(value, "shape") else value for value in values]
        self.device.launch(kernel, kernel.structure((0, self.chains, 0, 1, 0), *words))

    def _sites(self, array) -> np.ndarray:
        return self.device.to_host(array).reshape(self.chains, *reversed(self.extent), 2)

    def _check_faults(self) -> None:
        if (faulty := np.flatnonzero(self.device.to_host(self._faults))).size:
            chain = faulty[0]
            raise ComputationError(
                f"chain {chain}, eta = {self.eta[chain]:g}, lambda = {self.coupling[chain]:g}, mu = {self.mu[chain]:g}: f at a "
                f"site exceeds {2 * TABLE_LENGTH - 2}, where the table of W ends, before sweep {self.sweep}; nothing is cut off: "
                "use a larger lambda or a smaller mu")


def divergence(k: np.ndarray) -> np.ndarray:
    """sum_nu (k_(x,nu) - k_(x-nu,nu)) at each site: int64 [..., t, x] of k [..., t, x, nu]; 0 where flux is conserved."""
    k = np.asarray(k, dtype=np.int64)  # files have int8, too
    return (k[..., 0] - np.roll(k[..., 0], 1, -1)) + (k[..., 1] - np.roll(k[..., 1], 1, -2))


def site_powers(k: np.ndarray, ell: np.ndarray) -> np.ndarray:
    """f_x / 2 of conserved k [..., t, x, nu] and l (`ell`) of the same shape: W(f_x) is the weight of site x."""
    return _powers_times_two(k, ell) // 2


def _powers_times_two(k: np.ndarray, ell: np.ndarray) -> np.ndarray:
    links = np.abs(k.astype(np.int64)) + 2 * ell.astype(np.int64)
    return sum(links[..., nu] + np.roll(links[..., nu], 1, -1 - nu) for nu in (0, 1))


def _neighbours(extent: tuple[int, int]) -> np.ndarray:
    """int32 [site, step]: the site after a step +x, +t, -x, -t; site = t Nx + x."""
    numbers = np.arange(extent[0] * extent[1], dtype=np.int32).reshape(extent[1], extent[0])
    return np.stack([np.roll(numbers, shift, axis).reshape(-1) for shift in (-1, 1) for axis in (1, 0)], 1)


def _checked_extent(extent) -> tuple[int, int]:
    if len(extent) != 2 or min(extent) < 1:
        raise InputError(f"extent = {tuple(extent)}: two numbers of sites expected, (Nx, Nt)")
    return int(extent[0]), int(extent[1])


def _per_chain(name: str, value, chains: int) -> np.ndarray:
    values = np.asarray(value, dtype=np.float64)
    if values.shape not in ((), (chains,)) or not np.isfinite(values).all():
        raise InputError(f"{name} = {value}: a finite number expected, or one for each of the {chains} chains")
    return np.broadcast_to(values, (chains,)).copy()


def _check_bounded(eta: np.ndarray, coupling: np.ndarray, mu: np.ndarray) -> None:
    """Without interaction Z exists only if all modes are stable."""
    limit = 2 + 2 * np.cosh(mu)
    if (unstable := np.flatnonzero((coupling == 0) & (eta <= limit))).size:
        raise InputError(f"lambda = 0, eta = {eta[unstable[0]]}, mu = {mu[unstable[0]]}: without interaction Z exists only for "
                         f"eta > 2 + 2 cosh(mu) = {limit[unstable[0]]:.6g}; use a larger eta or lambda > 0")
