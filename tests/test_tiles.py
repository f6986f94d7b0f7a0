"""Tiles: what the second step of a piece of work reads is there when its turn comes."""

from itertools import combinations, product

import numpy as np
import pytest

from slhmc.backend import HostDevice
from slhmc.backend.device import Device
from slhmc.lattice import Lattice, field_strength_sums
from slhmc.lattice.geometry import REACHED, Blocks
from slhmc.lattice.lattice import partial_places
from slhmc.lattice.tiles import Tiles, plane_order

SLICE = 2 * 4 * 4 * 4 * 120 * 8  # bytes of two slices of 120 reals a site

BLOCKS = [Blocks((4, 4, 6, 4), (1, 1, 1, 1), (0, 0, 0, 0), (1, 1, 1, 1), 2),
          Blocks((8, 4, 12, 6), (1, 1, 1, 1), (0, 0, 0, 0), (2, 1, 2, 1), 2),
          Blocks((4, 4, 8, 8), (1, 1, 1, 2), (0, 0, 0, 1), (1, 1, 1, 1), 2),
          Blocks((4, 4, 12, 8), (1, 1, 2, 1), (0, 0, 1, 0), (2, 2, 1, 1), 2),
          Blocks((4, 8, 12, 12), (1, 2, 2, 2), (0, 1, 1, 0), (1, 1, 1, 1), 2),
          Blocks((4, 6, 8), (1, 1, 1), (0, 0, 0), (1, 1, 1), 2)]


def behind(blocks, reach):
    """Ways from (parity, groups) to what is behind: up to `reach` steps in one direction, or one in each of two."""
    table = blocks.neighbours() >> 5
    for steps in range(max(reach, 2) + 1):
        for path in product(range(blocks.dimensions), repeat=steps):
            if any(path.count(mu) > reach for mu in path):
                continue
            def walk(parity, groups, path=path):
                for mu in path:
                    groups, parity = table[parity][groups, blocks.dimensions + mu], 1 - parity
                return parity, groups
            yield steps, walk


@pytest.mark.parametrize("blocks", BLOCKS, ids=lambda blocks: "x".join(map(str, blocks.extent)) + " on " + str(blocks.rank_grid))
@pytest.mark.parametrize("reach", [1, 2])
@pytest.mark.parametrize(("parts", "rows"), [(1, 0), (2, 0), (3, 0), (4, 0), (1, 1), (1, 3), (2, 1), (3, 2)])
def test_what_is_read_was_made_and_is_still_there(blocks, parts, rows, reach):
    """A second step may change in place what the first has made, up to one step behind: once, before the last one reads it."""
    tiles = Tiles(blocks, parts, reach, rows)
    length = blocks.block[-2] // parts
    assert tiles.count == parts * blocks.block[-1] if not rows else tiles.count >= parts * blocks.block[-1] * length // rows
    places, made, done = tiles.positions(), np.full((2, tiles.window), -1), np.zeros(blocks.stride, int)
    changed, work = np.zeros((2, tiles.window), int), 0
    assert places.max() < tiles.window <= blocks.stride * (1 + blocks.dimensions)
    for number in range(tiles.count):
        for begin, end in tiles.spans(number, REACHED, reach):
            groups = np.arange(begin, end)
            made[:, places[groups]], changed[:, places[groups]] = groups, 0
            work += len(groups)
        for begin, end in tiles.spans(number, REACHED, 1):
            changed[:, places[begin:end]] += 1
        for begin, end in tiles.spans(number):
            groups = np.arange(begin, end)
            done[groups] += 1
            for steps, walk in behind(blocks, reach):
                for parity in (0, 1):
                    there, found = walk(parity, groups)
                    np.testing.assert_array_equal(made[there][places[found]], found)
                    if steps < 2:
                        np.testing.assert_array_equal(changed[there][places[found]], 1)
    np.testing.assert_array_equal(done[:blocks.groups], 1)
    assert not done[blocks.groups:].any()
    if not any(blocks.margins):  # the first slices are made once more, and rows behind the first ones only there
        assert work <= blocks.groups * (1 + reach / blocks.block[-1]) * (1 + 2 * reach**2 / blocks.block[-1] / blocks.block[-2])


def test_window_of_parts_is_smaller_than_all_rows():
    """Two slices of a part, and of its last row all slices."""
    blocks = Blocks((8, 8, 24, 24), (1, 1, 1, 1), (0, 0, 0, 0), (2, 2, 2, 1), 2)
    row = blocks.stride // (12 * 24)
    assert Tiles(blocks, 1).window == 2 * 12 * row
    assert Tiles(blocks, 3).window == (3 * 24 + 2 * 3) * row
    assert Tiles(blocks, 0).window == blocks.stride


def test_what_is_kept_of_slices_beyond_all_caches(monkeypatch):
    """At most half of the lattice and two slices of a part, however small the caches: parts have two rows or more."""
    monkeypatch.setattr(Device, "tile_bytes", 1)
    layout = Lattice((4, 4, 24, 32), HostDevice()).layout()
    tiles, _ = layout.tiles(960)
    assert tiles.count > layout.blocks.block[-1] and tiles.window <= 0.6 * layout.stride


@pytest.mark.parametrize(("piece_bytes", "count"), [(SLICE, 8), (SLICE - 1, 1), (4 * SLICE, 1), (4 * SLICE - 1, 8)])
def test_slices_where_the_cache_of_a_core_holds_two_of_them_and_not_all(monkeypatch, piece_bytes, count):
    """For one thread alone, and for sums if slices are whole multiples of their lane groups, here four of each parity."""
    monkeypatch.setattr("slhmc.backend.host.PIECE_BYTES", piece_bytes)
    monkeypatch.setenv("OMP_NUM_THREADS", "2,1")
    device = HostDevice()
    layout = Lattice((4, 4, 4, 8), device).layout()
    for threads in (1, 2):
        device.use_threads(threads)
        found = count if threads == 1 else 1
        assert [layout.tiles(120, 1, whole)[0].count for whole in (1, 2, 3, 4, 8)] == [found, found, 1, found, 1]
    device.use_threads(1)


@pytest.mark.parametrize(("piece_rows", "rows"), [(8, 4), (7, 0), (13, 6), (40, 0)])
def test_one_part_is_cut_into_pieces_of_several_rows(monkeypatch, piece_rows, rows):
    """Half as many as the cache holds, of steps to the nearest neighbours."""
    monkeypatch.setattr(Device, "tile_bytes", 1)
    monkeypatch.setattr(HostDevice, "piece_bytes", piece_rows * 16 * 8 * 120)
    layout = Lattice((4, 4, 20, 8), HostDevice(), lanes=1).layout()
    monkeypatch.setattr(layout, "_parts", lambda reals, reach: 1)
    assert layout.tiles(120)[0].rows == rows


def test_tiles_are_cut_into_pieces_for_one_thread_alone(monkeypatch):
    """And not for sums, whose order threads must not change, if pieces are no whole multiples of their lane groups."""
    monkeypatch.setattr(Device, "tile_bytes", 1)
    monkeypatch.setattr("slhmc.backend.host.PIECE_BYTES", 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "2,1")
    device = HostDevice()
    layout = Lattice((4, 4, 8, 8), device).layout()
    counts = []
    for threads in (2, 1, 2):
        device.use_threads(threads)
        counts.append(tuple(layout.tiles(120, 2, groups)[0].count for groups in (3, 1)))
    device.use_threads(1)
    whole = layout.blocks.block[-1] * layout._parts(120, 2)
    assert counts == [(whole, whole), (whole, layout.blocks.block[-1] * layout.blocks.block[-2]), (whole, whole)]
    assert HostDevice().thread_counts() == [1, 2] and HostDevice().piece_bytes == 0
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert HostDevice().thread_counts()[0] == 1


def test_partial_sums_of_whole_lane_groups_are_in_their_order():
    assert partial_places([(8, 12), (0, 8), (12, 15)], 2, 8) == ([2, 0, 3], 4)
    assert partial_places([(0, 3), (3, 10)], 2, 8) == ([0, 1], 3)  # not whole: one behind the other
    assert partial_places([(8, 16)], 2, 8) == ([0], 2)  # not from the first one on
    assert partial_places([(0, 5), (5, 5)], 1, 64) == ([0, 1], 1)


@pytest.mark.parametrize(("colors", "reals"), [(2, 34), (3, 120)])
def test_sums_have_the_same_bits_in_any_tiles_of_whole_partial_sums(hot_links, monkeypatch, colors, reals):
    U, found = hot_links(colors, 8, 8, 6, 4, lanes=8), []
    device, every = U.lattice.device, 8 * 8 * 6 * 4 * reals * 8  # bytes
    for tile_bytes, piece_bytes, count in ((1 << 40, 0, 1), (1 << 40, every * 3 // 4, 4), (1, 0, 12), (1, 1, 24)):
        monkeypatch.setattr(type(device), "tile_bytes", tile_bytes)
        monkeypatch.setattr(type(device), "piece_bytes", piece_bytes)
        assert U.layout.tiles(reals, 1, 4)[0].count == count
        found.append(device.to_host(field_strength_sums(U)))
    for sums in found[1:]:
        np.testing.assert_array_equal(sums, found[0])


@pytest.mark.parametrize("blocks", BLOCKS, ids=lambda blocks: "x".join(map(str, blocks.extent)) + " on " + str(blocks.rank_grid))
def test_whole_planes_stand_side_by_side(blocks):
    table = blocks.neighbours() >> 5
    for mu, nu in combinations(range(blocks.dimensions), 2):
        order, size = plane_order(blocks, mu, nu)
        np.testing.assert_array_equal(np.sort(order), np.tile(np.arange(blocks.groups), (2, 1)))
        if blocks.rank_grid[mu] * blocks.rank_grid[nu] > 1:
            assert size == blocks.groups
            continue
        assert size in (blocks.groups, blocks.block[mu] * blocks.block[nu] // 2)
        place = np.argsort(order, 1)
        for parity, direction in product((0, 1), (mu, nu, mu + blocks.dimensions, nu + blocks.dimensions)):
            found = table[parity][order[parity], direction]
            np.testing.assert_array_equal(place[1 - parity][found] // size, np.arange(blocks.groups) // size)
