"""Plaquette, rectangle and straight lines: against the formula, and their symmetries."""

import numpy as np
import pytest
import reference

from slhmc.errors import InputError
from slhmc.io import load_links, save_links
from slhmc.lattice import GaugeField, line_trace, plaquette_sum, rectangle_sum

pytestmark = pytest.mark.device
CASES = [(2, (8, 4)), (3, (4, 2, 6, 8)), (2, (2, 8, 4, 6)), (4, (4, 6, 8)), (3, (8, 4, 4)), (2, (2, 2))]


def lines(U):
    return np.array([complex(*U.lattice.device.to_host(line_trace(U, mu))) for mu in range(U.lattice.dimensions)])


def loops(U):
    """All loop sums of a field, in one array."""
    return np.array([float(plaquette_sum(U)), float(rectangle_sum(U)), *lines(U)])


def assert_same(found, expected, sites):
    """Equal up to the rounding of sums over so many sites."""
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-12 * np.sqrt(sites))


@pytest.mark.parametrize("lanes", [None, 1])
@pytest.mark.parametrize(("colors", "extent"), CASES)
def test_loops_are_the_formula(hot_links, colors, extent, lanes):
    U = hot_links(colors, *extent, lanes=lanes)
    links = U.to_sites()
    expected = [reference.plaquette_sum(links), reference.rectangle_sum(links)]
    expected += [reference.line_trace(links, mu) for mu in range(len(extent))]
    assert_same(loops(U), expected, U.lattice.sites)


@pytest.mark.parametrize(("colors", "extent"), CASES)
def test_loops_are_gauge_invariant(hot_links, rng, colors, extent):
    U = hot_links(colors, *extent)
    before = loops(U)
    g = reference.random_group(tuple(reversed(extent)), colors, rng)
    U.from_sites(reference.gauge_transform(U.to_sites(), g))
    assert_same(loops(U), before, U.lattice.sites)


@pytest.mark.parametrize(("colors", "extent"), CASES)
def test_loops_are_translation_invariant(hot_links, colors, extent):
    U = hot_links(colors, *extent)
    before = loops(U)
    for mu in range(len(extent)):
        U.from_sites(reference.shift(U.to_sites(), mu, 1, len(extent)))
        assert_same(loops(U), before, U.lattice.sites)


@pytest.mark.parametrize(("colors", "extent"), CASES)
def test_a_field_that_was_saved_has_its_loops_when_it_is_loaded(hot_links, make_lattice, tmp_path, colors, extent):
    """Mean plaquette, rectangle and Polyakov loops to 1e-13, on other lanes."""
    U = hot_links(colors, *extent)
    save_links(tmp_path / "links.h5", U.to_sites())
    loaded = GaugeField(make_lattice(*extent, lanes=1), colors)
    loaded.from_sites(load_links(tmp_path / "links.h5", extent, colors)[0])
    planes, sites = U.lattice.planes, U.lattice.sites
    terms = colors * sites * np.array([planes, 2 * planes, *[1] * len(extent)])
    np.testing.assert_allclose(loops(loaded) / terms, loops(U) / terms, rtol=0, atol=1e-13)


def test_loops_of_unit_links_count_them(make_lattice):
    U = GaugeField(make_lattice(4, 6, 8), 3)
    sites, planes = 192, 3
    np.testing.assert_allclose(loops(U), [3 * planes * sites, 3 * 2 * planes * sites, *[3 * sites] * 3], rtol=1e-14)


def test_centre_transformation_turns_only_the_line_it_cuts(hot_links):
    """All time links of one slice times a centre element: plaquettes stay, the time line takes the phase."""
    U = hot_links(3, 4, 2, 6, 8)
    before, links = loops(U), U.to_sites()
    phase = np.exp(2j * np.pi / 3)
    links[5, ..., 3, :, :] *= phase
    U.from_sites(links)
    before[-1] *= phase
    assert_same(loops(U), before, U.lattice.sites)


@pytest.mark.parametrize("colors", [1, 7])
def test_unknown_groups_are_refused(make_lattice, colors):
    with pytest.raises(InputError, match=rf"colors = {colors}: the gauge kernels know SU\(2\) to SU\(6\)"):
        GaugeField(make_lattice(4, 4), colors)
