"""The baseline CNN: its channels, shapes and counts, translations, and that gauge transformations change what it says."""

import numpy as np
import pytest
import reference
import torch
from link_batches import batch_of, gauge_transform, random_links

from slhmc.errors import InputError
from slhmc.learning.baseline import CNN, input_channels

LAYERS = [(2, 5), (3, 4), (1, 3)]


@pytest.fixture(params=[((6, 4), 2), ((4, 6), 3), ((4, 2, 6), 2)], ids=str)
def links(request):
    return random_links(*request.param, 3, 3)


def test_its_input_are_links_and_plaquettes(links):
    colors, dimensions = links.shape[-1], links.shape[-3]
    sample = links[1]
    matrices = [sample[..., mu, :, :] for mu in range(dimensions)]
    for mu in range(dimensions):
        for nu in range(mu + 1, dimensions):
            across, up = (reference.shift(matrices[first], second, 1, dimensions) for first, second in ((nu, mu), (mu, nu)))
            matrices.append(matrices[mu] @ across @ reference.dagger(up) @ reference.dagger(matrices[nu]))
    entries = np.stack(matrices, -3).reshape(*sample.shape[:dimensions], -1)
    expected = np.stack([entries.real, entries.imag], -1).reshape(*sample.shape[:dimensions], -1)
    found = input_channels(batch_of(links))
    assert found.shape[:2] == (3, 2 * colors**2 * (dimensions + dimensions * (dimensions - 1) // 2))
    np.testing.assert_allclose(found[1], np.moveaxis(expected, -1, 0), atol=1e-13)


def test_counts_and_shapes(links):
    colors, dimensions = links.shape[-1], links.shape[-3]
    net = CNN(colors, dimensions, [(2, 5), (2, 4)], outputs=2, real="double")
    channels = colors**2 * dimensions * (dimensions + 1)
    assert net.parameter_count == 5 * (channels * 2**dimensions + 1) + 4 * (5 * 2**dimensions + 1) + 2 * (4 + 1)
    assert net(batch_of(links)).shape == (3, 1, 2)
    assert len(net.field_rms(batch_of(links))) == 3


def test_a_convolution_written_out():
    """One 2 x 2 kernel: y = mean over x of a(b + sum_r w(r) U(x + r))."""
    batch = batch_of(random_links((4, 6), 2, 2, 4))
    net = CNN(2, 2, [(2, 3)], activation="tanh", real="double", seed=5)
    weight, channels, total = net.weights[0].detach().numpy(), input_channels(batch).numpy(), 0
    for t in range(2):
        for x in range(2):
            total = total + np.einsum("oc,sctx->sotx", weight[:, :, t, x], np.roll(channels, (-t, -x), axis=(2, 3)))
    pooled = np.tanh(total + net.biases[0].detach().numpy()[:, None, None]).mean((2, 3))
    expected = pooled @ net.head_weight.detach().numpy().T + net.head_bias.detach().numpy()
    np.testing.assert_allclose(net(batch)[:, 0].detach(), expected, rtol=1e-12)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh", "sigmoid"])
def test_translations_change_nothing_and_gauge_transformations_do(activation):
    links = random_links((4, 6), 2, 2, 6)
    turned = gauge_transform(links, random_links((4, 6), 2, 2, 7)[..., 0, :, :])
    net = CNN(2, 2, LAYERS, activation, real="double")
    with torch.no_grad():
        first, second, third = (net(batch_of(sample)) for sample in (links, np.roll(links, (1, 2), axis=(1, 2)), turned))
    np.testing.assert_allclose(second, first, rtol=1e-12)
    assert (abs(third - first) > 1e-6 * abs(first)).all()


def test_both_precisions_begin_alike():
    links = random_links((4, 4), 3, 2, 8)
    found = [CNN(3, 2, LAYERS, real=real, seed=8)(batch_of(links, real)).detach().double() for real in ("double", "float")]
    assert found[0].shape == (2, 1, 1)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)
    assert not torch.equal(found[0], CNN(3, 2, LAYERS, real="double", seed=9)(batch_of(links)))


def test_gradients():
    batch = batch_of(random_links((4, 4), 2, 2, 9))
    net = CNN(2, 2, [(2, 2), (1, 2)], "tanh", real="double")
    assert torch.autograd.gradcheck(lambda links: net(batch.with_links(links)), batch.links.clone().requires_grad_())


@pytest.mark.parametrize(("arguments", "message"), [
    ((2, 4, LAYERS), "in 2 and 3 dimensions, found Nc = 2 in 4"), ((4, 2, LAYERS), "Nc = 4"),
    ((2, 2, LAYERS, "selu"), "activation 'selu'; known are relu"), ((2, 2, [(2, 3), (0, 2)]), "layer 2: kernel and channels"),
    ((2, 2, LAYERS, "relu", 1, "half"), "precision 'half'"), ((2, 2, [(10**6, 2)]), "weights; 1e.08 are the most: make")])
def test_what_is_no_network(arguments, message):
    with pytest.raises(InputError, match=message):
        CNN(*arguments)


def test_what_it_cannot_act_on():
    net = CNN(2, 2, [(3, 2)])
    for extent, colors, message in (((4, 2), 2, "3 sites, too wide for 4x2"), ((4, 4), 3, r"for SU\(2\) in 2 dim.*SU\(3\) links"),
                                    ((4, 4, 4), 2, "4x4x4")):
        with pytest.raises(InputError, match=message):
            net.check(extent, colors)
    net.check((4, 4), 2)
