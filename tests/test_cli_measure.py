"""`slhmc measure`: files, tables and plots of kept configurations; what it refuses."""

import fcntl
import re
import shutil

import h5py
import numpy as np
import pytest
from running import refusal, run_process, sets, slhmc_command

from slhmc import simulation
from slhmc.analysis import effective_masses, summarise
from slhmc.cli.measure import parse_window
from slhmc.cli.summary import parenthesis
from slhmc.errors import InputError, RunCardError
from slhmc.io import EnsembleFile, MeasurementFile, load_links
from slhmc.lattice import Draws, GaugeField, Lattice
from slhmc.runcard import card_text, load_card, parse_card
from slhmc.simulation.build import make_observables

CARD = """
[lattice]
extent = [2, 2, 2, 8]
colors = 2
[gauge]
action = "wilson"
beta = 2.2
[[quarks]]
operator = "wilson"
mass = 0.4
[[quarks]]
operator = "staggered"
mass = 0.5
[hmc]
scheme = "omelyan2"
length = 0.5
steps = 4
[run]
start = "cold"
thermalization = 1
trajectories = 6
seed = 7
save_every = 2
[measure.mesons]
every = 2
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with configurations after trajectories 2, 4 and 6."""
    folder = tmp_path_factory.mktemp("measured") / "run"
    assert simulation.create(parse_card(CARD, "card.toml"), folder).run()
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A copy to measure."""
    return shutil.copytree(finished, tmp_path / "run")


def measured(path):
    return MeasurementFile.open(path, "")


def test_every_kept_configuration_is_measured_once(run, capsys):
    """Values are those of the observables on the saved links; a second call computes nothing; a new configuration is added."""
    assert slhmc_command("measure", run) == 0
    out = capsys.readouterr().out
    assert [line[:13] for line in out.splitlines() if line.startswith("trajectory")] == [f"trajectory {n}:" for n in (2, 4, 6)]
    file, before = measured(run / "measure.h5"), (run / "measure.h5").read_bytes()
    assert set(file.names) == {"plaquette", "polyakov_loop", "mesons", "mesons_2"}
    card, lattice = load_card(run / "card.toml"), Lattice((2, 2, 2, 8))
    U = GaugeField(lattice, 2)
    for number in (2, 4, 6):
        U.from_sites(load_links(run / "configs" / f"cfg_{number:06d}.h5")[0])
        for observable, _ in make_observables(card, lattice):
            trajectories, values = file.series(observable.name)
            assert trajectories.tolist() == [2, 4, 6]
            expected = observable.measure(U, Draws(7, number))
            np.testing.assert_allclose(values[trajectories == number][0], expected, rtol=0, atol=1e-9 * abs(expected).max())
    assert slhmc_command("measure", run) == 0
    assert "trajectory" not in capsys.readouterr().out and (run / "measure.h5").read_bytes() == before
    assert slhmc_command("resume", run, "--trajectories", 8) == 0
    capsys.readouterr()
    assert slhmc_command("measure", run) == 0
    assert "trajectory 8: plaquette, polyakov_loop, mesons, mesons_2  1/1" in capsys.readouterr().out
    assert measured(run / "measure.h5").series("mesons")[0].tolist() == [2, 4, 6, 8]


def test_tables_are_the_same_when_nothing_is_left_to_measure(run, capsys):
    tables = []
    for _ in range(2):
        assert slhmc_command("measure", run, "--observable", "plaquette", "--observable", "chiral_condensate") == 0
        out = capsys.readouterr().out
        tables.append(out[out.index("measure.h5: "):])
    assert tables[0] == tables[1] and 0 < tables[0].index("plaquette") < tables[0].index("chiral_condensate")


def test_the_table_has_the_effective_masses_of_the_file(run, capsys):
    assert slhmc_command("measure", run, "--observable", "mesons", "--plateau", "2:4") == 0
    out = capsys.readouterr().out
    file = measured(run / "measure.h5")
    assert file.names == ["mesons", "mesons_2"] and file.labels["mesons_2"] == ("pion",)
    rows = [line.split() for line in out[out.index("mesons_2 ("):].splitlines()]
    for t, mass in enumerate(effective_masses(file.series("mesons_2")[1][:, 0])[1:], 1):
        assert [str(t), parenthesis(mass.value, mass.error)] in rows
    assert any(row[:1] == ["2:4"] and row[1] != "-" for row in rows)
    assert "mesons (wilson, mass 0.4)" in out and "3 configurations; fewer than 10" in out


def test_what_was_measured_online_is_shown_without_measuring(run, capsys):
    """The run measured every second trajectory; numbers of production alone."""
    assert slhmc_command("measure", run, "--online") == 0
    out = capsys.readouterr().out
    assert not (run / "measure.h5").exists()
    trajectories, values = EnsembleFile.open(run / "chain.h5").observables["mesons_2"]
    assert trajectories.tolist() == [2, 4, 6]
    mass = effective_masses(values[:, 0])[1]
    assert ["1", parenthesis(mass.value, mass.error)] in [line.split() for line in out[out.index("mesons_2 ("):].splitlines()]


def test_an_interrupted_measurement_goes_on(run, monkeypatch, capsys):
    """The third configuration is damaged: the first two are kept; restored, it alone is measured."""
    path = run / "configs" / "cfg_000006.h5"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    assert "cfg_000006.h5: truncated" in refusal(capsys, "measure", run)
    assert measured(run / "measure.h5").series("mesons")[0].tolist() == [2, 4]
    path.write_bytes(whole)
    assert slhmc_command("measure", run) == 0
    assert [line[:12] for line in capsys.readouterr().out.splitlines() if "/" in line[-4:]] == ["trajectory 6"]


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_plot_is_made(run, capsys, ending):
    pytest.importorskip("matplotlib")
    plot = run / f"masses.{ending}"
    assert slhmc_command("measure", run, "--observable", "mesons", "--plot", plot, "--plateau", "1:2") == 0
    assert plot.read_bytes()[:5] == {"png": b"\x89PNG\r", "svg": b"<?xml"}[ending]
    assert f"plot: {plot}" in capsys.readouterr().out


def test_another_source_goes_to_another_file(run, capsys):
    """Other settings never mix: refused, told with what differs."""
    assert slhmc_command("measure", run, "--observable", "mesons") == 0
    wall = sets("measure.mesons.source=wall", "measure.mesons.noise=2")
    line = refusal(capsys, "measure", run, "--observable", "mesons", *wall)
    assert 'holds mesons with source = "point" (asked for: "wall"), noise = 1 (asked for: 2); measure into another file' in line
    assert slhmc_command("measure", run, "--observable", "mesons", *wall, "-o", run / "wall.h5") == 0
    settings = measured(run / "wall.h5").settings["mesons_2"]
    assert settings == {"source": "wall", "noise": 2, "tolerance": 1e-10, "quark": {"operator": "staggered", "mass": 0.5},
                        "fermion_boundary": ["periodic"] * 3 + ["antiperiodic"], "seed": 7}
    assert load_card(run / "card.toml").measure.mesons.source == "point"


def test_any_program_reads_the_file(run):
    assert slhmc_command("measure", run, "--observable", "mesons") == 0
    with h5py.File(run / "measure.h5") as file:
        assert file["mesons/values"].shape == (3, 5, 8)
        assert list(file["mesons"].attrs["labels"])[:2] == ["pion", "rho"]
        assert (file["mesons/values"][:, 0] > 0).all()


@pytest.mark.parametrize(("arguments", "words"), [
    (["--online", "-o", "f.h5"], "--online: shows all that runs have measured on their way and measures nothing, but -o f"),
    (["--online", "--farm", 2], "measures nothing, but --farm 2 found; leave out one of the two"),
    (["--online", "--files", "*.h5"], "measures nothing, but --files *.h5 found"),
    (["--online", "--flow"], "measures nothing, but --observable gradient_flow found"),
    (["--online", *sets("measure.mesons.noise=3")], "measures nothing, but --set measure.mesons.noise=3 found"),
    (["--observable", "kaon"], "--observable kaon: no such observable; there are plaquette, polyakov_loop"),
    (["--observable", "residual_mass"],
     '--observable residual_mass: needs a quark with operator "domain_wall" or "moebius", found "staggered", "wilson"'),
    (sets("gauge.beta=3"), "a measurement may set measure, solver, lattice.ranks, lattice.lanes alone"),
    (sets("measure.mesons.source=volume"), "--set measure.mesons.source=volume: "),
    (["--plot", "masses.gif"], "--plot masses.gif: a name that ends in .png, .pdf or .svg expected"),
    (["--plot", "nowhere/a.png"], "make it first"),
    (["--plateau", "4-8"], "--plateau 4-8: two times FIRST:LAST expected"),
    (["--observable", "plaquette", "--plateau", "2:9"], "times up to T/2 = 4 expected"),
    (["--observable", "plaquette", "--plot", "a.png"], "no meson correlators to plot; add --observable mesons"),
])
def test_bad_input_is_told(run, capsys, arguments, words):
    assert words in refusal(capsys, "measure", run, *arguments)


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_nothing_is_shown_of_what_could_not_be_measured(run, capsys, more):
    assert slhmc_command("measure", run, "--observable", "mesons", *sets("solver.max_iterations=2"), *more) == 3
    told = capsys.readouterr()
    assert "stopped after" in told.err and "no meson correlators" not in told.out and not (run / "measure.h5").exists()
    assert "Traceback" not in told.err


def test_what_is_not_there_is_told(run, tmp_path, capsys):
    assert f"{tmp_path / 'nowhere'}: no card.toml found" in refusal(capsys, "measure", tmp_path / "nowhere")
    (run / "configs" / "cfg_000002.h5").rename(run / "configs" / "cfg_000003.h5")
    assert "cfg_000003.h5: holds trajectory 2, 3 expected by its name" in refusal(capsys, "measure", run)
    shutil.rmtree(run / "configs")
    line = refusal(capsys, "measure", run)
    assert "no configurations found" in line and "run.save_every" in line
    (run / "measure.h5").write_bytes(b"nonsense")
    (run / "configs").mkdir()
    assert "no configurations" in refusal(capsys, "measure", run)


def test_a_damaged_file_and_one_in_use_are_refused(run, capsys):
    (run / "measure.h5").write_bytes(b"nonsense")
    assert "truncated or damaged in its header" in refusal(capsys, "measure", run)
    (run / "measure.h5").unlink()
    with open(run / ".measure.h5.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another `slhmc measure` is at work on it" in refusal(capsys, "measure", run)
    assert slhmc_command("measure", run, "--observable", "plaquette") == 0


WALL = CARD.replace('"wilson"\nmass = 0.4', '"domain_wall"\nmass = 0.1\nLs = 4\nM5 = 1.6')
WALL += "[measure.residual_mass]\nnoise = 3\n"


def test_domain_walls_are_measured_with_their_residual_mass(tmp_path, capsys):
    """Within the run and after it; one value, a ratio of sums over configurations."""
    assert simulation.create(parse_card(WALL, "card.toml", ["run.trajectories=2"]), tmp_path / "run").run()
    chain = EnsembleFile.open(tmp_path / "run" / "chain.h5")
    assert {"mesons", "mesons_2", "residual_mass"} <= set(chain.observables) and "residual_mass_2" not in chain.observables
    sums = chain.observables["residual_mass"][1][1:]  # without thermalization
    entry = summarise(tmp_path / "run")["observables"]["residual_mass"]
    assert sums.shape == (2, 3, 2)
    assert entry["mean"] == pytest.approx(sums[..., 0].mean() / sums[..., 1].mean(), rel=1e-13) and 0 < entry["mean"] < 1
    assert not any(name.startswith("mesons") for name in summarise(tmp_path / "run")["observables"])
    assert slhmc_command("measure", tmp_path / "run", "--observable", "residual_mass", "--observable", "mesons") == 0
    out = capsys.readouterr().out
    assert "mesons (domain_wall, mass 0.1)" in out and measured(tmp_path / "run" / "measure.h5").names == [
        "mesons", "mesons_2", "residual_mass"]
    found = measured(tmp_path / "run" / "measure.h5").series("residual_mass")[1]
    value = found[..., 0].mean() / found[..., 1].mean()
    assert any(line.startswith("residual_mass ") and f"{value:.2g}" in line for line in out.splitlines())


def test_valence_quarks_take_the_place_of_dynamical_ones(tmp_path, capsys):
    """On links of a heat bath, which knows no quarks; faults of a valence quark have their place."""
    text = CARD[:CARD.index("[[quarks]]")] + "[heat_bath]\n" + CARD[CARD.index("[run]"):CARD.index("[measure")]
    assert simulation.create(parse_card(text, "card.toml"), tmp_path / "run").run()
    valence = sets('measure.quarks=[{operator="staggered", mass=0.3}, {operator="wilson", kappa=0.12}]')
    assert slhmc_command("measure", tmp_path / "run", "--observable", "mesons", *valence) == 0
    out, file = capsys.readouterr().out, measured(tmp_path / "run" / "measure.h5")
    assert "mesons (staggered, mass 0.3)" in out and "mesons_2 (wilson, kappa 0.12)" in out
    assert file.labels["mesons"] == ("pion",) and file.settings["mesons_2"]["quark"] == {"operator": "wilson", "kappa": 0.12}
    card = parse_card(text, "card.toml", [valence[1], "measure.mesons.every=2"])
    assert parse_card(card_text(card), "card.toml") == card
    for wrong, words in (('{operator="wilson"}', "measure.quarks.0.mass: missing"),
                         ('{operator="wilson", mass=0.1, mas=1}', "measure.quarks.0.mas: unknown key; did you mean mass?")):
        line = refusal(capsys, "measure", tmp_path / "run", "--observable", "mesons", *sets(f"measure.quarks=[{wrong}]"))
        assert words in line
    assert "measure.mesons: needs at least one [[quarks]]" in refusal(
        capsys, "measure", tmp_path / "run", "--set", "measure.mesons.every=1")


def test_a_chain_keeps_its_quarks_its_noise_and_its_sources(tmp_path, capsys):
    """A series of the chain file has one meaning, and its values have one shape."""
    assert simulation.create(parse_card(WALL, "card.toml", ["run.trajectories=1"]), tmp_path / "run").run()
    for change, words in (('measure.quarks=[{operator="wilson", mass=1}]', "a run that goes on may not change this key"),
                          ('measure={quarks=[{operator="wilson", mass=1}]}', "measure.quarks.0.mass = 1.0 (was nothing)"),
                          ("measure.residual_mass.noise=4", "holds measurements with 3; keep that"),
                          ("measure.mesons.source=wall", 'measure.mesons: source = "wall" found, but chain.h5 holds')):
        assert words in refusal(capsys, "resume", tmp_path / "run", "--trajectories", 2, "--set", change)
    chain = EnsembleFile.open(tmp_path / "run" / "chain.h5")
    assert chain.settings["mesons"]["quark"]["operator"] == "domain_wall" and chain.settings["plaquette"] == {}
    chain.settings.clear()  # as in older files: the card of the last session tells
    chain.flush()
    assert 'holds measurements with "point"' in refusal(
        capsys, "resume", tmp_path / "run", "--trajectories", 2, "--set", "measure.mesons.source=wall")
    assert slhmc_command("resume", tmp_path / "run", "--trajectories", 2, "--set", "measure.mesons.every=2") == 0


def test_cards_ask_for_quarks_that_there_are():
    for text, words in (
        (CARD[:CARD.index("[[quarks]]")] + CARD[CARD.index("[hmc]"):], "measure.mesons: needs at least one [[quarks]], which"),
        (WALL.replace("Ls = 4", "Ls = 5"), "measure.residual_mass: is measured half-way between two slices: needs an even Ls"),
        (CARD + "[measure.residual_mass]\n", 'measure.residual_mass: needs a quark with operator "domain_wall" or "moebius"'),
    ):
        with pytest.raises(RunCardError, match=re.escape(words)):
            parse_card(text, "card.toml")


def test_a_window_is_two_times():
    assert parse_window("4:8") == (4, 8) and parse_window(None) is None
    for text in ("8:4", "0:3", "a:b", "4", "4:"):
        with pytest.raises(InputError):
            parse_window(text)


@pytest.mark.mpi
def test_two_ranks_measure_the_same(run, tmp_path):
    pytest.importorskip("mpi4py", exc_type=ImportError)
    assert slhmc_command("measure", run) == 0
    result = run_process("launch", "-n", 2, "measure", run, "-o", tmp_path / "two.h5", timeout=240)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("trajectory 4: ") == 1
    one, two = measured(run / "measure.h5"), measured(tmp_path / "two.h5")
    for name in one.names:
        expected = one.series(name)[1]
        np.testing.assert_allclose(two.series(name)[1], expected, rtol=0, atol=1e-9 * abs(expected).max())
    result = run_process("launch", "-n", 2, "measure", run, "--observable", "kaon")
    assert result.returncode == 2 and result.stderr.count("no such observable") == 1
