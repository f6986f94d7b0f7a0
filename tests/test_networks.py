"""Smearing networks: loops, layers and the way back, against plain formulas, finite differences and torch's autograd."""

import json
from itertools import product

import numpy as np
import pytest
import reference
import reference_networks as plain

from slhmc.errors import InputError
from slhmc.lattice import AlgebraField, GaugeField, LinkField
from slhmc.networks import KINDS, LOOPS, make_network
from slhmc.networks.loops import SHAPES, path_count, table_length, weight_mask
from slhmc.networks.terms import loop_terms

pytestmark = pytest.mark.device
ALL = ("plaquette", "rectangle", "chair", "polyakov")
BY_CLASS = ("plaquette_ss", "plaquette_st", "plaquette_ts", "rectangle_s", "rectangle_t", "chair_s", "chair_t", "polyakov_s",
            "polyakov_t")
SINGLE = [(loop,) for loop in LOOPS]
STENCIL = {1: 2 / 3, -1: -2 / 3, 2: -1 / 12, -2: 1 / 12}  # error h^4 / 30 times the fifth derivative
EXTENTS = {2: (4, 6), 3: (4, 2, 6), 4: (4, 2, 6, 4)}
GROUPS = [(2, 4), (3, 4), (2, 3), (3, 3), (2, 2), (3, 2)]


def fitting(loops, dimensions):
    """Those of `loops` that there are in so many dimensions."""
    return tuple(loop for loop in loops if dimensions > 2 or not (loop.startswith("chair") or loop == "plaquette_ss"))


def random_network(kind, colors, dimensions, layers, loops, rng, scale=0.1, time_degree=0):
    """Weights that change a link by about `scale`, whatever the number of its paths."""
    network = make_network(kind, colors, dimensions, layers, loops, time_degree=time_degree)
    paths = [max(len(plain.paths_of(loop, (4,) * dimensions, mu)) for mu in range(dimensions)) for loop in network.loops]
    rows = network.parameters.size // max(1, len(loops))
    network.set_parameters(scale * rng.standard_normal((rows, len(loops))) / np.array(paths))
    return network


def weight_rows(network):
    return network.parameters.reshape(-1, len(network.loops))


def formula(network, links):
    return plain.smear(links, network.kind, network.layers, network.loops, weight_rows(network))


def public(force):
    values = force.gather_reals()
    return values.reshape(*values.shape[:-1], force.lattice.dimensions, force.colors**2 - 1)


def algebra_field(U, values):
    field = AlgebraField(U.lattice, U.colors)
    field.scatter_reals(values.reshape(*values.shape[:-2], -1))
    return field


class Linear:
    """S = sum Re tr M^+ U' on smeared links, M random: its value, and what a network makes of its force."""

    def __init__(self, network, U, rng):
        shape = (*reversed(U.lattice.extent), U.lattice.dimensions, U.colors, U.colors)
        self.network, self.M = network, rng.standard_normal(shape) + 1j * rng.standard_normal(shape)

    def value(self, U):
        return plain.linear_action(self.network.smear(U).to_sites(), self.M)

    def smeared_force(self, U):
        """-d_a S = c_a(U' M^+) / 2."""
        loops = self.network.smear(U).to_sites() @ reference.dagger(self.M)
        return algebra_field(U, 0.5 * reference.algebra_coefficients(loops))

    def force(self, U):
        force = AlgebraField(U.lattice, U.colors)
        self.network.pull_back(U, self.smeared_force(U), force)
        return force

    def gradient(self, U):
        return self.network.parameter_gradient(U, self.smeared_force(U))


def difference(value, step):
    return sum(weight * value(k * step) for k, weight in STENCIL.items()) / step


def assert_force_and_gradient(network, U, P, rng, step=1e-3, weight_step=1e-4):
    """Along a random direction of the links and along each weight, by finite differences."""
    action, moved = Linear(network, U, rng), GaugeField(U.lattice, U.colors)

    def along_links(distance):
        moved.assign(U)
        moved.drift(P, distance)
        return action.value(moved)

    force, gradient, weights = action.force(U), action.gradient(U), network.parameters

    def along_weight(distance, number):
        network.set_parameters(weights + distance * np.eye(weights.size)[number])
        return action.value(U)
    found, expected = float(force.inner(P)), -difference(along_links, step)
    size = float(force.inner(force)) ** 0.5 * float(P.inner(P)) ** 0.5
    assert abs(found - expected) < 1e-9 * max(abs(expected), 1e-2 * size)
    expected = [difference(lambda h, k=number: along_weight(h, k), weight_step) for number in range(weights.size)]
    network.set_parameters(weights)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-8 * np.abs(expected).max())


# ---- loops
@pytest.mark.parametrize(("shape", "number"), [("plaquette", (2, 4, 6)), ("rectangle", (6, 12, 18)), ("chair", (0, 24, 72))])
def test_loops_through_a_unit_link_are_those_found_by_brute_force(make_lattice, shape, number):
    """How many open paths: C of unit links."""
    for dimensions in (2, 3, 4):
        assert {len(plain.open_paths(shape, dimensions, mu)) for mu in range(dimensions)} == {number[dimensions - 2]}
        if number[dimensions - 2] == 0:
            continue
        U = GaugeField(make_lattice(*(4,) * dimensions), 3)
        staples, (term,) = LinkField(U.lattice, 3), loop_terms(U.lattice, 3, [shape])
        ones = U.lattice.device.from_host(np.ones(table_length(dimensions)))
        term.add_staples(U, staples, U.lattice.device.pointer(ones))
        found = staples.gather_reals().reshape(-1, 3, 3, 2)
        np.testing.assert_allclose(found[..., 0], number[dimensions - 2] * np.broadcast_to(np.eye(3), found.shape[:-1]))


@pytest.mark.parametrize(("loop", "dimensions"), list(product(LOOPS, (2, 3, 4))))
def test_a_weight_counts_for_its_class_of_links(loop, dimensions):
    if loop not in fitting((loop,), dimensions):
        with pytest.raises(InputError, match=f"'{loop}': there is none in 2 dimensions"):
            weight_mask(loop, dimensions)
        return
    mask, expected = weight_mask(loop, dimensions), []
    assert path_count(loop, dimensions) == max(len(plain.paths_of(loop, (4,) * dimensions, mu)) for mu in range(dimensions))
    planes = [[mu != nu and loop.startswith("plaquette") and any(plain.counts(loop, mu, path, dimensions)
              for path in plain.open_paths("plaquette", dimensions, mu) if (nu, 1) in path) for nu in range(dimensions)]
              for mu in range(dimensions)]
    expected += [value for row in planes for value in row]
    for shape in SHAPES[1:]:
        expected += [loop.startswith(shape) and bool(plain.paths_of(loop, (4,) * dimensions, mu)) for mu in range(dimensions)]
    np.testing.assert_array_equal(mask, np.array(expected, float))


# ---- layers
@pytest.mark.parametrize("kind", ["stout", "ape", "attention"])
@pytest.mark.parametrize("loops", SINGLE, ids="".join)
@pytest.mark.parametrize("colors", [2, 3])
def test_a_layer_is_the_formula(hot_links, rng, colors, loops, kind):
    U = hot_links(colors, *EXTENTS[4])
    network = random_network(kind, colors, 4, 1, loops, rng, 0.3)
    np.testing.assert_allclose(network.smear(U).to_sites(), formula(network, U.to_sites()), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("colors", "dimensions"), GROUPS)
def test_layers_are_the_formula(hot_links, rng, colors, dimensions, kind):
    U = hot_links(colors, *EXTENTS[dimensions])
    network = random_network(kind, colors, dimensions, 3, fitting(ALL, dimensions), rng, 0.3, 2 * (kind == "flow"))
    np.testing.assert_allclose(network.smear(U).to_sites(), formula(network, U.to_sites()), rtol=0, atol=1e-11)


@pytest.mark.parametrize("colors", [2, 3])
@pytest.mark.parametrize("rho", [0.04, -0.15, 0.6])
def test_one_layer_is_textbook_stout_with_twice_the_weight(hot_links, colors, rho):
    U = hot_links(colors, 4, 2, 6, 4)
    found = make_network("stout", colors, 4, 1, ["plaquette"], [[rho]]).smear(U).to_sites()
    np.testing.assert_allclose(found, plain.textbook_stout(U.to_sites(), 2 * rho), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("colors", "dimensions"), GROUPS)
def test_layers_are_covariant(hot_links, rng, colors, dimensions, kind):
    """Of all loops, in every class by itself."""
    U, extent = hot_links(colors, *EXTENTS[dimensions]), EXTENTS[dimensions]
    g = reference.random_group(tuple(reversed(extent)), colors, rng)
    links = U.to_sites()
    for loops in [*((loop,) for loop in fitting(LOOPS, dimensions)), fitting(BY_CLASS, dimensions)]:
        network = random_network(kind, colors, dimensions, 1, loops, rng)
        U.from_sites(links)
        expected = reference.gauge_transform(network.smear(U).to_sites(), g)
        U.from_sites(reference.gauge_transform(links, g))
        np.testing.assert_allclose(network.smear(U).to_sites(), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("colors", [2, 3])
def test_a_hundred_layers_stay_in_the_group(hot_links, rng, colors, kind):
    U = hot_links(colors, 4, 2, 6, 4)
    U.reunitarize()
    network = random_network(kind, colors, 4, 100, ("plaquette", "polyakov"), rng, 0.5)
    assert reference.group_deviation(network.smear(U).to_sites()) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("colors", [2, 3])
def test_weights_of_zero_are_the_identity(hot_links, colors, kind):
    """Exactly, where nothing is projected."""
    U = hot_links(colors, 4, 2, 6, 4)
    smeared = make_network(kind, colors, 4, 2, ALL).smear(U)
    assert smeared is not U
    np.testing.assert_allclose(smeared.to_sites(), U.to_sites(), rtol=0, atol=1e-14 if kind == "ape" else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_no_layers_are_the_identity(hot_links, gaussian_momenta, kind):
    U = hot_links(2, 4, 6)
    network, P, force = make_network(kind, 2, 2, 0, []), gaussian_momenta(U), AlgebraField(U.lattice, 2)
    assert network.is_identity and network.smear(U) is U and network.parameters.size == 0
    network.pull_back(U, P, force, 0.5)
    np.testing.assert_array_equal(public(force), 0.5 * public(P))
    assert network.parameter_gradient(U, P).size == 0


@pytest.mark.parametrize("kind", ["stout", "ape", "attention"])
def test_no_layers_have_no_rows_of_weights(kind):
    """As a card may write them."""
    assert make_network(kind, 2, 2, 0, ["plaquette"], []).is_identity


@pytest.mark.parametrize("kind", ["stout", "ape"])
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("colors", [2, 3])
def test_positive_weights_smooth(hot_links, colors, loop, kind):
    """The mean of the loops of a class rises."""
    U = hot_links(colors, 4, 2, 6, 4)
    smeared = make_network(kind, colors, 4, 1, [loop], [[1e-3]]).smear(U)
    before, after = ((plain.loop_sums(links, [loop])[0] * links.conj()).sum().real
                     for links in (U.to_sites(), smeared.to_sites()))
    assert after > before + 1e-3


def test_a_flow_is_stout_layers_of_its_weights(hot_links, rng):
    U, loops, n = hot_links(3, 4, 2, 6), ("plaquette", "polyakov_t"), 4
    a = 0.1 * rng.standard_normal((3, 2))
    times = (np.arange(n) + 0.5) / n
    rho = (a[0] + times[:, None] * a[1] + times[:, None] ** 2 * a[2]) / n
    flow, layers = make_network("flow", 3, 3, n, loops, a, 2), make_network("stout", 3, 3, n, loops, rho)
    np.testing.assert_allclose(flow.smear(U).to_sites(), layers.smear(U).to_sites(), rtol=0, atol=1e-14)


# ---- the way back
@pytest.mark.parametrize("kind", ["stout", "ape", "attention"])
@pytest.mark.parametrize("loops", SINGLE, ids="".join)
@pytest.mark.parametrize("colors", [2, 3])
def test_force_and_gradient_are_derivatives(hot_links, gaussian_momenta, rng, colors, loops, kind):
    U = hot_links(colors, *EXTENTS[4])
    assert_force_and_gradient(random_network(kind, colors, 4, 1, loops, rng), U, gaussian_momenta(U), rng)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("colors", "dimensions"), GROUPS)
def test_force_and_gradient_of_layers_are_derivatives(hot_links, gaussian_momenta, rng, colors, dimensions, kind):
    U = hot_links(colors, *EXTENTS[dimensions])
    scale, *steps = (0.01, 2e-4, 1e-6) if kind == "attention" else (0.1,)  # attention to rough links is of order 1, and curved
    network = random_network(kind, colors, dimensions, 3, fitting(BY_CLASS, dimensions), rng, scale, 2 * (kind == "flow"))
    assert_force_and_gradient(network, U, gaussian_momenta(U), rng, *steps)


@pytest.mark.parametrize("colors", [2, 3])
def test_force_through_large_exponents(hot_links, gaussian_momenta, rng, colors):
    """Where the exponential and its derivative are halved and squared."""
    U = hot_links(colors, 4, 2, 6, 4)
    network = make_network("stout", colors, 4, 1, ["plaquette"], [[2.0]])
    assert_force_and_gradient(network, U, gaussian_momenta(U, scale=0.05), rng)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("colors", "extent"), [(2, (4, 2, 4, 2)), (3, (2, 4, 2)), (3, (4, 2, 2, 4)), (2, (4, 6))])
def test_force_and_gradient_are_those_of_autograd(hot_links, rng, colors, extent, kind):
    U, dimensions = hot_links(colors, *extent), len(extent)
    network = random_network(kind, colors, dimensions, 2, fitting(ALL, dimensions), rng, 0.2, kind == "flow")
    action = Linear(network, U, rng)
    force, gradient = plain.torch_derivatives(U.to_sites(), kind, 2, network.loops, weight_rows(network), action.M)
    np.testing.assert_allclose(public(action.force(U)), force, rtol=0, atol=1e-11 * abs(force).max())
    np.testing.assert_allclose(action.gradient(U), gradient.ravel(), rtol=0, atol=1e-11 * abs(gradient).max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_nothing_depends_on_lanes(hot_links, gaussian_momenta, rng, kind, lanes):
    values = []
    network = random_network(kind, 3, 4, 2, ALL, rng)
    for n in (None, lanes):
        U = hot_links(3, 4, 4, 2, 8, lanes=n)
        P, force = gaussian_momenta(U), AlgebraField(U.lattice, 3)
        network.pull_back(U, P, force)
        values.append((network.smear(U).to_sites(), public(force), network.parameter_gradient(U, P)))
    for wide, narrow in zip(*values, strict=True):
        np.testing.assert_allclose(narrow, wide, rtol=0, atol=1e-12 * abs(wide).max())


@pytest.mark.parametrize("kind", KINDS)
def test_force_is_added_with_its_weight(hot_links, gaussian_momenta, rng, kind):
    U = hot_links(3, 4, 2, 6)
    network = random_network(kind, 3, 3, 2, ALL, rng)
    P, once, more = gaussian_momenta(U), AlgebraField(U.lattice, 3), gaussian_momenta(U, seed=7)
    before = public(more)
    network.pull_back(U, P, once)
    network.pull_back(U, P, more, -0.3)
    np.testing.assert_allclose(public(more), before - 0.3 * public(once), rtol=0, atol=1e-13 * abs(before).max())


# ---- tapes and versions
@pytest.mark.parametrize("kind", KINDS)
def test_tapes_follow_links_and_weights(hot_links, gaussian_momenta, rng, kind):
    """A tape recorded once, replayed after both have changed."""
    U, force = hot_links(3, 4, 2, 6, 4), None
    network, P = random_network(kind, 3, 4, 2, ALL, rng, 0.02), gaussian_momenta(U)
    force = AlgebraField(U.lattice, 3)
    with U.lattice.device.record() as tape:
        U.changed()
        force.clear()
        smeared = network.smear(U)
        network.pull_back(U, P, force)
    U.drift(P, 0.2)
    network.set_parameters(1.5 * network.parameters)
    tape.run()
    U.changed()
    links, found = smeared.to_sites(), public(force)
    assert network.smear(U) is smeared
    np.testing.assert_array_equal(smeared.to_sites(), links)
    force.clear()
    network.pull_back(U, P, force)
    np.testing.assert_array_equal(public(force), found)
    np.testing.assert_allclose(links, formula(network, U.to_sites()), rtol=0, atol=1e-11)


@pytest.mark.parametrize("kind", ["stout", "attention"])
def test_smeared_links_are_rebuilt_when_they_are_stale_and_only_then(hot_links, gaussian_momenta, rng, kind):
    U, network = hot_links(2, 4, 6), random_network(kind, 2, 2, 2, ["plaquette"], rng)
    smeared, versions = network.smear(U), []
    for change in (lambda: None, lambda: U.drift(gaussian_momenta(U), 0.1),
                   lambda: network.set_parameters(1.1 * network.parameters)):
        change()
        assert network.smear(U) is smeared
        versions.append(smeared.version)
    assert np.diff([1, *versions]).tolist() == [0, 1, 1]


@pytest.mark.parametrize("kind", ["stout", "attention"])
def test_a_loop_does_not_rebuild_smeared_links(hot_links, kind):
    U = hot_links(2, 4, 6)
    network, flag = make_network(kind, 2, 2, 1, ["plaquette"]), U.lattice.device.zeros((1,), np.float64)
    with pytest.raises(RuntimeError, match=r"call smear\(\) before the loop"):
        U.lattice.device.repeat_while(U.lattice.device.pointer(flag), lambda: network.smear(U))


# ---- tables and errors
def test_a_table_is_json_and_makes_the_network_again(rng):
    network = random_network("flow", 3, 4, 5, BY_CLASS, rng, time_degree=1)
    table = json.loads(json.dumps(network.table()))
    again = make_network(**table)
    assert again.table() == table and again.parameter_names == network.parameter_names
    assert network.parameter_names[:2] == ["t0.plaquette_ss", "t0.plaquette_st"]
    assert make_network("stout", 2, 4, 2, ["plaquette", "polyakov_t"]).parameter_names == [
        "layer1.plaquette", "layer1.polyakov_t", "layer2.plaquette", "layer2.polyakov_t"]


@pytest.mark.parametrize(("arguments", "message"), [
    (("gradient", 3, 4, 1, ["plaquette"]), "kind 'gradient': one of stout, ape, flow, attention expected"),
    (("stout", 4, 4, 1, ["plaquette"]), "4 colours: its kernels know 2 and 3"),
    (("stout", 3, 5, 1, ["plaquette"]), "5 dimensions: 2, 3 or 4 expected"),
    (("stout", 3, 4, -1, ["plaquette"]), "layers = -1: 0 or more expected"),
    (("stout", 3, 4, 1, []), r"loops = \[\]: a layer needs at least one loop"),
    (("stout", 3, 4, 1, ["plaquette", "plaquette"]), "a loop is there twice"),
    (("stout", 3, 4, 1, ["hexagon"]), "loop 'hexagon': the loops of a network are plaquette, plaquette_ss"),
    (("stout", 3, 2, 1, ["chair"]), "'chair': there is none in 2 dimensions"),
    (("stout", 3, 4, 2, ["plaquette"], [[0.1]]), r"weights of shape \(1, 1\) found, \(2, 1\) expected: a row for each layer"),
    (("flow", 3, 4, 2, ["plaquette"], [[0.1], [0.1]]), r"\(2, 1\) found, \(1, 1\) expected: a row for each power of t"),
    (("stout", 3, 4, 2, ["plaquette"], None, 1), "time_degree = 1 of a network of kind 'stout'"),
    (("stout", 3, 4, 1, ["plaquette"], [[np.nan]]), "1 finite numbers expected: layer1.plaquette"),
])
def test_networks_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        make_network(*arguments)


@pytest.mark.parametrize(("colors", "extent"), [(2, (4, 6, 4)), (3, (4, 6))])
def test_links_of_another_kind_are_refused(make_lattice, colors, extent):
    network = make_network("stout", 2, 2, 1, ["plaquette"])
    with pytest.raises(InputError, match=rf"SU\({colors}\) in {len(extent)} dimensions found, SU\(2\) in 2 dimensions expected"):
        network.smear(GaugeField(make_lattice(*extent), colors))
