"""Fits of learned flows: their labels and data sets, training, tests. Their uses are in tests/test_flow_uses.py."""

import json
import shutil

import numpy as np
import pytest
from cards import FLOW, flow_card
from running import card_file, refusal, sets

torch = pytest.importorskip("torch")

from fitting import fit_flow, make_data, note_units, stop_after_batches, stop_when  # noqa: E402

from slhmc.backend import HostDevice  # noqa: E402
from slhmc.errors import InputError  # noqa: E402
from slhmc.io import FitFile, load_data_set  # noqa: E402
from slhmc.lattice import GaugeField, Lattice, field_strength_sums  # noqa: E402
from slhmc.lattice.communicator import SerialCommunicator  # noqa: E402
from slhmc.learning import datasets, regression  # noqa: E402
from slhmc.learning.evaluation import Labelled, evaluate  # noqa: E402
from slhmc.learning.flow_tests import EDGES, flow_numbers  # noqa: E402
from slhmc.learning.flows import square_trace_flow  # noqa: E402
from slhmc.learning.models import trained_model  # noqa: E402
from slhmc.networks.flow import clover_charge  # noqa: E402
from slhmc.networks.lcnn import LinkBatch  # noqa: E402
from slhmc.observables.gradient_flow import GradientFlow  # noqa: E402
from slhmc.runcard import load_card  # noqa: E402
from slhmc.simulation.build import fit_units  # noqa: E402
from slhmc.simulation.learned_flow import pack_links, unpack_links  # noqa: E402

LINKS = {"loops": [], "lcnn": ["model.generator=lcnn", "model.layers=[{channels = 2, symmetric = true}]"],
         "adjoint": ["model.gradient=adjoint", "model.scheme=munthe_kaas_2", "model.time_degree=1", "model.precision=double"]}


def links_of(path):
    return load_data_set(path).links


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A directory with the data sets of the card, for all fits that want no others."""
    return make_data(flow_card(), tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, data):
    return fit_flow(data, tmp_path_factory.mktemp("fitted") / "run")


# ---- labels
@pytest.mark.parametrize("colors", [2, 3])
def test_the_charge_of_a_batch_is_the_one_of_the_engine(hot_links, colors):
    """From clovers, on random and on smoother links, with all extents different."""
    U = hot_links(colors, 4, 2, 6, 8, seed=5)
    found = []
    for time in (0.0, 0.1):
        flow = GradientFlow(U, step=0.02)
        flow.advance(time)
        sums = U.lattice.device.to_host(field_strength_sums(U))
        batch = LinkBatch(U.lattice.device, pack_links(U)[None], U.lattice.extent, colors)
        assert float(clover_charge(batch)[0]) == pytest.approx(sums[1] / (8 * np.pi**2), rel=1e-12)
        found.append(sums[1])
    assert abs(found[0] - found[1]) > 0.1


def test_the_charge_can_be_differentiated(hot_links):
    """By finite differences along a direction in the space of reals, which links leave."""
    U = hot_links(2, 2, 4, 2, 2, seed=5)
    batch = LinkBatch(U.lattice.device, pack_links(U)[None], U.lattice.extent, 2)
    links = batch.links.clone().requires_grad_()
    clover_charge(batch.with_links(links)).sum().backward()
    direction = torch.randn(links.shape, generator=torch.Generator().manual_seed(1), dtype=links.dtype)

    def at(h):
        return float(clover_charge(batch.with_links(batch.links + h * direction)))
    h = 2e-4
    numeric = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
    assert float((links.grad * direction).sum()) == pytest.approx(numeric, rel=1e-9)


def test_charges_need_four_dimensions(hot_links):
    U = hot_links(2, 4, 2, seed=5)
    with pytest.raises(InputError, match="needs 4 dimensions, found 2"):
        clover_charge(LinkBatch(U.lattice.device, pack_links(U)[None], (4, 2), 2))


def test_the_exact_flow_of_a_link_follows_its_equation():
    """dU/dt = i t^a (dS/dA^a) U, dS/dA^a = 2 Re tr(i t^a U^2), by matrices; and it is a flow: t after s is t + s."""
    packed = np.random.default_rng(1).normal(size=(2, 2, 4, 4))
    packed /= np.linalg.norm(packed, axis=2, keepdims=True)
    t = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]]) / 2

    def matrices(links):
        a, b = links[:, :, 0] + 1j * links[:, :, 1], links[:, :, 2] + 1j * links[:, :, 3]
        return np.moveaxis(np.array([[a, b], [-b.conj(), a.conj()]]), (0, 1), (-2, -1))
    U, h = matrices(packed), 1e-5
    slopes = 2 * np.einsum("aij,...jk,...ki->a...", 1j * t, U, U).real
    step = (matrices(square_trace_flow(packed, h)) - matrices(square_trace_flow(packed, -h))) / (2 * h)
    np.testing.assert_allclose(step, np.einsum("a...,aij,...jk->...ik", slopes, 1j * t, U), atol=1e-9)
    np.testing.assert_allclose(square_trace_flow(square_trace_flow(packed, 0.3), 0.4), square_trace_flow(packed, 0.7), atol=1e-14)
    ends = square_trace_flow(packed, 30.0)[:, :, 0]
    np.testing.assert_array_equal(ends, np.sign(packed[:, :, 0]))
    poles = np.array([1.0, -1.0])[:, None, None, None] * np.eye(4)[None, None, :, :1]
    np.testing.assert_allclose(square_trace_flow(poles, 1.0), poles, atol=1e-15)


@pytest.mark.parametrize("colors", [2, 3])
def test_packing_goes_both_ways(hot_links, colors):
    U = hot_links(colors, 4, 2, 6, seed=5)
    other = GaugeField(U.lattice, colors)
    unpack_links(other, pack_links(U))
    np.testing.assert_array_equal(other.to_sites(), U.to_sites())


# ---- data sets
def test_flowed_links_lie_beside_their_data_set(data):
    """Each configuration at the flow time, to the tolerance; later times of tests alone."""
    names = sorted(path.name for path in data.glob("*.h5"))
    assert names == sorted([f"{name}{flow}.h5" for name, flows in (
        ("training_4x4", ["", "_wilson_t0.5"]), ("validation_4x4", ["", "_wilson_t0.5"]),
        *((f"test_{extent}", ["", "_wilson_t0.5", "_wilson_t0.75"]) for extent in ("4x4", "6x4"))) for flow in flows])
    assert not list(data.glob(".*chain*"))
    plain, flowed = (load_data_set(data / f"test_6x4{flow}.h5") for flow in ("", "_wilson_t0.75"))
    np.testing.assert_array_equal(plain.beta, flowed.beta)
    U = GaugeField(Lattice((6, 4), HostDevice()), 2)
    for number in (0, 5):
        unpack_links(U, plain.links[number])
        GradientFlow(U, step=0.005).advance(0.75)
        np.testing.assert_allclose(flowed.links[number], pack_links(U), atol=3e-6)


def test_flowed_links_of_other_links_are_refused(tmp_path, data, capsys):
    moved = shutil.copytree(data, tmp_path / "data")
    for path in moved.glob("*x4.h5"):
        path.unlink()
    card = card_file(tmp_path, FLOW)
    told = refusal(capsys, "train", card, "-o", tmp_path / "run", *sets(f"data.directory={moved}", "data.spacing=3"))
    assert "spacing = 2 (3 expected)" in told and "wilson_t0.5.h5" in told


def test_flows_that_are_done_are_kept(tmp_path, data):
    """Interrupted between two chains, it goes on, and comes to the same files."""
    run = tmp_path / "run"
    assert not regression.create(flow_card(), run).run(stop_when("data", 9))
    assert sorted(path.name for path in (run / "data").glob(".*.h5")) == [".training_4x4_wilson_t0.5.chain000.h5"]
    done = []
    assert regression.resume(run).run(lambda report: done.append((report.phase, report.done, report.total)))
    assert done[0] == ("data", 2, 12)
    for path in data.glob("*.h5"):
        assert (run / "data" / path.name).read_bytes() == path.read_bytes()


def test_links_of_the_haar_measure(tmp_path):
    """tr U / 2 = cos theta has the density (2 / pi) sqrt(1 - x^2): second moment 1/4, fourth 1/8."""
    card = flow_card("data.training=600", label="toy")
    part = datasets.parts(card)[0]
    links = datasets.ChainMaker(card, part, HostDevice()).make(0, lambda: False)
    assert links.shape == (40, 2, 4, 4)
    card = card.model_copy(update={"data": card.data.model_copy(update={"training": 2000})})
    x = datasets.ChainMaker(card, part, HostDevice()).make(0, lambda: False)[:, :, 0].ravel()
    for power, moment in ((2, 1 / 4), (4, 1 / 8)):
        deviation = (x**power).std() / len(x) ** 0.5
        assert abs((x**power).mean() - moment) < 4 * deviation
    assert datasets.origin(card, part) == {"split": "training", "extent": [2, 2], "colors": 2, "ensemble": "haar",
                                           "configurations": 2000, "seed": 1}


# ---- fits
@pytest.mark.parametrize("kind", LINKS)
def test_a_flow_learns_flowed_links(tmp_path, data, kind):
    """The loss falls, and the test knows the links it began with: the Frobenius norm, mean over links."""
    assert regression.create(flow_card(f"data.directory={data}", *LINKS[kind]), tmp_path / "run").run()
    epochs = FitFile.open(tmp_path / "run" / "fit.h5").epochs
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert epochs["validation"].min() < 0.9 * epochs["validation"][0] and np.isnan(epochs["mse_average"]).all()
    start, end = (links_of(data / f"test_6x4{flow}.h5") for flow in ("", "_wilson_t0.5"))
    found = results["test"]["6x4"]
    assert found["mse_start"] == pytest.approx(2 * ((start - end) ** 2).sum(2).mean(), rel=1e-12)
    assert found["mse_site"] < found["mse_start"] and found["mse_average"] is None and found["samples"] == 6
    assert list(found["later"]) == ["0.75"] and found["later"]["0.75"]["mse_start"] > found["mse_start"]
    assert "charge_error" not in found and "wrong_pole" not in found


def test_numbers_of_a_flow_are_those_of_its_links(data, fitted):
    """Read from its file, in double precision, by plain formulas."""
    model, card = trained_model(fitted / "weights.h5")
    samples = Labelled(card, datasets.Part("test", (6, 4)), data, HostDevice(), "double", 0.75)
    links, _ = samples.batch(slice(None))
    with torch.no_grad():
        ours = model.flow(links, 0.75).links_of_samples()
    wanted = torch.from_numpy(links_of(data / "test_6x4_wilson_t0.75.h5"))
    squares = 2 * (ours - wanted).square().sum(2)

    def plaquette(packed):
        u = packed.unflatten(-1, (4, 6)).movedim(2, -1)
        u = torch.view_as_complex(u.unflatten(-1, (2, 2)).contiguous())
        a, b = u[..., 0], u[..., 1]
        m = torch.stack([torch.stack([a, b], -1), torch.stack([-b.conj(), a.conj()], -1)], -2)
        x, y = m[:, 0], m[:, 1]
        return (x @ y.roll(-1, 2) @ x.roll(-1, 1).mH @ y.mH).diagonal(0, -2, -1).sum(-1).real.mean((1, 2)) / 2
    expected = {"mse_site": float(squares.mean()), "largest_link_error": float(squares.max()) ** 0.5,
                "plaquette_error": float((plaquette(ours) - plaquette(wanted)).square().mean()) ** 0.5}
    found = json.loads((fitted / "results.json").read_text())["test"]["6x4"]["later"]["0.75"]
    again = flow_numbers("flowed_links", model, samples, SerialCommunicator(), 0.75)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9) == again[name]
    plain = Labelled(card, datasets.Part("test", (6, 4)), data, HostDevice(), "double")
    numbers = flow_numbers("flowed_links", model, plain, SerialCommunicator())
    assert evaluate(model, plain, SerialCommunicator())["mse_site"] == pytest.approx(numbers["mse_site"], rel=1e-12)


def test_a_stopped_and_resumed_flow_is_the_same_fit(tmp_path, data, fitted):
    run = tmp_path / "run"
    shutil.copytree(fitted, tmp_path / "copy")
    started = regression.create(load_card(fitted / "card.toml"), run)
    stop_after_batches(started, 4)
    assert not started.run() and (started.epoch, started.batch) == (1, 1)
    assert regression.resume(run).run()
    assert (run / "weights.h5").read_bytes() == (fitted / "weights.h5").read_bytes()
    results = [json.loads((path / "results.json").read_text()) | {"seconds": 0} for path in (run, fitted)]
    assert results[0] == results[1]


def test_the_toy_tells_wrong_poles_by_distance(tmp_path):
    assert regression.create(flow_card(label="toy"), tmp_path / "run").run()
    epochs = FitFile.open(tmp_path / "run" / "fit.h5").epochs
    assert epochs["validation"].min() < 0.8 * epochs["validation"][0]
    found = json.loads((tmp_path / "run" / "results.json").read_text())["test"]["2x2"]
    assert list(found["later"]) == ["1", "2"] and found["samples"] == 20
    for numbers in (found, *found["later"].values()):
        bins = numbers["bins"]
        links = np.array([entry["links"] for entry in bins])
        assert links.sum() == 160 and {entry["from"] for entry in bins} <= set(EDGES)
        assert numbers["wrong_pole"] == pytest.approx(sum(links * [entry["wrong_pole"] for entry in bins]) / 160)
        assert numbers["mse_site"] == pytest.approx(sum(links * [entry["mse"] for entry in bins]) / 160)
    start = links_of(tmp_path / "run" / "data" / "test_2x2.h5")
    (near,) = [entry for entry in found["bins"] if entry["from"] == 0.2]
    half = np.abs(start[:, :, 0])
    assert near["links"] == ((half >= 0.2) & (half < 0.5)).sum()


def test_a_flow_learns_charges(tmp_path):
    card = flow_card("fit.learning_rate=0.1", label="charge")
    assert regression.create(card, tmp_path / "run").run()
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    samples = Labelled(card, datasets.parts(card)[2], tmp_path / "run" / "data", HostDevice(), "double")
    model, _ = trained_model(tmp_path / "run" / "weights.h5")
    with torch.no_grad():
        ours = model(samples.batch(slice(None))[0])[:, 0, 0].numpy()
    exact, found = samples.labels[:, 0].numpy(), results["test"]["4x4x4x2"]
    assert found["charge_error"] == pytest.approx(((ours - exact) ** 2).mean() ** 0.5, rel=1e-9)
    assert found["mse_site"] == found["mse_average"] == pytest.approx(found["charge_error"] ** 2, rel=1e-9)
    assert found["same_integer"] == (np.rint(ours) == np.rint(exact)).mean() and "mse_start" not in found
    U = GaugeField(Lattice((4, 4, 4, 2), HostDevice()), 2)
    unpack_links(U, links_of(tmp_path / "run" / "data" / "test_4x4x4x2_wilson_t0.5.h5")[1])
    sums = U.lattice.device.to_host(field_strength_sums(U))
    assert exact[1] == pytest.approx(sums[1] / (8 * np.pi**2), rel=1e-10)


def test_kernels_of_a_flow_are_those_that_are_built(tmp_path, monkeypatch):
    used = note_units(monkeypatch)
    for label in ("links", "toy", "charge"):
        used.clear()
        card = flow_card("fit.epochs=1", label=label)
        assert regression.create(card, tmp_path / label).run()
        assert used <= set(fit_units(card, HostDevice()))


def test_choices_of_a_card_are_those_of_flows():
    from slhmc.networks import flow
    from slhmc.networks.flow import generators
    from slhmc.runcard.fit import ModelTable
    from slhmc.runcard.fit_checks import FLOW_SHAPES

    fields = ModelTable.model_fields
    assert set(fields["scheme"].annotation.__args__) == set(flow.SCHEMES)
    assert set(fields["gradient"].annotation.__args__) == set(flow.GRADIENTS)
    assert generators.SHAPES == FLOW_SHAPES
