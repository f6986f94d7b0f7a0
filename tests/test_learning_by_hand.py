"""Steps, orders, streams and labels of trainings and fits, found by hand."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
from cards import fit_card
from fitting import stop_when

from slhmc.lattice import Purpose


@pytest.mark.parametrize("centred", [False, True])
def test_the_first_gauss_newton_step_by_hand(rng, centred):
    torch = pytest.importorskip("torch")
    from slhmc.learning.losses import LOSSES
    from slhmc.learning.optimizers import DAMPING, GaussNewton

    J, b = torch.tensor(rng.normal(size=(6, 2))), torch.tensor(rng.normal(size=6))
    theta = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer = GaussNewton([theta], lr=1.0)
    q = J @ theta - b
    optimizer.observe(list(q), centred)
    LOSSES["centred" if centred else "published"].of_batch(q).backward()
    optimizer.step()
    D = J - J.mean(0) * centred
    normal = D.T @ D / (6 - centred)
    matrix = normal + (1 + 2 * DAMPING) * torch.diag(torch.diag(normal))
    gradient = D.T @ (-b + b.mean() * centred) / (6 - centred)
    np.testing.assert_allclose(theta.detach(), -torch.linalg.solve(matrix, gradient), rtol=1e-12)


def test_a_cosine_falls_within_an_epoch():
    pytest.importorskip("torch")
    from slhmc.learning.optimizers import learning_rate

    table = fit_card("fit.learning_rate=1", "fit.epochs=4", "fit.schedule=cosine").fit
    assert learning_rate(table, 1.5) == pytest.approx((1 + np.cos(1.5 * np.pi / 4)) / 2)


def test_samples_draw_from_a_stream_that_no_chain_uses():
    pytest.importorskip("torch")
    from slhmc.learning.samples import SampleDraws

    draws = SampleDraws(3, 5)
    words = [draws.next(purpose) for purpose in (Purpose.PSEUDOFERMION, Purpose.MOMENTA)]
    assert [(word.purpose, word.draw) for word in words] == [(Purpose.TRAINING, 0), (Purpose.TRAINING, 1)]


def test_the_learning_rate_decays_from_the_first_step_on(tmp_path):
    pytest.importorskip("torch")
    from test_training import train

    history = train(tmp_path, "train.decay=0.5", "train.steps=3", "train.learning_rate=1e-3")[1]
    np.testing.assert_allclose(history.steps["learning_rate"][1:], [1e-3, 5e-4, 2.5e-4], rtol=1e-12)


def test_every_epoch_has_an_order_of_its_own():
    pytest.importorskip("torch")
    from types import SimpleNamespace

    from slhmc.learning.regression import Regression

    orders = [Regression._order(SimpleNamespace(card=fit_card(), epoch=epoch, training=range(50))) for epoch in (0, 0, 1)]
    assert (orders[0] == orders[1]).all() and (orders[0] != orders[2]).any()


def test_violations_are_told_by_the_sign_of_the_logit():
    pytest.importorskip("torch")
    from slhmc.learning.flux_task import _details

    outputs, labels = np.array([[0.2], [-0.2], [3.0], [-3.0]]), np.array([[1.0], [0.0], [1.0], [1.0]])
    assert _details("violation", outputs, labels) == {"accuracy": 0.75}


def test_a_kernel_of_two_sites_has_the_site_before():
    torch = pytest.importorskip("torch")
    from slhmc.networks.convolutional import Convolutional, Stage

    model = Convolutional([Stage("convolution", 1, 2, False), Stage("global_sum")], inputs=1, activation="relu", real="double")
    field = torch.rand(1, 1, 4, 5, dtype=torch.float64)
    with torch.no_grad():
        model.weights[0].copy_(torch.tensor([[[[1.0, 10.0], [100.0, 1000.0]]]]))
        found = model.fields(field)[1]
    back = [torch.roll(field, (a, b), (2, 3)) for a in (1, 0) for b in (1, 0)]
    np.testing.assert_allclose(found, sum(w * f for w, f in zip((1, 10, 100, 1000), back, strict=True)), rtol=1e-13)


@pytest.mark.parametrize(("kind", "extent"), [("wilson_loop", (4, 4)), ("topological_charge", (2, 2, 2, 2))])
def test_labels_are_times_their_scale(hot_links, kind, extent):
    pytest.importorskip("torch")
    from slhmc.learning.labels import label
    from slhmc.networks.lcnn import LinkBatch
    from slhmc.simulation.learned_flow import pack_links

    U = hot_links(2, *extent)
    batch = LinkBatch(U.lattice.device, pack_links(U)[None], extent, 2)
    once, thrice = (label(fit_card().data.model_copy(update={"label": kind, "scale": scale}), batch) for scale in (1.0, 3.0))
    assert abs(once).max() > 0
    np.testing.assert_allclose(thrice, 3 * once, rtol=1e-13)


def test_a_directory_of_data_sets_is_locked(tmp_path):
    pytest.importorskip("torch")
    from slhmc.learning.datasets import take_lock

    looks, told = [], []
    lock = take_lock(tmp_path, lambda: True, lambda: told.append(0))
    assert lock is not None and take_lock(tmp_path, lambda: True, lambda: told.append(1)) is None and not told
    assert take_lock(tmp_path, lambda: looks.append(0) or len(looks) > 3, lambda: told.append(2)) is None and told == [2]
    os.close(lock)
    again = take_lock(tmp_path, lambda: True, lambda: told.append(3))
    assert again is not None and told == [2]
    os.close(again)


def test_patience_of_a_training_counts_on_when_it_goes_on(tmp_path):
    pytest.importorskip("torch")
    from test_training import same_history, train

    from slhmc.learning import training

    overrides = ("train.learning_rate=1e-30", "train.patience=2", "train.report_every=1", "train.steps=9")
    done, expected = train(tmp_path / "whole", *overrides)
    assert done and list(expected.evaluations["step"]) == [0, 1, 2]
    assert not train(tmp_path / "run", *overrides, observer=stop_when("training", 1))[0]
    resumed = training.resume(tmp_path / "run")
    assert resumed.run()
    same_history(resumed.history, expected)


def test_samples_of_a_chain_are_spaced():
    pytest.importorskip("torch")
    from slhmc.learning.samples import OnlineSource

    card = SimpleNamespace(run=SimpleNamespace(thermalization=3, seed=1), train=SimpleNamespace(spacing=2))
    source = OnlineSource(card, None, SimpleNamespace(step=lambda *_: SimpleNamespace(accepted=True)))
    assert [source.advance() for _ in range(9)] == [False] * 4 + [True, False, True, False, True]
    assert source.position == 3
