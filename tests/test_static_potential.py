"""Wilson loops of smeared lines: against the formula and the exact area law; energies, the potential and r0 that are put in."""

import json
import re
import shutil
from itertools import product

import numpy as np
import pytest
import reference
from running import refusal, sets, slhmc_command

from slhmc import simulation
from slhmc.analysis import generalized_energies, inverse_distance, potential_entries, static_potential, summarise
from slhmc.errors import RunCardError
from slhmc.io import EnsembleFile, MeasurementFile
from slhmc.lattice import GaugeField, Lattice
from slhmc.observables import StaticPotential
from slhmc.runcard import StaticPotentialTable, card_text, parse_card, potential_choices
from slhmc.updates import HeatBath

CASES = [(3, (4, 2, 4, 6)), (2, (4, 4, 2, 8)), (2, (4, 6, 4)), (3, (8, 8)), (4, (4, 4, 4)), (6, (4, 2, 4))]
device = pytest.mark.device


def observable(U, levels=(0, 2, 3), rho=0.05):
    levels = levels if U.lattice.dimensions > 2 else (0,)
    extent = U.lattice.extent
    return StaticPotential(U.lattice, U.colors, min(extent[:-1]) // 2, extent[-1] // 2, levels, rho)


@device
@pytest.mark.parametrize(("colors", "extent"), CASES)
def test_loops_are_the_formula(hot_links, colors, extent):
    """Every pair of levels, r and t; at t = 0 loops are tr S_i S_j^+."""
    U = hot_links(colors, *extent)
    loops, links = observable(U), U.to_sites()
    smeared = [links]
    for _ in range(loops.levels[-1]):
        smeared.append(reference.spatial_stout(smeared[-1], 0.05))
    found = loops.measure(U, None)
    assert found.shape == (len(loops.levels),) * 2 + (loops.r_max, loops.t_max + 1)
    for (i, first), (j, second) in product(enumerate(loops.levels), repeat=2):
        for r in range(1, loops.r_max + 1):
            for t in range(loops.t_max + 1):
                expected = reference.wilson_loops(smeared[first], smeared[second], links, r, t)
                assert abs(found[i, j, r - 1, t] - expected) < 1e-13, (first, second, r, t)


@device
@pytest.mark.parametrize(("colors", "extent"), CASES[:5])
def test_loops_are_gauge_invariant(hot_links, rng, colors, extent):
    U = hot_links(colors, *extent)
    loops = observable(U)
    before = loops.measure(U, None)
    U.from_sites(reference.gauge_transform(U.to_sites(), reference.random_group(tuple(reversed(extent)), colors, rng)))
    np.testing.assert_allclose(loops.measure(U, None), before, rtol=0, atol=1e-12)


@device
def test_smearing_leaves_links_in_time_and_a_weight_of_nothing_all(hot_links):
    U = hot_links(3, 4, 2, 4, 6)
    thin, smeared = (links.to_sites() for links in observable(U).smear(U)[:2])
    np.testing.assert_array_equal(smeared[..., -1, :, :], thin[..., -1, :, :])
    assert abs(smeared[..., :-1, :, :] - thin[..., :-1, :, :]).max() > 0.1
    values = observable(U, rho=0.0).measure(U, None)
    np.testing.assert_allclose(values, np.broadcast_to(values[:1, :1], values.shape), rtol=0, atol=1e-13)


@device
def test_smoothed_lines_reach_more_of_the_ground_state(smooth_links):
    """W(r, 1) / W(r, 0) rises with the level on links that are smooth at long distances."""
    U = smooth_links(3, 4, 4, 4, 4)
    loops = observable(U, (0, 4, 8)).measure(U, None)
    ratios = [loops[i, i, 1, 1] / loops[i, i, 1, 0] for i in range(3)]
    assert ratios[0] < ratios[1] < ratios[2]


def test_the_area_law_of_two_dimensions(device):
    """<W(r, t)> = (I_2(beta) / I_1(beta))^(r t) of SU(2) on 16 x 16, whose finite size is beyond reach: all within 4 sigma."""
    beta = 2.2
    U = GaugeField(Lattice((16, 16), device), 2)
    chain, loops = HeatBath(beta, 2), StaticPotential(U.lattice, 2, 3, 4, (0,), 0.05)
    samples = []
    for trajectory in range(420):
        chain.step(U, 3, trajectory)
        if trajectory >= 20:
            samples.append(loops.measure(U, None)[0, 0])
    blocks = np.array(samples).reshape(40, 10, 3, 5).mean(1)
    mean, error = blocks.mean(0), blocks.std(0, ddof=1) / 40**0.5
    angles = np.linspace(0, np.pi, 4001)
    bessel = [np.mean(np.exp(beta * np.cos(angles)) * np.cos(n * angles)) for n in (1, 2)]
    expected = (bessel[1] / bessel[0]) ** np.outer([1, 2, 3], np.arange(5))
    assert (mean[:, 0] == pytest.approx(1, abs=1e-13)) and (error[:, 1:] < 0.01).all()
    deviations = (mean - expected)[:, 1:] / error[:, 1:]
    assert abs(deviations).max() < 4 and np.sqrt((deviations**2).mean()) < 2, deviations


# ---- analysis
ENERGIES = np.array([0.3, 0.8, 1.4])


def matrices(energies, rng, times=7, levels=3):
    """C_ij(t) = sum_k a_ik a_jk exp(-E_k t) with overlaps a that are drawn once."""
    overlaps = np.eye(levels) + 0.3 * rng.standard_normal((levels, len(energies)))
    return np.einsum("ik,jk,kt->ijt", overlaps, overlaps, np.exp(-np.outer(energies, np.arange(times))))


@pytest.mark.parametrize("t0", [0, 1, 2])
def test_energies_that_are_put_in_are_found(rng, t0):
    found = generalized_energies(matrices(ENERGIES, rng), t0)
    assert found.shape == (3, 6)
    np.testing.assert_allclose(found, np.broadcast_to(ENERGIES[:, None], found.shape), rtol=0, atol=1e-9)


def loops_of(potential, rng, measurements=40, noise=1e-4, times=7):
    """Loops with V(r) as ground states, beside two states above, and noise of each configuration of its own."""
    exact = np.stack([matrices(V + np.array([0, 0.6, 1.3]), rng, times) for V in potential], axis=2)
    return exact * (1 + noise * rng.standard_normal((measurements, *exact.shape)))


@pytest.mark.parametrize("coulomb", ["continuum", "lattice"])
def test_a_potential_that_is_put_in_is_found(rng, coulomb):
    """V, A, B, sigma and r0 = sqrt((1.65 - B) / sigma), within errors and these small."""
    A, B, sigma = 0.6, 0.3, 0.15
    r = range(1, 7)
    V = [A - B * inverse_distance(one, coulomb) + sigma * one for one in r]
    found = static_potential(loops_of(V, rng), 1, (2, 4), (2, 6), coulomb)
    for value, expected in zip(found.values, V, strict=True):
        assert abs(value.value - expected) < 4 * value.error < 1e-3
    assert len(found.energies) == 6 and len(found.energies[0]) == 6
    fit = found.fit
    for value, expected in ((fit.constant, A), (fit.coulomb, B), (fit.tension, sigma), (fit.r0, ((1.65 - B) / sigma) ** 0.5)):
        assert abs(value.value - expected) < 4 * value.error < 0.1
    assert 0 < fit.chi_squared < 6 and fit.form == coulomb
    entries = potential_entries("static_potential", found, 40)
    assert entries["static_potential_r0"]["mean"] == fit.r0.value and "note" not in entries["static_potential_r0"]


def test_errors_of_r0_are_its_spread(rng):
    """Over 40 ensembles of 30 configurations."""
    V = [0.6 - 0.3 / r + 0.15 * r for r in range(1, 5)]
    found = [static_potential(loops_of(V, np.random.default_rng(seed), 30, 3e-3), 1, (2, 3), (1, 4)).fit.r0 for seed in range(40)]
    spread = np.std([value.value for value in found])
    assert spread == pytest.approx(np.mean([value.error for value in found]), rel=0.4)


def test_what_is_not_there_is_none(rng):
    V = [0.5, 0.7, 0.9, 1.1]
    exact = loops_of(V, rng)
    one = static_potential(exact[:1], 1, (2, 3), (1, 4))
    assert one.values[0].error is None and one.fit.r0.error is None and one.fit.chi_squared is None
    few = static_potential(exact[:3], 1, (2, 3), (1, 4))
    assert few.fit.r0.error > 0 and few.fit.r0.tau_int is None
    assert "taken for independent" in potential_entries("v", few, 3)["v_r0"]["note"]
    negative = exact.copy()
    negative[:, :, :, 2] *= -1
    found = static_potential(negative, 1, (2, 3), (1, 4))
    assert found.values[2] is None and found.values[1] is not None and found.fit is None
    assert potential_entries("v", found, 40) == {}
    zero = exact.copy()
    zero[..., 4] = -1e-9
    assert static_potential(zero, 1, (2, 3), (1, 4)).values == [None] * 4
    assert static_potential(exact, 1, (2, 3), None).fit is None
    falling = static_potential(loops_of(V[::-1], rng), 1, (2, 3), (1, 4))
    assert falling.fit.r0 is None and potential_entries("v", falling, 40)["v_r0"]["note"] == "the fit gives none"


def test_the_lattice_propagator():
    """Watson's integral at 0, its equation of motion there, and 1 / r far away."""
    origin, near, far = (inverse_distance(r, "lattice") for r in (0, 1, 16))
    assert origin / (4 * np.pi) == pytest.approx(0.2527310098586630, abs=1e-9)
    assert 6 * (origin - near) / (4 * np.pi) == pytest.approx(1, abs=1e-8)
    assert far == pytest.approx(1 / 16, rel=2e-3) and inverse_distance(4, "continuum") == 0.25


# ---- cards and the command
CARD = """
[lattice]
extent = [4, 4, 4, 8]
colors = 2
[gauge]
action = "wilson"
beta = 2.3
[heat_bath]
[run]
thermalization = 5
trajectories = 12
save_every = 1
seed = 3
[measure.static_potential]
levels = [2, 4]
plateau = [1, 2]
every = 3
"""
TABLE = "measure.static_potential"


@pytest.mark.parametrize(("override", "words"), [
    ("r_max=3", "at most 2 expected, half of lattice.extent, found 3"),
    ("t_max=5", "at most 4 expected, half of lattice.extent, found 5"),
    ("levels=[4, 2]", "expected rising numbers of steps, found [4, 2]"),
    ("levels=[2, 2]", "expected rising numbers of steps"),
    ("levels=[]", "expected at least 1 entries"),
    ("rho=0.1", "at most 1 / (4 (D - 1)) = 0.08333 expected, where smearing is stable, found 0.1"),
    ("rho=0", "must be greater than 0"),
    ("levels=[10001]", "must be at most 10000, found 10001"),
    ("t0=4", "at most t_max - 1 = 3 expected, found 4"),
    ("plateau=[2, 4]", "expected [FIRST, LAST] from 0 to 3, found [2, 4]"),
    ("plateau=[2, 1]", "expected [FIRST, LAST] from 0 to 3, found [2, 1]"),
    ("fit=[1, 2]", "expected [FIRST, LAST] from 1 to 2, three distances or more, found [1, 2]"),
    ("coulomb=yukawa", 'expected "continuum" or "lattice"'),
    ("smear=3", "unknown key"),
])
def test_faults_of_a_card_are_told(override, words):
    with pytest.raises(RunCardError, match=re.escape(words)) as caught:
        parse_card(CARD, "card.toml", [f"{TABLE}.{override}"])
    assert f"{TABLE}.{override.partition('=')[0]}" in str(caught.value)


@pytest.mark.parametrize(("override", "words"), [
    ("levels=[0, 2]", "in two dimensions there are no plaquettes in space to smear by; levels = [0]"),
    ("coulomb=lattice", '"lattice" is known in four dimensions, lattice.extent has 2'),
])
def test_faults_of_two_dimensions_are_told(override, words):
    flat = CARD.replace("[4, 4, 4, 8]", "[8, 8]").replace("levels = [2, 4]\n", "")
    with pytest.raises(RunCardError, match=re.escape(words)):
        parse_card(flat, "card.toml", [f"{TABLE}.{override}"])


def test_a_short_time_has_no_place_for_the_default():
    long = CARD.replace("plateau = [1, 2]\n", "")
    short = long.replace("[4, 4, 4, 8]", "[4, 4, 4, 2]")
    for text, found in ((short, "1, half of lattice.extent 2,"), (long + "t_max = 1\n", "1")):
        words = f"t0: missing: t_max = {found} has no place for t0 = 1, the default; give t0 = 0"
        with pytest.raises(RunCardError, match=re.escape(words)):
            parse_card(text, "card.toml")
    assert parse_card(short, "card.toml", [f"{TABLE}.t0=0"]).measure.static_potential.t0 == 0


def test_what_is_left_out_depends_on_the_lattice():
    table = StaticPotentialTable()
    assert potential_choices(table, (8, 12, 8, 16)) == (4, 8, (5, 10, 20), (2, 4), (2, 4))
    assert potential_choices(table, (4, 4, 4, 4)) == (2, 2, (5, 10, 20), (1, 1), None)
    assert potential_choices(table, (12, 12, 6)) == (6, 3, (5, 10, 20), (2, 2), (2, 6))
    assert potential_choices(table, (16, 16)).levels == (0,) and potential_choices(table, (16, 16)).fit is None
    card = parse_card(CARD, "card.toml")
    assert parse_card(card_text(card), "card.toml") == card


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("potential") / "run"
    assert simulation.create(parse_card(CARD, "card.toml"), folder).run()
    return folder


def test_a_run_measures_it_on_its_way(finished, capsys):
    """In the chain file and in its tables; no number of a summary."""
    trajectories, values = EnsembleFile.open(finished / "chain.h5").observables["static_potential"]
    assert trajectories.tolist() == [3, 6, 9, 12, 15] and values.shape == (5, 2, 2, 2, 5)
    assert not any(name.startswith("static") for name in summarise(finished)["observables"])
    assert slhmc_command("measure", finished, "--online") == 0
    out = capsys.readouterr().out
    assert "static potential, log W(t) / W(t + 1) of the ground state, V(r) from t = 1 ... 2" in out and "4 configurations" in out
    assert slhmc_command("export", finished, finished / "all.json") == 0


def test_a_chain_keeps_its_loops(finished, tmp_path, capsys):
    """What is made of them may change."""
    run = shutil.copytree(finished, tmp_path / "run")
    for key, words in (("levels=[3,4]", "levels = [3, 4] found, but chain.h5 holds measurements with [2, 4]; keep that"),
                       ("rho=0.04", "rho = 0.04 found, but chain.h5 holds measurements with 0.05"),
                       ("t_max=3", "t_max = 3 found")):
        assert f"{TABLE}: {words}" in refusal(capsys, "resume", run, "--trajectories", 15, "--set", f"{TABLE}.{key}")
    assert slhmc_command("resume", run, "--trajectories", 15, *sets(f"{TABLE}.plateau=[1,1]", f"{TABLE}.t_max=4")) == 0
    assert EnsembleFile.open(run / "chain.h5").observables["static_potential"][1].shape == (6, 2, 2, 2, 5)
    assert slhmc_command("resume", run, "--trajectories", 16, *sets("measure={}")) == 0  # no loops from now on
    assert slhmc_command("measure", run, "--online") == 0 and slhmc_command("report", run) == 0
    assert "static potential" in capsys.readouterr().out
    other = sets(f"{TABLE}={{rho=0.04, levels=[2,4]}}")
    assert "rho = 0.04 found" in refusal(capsys, "resume", run, "--trajectories", 17, *other)


def test_it_is_measured_on_kept_configurations_and_analysed_anew_at_no_cost(finished, tmp_path, capsys):
    """Keys of the analysis are no settings of the measurement; others are. Six distances have a fit."""
    output = ["-o", tmp_path / "m.h5"]
    assert slhmc_command("measure", finished, "--observable", "static_potential", *output, "--json") == 0
    numbers = json.loads(capsys.readouterr().out)["static_potential"]
    file = MeasurementFile.open(tmp_path / "m.h5", "")
    assert file.settings["static_potential"] == {"levels": [2, 4], "rho": 0.05, "r_max": 2, "t_max": 4}
    found = static_potential(file.series("static_potential")[1], 1, (1, 2), None)
    assert numbers["potential"][0] == {"mean": found.values[0].value, "error": found.values[0].error} and numbers["fit"] is None
    before = (tmp_path / "m.h5").read_bytes()
    again = sets(f"{TABLE}.plateau=[1,1]", f"{TABLE}.t0=0")
    assert slhmc_command("measure", finished, "--observable", "static_potential", *output, *again) == 0
    out = capsys.readouterr().out
    assert "V(r) from t = 1 ... 1" in out and (tmp_path / "m.h5").read_bytes() == before
    line = refusal(capsys, "measure", finished, "--observable", "static_potential", *output, *sets(f"{TABLE}.rho=0.04"))
    assert "holds static_potential with rho = 0.05 (asked for: 0.04)" in line


def test_the_fit_is_shown_and_drawn(tmp_path, capsys):
    """On six distances."""
    pytest.importorskip("matplotlib")
    wide = ["lattice.extent=[12,12,6]", "gauge.beta=6.0", "run.trajectories=12", f"{TABLE}.fit=[1,4]", f"{TABLE}.plateau=[1,1]"]
    assert simulation.create(parse_card(CARD, "card.toml", wide), tmp_path / "run").run()
    assert slhmc_command("measure", tmp_path / "run", "--observable", "static_potential", "--plot", tmp_path / "v.svg") == 0
    out = capsys.readouterr().out
    assert "V = A - B / r + sigma r, r = 1 ... 4: A " in out
    assert "static_potential_r0" in out and "static_potential_tension" in out
    assert (tmp_path / "v.svg").read_bytes()[:5] == b"<?xml"
    assert slhmc_command("measure", tmp_path / "run", "--observable", "static_potential", "--json") == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["static_potential"]["fit"]["r0"]["mean"] == numbers["observables"]["static_potential_r0"]["mean"]
