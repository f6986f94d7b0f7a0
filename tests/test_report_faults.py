"""`slhmc report` on numbers and names that are not as they should be, and what a reader takes from its figures."""

import json
import math
import os
import time

import numpy as np
import pytest
from campaigns import write_run
from running import CARD, HEAT_BATH_CARD, slhmc_command

from slhmc.analysis import rough, static_potential
from slhmc.cli.potential import draw_potential, fit_words
from slhmc.cli.report import measured_of
from slhmc.cli.summary import describe
from slhmc.io import EnsembleFile
from slhmc.report import campaign, campaign_page, ensemble_table
from slhmc.report.svg import figure
from slhmc.runcard import card_text, parse_card

pytest.importorskip("matplotlib")


def page_of(*folders):
    return campaign_page.page(campaign(folders, describe, measured_of), "title")


def cells(*folders):
    """The rows of the table of ensembles, by heading."""
    table = ensemble_table(campaign(folders, describe).result)
    return [dict(zip(table.headings, row, strict=True)) for row in table.rows]


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e120])
def test_numbers_that_are_none_are_left_out(tmp_path, bad):
    """A trajectory that ran away, an observable of it, a time of a broken clock."""
    card = card_text(parse_card(CARD, "card.toml", []))
    chain, rng = EnsembleFile(tmp_path / "chain.h5", card, "0.1.0"), np.random.default_rng(1)
    for trajectory in range(1, 61):
        kick = trajectory in (30, 31)
        chain.append({"trajectory": trajectory, "accepted": not kick, "delta_h": bad if kick else 0.1 * rng.standard_normal(),
                      "iterations": 3, "seconds": bad if trajectory == 40 else 0.5, "thermalization": trajectory <= 20})
        chain.append_observable("plaquette", trajectory, bad if trajectory == 33 else 0.5 + 0.01 * rng.standard_normal())
    chain.flush()
    text = page_of(tmp_path)
    assert "0.95(5)" in text and text.count("<img ") >= 5
    assert cells(tmp_path)[0]["acceptance"] == "0.95(5)" and cells(tmp_path)[0]["⟨dH⟩"] in ("-", "5e+118(5e+118)")
    json.dumps(campaign([tmp_path], describe).result, allow_nan=False)
    if bad == np.inf:
        assert "Same physics" in page_of(tmp_path, write_run(tmp_path / "other", 30))


def test_a_heat_bath_has_neither_acceptance_nor_dh(tmp_path):
    heat_bath, hmc = cells(write_run(tmp_path / "a", 30, text=HEAT_BATH_CARD), write_run(tmp_path / "b", 30))
    assert [heat_bath[name] for name in ("acceptance", "⟨dH⟩", "⟨exp(−dH)⟩")] == ["-"] * 3
    assert all("(" in hmc[name] for name in ("acceptance", "⟨dH⟩", "⟨exp(−dH)⟩"))


def test_sections_have_ids_of_their_own_whatever_their_names(tmp_path):
    """The third would be called as the second is."""
    runs = [write_run(tmp_path / name, 0, thermalization=1) for name in ("b", "b-3", "b!", "µ", "b?-3")]
    anchors = campaign_page._anchors([run.name for run in runs])
    assert len(set(anchors.values())) == len(runs) == page_of(*runs).count("<section id='run-")


def test_times_and_costs_without_errors_have_two_digits():
    assert [rough(5.32258, None), rough(0.0123456, None), rough(5.32258, 0.4), rough(None, None), rough(math.inf, None)] == [
        "5.3", "0.012", "5.3(4)", "-", "-"]


def test_a_silent_run_is_silent_for_minutes_or_hours(tmp_path, capsys):
    run = write_run(tmp_path / "run", 30, state="running")
    for age, words in ((300, "nothing for 5 minutes"), (10000, "nothing for 2.8 hours")):
        os.utime(run / "status.json", (time.time() - age,) * 2)
        assert slhmc_command("report", run) == 0
        assert words in capsys.readouterr().out


def test_acceptances_stand_at_their_dh():
    """<dH> below 0, as short chains have it, is not drawn at 0."""
    from slhmc.report import ensemble_figures

    numbers = [{"name": "a", "delta_h": {"mean": -0.02, "error": 0.01}, "acceptance": {"mean": 0.99, "error": 0.01}}]
    found = []

    def draw(panels):
        ensemble_figures._acceptances(panels[0], numbers)
        found.extend(panels[0].containers[0].lines[0].get_xdata())
    figure(draw)
    assert found == [-0.02]


@pytest.mark.parametrize("coulomb", ["continuum", "lattice"])
def test_the_potential_is_drawn_as_a_curve_with_r0(coulomb):
    """Smooth between the distances, on to r0 if that is beyond them; distances are whole numbers."""
    V = np.array([0.6 - 0.28 / r + 0.1 * r for r in (1, 2, 3)])
    noise = 1e-3 * np.random.default_rng(1).standard_normal((20, 1, 1, 3, 7))
    loops = np.exp(-np.outer(V, np.arange(7))) * (1 + noise)
    potential, seen = static_potential(loops, 1, (2, 4), (1, 3), coulomb), {}

    def draw(panels):
        draw_potential(panels[0], potential)
        seen["labels"] = panels[0].get_legend_handles_labels()[1]
        seen["longest"] = max((line for line in panels[0].lines), key=lambda line: len(line.get_xdata()))
        seen["end"] = max(line.get_xdata()[-1] for line in panels[0].lines if line.get_linestyle() == "--")
        seen["ticks"] = panels[0].get_xticks()
    figure(draw)
    fit = potential.fit
    x, y = seen["longest"].get_data()
    assert len(x) >= 50 and seen["end"] == pytest.approx(fit.r0.value) and fit.r0.value > 3
    np.testing.assert_allclose(y, fit.constant.value - fit.coulomb.value / x + fit.tension.value * x, rtol=1e-12)
    assert np.all(seen["ticks"] == np.round(seen["ticks"]))
    (label,) = (label for label in seen["labels"] if label.startswith("$r_0/a$ = "))
    assert label.replace("$r_0/a$", "r₀/a") in fit_words(potential)
    lattice = coulomb == "lattice"
    assert lattice == ("with $1/r$ of the lattice" in seen["labels"]) == ("1/r of the lattice" in fit_words(potential))
