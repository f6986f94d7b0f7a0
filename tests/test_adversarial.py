"""Gauge transformations of batches, and how far random and optimised ones move an L-CNN and a CNN."""

import numpy as np
import pytest
import reference
import torch
from link_batches import batch_of, gauge_transform, random_links

from slhmc.learning.adversarial import drifts, generators, pack, random_transformation, transform, unpack
from slhmc.learning.baseline import CNN
from slhmc.networks.lcnn import LCNN, Layer

LAYERS = [Layer(kernel=2, channels=2), Layer(kernel=2, channels=2)]


@pytest.fixture(params=[((4, 6), 2), ((6, 4), 3), ((2, 4, 6), 2)], ids=str)
def links(request):
    return random_links(*request.param, 3, 11)


def test_transformations_are_those_of_the_links(links):
    batch, dimensions = batch_of(links), links.shape[-3]
    omega = random_transformation(batch, torch.Generator().manual_seed(2))
    expected = gauge_transform(links, omega.numpy().reshape(*links.shape[:dimensions + 1], *links.shape[-2:]))
    np.testing.assert_allclose(transform(batch, omega).links, batch_of(expected).links, atol=1e-14)


def test_random_transformations_are_in_the_group_and_have_no_preference(links):
    batch = batch_of(links)
    omega = random_transformation(batch, torch.Generator().manual_seed(3)).numpy()
    assert reference.group_deviation(omega) < 1e-13
    assert abs(omega.mean((0, 1))).max() < 5 / np.sqrt(omega[..., 0, 0].size)


def test_packing_is_undone(links):
    packed = batch_of(links).links_of_samples()
    matrices = unpack(packed, links.shape[-1])
    assert torch.equal(pack(matrices), packed)
    np.testing.assert_allclose(matrices[:, 1].numpy(), links[..., 1, :, :].reshape(3, -1, *links.shape[-2:]), atol=1e-15)


@pytest.mark.parametrize("colors", [2, 3])
def test_generators_are_those_of_the_conventions(colors):
    np.testing.assert_allclose(generators(colors), reference.generators(colors), atol=1e-15)


def networks(colors):
    return (LCNN(colors, 2, LAYERS, real="double", seed=4), CNN(colors, 2, [(2, 6), (2, 6)], "tanh", real="double", seed=4))


@pytest.mark.parametrize("colors", [2, 3])
def test_optimised_transformations_move_the_cnn_and_not_the_lcnn(colors):
    """Those of the CNN more than all random ones; weights stay."""
    batch = batch_of(random_links((4, 4), colors, 3, 12))
    for model, moves in zip(networks(colors), (False, True), strict=True):
        before = [parameter.clone() for parameter in model.parameters()]
        found = drifts(model, batch, draws=4, steps=12)
        np.testing.assert_allclose(found.y, model(batch)[..., 0].mean(1).detach(), rtol=1e-14)
        assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))
        assert (found.random <= found.largest).all() and (found.largest <= found.optimised).all()
        assert (found.optimised <= found.site_optimised).all() or not moves
        if moves:
            assert (found.optimised > 2 * found.largest).all() and (found.random > 1e-4).all()
        else:
            scale = found.y.abs().max()
            assert max(found.site_random.max(), found.site_optimised.max()) < 1e-12 * max(scale, 1)


def test_a_seed_gives_the_same_drifts():
    batch = batch_of(random_links((4, 4), 2, 2, 13))
    first, again, other = (drifts(networks(2)[1], batch, draws=2, steps=3, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.optimised, again.optimised) and not torch.equal(first.optimised, other.optimised)


def test_the_gradient_that_is_followed():
    """d y' / d c(x) through links, by finite differences."""
    batch = batch_of(random_links((4, 4), 2, 1, 14))
    basis = generators(2)
    for model in networks(2):
        def moved(coefficients, model=model):
            return model(transform(batch, torch.matrix_exp(torch.einsum("sxa,aij->sxij", coefficients + 0j, basis)))).mean()
        assert torch.autograd.gradcheck(moved, torch.full((1, 16, 3), 0.1, dtype=torch.float64, requires_grad=True), atol=1e-9)
