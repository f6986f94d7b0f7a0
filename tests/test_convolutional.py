"""Networks of stages on fluxes: published counts, a convolution written out, what translations change and what they do not."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from slhmc.errors import InputError  # noqa: E402
from slhmc.networks.convolutional import PUBLISHED, Convolutional, Stage, family_of, published  # noqa: E402

COUNTS = {
    "regression_eq": 33202, "regression_st": 26370, "regression_fl": 47394,
    "detection_eq": 2657, "detection_st": 953, "detection_fl": 5600,
    "counting_eq1": 1800, "counting_eq2": 456, "counting_eq3": 308, "counting_st1": 2336, "counting_st2": 132,
    "counting_st3": 1184, "counting_fl1": 640, "counting_fl2": 640, "counting_fl3": 2704}


def lattice_of(name):
    return (60, 4) if name.startswith("regression") else (8, 8)


def network(name, **keys):
    return Convolutional(published(name), extent=lattice_of(name), real="double", seed=3, **keys)


def fluxes(extent, samples=3, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).integers(-2, 3, (samples, 4, *extent)).astype(float))


@pytest.mark.parametrize("name", COUNTS)
def test_published_counts_of_parameters(name):
    assert set(COUNTS) == set(PUBLISHED)
    net = network(name)
    assert net.parameter_count == COUNTS[name]
    assert net(fluxes(lattice_of(name))).shape == (3, 2 if name.startswith("regression") else 1)
    assert net.family == {"eq": "equivariant", "st": "strided", "fl": "flattening"}[name.split("_")[1][:2]]


@pytest.mark.parametrize("name", [name for name in COUNTS if "_eq" in name])
def test_equivariant_networks_are_invariant_under_every_translation(name):
    for extent in ((7, 5), (8, 8), (9, 4)):
        field = fluxes(extent)
        with torch.no_grad():
            expected = network(name)(field)
            for shift in ((1, 0), (0, 1), (3, 2)):
                torch.testing.assert_close(network(name)(field.roll(shift, (2, 3))), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", [name for name in COUNTS if "_st" in name])
def test_strides_leave_even_translations_alone(name):
    """On even extents; on odd ones the last sites are lost, and no translation is left."""
    field, odd = fluxes((8, 8)), fluxes((8, 5))
    net = network(name)
    with torch.no_grad():
        torch.testing.assert_close(net(field.roll((2, 4), (2, 3))), net(field), rtol=1e-12, atol=1e-13)
        assert (abs(net(field.roll((1, 0), (2, 3))) - net(field)) > 1e-6 * abs(net(field))).any()
        assert (abs(net(odd.roll((0, 2), (2, 3))) - net(odd)) > 1e-6 * abs(net(odd))).any()
        torch.testing.assert_close(net(odd.roll((2, 0), (2, 3))), net(odd), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", [name for name in COUNTS if "_fl" in name])
def test_flattening_ties_a_network_to_its_lattice_and_to_places(name):
    net, field = network(name), fluxes(lattice_of(name))
    net.check(lattice_of(name))
    with pytest.raises(InputError, match=r"tied to its extents: \d+x\d expected, 16x16 found; end it with a global pool"):
        net.check((16, 16))
    with torch.no_grad():
        assert (abs(net(field.roll((1, 0), (2, 3))) - net(field)) > 1e-7 * abs(net(field))).any()
    with pytest.raises(InputError, match="give both of them"):
        Convolutional(published(name))


def test_a_convolution_written_out():
    """One kernel of two sites: y(x) = a(b + sum_r w(r) U(x - 1 + r)), r = 0, 1 along both directions."""
    net = Convolutional([Stage("convolution", 3, 2), Stage("global_sum"), Stage("linear", 2)], real="double", seed=5)
    field, (weight, head) = fluxes((5, 4)), (values.detach().numpy() for values in net.weights)
    total = 0
    for first in range(2):
        for second in range(2):
            shifted = np.roll(field.numpy(), (1 - first, 1 - second), (2, 3))
            total = total + np.einsum("oc,scxy->soxy", weight[:, :, first, second], shifted)
    total = total + net.biases[0].detach().numpy()[:, None, None]
    pooled = np.where(total > 0, total, 0.01 * total).sum((2, 3))
    expected = pooled @ head.T + net.biases[1].detach().numpy()
    np.testing.assert_allclose(net(field).detach(), expected, rtol=1e-12)


def test_a_kernel_of_two_sites_sees_the_divergence():
    """div k = sum_nu k_nu(x) - k_nu(x - nu), exactly: what the low side of the padding is for."""
    field = fluxes((6, 5))
    net = Convolutional([Stage("convolution", 2, 2, False), Stage("global_sum")], activation="relu", real="double")
    with torch.no_grad():
        weight = net.weights[0].zero_()
        for sign, channel in ((1, 0), (-1, 1)):
            weight[channel, 0, 1, 1] = weight[channel, 1, 1, 1] = sign
            weight[channel, 0, 0, 1] = weight[channel, 1, 1, 0] = -sign
        found = net(field).sum(1)
    k = field.numpy()[:, :2]
    divergence = sum(k[:, nu] - np.roll(k[:, nu], 1, 1 + nu) for nu in range(2))
    np.testing.assert_allclose(found, abs(divergence).sum((1, 2)), rtol=1e-12)


def test_what_a_lattice_must_have():
    wide = Convolutional([Stage("average_pool"), Stage("convolution", 1, 5), Stage("global_sum")])
    wide.check((4, 7))
    with pytest.raises(InputError, match="stage 2: a kernel of 5 sites goes around the 1x4 sites that are left of 3x8 there "):
        wide.check((3, 8))
    assert network("regression_st")(fluxes((50, 2))).shape == (3, 2)  # its kernel of two sites goes around one
    pools = Convolutional([Stage("max_pool"), Stage("max_pool"), Stage("global_max")])
    with pytest.raises(InputError, match="stage 2: nothing to pool on the 1x4 sites"):
        pools.check((3, 8))


def test_both_precisions_begin_alike_and_maps_are_told():
    field = fluxes((8, 8))
    nets = [Convolutional(published("detection_eq"), real=real, seed=2) for real in ("double", "float")]
    found = [net(field.to(net.weights[0])).detach().double() for net in nets]
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)
    assert [tuple(map_.shape[1:]) for map_ in nets[0].fields(field)] == [(4, 8, 8), (32, 8, 8), (32, 8, 8), (32,), (32,), (1,)]
    assert len(nets[0].field_rms(field)) == 6


END = Stage("global_sum")


@pytest.mark.parametrize(("stages", "keys", "message"), [
    ([Stage("convolution", 2)], {}, "0 ends of the lattice found, one expected: global_average"),
    ([END, END], {}, "2 ends"), ([Stage("relu"), END], {}, "stage 1: kind 'relu'; known are convolution"),
    ([Stage("convolution", 0), END], {}, "stage 1: kernel and channels are 1 or more, found 1 and 0"),
    ([Stage("linear", 2), END], {}, "stage 1: linear found; convolutions and pools are before"),
    ([END, Stage("max_pool")], {}, "stage 2: max_pool found"), ([END], {"activation": "selu"}, "activation 'selu'"),
    ([END], {"real": "half"}, "precision 'half'"), ([Stage("convolution", 10**9), END], {}, "weights; 1e.08 are the most")])
def test_what_is_no_network(stages, keys, message):
    with pytest.raises(InputError, match=message):
        Convolutional(stages, **keys)


def test_names_of_published_networks():
    assert family_of(published("regression_st")) == "strided"
    with pytest.raises(InputError, match="no published network 'counting_eq4'; known are regression_eq"):
        published("counting_eq4")
