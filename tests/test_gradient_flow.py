"""The gradient flow: its steps and what is measured against plain formulas, the order, symmetries, and charges of instantons."""

from itertools import pairwise

import numpy as np
import pytest
import reference as ref
import reference_flow as flow_ref

from slhmc.actions import GaugeAction
from slhmc.backend import HostDevice
from slhmc.errors import ComputationError, InputError
from slhmc.lattice import Draws, GaugeField, Lattice, Purpose, field_strength_sums
from slhmc.observables import FlowedLinks, GradientFlow
from slhmc.observables.gradient_flow import ACTIONS, FIVE_LOOPS, FiveLoopCharge, default_time
from slhmc.updates import HeatBath

GROUPS = [(2, (4, 4, 6, 4)), (3, (4, 4, 4, 6)), (3, (4, 6)), (2, (4, 6, 4)), (4, (4, 4))]


def flowed(U, action, step, time, tolerance=None):
    """A copy of U at a flow time, public order."""
    V = U.copy()
    GradientFlow(V, action, step, tolerance).advance(time)
    return V.to_sites()


def like(U, links):
    """A gauge field on U's lattice with other links."""
    V = GaugeField(U.lattice, U.colors)
    V.from_sites(links)
    return V


@pytest.fixture(scope="module")
def thermal_links(make_lattice):
    """Links of some heat-bath sweeps: rough, as those that flows begin with."""
    def make(colors, *extent, beta=None, sweeps=10):
        U = GaugeField(make_lattice(*extent), colors)
        for trajectory in range(sweeps):
            HeatBath(beta or {2: 2.4, 3: 6.0}[colors], 1).step(U, 1, trajectory)
        return U
    return make


# ---- against the formulas
@pytest.mark.parametrize("tolerance", [None, 0.5])
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(("colors", "extent"), GROUPS)
@pytest.mark.device
def test_a_step_is_that_of_the_reference(hot_links, colors, extent, action, tolerance):
    """And, with a tolerance, its distance to the step of second order."""
    U = hot_links(colors, *extent)
    expected, second = flow_ref.runge_kutta_step(U.to_sites(), action, 0.05)
    flow = GradientFlow(U.copy(), action, 0.05, tolerance)
    flow.advance(0.05)
    assert flow.steps == 1 and flow.time == 0.05
    np.testing.assert_allclose(flow.U.to_sites(), expected, rtol=0, atol=1e-14)
    if tolerance is not None:
        square = (abs(expected - second) ** 2).sum((-1, -2))
        assert flow.distance == pytest.approx((square**4).mean() ** (1 / 8), rel=1e-10)


@pytest.mark.parametrize(("colors", "extent"), GROUPS)
@pytest.mark.device
def test_energies_and_charges_are_those_of_the_reference(hot_links, colors, extent):
    U = hot_links(colors, *extent)
    links = U.to_sites()
    values = FlowedLinks(U.lattice, colors, t_max=0.1, points=1, step=0.1).measure(U, None)
    later, _ = flow_ref.runge_kutta_step(links, "wilson", 0.1)
    for column, V in zip(values.T, (links, later), strict=True):
        expected = [flow_ref.plaquette_energy(V), flow_ref.clover_energy(V)]
        if len(extent) == 4:
            expected += [flow_ref.charge(V), flow_ref.improved_charge(V)]
        np.testing.assert_allclose(column[1:], expected, rtol=1e-11, atol=1e-11)
    assert values[0].tolist() == [0.0, 0.1] and len(values) == (5 if len(extent) == 4 else 3)
    np.testing.assert_array_equal(U.to_sites(), links)


def test_coefficients_of_the_five_loops_cancel_the_errors_of_smooth_fields():
    """hep-lat/9701012: sum c = 1; those of order a^2, (m^2 + n^2) / 2, and a^4, m^2 n^2 and m^4 + n^4, are gone."""
    def moment(function):
        return sum(c * function(m, n) for (m, n), c in FIVE_LOOPS.items())
    assert moment(lambda m, n: 1) == pytest.approx(1, abs=1e-14)
    for function in (lambda m, n: m**2 + n**2, lambda m, n: m**4 + n**4, lambda m, n: m**2 * n**2):
        assert moment(function) == pytest.approx(0, abs=1e-12)


# ---- the scheme
@pytest.mark.parametrize("action", ACTIONS)
def test_the_scheme_has_order_three_and_its_companion_two(thermal_links, action):
    """Steps halved: errors at a flow time fall by 8, distances of a step, of order three, too."""
    U = thermal_links(3, 4, 4, 4, 4)
    exact = flowed(U, action, 0.2 / 256, 0.2)
    errors = [abs(flowed(U, action, step, 0.2) - exact).max() for step in (0.2 / 8, 0.2 / 16, 0.2 / 32)]
    assert [np.log2(a / b) for a, b in pairwise(errors)] == pytest.approx([3, 3], abs=0.25)
    distances = []
    for step in (0.02, 0.01):
        flow = GradientFlow(U.copy(), action, step, 0.9)
        flow.advance(step)
        distances.append(flow.distance)
    assert np.log2(distances[0] / distances[1]) == pytest.approx(3, abs=0.25)


@pytest.mark.parametrize("action", ["wilson", "symanzik"])
def test_the_action_never_rises(thermal_links, action):
    """Of the flow's own action, from hot links on, with the longest steps that are allowed; the links stay in the group."""
    U = thermal_links(3, 4, 4, 4, 4, sweeps=1)
    longest, own = GradientFlow(U, action, 1.0, 0.9).limit, GaugeAction(6.0, ACTIONS[action])
    flow = GradientFlow(U, action, longest)
    energies = [float(own.action(U, None))]
    for k in range(1, 60):
        flow.advance(k * flow.step)
        energies.append(float(own.action(U, None)))
    assert all(later < earlier for earlier, later in pairwise(energies))
    assert energies[-1] < 0.02 * energies[0]
    assert ref.group_deviation(U.to_sites()) < 1e-13


@pytest.mark.parametrize("tolerance", [None, 1e-4])
@pytest.mark.parametrize("time", [1e-11, 1e-300])
def test_a_flow_time_far_below_a_step_is_one_step(thermal_links, tolerance, time):
    U = thermal_links(2, 4, 4, 4, 4)
    flow = GradientFlow(U.copy(), "wilson", 0.02, tolerance)
    flow.advance(time)
    assert (flow.time, flow.steps) == (time, 1)
    np.testing.assert_allclose(flow.U.to_sites(), U.to_sites(), rtol=0, atol=1e-9)


def test_a_long_zeuthen_flow_smooths(thermal_links):
    U = thermal_links(2, 4, 4, 4, 4)
    values = FlowedLinks(U.lattice, 2, "zeuthen", 2.0, 4).measure(U, None)
    assert (np.diff(values[1:3]) < 0).all() and values[2, -1] < 0.02 * values[2, 0]


@pytest.mark.parametrize("action", ACTIONS)
def test_steps_that_are_chosen(thermal_links, action):
    """They end where asked, keep below the tolerance, and their error follows it; a first step that is too long is taken back."""
    U = thermal_links(3, 4, 4, 4, 4)
    exact, errors = flowed(U, action, 0.3 / 256, 0.3), []
    for tolerance in (1e-3, 1e-5):
        flow, asked = GradientFlow(U.copy(), action, 10.0, tolerance), [0.05, 0.051, 0.3]
        for time in asked:
            flow.advance(time)
            assert flow.time == time and flow.distance <= tolerance
        assert flow.rejected > 0 and flow.steps > 3
        errors.append(abs(flow.U.to_sites() - exact).max())
    assert errors[0] < 30 * 1e-3 and errors[1] < errors[0] / 20


def test_the_flow_goes_on_where_it_was(thermal_links):
    """In place, from either field, with links that are looked at on the way; anew for other links."""
    U = thermal_links(2, 4, 4, 4, 4)
    straight = flowed(U, "wilson", 0.05, 0.25)
    V = U.copy()
    flow = GradientFlow(V, "wilson", 0.05)
    flow.advance(0.05)
    middle = flow.advance_links(0.2)
    assert flow.time == 0.2 and middle is not V  # three steps: they lie in the other field
    flow.advance(0.25)
    np.testing.assert_allclose(V.to_sites(), straight, rtol=0, atol=1e-14)
    V.assign(U)
    flow.restart()
    flow.advance(0.25)
    np.testing.assert_allclose(V.to_sites(), straight, rtol=0, atol=1e-14)


# ---- symmetries
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("colors", [2, 3])
def test_covariance_and_translation(hot_links, rng, colors, action):
    """The flow of transformed links is the transformed flow; charges and energies stay what they are."""
    U = hot_links(colors, 4, 4, 6, 4)
    links, g = U.to_sites(), ref.random_group((4, 6, 4, 4), colors, rng)
    end, values = flowed(U, action, 0.05, 0.2), FlowedLinks(U.lattice, colors, action, 0.1, 1).measure(U, None)
    turned = like(U, ref.gauge_transform(links, g))
    np.testing.assert_allclose(flowed(turned, action, 0.05, 0.2), ref.gauge_transform(end, g), rtol=0, atol=1e-12)
    moved = like(U, np.roll(links, (1, 2, 3), axis=(0, 1, 2)))
    np.testing.assert_allclose(flowed(moved, action, 0.05, 0.2), np.roll(end, (1, 2, 3), axis=(0, 1, 2)), rtol=0, atol=1e-12)
    for V in (turned, moved):
        np.testing.assert_allclose(FlowedLinks(U.lattice, colors, action, 0.1, 1).measure(V, None), values, rtol=0, atol=1e-11)


def test_a_reflection_turns_the_sign_of_the_charge(thermal_links):
    """x -> -x: U_x(x) -> U_x(-x-1)^+."""
    U = thermal_links(2, 4, 4, 4, 4)
    links = U.to_sites()
    mirror = np.roll(links[:, :, :, ::-1], 1, axis=3).copy()
    mirror[..., 0, :, :] = ref.dagger(links[:, :, :, ::-1][..., 0, :, :])
    value, mirrored = (FlowedLinks(U.lattice, 2, t_max=0.2, points=1).measure(V, None) for V in (U, like(U, mirror)))
    np.testing.assert_allclose(mirrored[:3], value[:3], rtol=1e-11)
    np.testing.assert_allclose(mirrored[3:], -value[3:], rtol=0, atol=1e-11)
    assert abs(value[3:]).max() > 1e-3


# ---- layouts
@pytest.mark.parametrize("action", ACTIONS)
def test_one_lane_and_many_are_the_same(hot_links, action):
    wide, plain = (hot_links(3, 8, 4, 4, 4, lanes=lanes) for lanes in (8, 1))
    values = [FlowedLinks(U.lattice, 3, action, 0.1, 2).measure(U, None) for U in (wide, plain)]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(flowed(wide, action, 0.05, 0.1), flowed(plain, action, 0.05, 0.1), rtol=0, atol=1e-13)


@pytest.mark.parametrize("colors", [2, 3])
def test_the_launch_geometry_of_gpus(colors):
    """As host loops, against lane vectors."""
    links, values = [], []
    for device in (HostDevice(), HostDevice(threads_geometry=True)):
        U = GaugeField(Lattice((4, 4, 4, 4), device, lanes=8), colors)
        U.randomize(Draws(1, 0).next(Purpose.START))
        values.append(FlowedLinks(U.lattice, colors, "zeuthen", 0.1, 1).measure(U, None))
        links.append(flowed(U, "symanzik", 0.05, 0.1))
    np.testing.assert_allclose(values[1], values[0], rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(links[1], links[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("piece_bytes", [0, 1, 80_000])
@pytest.mark.parametrize("tile_bytes", [1, 400_000])
def test_lattices_in_tiles(hot_links, monkeypatch, tile_bytes, piece_bytes):
    """As large ones are worked through: plaquettes of two slices, or of parts of them, are kept at a time."""
    extent = (4, 4, 16, 8)
    U = hot_links(3, *extent)
    expected = {action: flowed(U, action, 0.05, 0.1) for action in ACTIONS}
    monkeypatch.setattr("slhmc.lattice.lattice.PREFETCH_SITES", 1)
    monkeypatch.setattr("slhmc.lattice.lattice.MEMORY_BYTES", 1)
    monkeypatch.setattr(type(U.lattice.device), "tile_bytes", tile_bytes)
    V = GaugeField(Lattice(extent, U.lattice.device), 3)
    V.from_sites(U.to_sites())
    monkeypatch.setattr(type(U.lattice.device), "piece_bytes", piece_bytes)
    tiles = [V.layout.tiles(120, reach)[0] for reach in (1, 2)]
    assert [one.parts for one in tiles] == ([4, 2] if tile_bytes == 1 else [1, 2])
    assert [one.rows for one in tiles] == {0: [0, 0], 1: [int(tile_bytes == 1), 1], 80_000: [0, 2]}[piece_bytes]
    for action, links in expected.items():
        np.testing.assert_allclose(flowed(V, action, 0.05, 0.1), links, rtol=0, atol=1e-13)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("colors", [2, 3])
def test_what_is_fetched_ahead_changes_no_bit(hot_links, monkeypatch, colors, action):
    found, charges = [], set()
    for fetching, (sites, real_bytes) in enumerate([(1 << 40, 1 << 40), (0, 1 << 40), (0, 0)]):
        monkeypatch.setattr("slhmc.lattice.lattice.PREFETCH_SITES", sites)
        monkeypatch.setattr("slhmc.lattice.lattice.MEMORY_BYTES", real_bytes)
        U = hot_links(colors, 4, 4, 4, 8)
        assert U.layout.geometry.prefetch == fetching
        found.append(flowed(U, action, 0.05, 0.1))
        charges.add(float(FiveLoopCharge(U.lattice, colors).measure(U)))
    for links in found[1:]:
        np.testing.assert_array_equal(links, found[0])
    assert len(charges) == 1


# ---- topology
def test_an_instanton_has_charge_one(make_lattice):
    """BPST on 12^4, its action 8 pi^2 and more by the periodic boundary; the other orientation has charge -1."""
    U = GaugeField(make_lattice(12, 12, 12, 12), 2)
    U.from_sites(flow_ref.instanton((12, 12, 12, 12), 3.0))
    values = FlowedLinks(U.lattice, 2, "zeuthen", 1.0, 2).measure(U, None)
    np.testing.assert_allclose(values[4, 1:], 1.0, rtol=0, atol=2e-3)
    np.testing.assert_allclose(values[3, 1:], 0.91, rtol=0, atol=5e-3)  # of order a^2 below
    action = values[1:3, -1] * U.lattice.sites / (8 * np.pi**2)
    assert (action > 0.99).all() and (action < 1.08).all()


def test_an_instanton_within_a_larger_group_has_charge_one(make_lattice):
    """In an SU(2) of SU(3), turned by a random gauge transformation: the same numbers as in SU(2)."""
    extent = (8, 8, 8, 8)
    charges = {}
    for colors in (2, 3):
        links = flow_ref.instanton(extent, 2.2, colors)
        links = ref.gauge_transform(links, ref.random_group(extent, colors, np.random.default_rng(5)))
        U = GaugeField(make_lattice(*extent), colors)
        U.from_sites(links)
        charges[colors] = FlowedLinks(U.lattice, colors, "zeuthen", 0.5, 1).measure(U, None)[1:]
    np.testing.assert_allclose(charges[3], charges[2], rtol=1e-9)
    assert charges[3][3, -1] == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize("extent", [(4, 4, 4, 8), (8, 4, 6, 4), (6, 6, 4, 4)])  # 3 x 3 groups of a plane: all at once
@pytest.mark.parametrize("colors", [2, 3])
def test_charges_of_some_planes_at_a_time(hot_links, monkeypatch, extent, colors):
    U = hot_links(colors, *extent)
    monkeypatch.setattr(type(U.lattice.device), "tile_bytes", 1 << 40)
    whole = FiveLoopCharge(U.lattice, colors)
    monkeypatch.setattr(type(U.lattice.device), "tile_bytes", 1)
    parts = FiveLoopCharge(U.lattice, colors)
    assert all(len(planes.spans) == 1 for planes in whole.planes.values())
    assert any(len(planes.spans) > 1 for planes in parts.planes.values())
    assert float(parts.measure(U)) == pytest.approx(float(whole.measure(U)), rel=1e-12)


def test_charges_after_a_long_flow_are_integers(thermal_links):
    """Thermal links of SU(2) on 8^4: five loops find integers, different ones."""
    found = []
    for sweeps in (10, 20, 30):
        U = thermal_links(2, 8, 8, 8, 8, beta=2.4, sweeps=sweeps)
        charge = FlowedLinks(U.lattice, 2, "zeuthen", 6.0, 1).measure(U, None)[4, -1]
        found.append(round(charge))
        assert charge == pytest.approx(round(charge), abs=0.05)
    assert len(set(found)) > 1


def test_vacuum_has_neither_energy_nor_charge(make_lattice):
    U = GaugeField(make_lattice(4, 4, 4, 4), 3)
    assert abs(FlowedLinks(U.lattice, 3, t_max=0.2, points=2).measure(U, None)[1:]).max() < 1e-12


# ---- what is refused
@pytest.mark.parametrize(("arguments", "words"), [
    (("iwasaki",), 'flow action "iwasaki" found, one of wilson, symanzik, zeuthen expected'),
    (("wilson", 0.0), "flow step = 0.0: a number above 0 and up to 0.156 expected"),
    (("symanzik", 0.1), "up to 0.0938 expected, beyond which the scheme is unstable"),
    (("wilson", 0.02, 1.5), "flow tolerance = 1.5: a number between 0 and 1"),
])
def test_bad_flows_are_told(make_lattice, arguments, words):
    with pytest.raises(InputError, match=words.replace("(", r"\(")):
        GradientFlow(GaugeField(make_lattice(4, 4, 4, 4), 2), *arguments)


def test_there_is_no_way_back_and_no_flow_of_damaged_links(hot_links):
    U = hot_links(2, 4, 4, 4, 4).copy()
    flow = GradientFlow(U, tolerance=1e-3)
    flow.advance(0.1)
    with pytest.raises(InputError, match=r"flow time 0\.05 asked for, but the links are at 0\.1"):
        flow.advance(0.05)
    with pytest.raises(InputError, match=r"flow time inf asked for, but the links are at 0\.1; a finite time"):
        flow.advance(float("inf"))
    links = U.to_sites()
    links[0, 0, 0, 0] = np.nan
    with pytest.raises(ComputationError, match="30 steps in a row missed the tolerance"):
        GradientFlow(like(U, links), tolerance=1e-3).advance(0.1)
    with pytest.raises(ComputationError, match="numbers that are not finite"):
        FlowedLinks(U.lattice, 2, t_max=0.1, points=1, step=0.05).measure(like(U, links), None)
    for wrong in ({"t_max": 0.0}, {"points": 0}):
        with pytest.raises(InputError, match="1 part or more expected"):
            FlowedLinks(U.lattice, 2, **wrong)


def test_the_default_time_smooths_over_half_the_lattice(make_lattice):
    assert default_time((16, 8, 8, 16)) == 2.0
    assert FlowedLinks(make_lattice(4, 4, 4, 8), 2).times[-1] == 0.5


def test_sums_have_no_charge_outside_four_dimensions(hot_links):
    U = hot_links(2, 4, 6, 4)
    sums = U.lattice.device.to_host(field_strength_sums(U))
    assert sums[0] > 0 and sums[1] == 0.0
