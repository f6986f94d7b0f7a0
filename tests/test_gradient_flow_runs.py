"""The gradient flow from the command line: tables, JSON, plot, going on where it was; scales and their errors."""

import json
import shutil

import numpy as np
import pytest
from cards import gauge, run_table
from running import refusal, run_process, sets, slhmc_command

from slhmc import simulation
from slhmc.analysis import flow_curves, flow_entries, gamma_method, parenthesis, scales, summarise
from slhmc.errors import InputError, RunCardError
from slhmc.io import EnsembleFile, MeasurementFile, load_links
from slhmc.lattice import GaugeField, Lattice
from slhmc.observables import FlowedLinks
from slhmc.runcard import load_card, parse_card

CARD = gauge((4, 4, 4, 4), 2.2) + "[heat_bath]\n" + run_table(
    start="hot", thermalization=2, trajectories=24, seed=7, save_every=2)
FLOW = "[measure.gradient_flow]\nevery = 2\nt_max = 0.4\npoints = 4\n"
QUANTITIES = ("time", "energy_plaquette", "energy_clover", "charge_clover", "charge_improved")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with twelve configurations."""
    folder = tmp_path_factory.mktemp("flow") / "run"
    assert simulation.create(parse_card(CARD, "card.toml"), folder).run()
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A copy to measure."""
    return shutil.copytree(finished, tmp_path / "run")


def series(path):
    return MeasurementFile.open(path, "").series("gradient_flow")


def made_up(rng, measurements=400, points=16, t_max=3.2, slope=0.11, spread=0.0):
    """Values of t^2 E = slope t^1.2 with the same relative fluctuation at all times, and integer charges."""
    times = np.linspace(0, t_max, points + 1)
    curve = slope * times**1.2 * (1 + spread * rng.standard_normal((measurements, 1)))
    energies = np.divide(curve, times**2, out=np.zeros_like(curve), where=times > 0)
    charges = np.repeat(rng.integers(-3, 4, (measurements, 1)), points + 1, axis=1).astype(float)
    return np.stack([np.broadcast_to(times, energies.shape), energies, energies, charges, charges], axis=1)


# ---- scales
def test_scales_of_a_known_curve(rng):
    """t^2 E = c t^1.2: t0 = (0.3 / c)^(1/1.2), w0^2 = (0.25 / c)^(1/1.2), wherever the flow times are."""
    for points in (16, 23, 64):
        found = scales(made_up(rng, 3, points))
        assert found["t0"].value == pytest.approx((0.3 / 0.11) ** (1 / 1.2), rel=1e-6)
        assert found["t0_plaquette"].value == found["t0"].value
        assert found["w0"].value == pytest.approx((0.25 / 0.11) ** (1 / 2.4), rel=1e-5)
        assert found["t0"].error == pytest.approx(0, abs=1e-12)
    few = made_up(rng, 1, 3)  # fewer flow times than nodes; one configuration has no error
    assert scales(few)["t0"].value == pytest.approx((0.3 / 0.11) ** (1 / 1.2), rel=1e-2) and scales(few)["t0"].error is None


def test_errors_of_scales_are_those_of_their_fluctuations(rng):
    """delta t0 = -delta c / c t0 / 1.2, w0 half of that; the jackknife of few configurations says the same."""
    values = made_up(rng, spread=0.02)
    found, mean = scales(values), values[:, 2, -1]
    relative = gamma_method(mean).error / mean.mean()
    assert found["t0"].error == pytest.approx(found["t0"].value * relative / 1.2, rel=1e-3)
    assert found["w0"].error == pytest.approx(found["w0"].value * relative / 2.4, rel=1e-3)
    few, left_out = values[:8], []
    for k in range(8):
        left_out.append(scales(np.delete(few, k, axis=0))["t0"].value)
    jackknife = np.sqrt(7 * np.mean((np.array(left_out) - np.mean(left_out)) ** 2))
    assert scales(few)["t0"].error == pytest.approx(jackknife, rel=0.02)


@pytest.mark.parametrize("side", [1, -1])
def test_the_error_of_w0_is_that_of_its_neighbourhood_at_a_flow_time(rng, side):
    """Where the polynomial that is differentiated becomes another one."""
    values, spacing = made_up(rng, 8, 8, 3.2, spread=0.05), 0.4
    values[:, 1:3] *= 1 + 0.15 * np.sin(4 * values[:, :1])

    def error_beside(offset):
        low, high = 0.5, 2.0  # factors of E: the larger, the earlier is w0
        for _ in range(40):
            factor = np.sqrt(low * high)
            scaled = values.copy()
            scaled[:, 1:3] *= factor
            found = scales(scaled)["w0"]
            low, high = (low, factor) if found is None or found.value**2 < 4 * spacing + offset else (factor, high)
        assert found.value**2 == pytest.approx(4 * spacing + offset, abs=1e-6)
        return found.error
    assert error_beside(side * 1e-5) == pytest.approx(error_beside(side * 1e-3), rel=0.05)


def test_curves_and_charges_of_a_summary(rng):
    values = made_up(rng, spread=0.01)
    entries, rows = flow_entries("gradient_flow", values), flow_curves(values, 16**4)
    charges = values[:, 4, -1]
    assert entries["gradient_flow_charge_improved"]["mean"] == pytest.approx(charges.mean())
    assert entries["gradient_flow_charge_improved_squared"]["mean"] == pytest.approx((charges**2).mean())
    assert rows[-1]["susceptibility_improved"].value == pytest.approx((charges**2).mean() / 16**4)
    for row in rows[5:]:  # away from 0, where t^1.2 is no polynomial
        assert row["W"].value == pytest.approx(1.2 * row["t2E"].value, rel=1e-4)
    short = flow_entries("gradient_flow", values[:, :3, :8])
    assert short["gradient_flow_t0"]["mean"] is None and "raise measure.gradient_flow.t_max" in short["gradient_flow_t0"]["note"]
    assert set(short) == {"gradient_flow_t0", "gradient_flow_w0", "gradient_flow_t0_plaquette"}


# ---- slhmc measure
def test_the_flow_of_kept_configurations(run, capsys):
    """Values, table and JSON are those of the saved links; a second call computes nothing."""
    control = sets("measure.gradient_flow.t_max=0.4", "measure.gradient_flow.points=4")
    assert slhmc_command("measure", run, "--flow", *control) == 0
    out = capsys.readouterr().out
    assert out.count("gradient_flow  ") == 12 and "polyakov_loop" not in out
    trajectories, values = series(run / "measure.h5")
    assert trajectories.tolist() == list(range(4, 27, 2)) and values.shape == (12, 5, 5)
    assert MeasurementFile.open(run / "measure.h5", "").labels["gradient_flow"] == QUANTITIES
    U = GaugeField(Lattice((4, 4, 4, 4)), 2)
    U.from_sites(load_links(run / "configs" / "cfg_000008.h5")[0])
    expected = FlowedLinks(U.lattice, 2, "wilson", 0.4, 4).measure(U, None)
    np.testing.assert_allclose(values[trajectories == 8][0], expected, rtol=1e-12, atol=1e-12)
    row = flow_curves(values, 256)[-1]
    assert ["0.4", *(parenthesis(row[key].value, row[key].error) for key in (
        "t2E", "t2E_plaquette", "W", "susceptibility", "susceptibility_improved"))] in [line.split() for line in out.splitlines()]
    assert "not reached up to flow time 0.4" in out and "12 configurations; errors by the Gamma method" in out
    before = (run / "measure.h5").read_bytes()
    assert slhmc_command("measure", run, "--flow", "--json", *control) == 0
    told = json.loads(capsys.readouterr().out)
    assert (run / "measure.h5").read_bytes() == before
    assert told["gradient_flow"]["curves"][-1]["t2E"] == {"mean": row["t2E"].value, "error": row["t2E"].error}
    assert told["gradient_flow"]["charge_improved"] == values[:, 4, -1].tolist()
    assert told["observables"]["gradient_flow_t0"]["mean"] is None


def test_an_interrupted_flow_goes_on(run, capsys):
    """The last configuration is damaged, then restored: it alone is measured then; other settings are refused."""
    control = sets("measure.gradient_flow.t_max=0.1", "measure.gradient_flow.points=1")
    path = run / "configs" / "cfg_000026.h5"
    whole = path.read_bytes()
    path.write_bytes(whole[:-50])
    assert "cfg_000026.h5: truncated" in refusal(capsys, "measure", run, "--flow", *control)
    assert len(series(run / "measure.h5")[0]) == 11
    path.write_bytes(whole)
    assert slhmc_command("measure", run, "--flow", *control) == 0
    assert "trajectory 26: gradient_flow  1/1" in capsys.readouterr().out
    line = refusal(capsys, "measure", run, "--flow", *control, *sets("measure.gradient_flow.action=zeuthen"))
    assert 'holds gradient_flow with action = "wilson" (asked for: "zeuthen"); measure into another file' in line
    zeuthen = sets("measure.gradient_flow.action=zeuthen", "measure.gradient_flow.step=0.05")
    assert slhmc_command("measure", run, "--flow", *control, *zeuthen, "-o", run / "zeuthen.h5") == 0
    assert (series(run / "zeuthen.h5")[1][:, 2, -1] != series(run / "measure.h5")[1][:, 2, -1]).all()


def test_a_plot_of_the_flow(run, capsys):
    pytest.importorskip("matplotlib")
    control = sets("measure.gradient_flow.t_max=0.4", "measure.gradient_flow.points=2")
    assert slhmc_command("measure", run, "--flow", "--plot", run / "flow.svg", *control) == 0
    text = (run / "flow.svg").read_text()
    assert text.startswith("<?xml") and text.count('id="axes_') == 2 and "plot: " in capsys.readouterr().out
    assert slhmc_command("measure", run, "--flow", "--json", "--plot", run / "flow.svg", *control) == 0
    assert "gradient_flow" in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("columns", ["20", "80"])
def test_no_number_loses_its_digits_in_a_narrow_place(run, capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    control = sets("measure.gradient_flow.t_max=0.4", "measure.gradient_flow.points=2")
    assert slhmc_command("measure", run, "--flow", *control) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows if row and row[0].startswith("0.")] == ["0.2", "0.4"]
    assert not any("…" in word for row in rows for word in row)


def test_a_flow_within_the_run(tmp_path, capsys):
    """Measured online: summary, measure --online; resume goes on to the same bits, and keeps to the flow times."""
    whole = simulation.create(parse_card(CARD + FLOW, "card.toml", ["run.trajectories=12"]), tmp_path / "whole")
    assert whole.run()
    assert simulation.create(parse_card(CARD + FLOW, "card.toml", ["run.trajectories=6"]), tmp_path / "run").run()
    for key, words in (("points=5", "points = 5 found, but chain.h5 holds measurements with 4; keep that"),
                       ("action=zeuthen", 'action = "zeuthen" found, but chain.h5 holds measurements with "wilson"')):
        refused = ["resume", tmp_path / "run", "--trajectories", 12, *sets(f"measure.gradient_flow.{key}")]
        assert f"measure.gradient_flow: {words}" in refusal(capsys, *refused)
    assert slhmc_command("resume", tmp_path / "run", "--trajectories", 12) == 0
    one, two = (EnsembleFile.open(tmp_path / name / "chain.h5").observables["gradient_flow"] for name in ("whole", "run"))
    assert one[0].tolist() == list(range(2, 15, 2))
    np.testing.assert_array_equal(one[1], two[1])
    entries = summarise(tmp_path / "run")["observables"]
    assert entries["gradient_flow_charge"]["mean"] == pytest.approx(one[1][1:, 3, -1].mean()) and "gradient_flow" not in entries
    capsys.readouterr()
    assert slhmc_command("measure", tmp_path / "run", "--online", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["gradient_flow"]["charge"]) == 6
    assert slhmc_command("summary", tmp_path / "run") == 0 and "gradient_flow_charge_squared" in capsys.readouterr().out


def test_two_dimensions_have_energies_alone(tmp_path, capsys):
    text = CARD.replace("[4, 4, 4, 4]", "[8, 8]") + FLOW
    assert simulation.create(parse_card(text, "card.toml", ["run.trajectories=4"]), tmp_path / "run").run()
    assert slhmc_command("measure", tmp_path / "run", "--flow") == 0
    told = capsys.readouterr().out
    assert "flow: E from clovers, beside them E from plaquettes\n" in told and "<Q^2>/V" not in told
    assert series(tmp_path / "run" / "measure.h5")[1].shape == (2, 3, 5)


def test_a_step_and_a_tolerance_are_told_where_they_stand(run):
    with pytest.raises(InputError, match=r"--set measure.gradient_flow.step=0.01: step fixes .* = 0.01 and tolerance = 0.0001"):
        simulation.measure(run, ["gradient_flow"], ["measure.gradient_flow.tolerance=1e-4", "measure.gradient_flow.step=0.01"])


def test_cards_of_flows(run, capsys):
    assert parse_card(CARD + "[measure.gradient_flow]\n", "card.toml").measure.gradient_flow.t_max is None
    for keys, words in (("step = 0.1\ntolerance = 1e-3", "step fixes the steps, tolerance chooses them; give one of the two"),
                        ('action = "iwasaki"', "measure.gradient_flow.action"), ("t_max = 0", "measure.gradient_flow.t_max")):
        with pytest.raises(RunCardError, match=words):
            parse_card(f"{CARD}[measure.gradient_flow]\n{keys}\n", "card.toml")
    with pytest.raises(InputError, match="beyond which the scheme is unstable"):
        simulation.measure(run, ["gradient_flow"], ["measure.gradient_flow.step=0.2"])
    assert load_card(run / "card.toml").measure.gradient_flow is None


@pytest.mark.mpi
def test_two_ranks_measure_the_same_flow(run, tmp_path):
    pytest.importorskip("mpi4py", exc_type=ImportError)
    control = sets("measure.gradient_flow.t_max=0.2", "measure.gradient_flow.points=1", "measure.gradient_flow.action=zeuthen")
    assert slhmc_command("measure", run, "--flow", *control) == 0
    result = run_process("launch", "-n", 2, "measure", run, "--flow", *control, "-o", tmp_path / "two.h5", timeout=240)
    assert result.returncode == 0, result.stderr
    np.testing.assert_allclose(series(tmp_path / "two.h5")[1], series(run / "measure.h5")[1], rtol=1e-11, atol=1e-11)
