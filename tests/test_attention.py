"""What layers with attention do that others do not; formulas and derivatives: tests/test_networks.py."""

import numpy as np
import pytest

from slhmc.errors import InputError
from slhmc.lattice import AlgebraField
from slhmc.networks import Network, make_network

pytestmark = pytest.mark.device
ALL = ("plaquette", "rectangle", "chair", "polyakov")


def test_attention_to_nothing_is_a_stout_layer(hot_links, gaussian_momenta, rng):
    """Queries, keys and values of weight zero: links, force and the gradient of rho; attention of weight zero moves nothing."""
    U, rho = hot_links(3, 4, 2, 6, 4), 0.02 * rng.standard_normal((2, 4))
    weights = np.zeros((8, 4))
    weights[::4] = rho
    found = []
    for network in (make_network("attention", 3, 4, 2, ALL, weights), make_network("stout", 3, 4, 2, ALL, rho)):
        force, P = AlgebraField(U.lattice, 3), gaussian_momenta(U)
        network.pull_back(U, P, force, 0.7)
        gradient = network.parameter_gradient(U, P).reshape(2, -1, 4)
        found.append((network.smear(U).to_sites(), force.gather_reals(), gradient[:, 0]))
    for attention, stout in zip(*found, strict=True):
        np.testing.assert_allclose(attention, stout, rtol=0, atol=1e-13 * abs(stout).max())


def test_attention_grows_where_smearing_has_more_to_do(hot_links):
    """Smoothing queries raise scores, most where links are rough."""
    U = hot_links(3, 4, 4, 4, 4)
    network = make_network("attention", 3, 4, 1, ["plaquette"], [[0.0], [0.02], [0.0], [0.0]])
    network.smear(U)
    scores = U.derived["network", network].layers[0].scores[0]
    values = U.lattice.device.to_host(scores)
    assert values.min() > 0 and values.max() > 2 * values.min()


def test_a_class_refuses_the_kinds_of_others():
    with pytest.raises(InputError, match="Network of kind 'attention': one of stout, ape, flow expected"):
        Network("attention", 3, 4, 1, ["plaquette"])


def test_unknown_kinds_are_refused_with_those_of_all_classes():
    with pytest.raises(InputError, match="network kind 'cask': one of stout, ape, flow, attention expected"):
        make_network("cask", 3, 4, 1, ["plaquette"])


def test_parameters_are_named_by_layer_row_and_loop():
    assert make_network("attention", 2, 4, 1, ["plaquette", "polyakov_t"]).parameter_names == [
        f"layer1.{row}.{loop}" for row in ("rho", "query", "key", "value") for loop in ("plaquette", "polyakov_t")]


@pytest.mark.parametrize(("arguments", "message"), [
    ((3, 4, 1, ["plaquette"], [[0.1]]), r"\(1, 1\) found, \(4, 1\) expected: a row for each layer's rho, query, key, value"),
    ((3, 4, 1, []), r"loops = \[\]: a layer needs at least one loop"),
    ((4, 4, 1, ["plaquette"]), "4 colours: its kernels know 2 and 3"),
    ((3, 4, 1, ["plaquette"], None, 1), "time_degree = 1 of a network of kind 'attention'"),
])
def test_networks_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        make_network("attention", *arguments)
