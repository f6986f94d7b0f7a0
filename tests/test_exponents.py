"""Layers of plaquettes and rectangles by elements of the algebra, and as large lattices are worked through; formulas:
tests/test_networks.py.
"""

from math import prod

import numpy as np
import pytest
from test_networks import public, random_network

from slhmc.lattice import AlgebraField, GaugeField, LinkField
from slhmc.networks.exponents import PlaquetteExponents, RectangleExponents
from slhmc.networks.loops import table_offset
from slhmc.networks.terms import loop_terms

pytestmark = pytest.mark.device


@pytest.mark.parametrize("kind", [PlaquetteExponents, RectangleExponents])
@pytest.mark.parametrize(("colors", "extent"), [(2, (4, 2, 6, 4)), (3, (4, 2, 6, 4)), (3, (4, 6, 2)), (3, (4, 6))])
def test_exponents_and_their_force_are_those_of_matrices(hot_links, gaussian_momenta, rng, kind, colors, extent):
    """Q = 2 [C U^+]_TA, and of f Q at fixed f the derivative that goes through C as D = 4 f U, and through U^+."""
    U, dimensions = hot_links(colors, *extent), len(extent)
    table = random_network("stout", colors, dimensions, 1, [kind.shape], rng).weight_table[0]
    own = slice(table_offset(kind.shape, dimensions), None)
    table[own] *= 1 + rng.standard_normal(len(table[own]))  # of each class of links its own
    weights, (term,) = U.lattice.device.from_host(table), loop_terms(U.lattice, colors, [kind.shape])
    address, f = U.lattice.device.pointer(weights), gaussian_momenta(U)
    links, smeared = GaugeField(U.lattice, colors), GaugeField(U.lattice, colors)
    (C, D), (zero, q, all_q, on_q, found, expected) = ([field(U.lattice, colors) for _ in range(count)]
                                                       for field, count in ((LinkField, 2), (AlgebraField, 6)))

    def launch(name, *arguments):
        pointers = [getattr(argument, "pointer", argument) for argument in arguments]
        U.layout.launch(U.kernel("stout.cc", name), U.layout.geometry, U.pointer, *pointers, keep=(U, *arguments))
    U.update_staple_halo()
    term.add_staples(U, C, address)
    loops = kind(U.lattice, colors)
    loops.find(U, address, q)
    launch("stout_links", C, all_q, links)
    np.testing.assert_allclose(public(q), public(all_q), rtol=0, atol=1e-13 * abs(public(q)).max())
    loops.find(U, address, q, smeared, add=True)  # to what is there, twice all in all
    all_q.assign_combination(2.0, all_q, 0.0, all_q)
    np.testing.assert_allclose(public(q), public(all_q), rtol=0, atol=1e-13 * abs(public(q)).max())
    links.assign(U)
    links.drift(all_q, 1.0)
    np.testing.assert_allclose(smeared.to_sites(), links.to_sites(), rtol=0, atol=1e-12)

    launch("stout_pull_back", C, zero, f, D, expected, 1.0, 0, on_q)  # at Q = 0 what is on smeared links is on Q as well
    np.testing.assert_allclose(public(on_q), public(f), rtol=0, atol=1e-14)
    expected.assign_combination(1.0, expected, -1.0, f)
    D.update_staple_halo()
    term.add_force(U, D, expected, address, 1.0)
    loops.add_force(U, address, f, found, 1.0)
    np.testing.assert_allclose(public(found), public(expected), rtol=0, atol=1e-13 * abs(public(expected)).max())


@pytest.mark.parametrize(("loops", "extent", "parts"), [
    *((("plaquette", "plaquette_st"), *lattice) for lattice in (
        ((4, 4, 2, 6), 1), ((4, 6, 4), 1), ((4, 4, 6, 4), 2), ((2, 4, 10, 2), 5))),
    *((("rectangle_s", "rectangle_t"), *lattice) for lattice in (((4, 4, 2, 6), 1), ((4, 6, 4), 1), ((4, 2, 8, 6), 2)))])
def test_tile_by_tile(hot_links, gaussian_momenta, rng, monkeypatch, loops, extent, parts):
    """As on lattices beyond the caches: of what the steps pass on only some slices are kept."""
    found, network = [], random_network("stout", 3, len(extent), 2, loops, rng)
    monkeypatch.setattr("slhmc.lattice.lattice.PREFETCH_SITES", 0)
    in_tiles = 8 * 2 * prod(extent[:-1]) * 18 * len(extent) // parts
    for tile_bytes, piece_bytes in ((1 << 30, 0), (in_tiles, 0), (in_tiles, 1)):
        U = hot_links(3, *extent, lanes=1)
        monkeypatch.setattr(type(U.lattice.device), "tile_bytes", tile_bytes)
        monkeypatch.setattr(type(U.lattice.device), "piece_bytes", piece_bytes)
        force, P = AlgebraField(U.lattice, 3), gaussian_momenta(U)
        for _ in range(2):  # the second time the window holds what the first left
            force.clear()
            network.pull_back(U, P, force)
        found.append((network.smear(U).to_sites(), public(force), network.parameter_gradient(U, P)))
    assert U.layout.tiles(18 * len(extent))[0].count >= parts * extent[-1]
    for whole, tiled, by_pieces in zip(*found, strict=True):
        np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-12 * abs(whole).max())
        np.testing.assert_array_equal(by_pieces, tiled)


@pytest.mark.parametrize("kind", ["stout", "attention"])
@pytest.mark.parametrize("colors", [2, 3])
def test_layers_on_large_lattices_have_the_same_bits(hot_links, gaussian_momenta, rng, monkeypatch, colors, kind):
    """What is fetched ahead there, and goes past the caches."""
    found, network = [], random_network(kind, colors, 4, 2, ["plaquette", "rectangle"], rng)
    for limit in (1 << 40, 0):
        monkeypatch.setattr("slhmc.lattice.lattice.PREFETCH_SITES", limit)
        monkeypatch.setattr("slhmc.lattice.lattice.MEMORY_BYTES", limit)
        U = hot_links(colors, 4, 4, 4, 8)
        assert U.layout.geometry.prefetch == (0 if limit else 2)
        force = AlgebraField(U.lattice, colors)
        network.pull_back(U, gaussian_momenta(U), force, 0.7)
        found.append((network.smear(U).to_sites(), public(force)))
    for small, large in zip(*found, strict=True):
        np.testing.assert_array_equal(large, small)
