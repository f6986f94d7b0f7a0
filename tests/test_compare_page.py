"""The page of `slhmc compare`: nothing from elsewhere, figures, whole or not at all; and pairs of real runs."""

import base64
import json
import re
import shutil
import sys
import xml.etree.ElementTree

import numpy as np
import pytest
from html_pages import Page
from made_chains import THERMALIZATION, ar1, write_chain
from running import HEAT_BATH_CARD, card_file, refusal, sets, slhmc_command

from slhmc.analysis import autocorrelation, gamma_method, summarise
from slhmc.errors import InputError
from slhmc.io import EnsembleFile
from slhmc.report import compare, figures, page, tables


def check_page_of(text, figures_expected):
    """Well-formed, without scripts, and all that it shows is within it."""
    found = Page(text)
    assert found.open == [] and not {"script", "link", "iframe"} & set(found.tags)
    assert found.tags.count("img") == figures_expected == len(found.addresses)
    assert "url(" not in text and "@import" not in text and not re.search(r"https?://", text)
    for address in found.addresses:
        kind, data = address.split(",", 1)
        assert kind == "data:image/svg+xml;base64"
        picture = xml.etree.ElementTree.fromstring(base64.b64decode(data, validate=True))
        assert picture.tag == "{http://www.w3.org/2000/svg}svg"
        links = [value for element in picture.iter() for key, value in element.attrib.items() if key.endswith("href")]
        assert all(link.startswith("#") for link in links)
        inside = base64.b64decode(data).decode()
        assert "@import" not in inside and not re.search(r"url\((?!#)", inside)
    return found


def test_the_page_needs_nothing_from_elsewhere(chains, tmp_path, comparison, capsys):
    pytest.importorskip("matplotlib")
    path = tmp_path / "page.html"
    assert slhmc_command("compare", chains / "hmc", chains / "guided", "--html", path) == 0
    assert f"page: {path}" in capsys.readouterr().out
    text = path.read_text()
    words = "".join(check_page_of(text, 2 + len(comparison.result["observables"])).words)
    for table in (tables.run_table, tables.observable_table, tables.cost_table, tables.difference_table):
        assert all(cell in words for row in table(comparison.result).rows for cell in row)
    assert tables.verdict(comparison.result) in words
    assert len(text) < 2_000_000
    assert slhmc_command("compare", chains / "hmc", chains / "guided", "--html", tmp_path / "again.html") == 0
    assert (tmp_path / "again.html").read_text() == text, "equal runs, equal bytes"


def test_names_are_quoted_in_the_page(chains, tmp_path):
    pytest.importorskip("matplotlib")
    odd = shutil.copytree(chains / "guided", tmp_path / "<b>&\"'")
    text = page.page(compare([chains / "hmc", odd]), "<i>title</i>")
    found = check_page_of(text, 4)
    assert "b" not in found.tags and "i" not in found.tags and "<b>&\"'" in "".join(found.words)


def test_a_page_that_cannot_be_made_is_refused_before_anything_else(chains, tmp_path, capsys, monkeypatch):
    runs = [chains / "hmc", chains / "guided"]
    assert "a name that ends in .html" in refusal(capsys, "compare", *runs, "--html", chains / "hmc" / "chain.h5")
    assert "make it first" in refusal(capsys, "compare", *runs, "--html", tmp_path / "none" / "page.html")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    message = refusal(capsys, "compare", *runs, "--html", tmp_path / "page.html")
    assert "matplotlib does not load" in message and "pip install 'slhmc[plot]'" in message
    assert slhmc_command("compare", *runs) == 0, "tables need no matplotlib"


def test_a_page_is_replaced_whole_or_not_at_all(comparison, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    path = tmp_path / "page.html"
    path.write_text("old")
    monkeypatch.setattr("slhmc.io.atomic.os.replace", lambda *paths: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(InputError, match="cannot be written"):
        page.write_page(path, comparison, "title")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_ratio_of_averages_has_a_row_and_no_figure(tmp_path):
    """m_res is numerator over denominator, not an average over trajectories."""
    pytest.importorskip("matplotlib")
    folders = [tmp_path / "a", tmp_path / "b"]
    for seed, folder in enumerate(folders):
        write_chain(folder, 0.5, 1.0, 90, seed=seed, length=40)
        chain, rng = EnsembleFile.open(folder / "chain.h5"), np.random.default_rng(seed)
        for trajectory in range(THERMALIZATION + 1, THERMALIZATION + 41):
            pair = np.array([0.02, 1.0]) * (1 + 0.1 * rng.standard_normal((4, 2)))
            chain.append_observable("residual_mass", trajectory, pair)
        chain.flush()
    comparison = compare(folders)
    entry = comparison.result["observables"]["residual_mass"][1]
    assert abs(entry["difference"]) < 4 and entry["cost"] > 0 and entry["cost_error"] is None
    check_page_of(page.page(comparison, "title"), 2 + len(comparison.result["observables"]) - 1)


def test_figures_are_pictures(comparison):
    pytest.importorskip("matplotlib")
    pictures = (figures.delta_h_figure(comparison.runs, "png"), figures.time_figure(comparison.runs, "png"),
                figures.observable_figure("plaquette", comparison.runs, "png"))
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)


def test_errors_of_the_autocorrelation_function_cover_the_exact_one():
    """AR(1): rho(t) = memory^t; within 4 errors for t up to the window, and errors are not vast."""
    values, memory = ar1(20000, 0.8, np.random.default_rng(5)), 0.8
    gamma = autocorrelation([values - values.mean()])
    window = gamma_method(values).window
    errors = figures._rho_errors(gamma / gamma[0], window, window, len(values))
    times = np.arange(window)
    assert errors[0] == 0 and (errors[1:] > 0).all() and errors.max() < 0.05
    assert (np.abs(gamma[:window] / gamma[0] - memory**times)[1:] < 4 * errors[1:]).all()


# ---- pairs of runs
def test_two_runs_of_the_command_line(tmp_path, capsys):
    """Plain HMC in two step sizes: the same averages; numbers are those of `slhmc summary`."""
    pytest.importorskip("matplotlib")
    card = card_file(tmp_path)
    common = sets("run.thermalization=20", "run.trajectories=80")
    for name, steps in (("coarse", 4), ("fine", 8)):
        changed = sets(f"hmc.steps={steps}", f"run.seed={steps}")
        assert slhmc_command("run", card, "-o", tmp_path / name, *common, *changed) == 0
    capsys.readouterr()
    path = tmp_path / "page.html"
    assert slhmc_command("compare", tmp_path / "coarse", tmp_path / "fine", "--json", "--html", path) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["what_differs"] == {"hmc.steps": ["4", "8"], "run.seed": ["4", "8"]}
    assert {"plaquette", "rectangle", "polyakov_loop_t", "chiral_condensate"} <= set(found["observables"])
    for number, name in enumerate(("coarse", "fine")):
        summary = summarise(tmp_path / name)
        for observable, entry in summary["observables"].items():
            shown = found["observables"][observable][number]
            assert {key: shown[key] for key in ("mean", "error", "tau_int", "every")} == {
                key: entry[key] for key in ("mean", "error", "tau_int", "every")}
        assert found["runs"][number]["seconds_per_trajectory"]["mean"] == summary["seconds_per_trajectory"]
        assert found["runs"][number]["iterations_per_trajectory"]["mean"] == summary["iterations_per_trajectory"]
        cost = found["observables"]["plaquette"][number]["cost"]
        assert cost == pytest.approx(summary["cost_per_independent_configuration"], rel=1e-12)
    check_page_of(path.read_text(), 2 + len(found["observables"]))


def test_hybrid_monte_carlo_beside_heat_bath(tmp_path, capsys):
    """No solver and dH = 0 in one of them; both sample the same links."""
    pytest.importorskip("matplotlib")
    table = '[hmc]\nscheme = "omelyan2"\nsteps = 6\n'
    for name, text in (("hmc", HEAT_BATH_CARD.replace("[heat_bath]\n", table)), ("heat_bath", HEAT_BATH_CARD)):
        (folder := tmp_path / f"card_{name}").mkdir()
        short = sets("run.thermalization=20", "run.trajectories=200", f"run.seed={len(name)}")
        assert slhmc_command("run", card_file(folder, text), "-o", tmp_path / name, *short) == 0
    capsys.readouterr()
    path = tmp_path / "page.html"
    assert slhmc_command("compare", tmp_path / "hmc", tmp_path / "heat_bath", "--json", "--html", path) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["what_differs"]["heat_bath.over_relaxation"] == ["", "3"]
    assert found["runs"][1]["predicted_acceptance"]["mean_delta_h"] == {"mean": 1.0, "error": 0.0}
    assert found["observables"]["plaquette"][1]["cost_iterations_ratio"] is None
    assert found["observables"]["plaquette"][1]["cost_ratio"] > 0
    check_page_of(path.read_text(), 2 + len(found["observables"]))
