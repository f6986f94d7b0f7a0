"""Geometry, lanes, neighbour tables and random numbers."""

from functools import cache
from math import gamma

import numpy as np
import pytest
import reference

from slhmc.errors import InputError
from slhmc.lattice import AlgebraField, Draws, FermionField, GaugeField, Lattice, Purpose
from slhmc.lattice.fields import convert
from slhmc.lattice.geometry import choose_lane_grid, choose_rank_grid
from slhmc.lattice.lattice import Layout

pytestmark = pytest.mark.device
LANES = (1, 2, 4, 8, 16)


# ---- layout
@pytest.mark.parametrize("lanes", [None, *LANES])
@pytest.mark.parametrize("extent", [(8, 4, 12, 8), (4, 8, 4), (16, 8)])
def test_public_order_survives_every_layout(make_lattice, rng, extent, lanes):
    """from_sites(to_sites) is exact, and lands each number on its own site, whatever the lanes."""
    U = GaugeField(make_lattice(*extent, lanes=lanes), 2)
    links = reference.random_group((*reversed(extent), len(extent)), 2, rng)
    U.from_sites(links)
    np.testing.assert_allclose(U.to_sites(), links, atol=1e-15)
    once = U.to_sites()
    U.from_sites(once)
    np.testing.assert_array_equal(U.to_sites(), once)


@pytest.mark.parametrize("real", ["double", "float"])
@pytest.mark.parametrize("parity", ["both", "even", "odd"])
def test_colour_vectors_keep_their_parity(make_lattice, rng, parity, real):
    lattice = make_lattice(4, 2, 6, 8)
    psi = FermionField(lattice, 3, parity, real)
    values = rng.standard_normal((8, 6, 2, 4, 3)) + 1j * rng.standard_normal((8, 6, 2, 4, 3))
    values = values.astype(np.complex64).astype(complex)
    psi.from_sites(values)
    even = reference.even_sites(lattice.extent)[..., None]
    keep = {"both": True, "even": even, "odd": ~even}[parity]
    np.testing.assert_array_equal(psi.to_sites(), np.where(keep, values, 0))


@pytest.mark.parametrize("parity", ["both", "even", "odd"])
def test_conversion_between_precisions_and_lanes(make_lattice, rng, parity):
    lattice = make_lattice(8, 4, 4, 8)
    values = rng.standard_normal((8, 4, 4, 8, 2)) + 1j * rng.standard_normal((8, 4, 4, 8, 2))
    exact, single = FermionField(lattice, 2, parity), FermionField(lattice, 2, parity, "float")
    exact.from_sites(values)
    convert(exact, single)
    rounded = exact.to_sites().astype(np.complex64)
    np.testing.assert_array_equal(single.to_sites(), rounded)
    before = exact.to_sites()
    convert(single, exact, 1.0)
    np.testing.assert_array_equal(exact.to_sites(), before + rounded)


@pytest.mark.parametrize(("extent", "message"), [
    ((4, 5, 4, 4), "5 in y; every extent must be even"), ((4, 4, 4, 0), "0 in t"), ((2, 3), "3 in t"),
    ((4,), "expected 2, 3 or 4 numbers"), ((2, 2, 2, 2, 2), "expected 2, 3 or 4 numbers")])
def test_wrong_extents_are_named(extent, message):
    with pytest.raises(InputError, match=message):
        Lattice(extent)


@pytest.mark.parametrize(("ranks", "message"), [((1, 1, 1, 2), "2 ranks in 4 directions, but the job has 1"),
                                                ((1, 1), "1 ranks in 2 directions")])
def test_wrong_ranks_are_named(ranks, message):
    with pytest.raises(InputError, match=message):
        Lattice((4, 4, 4, 4), ranks=ranks)


class World:
    """Stands for a communicator of `size` ranks where only the geometry is asked for."""

    def __init__(self, size, rank=0):
        self.size, self.rank = size, rank


def test_ranks_that_leave_odd_blocks_are_refused():
    with pytest.raises(InputError, match="6 sites in z over 2 ranks leave blocks of odd extent; .* multiple of 4"):
        Lattice((4, 4, 6, 4), communicator=World(2), ranks=(1, 1, 2, 1))
    with pytest.raises(InputError, match="3 ranks do not divide the lattice"):
        Lattice((4, 4, 4, 4), communicator=World(3))


def test_lanes_that_do_not_fit_are_refused(make_lattice):
    with pytest.raises(InputError, match="lanes = 8: .* can be split into 4 lanes at most; drop"):
        make_lattice(4, 4, lanes=8).layout("double")


def test_rank_grid_has_the_smallest_surface_and_prefers_time():
    assert choose_rank_grid((8, 8, 8, 8), 2) == (1, 1, 1, 2)
    assert choose_rank_grid((8, 8, 8, 16), 4) == (1, 1, 1, 4) or choose_rank_grid((8, 8, 8, 16), 4) == (1, 1, 2, 2)
    assert choose_rank_grid((8, 8, 8, 2), 2) == (1, 1, 2, 1)


def test_lanes_avoid_directions_that_ranks_split():
    grid = choose_lane_grid((8, 8, 8, 8), (1, 1, 1, 2), 16)
    assert grid[3] == 1 and np.prod(grid) == 16
    assert choose_lane_grid((2, 2, 2, 2), (1, 1, 1, 1), 8) == (1, 1, 1, 1)


def test_lanes_split_fast_directions_first():
    assert choose_lane_grid((16, 16, 16, 16), (1, 1, 1, 1), 8) == (8, 1, 1, 1)
    assert choose_lane_grid((24, 24, 24, 32), (1, 1, 1, 1), 8) == (4, 2, 1, 1)
    assert choose_lane_grid((4, 4, 4, 4), (2, 1, 1, 1), 8) == (1, 2, 2, 2)


@pytest.mark.parametrize("extent", [(8, 8, 8, 8), (16, 16, 4, 4), (24, 8, 8, 4), (32, 8), (4, 4, 4, 4), (8, 2, 4)])
@pytest.mark.parametrize("lanes", [2, 4, 8])
def test_lanes_of_a_wider_register_stay_side_by_side(make_lattice, extent, lanes):
    """Those of the grid that is split further: in runs as long as they were, if another direction has room for the new ones."""
    lattice = make_lattice(*extent, lanes=1)
    few = choose_lane_grid(extent, (1,) * len(extent), lanes)
    many = choose_lane_grid(extent, (1,) * len(extent), 2 * lanes, few)
    narrow, wide = (Layout(lattice, "double", grid) for grid in (few, many))
    _, run = wide.conversion_table(narrow)
    last = max((mu for mu, w in enumerate(few) if w > 1), default=0)
    room = any(n // w % 4 == 0 for n, w in zip(extent[last + 1:], few[last + 1:], strict=True))
    assert wide.lanes == narrow.lanes or run == narrow.lanes or not room


# ---- neighbours
@pytest.mark.parametrize("lanes", [None, *LANES])
@pytest.mark.parametrize("extent", [(8, 4, 2, 16), (4, 16, 8), (32, 4)])
def test_neighbour_tables_walk_the_torus(make_lattice, extent, lanes):
    """+mu is the site one further on the torus; -mu takes it back; L steps come home; parity alternates."""
    blocks = make_lattice(*extent, lanes=lanes).layout("double").blocks
    table, permutations, sites = blocks.neighbours(), blocks.permutations(), blocks.site_coordinates()
    parity, group, lane = np.indices((2, blocks.groups, blocks.lanes))

    def step(where, direction):
        p, g, lane = where
        entry = table[p, g, direction]
        return 1 - p, entry >> 5, permutations[entry & 31, lane]
    for mu in range(len(extent)):
        start = (parity, group, lane)
        ahead = step(start, mu)
        expected = sites.copy()
        expected[mu] = (expected[mu] + 1) % extent[mu]
        np.testing.assert_array_equal(sites[:, *ahead], expected)
        np.testing.assert_array_equal(step(ahead, mu + len(extent)), start)
        walked = start
        for _ in range(extent[mu]):
            walked = step(walked, mu)
        np.testing.assert_array_equal(walked, start)


# ---- random numbers
def philox_of_kernel(lattice, words):
    device, kernel = lattice.device, lattice.layout("double").kernel("random.cc", "philox_words")
    counter, result = device.from_host(np.array(words, np.uint32)), device.empty((4,), np.uint32)
    device.launch(kernel, kernel.structure(device.pointer(counter), device.pointer(result)), counter, result)
    device.synchronize()
    return tuple(int(w) for w in device.to_host(result))


@pytest.mark.parametrize(("counter", "key", "answer"), [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
     (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1))])
def test_philox_gives_the_known_answers_of_random123(make_lattice, counter, key, answer):
    assert reference.philox(counter, key) == answer
    assert philox_of_kernel(make_lattice(4, 4), (*counter, *key)) == answer


@cache
def philox_gaussians(extent, components, seed):
    return reference.gaussian_reals(extent, components, Draws(seed, 7).next(Purpose.TEST))


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("colors", [2, 4])
def test_gaussian_fields_are_the_formula_of_their_philox_words(make_lattice, colors, lanes):
    """Box and Muller with our own logarithm, sine and cosine, against NumPy's, on 10^5 numbers."""
    extent = (8, 8, 8, 8)
    P = AlgebraField(make_lattice(*extent, lanes=lanes), colors)
    P.draw_gaussian(Draws(5, 7).next(Purpose.TEST))
    expected = philox_gaussians(extent, P.component_count, 5)
    np.testing.assert_allclose(P.gather_reals(), expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("parity", ["both", "even", "odd"])
def test_gaussian_fields_are_the_same_bits_for_any_lanes(make_lattice, parity):
    def draw(lanes):
        psi = FermionField(make_lattice(8, 4, 8, 4, lanes=lanes), 3, parity)
        psi.draw_gaussian(Draws(11, 3).next(Purpose.NOISE), 0.5**0.5)
        return psi.to_sites()
    one = draw(1)
    for lanes in LANES[1:]:
        np.testing.assert_array_equal(draw(lanes), one)


def test_draws_differ_by_seed_purpose_trajectory_and_number(make_lattice):
    P = AlgebraField(make_lattice(4, 4), 2)

    def values(seed, trajectory, purpose, skip):
        draws = Draws(seed, trajectory)
        for _ in range(skip):
            draws.next(purpose)
        P.draw_gaussian(draws.next(purpose))
        return P.gather_reals().ravel()
    fields = [values(1, 1, Purpose.TEST, 0), values(2, 1, Purpose.TEST, 0), values(1, 2, Purpose.TEST, 0),
              values(1, 1, Purpose.NOISE, 0), values(1, 1, Purpose.TEST, 1)]
    assert len(np.unique(np.concatenate(fields))) == sum(len(f) for f in fields)
    np.testing.assert_array_equal(values(1, 1, Purpose.TEST, 0), fields[0])


def test_moments_of_uniform_and_normal_deviates(make_lattice):
    """Central moments within 4 sigma; sigma of the mean of f is sqrt(var f / n)."""
    lattice = make_lattice(8, 8, 8, 8)
    layout, field = lattice.layout("double"), AlgebraField(lattice, 3)
    kernel = layout.kernel("random.cc", "uniform_field")
    random = Draws(1, 0).next(Purpose.TEST)
    layout.launch(kernel, layout.geometry, field.pointer, field.component_count, random, keep=(field,))
    u = field.gather_reals().ravel()
    assert u.min() > 0 and u.max() < 1
    for k in range(1, 7):
        sigma = np.sqrt((1 / (2 * k + 1) - 1 / (k + 1) ** 2) / u.size)
        assert abs((u**k).mean() - 1 / (k + 1)) < 4 * sigma
    field.draw_gaussian(Draws(1, 0).next(Purpose.TEST))
    x = field.gather_reals().ravel()

    def moment(k):
        return 2 ** (k / 2) * gamma((k + 1) / 2) / np.sqrt(np.pi) if k % 2 == 0 else 0.0
    for k in range(1, 7):
        assert abs((x**k).mean() - moment(k)) < 4 * np.sqrt((moment(2 * k) - moment(k) ** 2) / x.size)
    pairs = x.reshape(-1, 2)
    assert abs((pairs[:, 0] * pairs[:, 1]).mean()) < 4 / np.sqrt(len(pairs))


@pytest.mark.parametrize("lanes", [2, None])
def test_uniform_of_the_lattice_is_philox(make_lattice, lanes):
    random = Draws(3, 9).next(Purpose.ACCEPT)
    words = reference.philox((0, 0, 9, 0), (3, Purpose.ACCEPT))
    assert make_lattice(4, 4, lanes=lanes).uniform(random) == reference.uniform(*words[:2])


@pytest.mark.parametrize(("colors", "extent"), [(2, (16, 8, 8, 8)), (3, (8, 8, 8, 8)), (4, (16, 16, 16))])
def test_hot_links_are_haar_distributed(hot_links, colors, extent):
    """<tr U> = 0, <|tr U|^2> = 1, <|tr U|^4> = 2, <|U_ij|^2> = 1 / N within 4 sigma, known from the eighth moment."""
    links = hot_links(colors, *extent).to_sites().reshape(-1, colors, colors)
    trace = np.einsum("nii->n", links)
    fourth, eighth, n = 2, {2: 14, 3: 23, 4: 24}[colors], len(links)
    assert abs(trace.mean()) < 4 / np.sqrt(n)
    assert abs((abs(trace) ** 2).mean() - 1) < 4 * np.sqrt((fourth - 1) / n)
    assert abs((abs(trace) ** 4).mean() - fourth) < 4 * np.sqrt((eighth - fourth**2) / n)
    deviation = abs((abs(links) ** 2).mean(0) - 1 / colors)
    assert deviation.max() < 4.5 * np.sqrt((2 / (colors * (colors + 1)) - 1 / colors**2) / n)
    assert reference.group_deviation(links) < 1e-12
