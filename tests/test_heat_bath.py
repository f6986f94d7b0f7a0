"""Heat bath and over-relaxation: exact distributions, exact invariances, the same chain as HMC samples.

Seeds are fixed; errors of averages are by the Gamma method, and sigma in an assertion is that error.
"""

from pathlib import Path

import numpy as np
import pytest
import reference
from scipy.integrate import cumulative_trapezoid
from scipy.special import iv, ive

from slhmc.actions import GaugeAction
from slhmc.analysis import gamma_method
from slhmc.cli.launch import run_ranks
from slhmc.errors import InputError
from slhmc.lattice import Draws, GaugeField, Lattice, plaquette_sum
from slhmc.updates import HMC, HeatBath, TimeScale, Transition

pytestmark = pytest.mark.device


def plaquette(U):
    return float(plaquette_sum(U)) / (U.lattice.sites * U.lattice.planes * U.colors)


def sampled_plaquette(update, U, trajectories, thermalization, seed=1):
    """Mean plaquette of a chain with its error."""
    series = []
    for trajectory in range(thermalization + trajectories):
        update.step(U, seed, trajectory)
        series.append(plaquette(U))
    return gamma_method(series[thermalization:])


def equilibrium(hot_links, colors, *extent, beta, lanes=None):
    """Links after some sweeps of heat bath."""
    U = hot_links(colors, *extent, lanes=lanes)
    for trajectory in range(5):
        HeatBath(beta, 0).step(U, 1, trajectory)
    return U


def update_links(U, name, mu, parity, *arguments):
    """One kernel call: links of one direction on one parity."""
    U.layout.launch(U.kernel("heat_bath.cc", name), U.layout.geometry, U.pointer, mu, *arguments,
                    parity=parity, parities=1, keep=(U,))
    U.changed()


# ---- the SU(2) draw
def rotations(make_lattice, alpha, sweeps):
    """Quaternions drawn with density exp(alpha w0): links of one direction and parity where all others are 1."""
    U, draws, result = GaugeField(make_lattice(64, 64), 2), Draws(5, 0), []
    even = reference.even_sites((64, 64))
    unit = U.to_sites()
    for _ in range(sweeps):
        U.from_sites(unit)
        HeatBath(alpha / 2, 0).heat_bath_sweep(U, draws)  # the first links of the sweep see staples of length 2
        w = U.to_sites()[even][:, 0, 0]
        result.append(np.stack([w[:, 0].real, w[:, 0].imag, w[:, 1].real, w[:, 1].imag]))
    return np.concatenate(result, axis=1)


def distribution_of_w0(alpha):
    """Cumulative distribution of w0 with density sqrt(1 - w0^2) exp(alpha w0), as a function."""
    d = np.linspace(0, min(2, 60 / max(alpha, 1e-9)) ** 0.5, 200001) ** 2  # fine where d = 1 - w0 is small
    below = cumulative_trapezoid(np.sqrt(d * (2 - d).clip(0)) * np.exp(-alpha * d), d, initial=0)
    return lambda w0: 1 - np.interp(1 - w0, d, below / below[-1])


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.749, 0.751, 2.0, 30.0, 1e5])  # the proposal changes at 0.75
def test_the_draw_has_its_exact_distribution(make_lattice, alpha):
    w = rotations(make_lattice, alpha, sweeps=10)
    n = w.shape[1]
    np.testing.assert_allclose((w**2).sum(0), 1, rtol=1e-14)
    w0 = np.sort(w[0])
    cumulative = distribution_of_w0(alpha)(w0)
    distance = max((np.arange(1, n + 1) / n - cumulative).max(), (cumulative - np.arange(n) / n).max())
    assert distance * np.sqrt(n) < 1.95  # Kolmogorov and Smirnov: one of a thousand exact samples is farther away
    mean = ive(2, alpha) / ive(1, alpha) if alpha else 0.0
    assert abs(w[0].mean() - mean) < 4 * w[0].std() / np.sqrt(n)
    for k in range(1, 4):  # direction uniform: means 0, and 3 w_k^2 as large as 1 - w0^2
        assert abs(w[k].mean()) < 4 * w[k].std() / np.sqrt(n)
        excess = 3 * w[k] ** 2 - (1 - w[0] ** 2)
        assert abs(excess.mean()) < 4 * excess.std() / np.sqrt(n)


def test_links_that_are_not_numbers_do_not_hang(make_lattice):
    U = GaugeField(make_lattice(16, 16), 2)
    U.from_sites(U.to_sites() * np.nan)
    HeatBath(2.0, 1).step(U, 1, 0)
    assert np.isnan(U.to_sites()).all()


# ---- exact plaquettes in two dimensions
def plaquette_2d(colors, beta):
    """d ln Z / d beta of one plaquette, Z = sum_q det I_{q + i - j}(beta / Nc): any SU(Nc), infinite volume."""
    index = np.arange(colors)

    def log_z(b):
        return np.log(sum(np.linalg.det(iv(q + index[:, None] - index, b / colors)) for q in range(-30, 31)))
    return (log_z(beta + 1e-4) - log_z(beta - 1e-4)) / 2e-4


@pytest.mark.parametrize("beta", [0.5, 2.0, 5.0])
def test_su2_plaquette_in_two_dimensions(hot_links, beta):
    # corrections of the finite volume are (I_2 / I_1)^256
    found = sampled_plaquette(HeatBath(beta, 1), hot_links(2, 16, 16), 4000, 100)
    assert abs(found.mean - reference.plaquette_2d_su2(beta)) < 4 * found.error
    assert found.error < 6e-4


def test_su4_plaquette_in_two_dimensions(hot_links):
    found = sampled_plaquette(HeatBath(8.0, 1), hot_links(4, 16, 16), 1500, 100)
    assert abs(found.mean - plaquette_2d(4, 8.0)) < 4 * found.error
    assert found.error < 5e-4
    assert plaquette_2d(2, 2.0) == pytest.approx(reference.plaquette_2d_su2(2.0), abs=1e-8)


# ---- heat bath and HMC
def compare_with_hmc(hot_links, colors, beta, extent, trajectories, steps):
    """Both chains agree on the plaquette within 4 sigma; returns the estimate of the heat bath."""
    heat_bath = sampled_plaquette(HeatBath(beta, 2), hot_links(colors, *extent), trajectories, 100)
    action = GaugeAction(beta)
    hmc = HMC(action, [TimeScale(action, "omelyan2", steps)], 1.0)
    U = equilibrium(hot_links, colors, *extent, beta=beta)
    other = sampled_plaquette(hmc, U, trajectories, 100, seed=2)
    sigma = np.hypot(heat_bath.error, other.error)
    assert abs(heat_bath.mean - other.mean) < 4 * sigma
    return heat_bath, sigma


@pytest.mark.parametrize(("colors", "beta"), [(2, 1.8), (3, 5.0)])  # far from the transition, where 4^4 is slow
def test_heat_bath_samples_what_hmc_samples(hot_links, colors, beta):
    _, sigma = compare_with_hmc(hot_links, colors, beta, (4, 4, 4, 4), trajectories=1200, steps=8)
    assert sigma < 1.2e-3


# sigma: of the difference of both plaquettes
@pytest.mark.parametrize(("colors", "beta", "trajectories", "steps", "most_sigma"), [
    (2, 2.4, 2000, 12, 4e-4), (3, 6.0, 600, 10, 4e-4), pytest.param(3, 5.7, 4000, 12, 4e-4, marks=pytest.mark.slow)])
def test_heat_bath_samples_what_hmc_samples_on_a_larger_lattice(hot_links, colors, beta, trajectories, steps, most_sigma):
    found, sigma = compare_with_hmc(hot_links, colors, beta, (8, 8, 8, 8), trajectories, steps)
    assert sigma < most_sigma
    if colors == 2:
        assert abs(found.mean - 0.6300) < 4 * np.hypot(found.error, 2e-4)


# ---- over-relaxation
@pytest.mark.parametrize(("colors", "extent", "beta"), [(2, (16, 16), 2.0), (3, (4, 4, 4, 4), 5.5), (4, (16, 16), 8.0)])
def test_over_relaxation_keeps_the_action(hot_links, colors, extent, beta):
    U = equilibrium(hot_links, colors, *extent, beta=beta)
    links, action = U.to_sites(), reference.gauge_action(U.to_sites(), beta, 0.0)
    for _ in range(3):
        HeatBath(beta, 1).over_relaxation_sweep(U)
    moved = U.to_sites()
    assert reference.gauge_action(moved, beta, 0.0) == pytest.approx(action, rel=1e-12)
    assert reference.group_deviation(moved) < 1e-12
    assert np.sqrt((abs(moved - links) ** 2).mean()) > 0.1


@pytest.mark.parametrize("mu", [0, 1])
@pytest.mark.parametrize("parity", [0, 1])
def test_over_relaxation_of_su2_is_an_involution(hot_links, mu, parity):
    U = equilibrium(hot_links, 2, 16, 16, beta=2.0)
    links = U.to_sites()
    update_links(U, "over_relaxation", mu, parity)
    moved = abs(U.to_sites() - links).max((-1, -2)) > 0
    visited = reference.even_sites((16, 16)) == (parity == 0)
    assert (moved[..., mu] == visited).all()
    assert not moved[..., 1 - mu].any()
    update_links(U, "over_relaxation", mu, parity)
    np.testing.assert_allclose(U.to_sites(), links, atol=1e-12)


def test_staples_that_cancel_leave_the_link_free(make_lattice):
    U = GaugeField(make_lattice(16, 16), 2)
    links = U.to_sites()
    x, t = reference.coordinates((16, 16))
    links[t % 4 == 2, 0] *= -1  # staples of U_x at odd t: U_x(t + 1) + U_x(t - 1) = 0
    U.from_sites(links)
    for mu, parity in [(0, 0), (0, 1)]:
        update_links(U, "over_relaxation", mu, parity)
    np.testing.assert_allclose(U.to_sites()[t % 2 == 1, 0], np.broadcast_to(np.eye(2), (128, 2, 2)), atol=1e-15)
    U.from_sites(links)
    update_links(U, "heat_bath", 0, 0, 10.0, Draws(1, 0).next(5))
    free = U.to_sites()[(t % 2 == 1) & (x % 2 == 1), 0]
    assert reference.group_deviation(free) < 1e-14
    assert abs(free[:, 0, 0].real.mean()) < 4 * 0.5 / np.sqrt(len(free))  # Haar: mean of w0^2 is 1/4


# ---- the same links on any layout
def after_two_trajectories(hot_links, lanes):
    U = hot_links(3, 8, 4, 4, 4, lanes=lanes)
    for trajectory in range(2):
        HeatBath(5.7, 0).step(U, 1, trajectory)
    HeatBath(5.7, 1).over_relaxation_sweep(U)
    return U.to_sites()


def test_lanes_do_not_change_the_links(hot_links):
    # the draws have the same bits, the staples may be rounded differently
    plain, wide = (after_two_trajectories(hot_links, lanes) for lanes in (1, None))
    np.testing.assert_allclose(plain, wide, atol=1e-12)


RANKS = """
import numpy as np
from mpi4py import MPI
from test_heat_bath import chain_on
links = chain_on(MPI.COMM_WORLD, (1, 2))
if links is not None:
    np.save({path!r}, links)
"""


def chain_on(communicator, ranks):
    """Links after three trajectories on the CPU, on the root rank."""
    U = GaugeField(Lattice((16, 16), communicator=communicator, ranks=ranks), 2)
    for trajectory in range(3):
        HeatBath(2.0, 1).step(U, 1, trajectory)
    return U.to_sites()


@pytest.mark.mpi
def test_ranks_do_not_change_the_links(tmp_path):
    pytest.importorskip("mpi4py", exc_type=ImportError)
    script, path = tmp_path / "script.py", tmp_path / "links.npy"
    script.write_text(RANKS.format(path=str(path)))
    here = Path(__file__).parent
    job = run_ranks(2, [str(script)], {"PYTHONPATH": f"{here}:{here.parent}"}, timeout=60)
    assert job.returncode == 0, job.stderr
    np.testing.assert_allclose(np.load(path), chain_on(None, (1, 1)), atol=1e-12)


# ---- the interface
def test_every_trajectory_is_accepted_and_drawn_anew(hot_links):
    def chain(seed, trajectory):
        U = hot_links(2, 16, 16)
        assert HeatBath(2.0, 1).step(U, seed, trajectory) == Transition(accepted=True, delta_h=0.0, iterations=0)
        assert reference.group_deviation(U.to_sites()) < 1e-14
        return U.to_sites()
    first = chain(1, 0)
    assert (chain(1, 0) == first).all()
    assert abs(chain(1, 1) - first).max() > 0.1
    assert abs(chain(2, 0) - first).max() > 0.1


def test_what_cannot_be_sampled_is_refused():
    with pytest.raises(InputError, match=r"beta = -1.0: .* beta >= 0"):
        HeatBath(-1.0, 0)
    with pytest.raises(InputError, match=r"over_relaxation = -2: expected a number of sweeps"):
        HeatBath(1.0, -2)
