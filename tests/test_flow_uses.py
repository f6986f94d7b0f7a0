"""What a fitted flow is good for: the network of a guide, an observable; the shipped cards of flows."""

import json

import numpy as np
import pytest
from cards import GUIDED_BY_A_FLOW, LED_BY_ITSELF, flow_card
from running import CARDS, card_file, contents, refusal, sets, slhmc_command

torch = pytest.importorskip("torch")

from fitting import fit_flow, make_data  # noqa: E402

from slhmc import simulation  # noqa: E402
from slhmc.backend import HostDevice  # noqa: E402
from slhmc.io import MeasurementFile, load_links, load_weights  # noqa: E402
from slhmc.lattice import Draws, GaugeField, Lattice, field_strength_sums  # noqa: E402
from slhmc.learning import regression  # noqa: E402
from slhmc.learning.models import trained_model  # noqa: E402
from slhmc.networks import make_network  # noqa: E402
from slhmc.networks.lcnn import LinkBatch  # noqa: E402
from slhmc.observables import Plaquette  # noqa: E402
from slhmc.runcard import parse_card  # noqa: E402
from slhmc.simulation.learned_flow import guide_weights, pack_links, unpack_links  # noqa: E402

LCNN = ["model.generator=lcnn", "model.layers=[{channels = 2, symmetric = true}]"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A directory with the data sets of the card, for all fits that want no others."""
    return make_data(flow_card(), tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, data):
    return fit_flow(data, tmp_path_factory.mktemp("fitted") / "run")


# ---- guides
def test_a_fitted_flow_is_the_network_of_a_guide(tmp_path, fitted):
    """A run names the fit's file; its copy is a file of weights, those of the flow from 0 to 1."""
    card = card_file(tmp_path, GUIDED_BY_A_FLOW)
    assert slhmc_command("run", card, "-o", tmp_path / "run", *sets(f"guide.network={fitted / 'weights.h5'}")) == 0
    weights = load_weights(tmp_path / "run" / "weights.h5")
    assert weights.table == {"kind": "flow", "colors": 2, "dimensions": 2, "layers": 2, "loops": ["plaquette", "rectangle"],
                             "time_degree": 1}
    model, _ = trained_model(fitted / "weights.h5")
    trained = model.flow.generator.weight.detach().numpy()
    np.testing.assert_allclose(weights.network_values.reshape(2, 2), trained * [[0.5], [0.25]], rtol=1e-14)
    assert slhmc_command("resume", tmp_path / "run", "--trajectories", 3) == 0


@pytest.mark.parametrize(("overrides", "exact"), [
    (['model.loops=["plaquette", "rectangle"]'], True),
    (["model.time_degree=2", "model.scheme=munthe_kaas_4", "model.steps=10"], False)])
def test_the_network_of_a_guide_ends_at_the_same_links(tmp_path, hot_links, data, overrides, exact):
    """Euler steps without time are the same map; otherwise the engine's steps converge to it, in first order."""
    card = flow_card(f"data.directory={data}", "fit.learning_rate=0.1", "fit.epochs=1", "model.precision=double", *overrides)
    assert regression.create(card, tmp_path / "run").run()
    model, _ = trained_model(tmp_path / "run" / "weights.h5")
    weights, U = guide_weights(tmp_path / "run" / "weights.h5", 1), hot_links(2, 4, 6, seed=5)
    with torch.no_grad():
        ended = model.flow(LinkBatch(U.lattice.device, pack_links(U)[None], (4, 6), 2)).links_of_samples()[0].numpy()
    assert np.abs(ended - pack_links(U)).max() > 0.05

    def error(steps):
        rows = weights.network_values.reshape(-1, len(weights.table["loops"]))
        network = make_network("flow", 2, 2, steps, weights.table["loops"], rows, weights.table["time_degree"])
        return np.abs(pack_links(network.smear(U)) - ended).max()
    if exact:
        assert error(weights.table["layers"]) < 1e-12
    else:
        assert weights.table["layers"] == 10 and error(200) < 1e-3 and 1.8 < error(100) / error(200) < 2.2


@pytest.mark.parametrize(("kind", "words"), [
    ("toy", 'generator = "mlp" found, which is not covariant'), ("lcnn", 'generator = "lcnn" found, which has no forces'),
    ("regression", 'a fitted model of kind = "lcnn" found, which moves no links'), ("group", 'colors = 2 (expected 3)')])
def test_other_fits_are_no_network_of_a_guide(tmp_path, capsys, data, fitted, kind, words):
    fit = fitted
    if kind != "group":
        card = flow_card("fit.epochs=1", label="toy") if kind == "toy" else flow_card(
            f"data.directory={data}", "fit.epochs=1", *LCNN) if kind == "lcnn" else parse_card(
            (CARDS / "lcnn" / "wilson_loop_1x1.toml").read_text(), "card.toml", [
                "lattice.extent=[4, 4]", "data.betas=[2.0]", "data.training=2", "data.validation=1", "data.test=1",
                "data.test_extents=[[4, 4]]", "fit.epochs=1", "data.thermalization=1"])
        fit = tmp_path / "fit"
        assert regression.create(card, fit).run()
    more = ["lattice.colors=3"] if kind == "group" else []
    before = contents(fit)
    told = refusal(capsys, "run", card_file(tmp_path, GUIDED_BY_A_FLOW), "-o", tmp_path / "run",
                   *sets(f"guide.network={fit / 'weights.h5'}", *more))
    assert words in told and "weights.h5" in told and not (tmp_path / "run").exists() and contents(fit) == before


# ---- measurements
def test_a_fitted_flow_measures(tmp_path, fitted, capsys, monkeypatch):
    """In a run and on its configurations: the energy density of the links that it ends at. From any folder it is found again."""
    card = card_file(tmp_path, LED_BY_ITSELF + f'[measure.learned_flow]\nweights = "{fitted}/weights.h5"\n')
    run = tmp_path / "run"
    assert slhmc_command("run", card, "-o", run) == 0
    assert slhmc_command("measure", run, "--observable", "learned_flow") == 0
    assert "learned_flow_energy" in capsys.readouterr().out
    file = MeasurementFile(run / "measure.h5", "0")
    file.read()
    numbers, values = file.series("learned_flow")
    model, _ = trained_model(fitted / "weights.h5")
    for number, value in zip(numbers, values, strict=True):
        links, _ = load_links(run / "configs" / f"cfg_{number:06d}.h5", (6, 4), 2)
        U = GaugeField(Lattice((6, 4), HostDevice()), 2)
        U.from_sites(links)
        with torch.no_grad():
            ended = model.flow(LinkBatch(U.lattice.device, pack_links(U)[None], (6, 4), 2)).links_of_samples()[0].numpy()
        unpack_links(U, ended)
        sums = U.lattice.device.to_host(field_strength_sums(U))
        assert value.shape == (1,) and float(sums[0]) > 0
        plaquette = float(Plaquette().measure(U, Draws(1, 0)))
        assert value[0] == pytest.approx(2 * 2 * (1 - plaquette), rel=1e-10)
    assert simulation.measurement_card(run).measure.learned_flow.weights == str(fitted / "weights.h5")
    monkeypatch.chdir(fitted.parent)
    relative = sets(f"measure.learned_flow.weights={fitted.name}/weights.h5")
    assert slhmc_command("resume", run, "--trajectories", 100, *sets("run.max_delta_h=1e-9"), *relative) == 3
    assert simulation.measurement_card(run).measure.learned_flow.weights == str(fitted / "weights.h5")


def test_a_learned_flow_of_another_lattice_does_not_measure(tmp_path, fitted, capsys):
    card = card_file(tmp_path, LED_BY_ITSELF + f'[measure.learned_flow]\nweights = "{fitted}/weights.h5"\n')
    told = refusal(capsys, "run", card, "-o", tmp_path / "run", *sets("lattice.extent=[4, 4, 4]"))
    assert "the flow is for SU(2) in 2 dimensions" in told
    card = card_file(tmp_path, LED_BY_ITSELF + '[measure.learned_flow]\nweights = "none.h5"\n')
    assert f"{tmp_path / 'none.h5'}" in refusal(capsys, "run", card, "-o", tmp_path / "run")


def test_charges_of_a_fitted_flow(tmp_path, capsys):
    """In four dimensions: the summary has Q and its square."""
    fit = tmp_path / "fit"
    assert regression.create(flow_card("fit.epochs=1", label="charge"), fit).run()
    text = LED_BY_ITSELF.replace("[6, 4]", "[4, 4, 4, 2]").replace("trajectories = 2", "trajectories = 1")
    card = card_file(tmp_path, text + '[measure.learned_flow]\nweights = "fit/weights.h5"\n')
    assert slhmc_command("run", card, "-o", tmp_path / "run") == 0
    assert slhmc_command("summary", tmp_path / "run") == 0
    out = capsys.readouterr().out
    assert "learned_flow_charge_squared" in out and "learned_flow_energy" in out


# ---- shipped cards
SMALLER = ("data.training=4", "data.validation=2", "data.test=2", "fit.epochs=2", "fit.batch=4")
CHAINS = ("data.thermalization=2", "data.spacing=1", "data.flow_time=0.2")
LATTICES = {"wilson_flow_2d_su2": ("lattice.extent=[6, 6]", "data.betas=[2.0, 5.0]", "data.test_extents=[[6, 6], [8, 6]]"),
            "wilson_flow_4d_su3": ("lattice.extent=[4, 4, 4, 2]", "data.test_extents=[[4, 4, 4, 2]]", "data.betas=[6.0]"),
            "charge_4d_su2": ("lattice.extent=[4, 4, 4, 2]", "data.test_extents=[[4, 4, 4, 2]]")}


@pytest.mark.parametrize("path", sorted((CARDS / "flow").glob("*.toml")), ids=lambda path: path.stem)
def test_a_shipped_card_fits(tmp_path, path):
    more = (*CHAINS, *LATTICES[path.stem]) if path.stem in LATTICES else ()
    assert slhmc_command("train", path, "-o", tmp_path / "run", *sets(*SMALLER, *more)) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["epochs"] == 2 and np.isfinite(results["validation"])
    assert {"wrong_pole", "mse_start", "charge_error"} & set(next(iter(results["test"].values())))
