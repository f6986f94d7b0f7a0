"""Learned flows in studies: tests at other couplings, weights of their own for each step, scripts that time and draw them."""

import json
import re
import sys

import numpy as np
import pytest
from cards import FLOW, FLOW_OF_LINKS, GUIDED_BY_A_FLOW, TOY, flow_card
from running import ROOT, card_file, refusal, script, sets

torch = pytest.importorskip("torch")

from slhmc.backend import HostDevice  # noqa: E402
from slhmc.io import load_data_set, load_weights  # noqa: E402
from slhmc.lattice import Draws, GaugeField, Lattice, Purpose  # noqa: E402
from slhmc.lattice.communicator import SerialCommunicator  # noqa: E402
from slhmc.learning import datasets, regression  # noqa: E402
from slhmc.learning.evaluation import Labelled  # noqa: E402
from slhmc.learning.flow_tests import flow_numbers  # noqa: E402
from slhmc.learning.models import trained_model  # noqa: E402
from slhmc.networks.flow.schemes import chebyshev_lengths  # noqa: E402
from slhmc.networks.lcnn import LinkBatch  # noqa: E402
from slhmc.observables.gradient_flow import GradientFlow  # noqa: E402
from slhmc.simulation.learned_flow import LearnedFlowEnd, flow_network, load_flow, pack_links  # noqa: E402

sys.path.insert(0, str(ROOT / "scripts"))
import fits  # noqa: E402
import flow_cost  # noqa: E402
import flow_figures  # noqa: E402

TESTS = "data.test_betas=[3.5, 8.0]"
STEPS = ("model.step_weights=true", "model.steps=3", "fit.learning_rate=0.01", "fit.epochs=4", "data.later_times=[]")


def hot(colors, extent):
    U = GaugeField(Lattice(extent, HostDevice()), colors)
    U.randomize(Draws(5, 0).next(Purpose.START))
    return U


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Fits on the same data, tested at two more couplings: of plaquettes, and of rectangles too."""
    folder = tmp_path_factory.mktemp("fits")
    for name, loops in (("plaquettes", ()), ("rectangles", ('model.loops=["plaquette", "rectangle"]', "fit.learning_rate=0.05"))):
        card = flow_card(TESTS, f"data.directory={folder / 'data'}", *STEPS, *loops)
        assert regression.create(card, folder / name).run()
    return folder


# ---- tests at other couplings
def test_each_coupling_of_the_test_is_a_set_of_its_own(fitted):
    names = {part.name: part for part in datasets.parts(flow_card(TESTS))[2:]}
    assert list(names) == ["4x4", "6x4", "4x4 beta 3.5", "6x4 beta 3.5", "4x4 beta 8", "6x4 beta 8"]
    for beta in ("3.5", "8"):
        plain, flowed = (load_data_set(fitted / "data" / f"test_6x4_beta{beta}{flow}.h5") for flow in ("", "_wilson_t0.5"))
        assert plain.beta.tolist() == flowed.beta.tolist() == [float(beta)] * 3
        assert plain.origin["betas"] == [float(beta)] and flowed.origin["flow"]["time"] == 0.5
        assert plain.origin == datasets.origin(flow_card(TESTS), names[f"6x4 beta {beta}"])
    near, far = (load_data_set(fitted / "data" / f"test_4x4_beta{beta}.h5").links for beta in ("3.5", "8"))
    assert np.abs(near - far).max() > 0.1


def test_couplings_of_the_test_change_no_other_set(tmp_path):
    """Same origins and seeds, so sets that are there are found again; seeds of new chains differ from all others."""
    plain, more = flow_card(), flow_card(TESTS)
    for part in datasets.parts(plain):
        assert datasets.origin(plain, part) == datasets.origin(more, part)
        assert datasets.chain_seed(plain, part, 1) == datasets.chain_seed(more, part, 1)
    chains = [(part, chain) for part in datasets.parts(more) for chain in range(len(datasets.couplings(more, part)))]
    assert len({datasets.chain_seed(more, part, chain) for part, chain in chains}) == len(chains) == 4 * 2 + 4
    maker = datasets.Maker(plain, tmp_path, HostDevice(), SerialCommunicator())
    assert maker.make(lambda: False, lambda *_: None)
    kept, told = {path.name: path.read_bytes() for path in tmp_path.glob("*.h5")}, []
    again = datasets.Maker(more, tmp_path, HostDevice(), SerialCommunicator())
    assert again.make(lambda: False, lambda *numbers: told.append(numbers))
    assert told[-1] == (12, 12)  # four sets, links, and at two times
    assert len(list(tmp_path.glob("*.h5"))) == len(kept) + 12
    assert all((tmp_path / name).read_bytes() == words for name, words in kept.items())


def test_a_set_of_another_coupling_is_refused(tmp_path, fitted, capsys):
    card = card_file(tmp_path, FLOW)
    data = tmp_path / "data"
    data.mkdir()
    (data / "test_4x4_beta3.5.h5").write_bytes((fitted / "data" / "test_4x4_beta8.h5").read_bytes())
    told = refusal(capsys, "train", card, "-o", tmp_path / "run", *sets(TESTS, f"data.directory={data}"))
    assert "test_4x4_beta3.5.h5" in told and "betas = [8.0] ([3.5] expected)" in told


def test_results_and_tables_know_couplings(tmp_path, fitted):
    found = json.loads((fitted / "plaquettes" / "results.json").read_text())
    assert list(found["test"]) == [part.name for part in datasets.parts(flow_card(TESTS))[2:]]
    model, card = trained_model(fitted / "plaquettes" / "weights.h5")
    part = datasets.parts(card)[4]
    samples = Labelled(card, part, fitted / "data", HostDevice(), "double")
    expected = flow_numbers("flowed_links", model, samples, SerialCommunicator())
    entry = found["test"]["4x4 beta 3.5"]
    assert part.name == "4x4 beta 3.5" and entry["samples"] == 3
    assert entry["mse_site"] == pytest.approx(expected["mse_site"], rel=1e-10)
    (fit,) = fits.fits_of({"name": "x", "table": "t", "fit": "none.toml", "set": [], "seeds": [1]}, tmp_path, [])
    fit.directory.mkdir(parents=True)
    fit.results.write_text(json.dumps(found))
    column = "median.mse_site.4x4 beta 3.5"
    assert fits.numbers([fit])[column] == f"{entry['mse_site']:.2g}"
    assert fits.heading(column) == "MSE per site 4x4 beta 3.5, median"


@pytest.mark.parametrize(("label", "overrides", "words"), [
    ("links", ("data.test_betas=[0.0]",), "data.test_betas.0"),
    ("toy", ("data.test_betas=[2.0]",), 'has no meaning with data.ensemble = "haar"'),
    ("links", ("model.step_weights=true", "data.later_times=[]", "model.time_degree=1"), "has no meaning with step_weights"),
    ("links", ("model.step_weights=true", "data.later_times=[]", "model.scheme=munthe_kaas_2"), 'with step_weights use "euler"'),
    ("links", ("model.step_weights=true",), "model.step_weights are of the steps to flow_time"),
    ("links", ("model.generator=lcnn", "model.step_weights=true", "data.later_times=[]", "model.layers=[{channels = 2}]"),
     'is of generator = "loops"')])
def test_keys_that_do_not_fit_are_refused(tmp_path, capsys, label, overrides, words):
    card = card_file(tmp_path, {"links": FLOW, "toy": FLOW_OF_LINKS}[label])
    told = refusal(capsys, "train", card, "-o", tmp_path / "run", *sets(*overrides, *(TOY if label == "toy" else ())))
    assert words in told and not (tmp_path / "run").exists()


# ---- weights of their own for each step
@pytest.mark.parametrize("time", [0.3, 1.0, 2.0, 3.9])
def test_chebyshev_steps_reach_the_time_and_are_stable(time):
    """prod (1 - s_j rate) falls from 1 and stays within (-1, 1), for all rates, though the longest step alone grows."""
    lengths = chebyshev_lengths(time, 4, 8.0)
    assert sum(lengths) == pytest.approx(time, rel=1e-9) and lengths == sorted(lengths) and lengths[0] > 0
    rates = np.linspace(1e-3, 8.0, 500)
    assert np.abs(np.prod([1 - length * rates for length in lengths], axis=0)).max() < 1
    assert (max(lengths) > 2 / 8.0) == (time > 0.5)
    assert chebyshev_lengths(4.0, 4, 8.0) is None


def test_a_flow_of_plaquettes_begins_at_chebyshev_steps_of_the_wilson_flow():
    """Their errors are of first order in the step: many steps come close to the flow."""
    U, errors = hot(2, (4, 6)), []
    batch = LinkBatch(U.lattice.device, pack_links(U)[None], (4, 6), 2)
    GradientFlow(U, step=0.01).advance(0.5)
    for steps in (20, 40):
        card = flow_card("model.step_weights=true", "data.later_times=[]", f"model.steps={steps}")
        from slhmc.simulation.learned_flow import make_flow

        flow = make_flow(card, "double")
        with torch.no_grad():
            assert float((flow.generator.weight - 0.5).abs().max()) < 0.05
            flow.generator.weight.fill_(0.5)
            errors.append(np.abs(flow(batch).links_of_samples()[0].numpy() - pack_links(U)).max())
    assert errors[1] < 0.02 and 1.7 < errors[0] / errors[1] < 2.3


def test_a_flow_with_weights_of_its_steps_is_a_stout_network(fitted):
    """The same links by torch and by the engine, to rounding; rows of weights differ; it measures by the engine."""
    for name, loops in (("plaquettes", 1), ("rectangles", 2)):
        tensors, card = load_flow(fitted / name / "weights.h5")
        weights = tensors["generator.weight"]
        assert weights.shape == (3, loops) and np.ptp(weights[:, 0]) > 1e-3
        network, U = flow_network(tensors, card), hot(2, (6, 8))
        assert network.kind == "stout" and network.parameter_names[0] == "layer1.plaquette"
        model, _ = trained_model(fitted / name / "weights.h5")
        with torch.no_grad():
            ended = model.flow(LinkBatch(U.lattice.device, pack_links(U)[None], (6, 8), 2)).links_of_samples()[0].numpy()
        assert np.abs(pack_links(network.smear(U)) - ended).max() < 1e-13 < 0.05 < np.abs(pack_links(U) - ended).max()
        observable = LearnedFlowEnd(fitted / name / "weights.h5", U.lattice, 2)
        from slhmc.observables import Plaquette

        plaquette = float(Plaquette().measure(network.smear(U), Draws(1, 0)))
        assert observable.measure(U, Draws(1, 0))[0] == pytest.approx(4 * (1 - plaquette), rel=1e-12)


def test_powers_of_time_by_euler_steps_are_a_stout_network_too(tmp_path, fitted):
    card = flow_card(f"data.directory={fitted / 'data'}", "model.time_degree=2", "model.steps=4", "fit.epochs=1",
                   "fit.learning_rate=0.1")
    assert regression.create(card, tmp_path / "run").run()
    tensors, card = load_flow(tmp_path / "run" / "weights.h5")
    model, _ = trained_model(tmp_path / "run" / "weights.h5")
    U = hot(2, (4, 4))
    with torch.no_grad():
        ended = model.flow(LinkBatch(U.lattice.device, pack_links(U)[None], (4, 4), 2)).links_of_samples()[0].numpy()
    assert np.abs(pack_links(flow_network(tensors, card).smear(U)) - ended).max() < 1e-13
    tensors, card = tensors, card.model_copy(update={"model": card.model.model_copy(update={"scheme": "munthe_kaas_2"})})
    assert flow_network(tensors, card) is None


def test_it_is_the_network_of_a_guide(tmp_path, fitted):
    from running import slhmc_command

    card = card_file(tmp_path, GUIDED_BY_A_FLOW)
    network = fitted / "rectangles" / "weights.h5"
    assert slhmc_command("run", card, "-o", tmp_path / "run", *sets(f"guide.network={network}")) == 0
    weights = load_weights(tmp_path / "run" / "weights.h5")
    assert weights.table["kind"] == "stout" and weights.table["layers"] == 3
    rows = load_flow(network)[0]["generator.weight"].astype(float)
    np.testing.assert_allclose(weights.network_values.reshape(3, 2), rows * 0.5 / 3, rtol=1e-14)


# ---- scripts
def page_with(folder, *tables):
    page = folder / "page.md"
    page.write_text("".join(f"<!-- table {table} -->\nold\n<!-- end -->\n" for table in tables))
    return page


def call(monkeypatch, script, *arguments):
    monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments)])
    assert script.main() == 0


def test_costs_of_learned_and_exact_flows(tmp_path, fitted, monkeypatch, capsys):
    page, out = page_with(tmp_path, "cost", "cost_charge"), tmp_path / "cost.json"
    for name in ("rectangles", "plaquettes"):
        call(monkeypatch, flow_cost, f"{name}={fitted / name}", "-o", out, "--page", page, "--configurations", 2, "--lattices",
             "4x4", "6x4 beta 3.5")
    found = json.loads(out.read_text())
    assert list(found) == ["rectangles", "plaquettes"] and list(found["plaquettes"]) == ["4x4", "6x4 beta 3.5"]
    entry = found["plaquettes"]["6x4 beta 3.5"]
    model, card = trained_model(fitted / "plaquettes" / "weights.h5")
    batch, labels = Labelled(card, datasets.parts(card)[5], fitted / "data", HostDevice(), "double").batch([0, 2])
    with torch.no_grad():
        expected = float((model(batch) - labels).square().sum(-1).mean())
    assert entry["learned"]["error"] == pytest.approx(expected, rel=1e-9) and entry["engine"] and entry["beta"] == [3.5, 3.5]
    assert (entry["learned"]["steps"], entry["learned"]["loops"]) == (3, 3)
    for family in ("runge_kutta", "euler", "chebyshev"):
        best, tried = entry[family], {point["steps"]: point for point in entry[f"{family}_tried"]}
        assert best["error"] <= entry["learned"]["error"] and best["milliseconds"] > 0
        fewer = tried.get(best["steps"] - 1)
        assert best["steps"] == min(tried) or fewer["error"] > entry["learned"]["error"]
    assert entry["runge_kutta"]["steps"] >= 2 and entry["runge_kutta"]["loops"] == 3 * entry["runge_kutta"]["steps"]
    line = page.read_text().splitlines()[3]
    assert re.match(r"\| rectangles \| 4x4 \| 0\.5 \| 3 steps \(3\): ", line) and line in capsys.readouterr().out


def test_costs_of_flows_of_charges_and_by_torch(tmp_path, monkeypatch):
    """Errors of Q; a scheme that the engine does not have is run by torch."""
    card = flow_card("fit.epochs=1", "model.scheme=munthe_kaas_2", label="charge")
    assert regression.create(card, tmp_path / "fit").run()
    page, out = page_with(tmp_path, "cost", "cost_charge"), tmp_path / "cost.json"
    call(monkeypatch, flow_cost, f"charge={tmp_path / 'fit'}", "-o", out, "--page", page, "--configurations", 3, "--lattices",
         "4x4x4x2")
    entry = json.loads(out.read_text())["charge"]["4x4x4x2"]
    samples = Labelled(card, datasets.parts(card)[2], tmp_path / "fit" / "data", HostDevice(), "double")
    wanted = samples.labels.numpy()[[0, 2, 5], 0]
    np.testing.assert_allclose(entry["wanted"], wanted, rtol=1e-9)
    assert not entry["engine"] and entry["learned"]["loops"] == 4 and len(entry["learned"]["charges"]) == 3
    difference = np.array(entry["learned"]["charges"]) - wanted
    assert entry["learned"]["error"] == pytest.approx((difference**2).mean() ** 0.5, rel=1e-9)
    assert entry["stopped_early"]["error"] <= entry["learned"]["error"] and "(torch)" in page.read_text()
    call(monkeypatch, flow_figures, "--cost", out, "-o", tmp_path)
    assert (tmp_path / "learned_flow_charge.png").exists() and not (tmp_path / "learned_flow_cost.png").exists()


def test_figures_of_a_link_and_of_costs(tmp_path, monkeypatch):
    card, page = flow_card("fit.epochs=1", label="toy"), tmp_path / "page.md"
    page.write_text("<!-- table link -->\n<!-- end -->\n")
    assert regression.create(card, tmp_path / "fit").run()
    point = {"steps": 2, "loops": 2, "milliseconds": 1.0, "error": 0.1}
    entry = {"label": "flowed_links", "time": 1.0, "learned": point, "euler_tried": [point | {"error": 0.2}, point]}
    (tmp_path / "cost.json").write_text(json.dumps({"a": {"4x4": entry, "6x4": entry}}))
    call(monkeypatch, flow_figures, "--link", tmp_path / "fit", "--cost", tmp_path / "cost.json", "--lattices", "4x4", "-o",
         tmp_path / "images", "--page", page)
    assert re.search(r"^\| 0.5, that of the training \|", page.read_text(), re.M) and "| 2 | " in page.read_text()
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["learned_flow_cost.png", "learned_flow_link.png"]
    for name in ("flow_cost", "adversarial"):  # links that the engine's flow does not reach; that change with the gauge
        code, _, error = script(name, f"x={tmp_path / 'fit'}", "-o", tmp_path / "a.json")
        assert code == 2 and f"error: {tmp_path / 'fit'}: " in error
    start = flow_figures.starts()
    np.testing.assert_allclose((start**2).sum(2), 1, rtol=1e-12)
    assert start[:, 0, 0, 0].tolist() == list(flow_figures.STARTS)
