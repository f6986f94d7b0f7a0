"""`slhmc report`: numbers of a campaign, runs in every state, JSON, and the page."""

import base64
import json
import math
import os
import re
import xml.etree.ElementTree

import numpy as np
import pytest
from campaigns import SLOPE, THERMALIZATION, TIMES, write_campaign, write_run
from html_pages import Page
from running import HEAT_BATH_CARD, ROOT, contents, refusal, slhmc_command

from slhmc.analysis import summarise
from slhmc.cli.report import measured_of
from slhmc.cli.summary import describe
from slhmc.io import EnsembleFile
from slhmc.report import campaign, campaign_page, svg
from slhmc.report.comparison import compare
from slhmc.report.ensemble import read_ensembles
from slhmc.report.ensemble_figures import observable_pictures

DATA = "data:image/svg+xml;base64,"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return write_campaign(tmp_path_factory.mktemp("campaign"))


@pytest.fixture(scope="module")
def found(runs):
    return campaign(runs, describe, measured_of)


@pytest.fixture(scope="module")
def text(found):
    pytest.importorskip("matplotlib")
    return campaign_page.page(found, "<campaign>")


def report_json(capsys, *directories):
    capsys.readouterr()
    assert slhmc_command("report", *directories, "--json") == 0
    return json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


# ---- numbers
def test_numbers_are_those_of_summary_and_compare(runs, found):
    for directory, entry in zip(runs, found.result["ensembles"], strict=True):
        summary, alone = summarise(directory), compare([directory]).result
        assert entry["acceptance"] == alone["runs"][0]["acceptance"]
        assert entry["exp_minus_delta_h"] == alone["runs"][0]["exp_minus_delta_h"]
        assert entry["seconds_per_trajectory"]["mean"] == summary["seconds_per_trajectory"] == 0.5
        assert {name: (row["mean"], row["tau_int"]) for name, row in entry["observables"].items()} == {
            name: (row["mean"], row["tau_int"]) for name, row in summary["observables"].items()}
        assert entry["observables"]["plaquette"]["cost"] == pytest.approx(summary["cost_per_independent_configuration"])


def test_words_say_what_each_run_is(found):
    hmc, fine, heat_bath = found.result["ensembles"]
    assert hmc["physics"] == fine["physics"] == "SU(2), 8x8, wilson beta 2, staggered m 0.5"
    assert heat_bath["physics"] == "SU(2), 8x8, wilson beta 2, no quarks"
    assert hmc["algorithm"] == "HMC, length 1, steps 6 omelyan2" and "9 omelyan2" in fine["algorithm"]
    assert heat_bath["algorithm"] == "heat bath, 3 over-relaxation sweeps"
    assert [entry["seed"] for entry in (hmc, fine, heat_bath)] == [1, 2, 1]


def test_runs_of_the_same_physics_are_compared(runs, found):
    assert [entry["compared_with"] for entry in found.result["ensembles"]] == [["fine"], ["hmc"], []]
    (comparison,) = found.result["comparisons"]
    assert comparison == compare(runs[:2]).result


def test_the_slowest_observable_is_one_whose_autocorrelation_is_resolved(tmp_path):
    """The condensate, measured every 5 trajectories and uncorrelated in them, has an upper bound of 2.5 only."""
    run = write_run(tmp_path / "run", 2000, memory=0.0)
    (entry,) = campaign([run], describe).result["ensembles"]
    assert entry["observables"]["chiral_condensate"]["tau_int_trajectories"] > 2
    assert "upper bounds" in entry["observables"]["chiral_condensate"]["note"]
    assert entry["slowest"]["observable"] == "plaquette"
    assert entry["slowest"]["cost"] == pytest.approx(2 * 0.5 * entry["slowest"]["tau_int_trajectories"])
    slow = write_run(tmp_path / "slow", 2000, memory=0.97)
    (entry,) = campaign([slow], describe).result["ensembles"]
    assert entry["slowest"]["tau_int_trajectories"] == max(row["tau_int_trajectories"] for row in entry["observables"].values())


def test_measurements_are_those_of_the_file(found, capsys, runs):
    numbers = found.result["ensembles"][0]["measurements"]["measure.h5"]
    scale = numbers["observables"]["gradient_flow_t0"]
    assert scale["mean"] == pytest.approx(0.3 / SLOPE, rel=0.01) and 0 < scale["error"] < 0.02
    assert [row["t"] for row in numbers["gradient_flow"]["curves"]] == TIMES.tolist()
    pion, rho = (numbers["mesons"][name]["effective_mass"] for name in ("pion", "rho"))
    assert pion[0] is None and abs(pion[2]["mean"] - 0.5) < 5 * pion[2]["error"]
    assert abs(rho[2]["mean"] - 0.9) < 5 * rho[2]["error"]
    assert found.result["ensembles"][1]["measurements"] == {}
    titles = [table.title for table in found.measurements[0][0].tables]
    assert titles == ["averages", "zeuthen flow, 12 configurations",
                      "effective masses of mesons (wilson, kappa 0.125), 12 configurations"]


def test_correlators_measured_on_the_way_are_shown(tmp_path):
    run = write_run(tmp_path / "run", 1)
    chain, t = EnsembleFile.open(run / "chain.h5"), np.arange(8)
    for trajectory in range(THERMALIZATION - 5, THERMALIZATION + 30):
        factor = 1.0 if trajectory > THERMALIZATION else np.nan
        chain.append_observable("mesons", trajectory, factor * np.cosh(0.7 * (t - 4))[None])
    chain.flush()
    ((shown,),) = campaign([run], describe, measured_of).measurements
    masses = shown.numbers["mesons"]["pion"]["effective_mass"]
    assert shown.source == "on the way" and masses[0] is None
    assert [mass["mean"] for mass in masses[1:]] == pytest.approx([0.7] * 4)
    assert shown.tables[0].title == "effective masses of mesons (staggered, mass 0.5), 29 configurations"


def test_published_values_are_beside_ours(tmp_path):
    published = ['reference={source="A", plaquette={value=0.61, error=0.001}}']
    (entry,) = campaign([write_run(tmp_path / "run", overrides=published)], describe).result["ensembles"]
    row = entry["observables"]["plaquette"]
    assert (row["published"], row["published_error"]) == (0.61, 0.001)
    words = {line[0]: line for line in campaign_page.observables_of(entry).rows}
    sigma = (row["mean"] - 0.61) / math.hypot(row["error"], 0.001)
    assert words["plaquette"][-2:] == ["0.610(1)", f"{sigma:+.1f}"] and words["chiral_condensate"][-2:] == ["-", "-"]


# ---- states
def states(folder):
    """{name: what its notes say} of runs in every state; those with a figure of their own first, the others of one trajectory."""
    write_run(folder / "hot", 0)
    write_run(folder / "few", 3, text=HEAT_BATH_CARD)

    def run(name, state="done"):
        return write_run(folder / name, 1, state=state, thermalization=0)
    run("single")
    (run("failed", "failed") / "status.json").write_text(
        json.dumps({"state": "failed", "trajectory": 30, "total": 99, "error": "no convergence\nmore"}))
    run("stopped", "stopped")
    run("working", "running")
    os.utime(run("silent", "running") / "status.json", (1, 1))
    (run("begun", "running") / "chain.h5").unlink()
    (run("damaged") / "chain.h5").write_bytes(b"nothing")
    (run("no_status") / "status.json").write_text("{")
    faulty = run("faulty")
    (faulty / "chain.h5").unlink()
    (faulty / "card.toml").write_text("[lattice]\n")
    (run("unmeasured") / "measure.h5").write_bytes(b"nothing")
    wild = write_run(folder / "wild", 40, thermalization=0)
    chain = EnsembleFile.open(wild / "chain.h5")
    chain.append({"trajectory": 99, "accepted": False, "delta_h": -np.inf, "iterations": 1, "seconds": 1.0,
                  "thermalization": False})
    chain.append_observable("plaquette", 99, np.nan)
    chain.flush()
    return {"hot": "20 trajectories of thermalization, no production yet", "few": "3 measurements found",
            "single": "1 measurements found", "failed": "it failed: no convergence", "stopped": "slhmc resume",
            "working": "at work", "silent": "may have been killed",
            "begun": "no chain yet", "damaged": "chain cannot be read", "no_status": "status.json: damaged",
            "faulty": "the card needs a table [gauge]", "unmeasured": "measure.h5: truncated", "wild": "are not finite"}


def test_runs_in_every_state_are_told_and_never_a_traceback(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    told = states(tmp_path / "runs")
    folders = [tmp_path / "runs" / name for name in told]
    before = contents(tmp_path / "runs")
    assert slhmc_command("report", *folders, "--html", tmp_path / "page.html") == 0
    captured = capsys.readouterr()
    assert captured.err == "" and contents(tmp_path / "runs") == before
    page = (tmp_path / "page.html").read_text()
    sections = dict(zip(told, re.findall(r"<section id='run-.*?</section>", page, re.DOTALL), strict=True))
    for name, words in told.items():
        assert words in sections[name], name
    entries = {entry["name"]: entry for entry in report_json(capsys, *folders)["ensembles"]}
    assert entries["single"]["trajectories"] == 1 and entries["single"]["slowest"] is None
    assert "acceptance" not in entries["hot"] and entries["hot"]["observables"] == {}
    assert entries["failed"]["state"] == "failed" and entries["failed"]["error"].startswith("no convergence")
    assert "killed" not in " ".join(entries["working"]["notes"])


def test_what_is_no_run_is_refused(runs, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder in (empty, tmp_path / "missing", runs[0] / "chain.h5"):
        assert "the directory of a run expected" in refusal(capsys, "report", runs[0], folder)
    (empty / "card.toml").write_text("")
    (empty / "train.h5").write_text("")
    assert "a training found" in refusal(capsys, "report", empty)
    assert "given twice" in refusal(capsys, "report", runs[0], runs[0])
    assert "a name that ends in .html" in refusal(capsys, "report", runs[0], "--html", tmp_path / "page.txt")


def test_a_submitted_run_is_shown_before_it_begins(tmp_path, runs):
    job = tmp_path / "run" / "job"
    job.mkdir(parents=True)
    (job / "card.toml").write_text((runs[0] / "card.toml").read_text())
    (job / "jobs.json").write_text("{}")
    (entry,) = campaign([tmp_path / "run"], describe).result["ensembles"]
    assert entry["state"] == "submitted" and entry["seed"] == 1 and entry["trajectories"] == 0


def test_observables_of_thermalization_alone_have_no_average(tmp_path):
    """A flow that is measured on the way, but not yet in production."""
    run = write_run(tmp_path / "run", 3)
    chain = EnsembleFile.open(run / "chain.h5")
    later = EnsembleFile(run / "chain.h5", chain.card_text, chain.version)
    for record in chain.records:
        later.append({name: record[name] for name in record.dtype.names})
        if record["trajectory"] == 10:
            later.append_observable("gradient_flow", 10, np.ones((3, 8)))
    later.flush()
    (entry,) = campaign([run], describe, measured_of).result["ensembles"]
    assert entry["observables"] == {} and entry["measurements"] == {} and entry["trajectories"] == 3


# ---- JSON
def keys_of(value):
    """All keys of all objects inside."""
    if isinstance(value, dict):
        return set(value).union(*map(keys_of, value.values()))
    return set().union(*map(keys_of, value)) if isinstance(value, list) else set()


def test_json_is_one_object_whose_keys_are_documented(runs, found, capsys):
    printed = report_json(capsys, *runs)
    assert printed == found.result
    manual = (ROOT / "docs" / "file-format.md").read_text()
    section = re.search(r"^## report --json\n(.*?)^## ", manual, re.DOTALL | re.M)[1]
    shared = re.search(r"^## compare --json\n(.*?)^## ", manual, re.DOTALL | re.M)[1]
    told = set(re.findall(r"`(\w+)`", section))
    used = set()
    for entry in printed["ensembles"]:
        assert set(entry) <= told
        used |= set(entry)
        inner = keys_of([value for key, value in entry.items() if key not in ("observables", "measurements")]) | keys_of(
            list(entry["observables"].values()))
        assert {key.removesuffix("_error") for key in inner} <= told | set(re.findall(r"`(\w+)`", shared))
    table = {name for line in section.splitlines() if line.startswith("| `")
             for name in re.findall(r"`(\w+)`", line.split(" | ")[0])}
    assert set(printed) <= told and used <= table


# ---- the page
def test_the_page_is_whole_and_needs_nothing_from_elsewhere(found, text):
    page = Page(text)
    assert page.open == [] and not {"script", "link", "iframe", "i"} & set(page.tags)
    assert not re.search(r"https?://|url\(|@import", text) and "srcset" not in page.attributes
    assert all(address.startswith(DATA) for address in page.attributes["src"])
    assert len(page.attributes["src"]) == page.tags.count("img") == len(page.attributes["alt"]) and all(page.attributes["alt"])
    for address in page.attributes["src"]:
        inside = base64.b64decode(address.removeprefix(DATA), validate=True).decode()
        assert xml.etree.ElementTree.fromstring(inside).tag == "{http://www.w3.org/2000/svg}svg"
        assert not re.search(r"url\((?!#)|@import|href=\"(?!#)", inside)
    words = "".join(page.words)
    for entry in found.result["ensembles"]:
        for table in (campaign_page.ensemble_table(found.result), campaign_page.observables_of(entry)):
            assert all(cell.replace(" ", "") in words.replace(" ", "") for row in table.rows for cell in row)
    assert "<campaign>" in words and "consistent: no difference above 4 sigma" in words


def test_links_lead_to_sections_and_ids_are_different(text):
    page = Page(text)
    ids, links = page.attributes["id"], page.attributes["href"]
    assert len(set(ids)) == len(ids) and {link.removeprefix("#") for link in links} <= set(ids)
    assert {"run-hmc", "run-fine", "run-heat_bath", "same-physics-1"} <= set(ids) & {link[1:] for link in links}


def test_figures_are_those_that_there_is_something_for(text):
    """Of HMC: two histories with autocorrelations, four of dynamics, two of costs; a heat bath has no dH and no solver."""
    sections = dict(re.findall(r"<section id='run-(\w+)'>(.*?)</section>", text, re.DOTALL))
    names = {name: re.findall(r"<img alt='(.*?)'", section) for name, section in sections.items()}
    assert names["heat_bath"] == ["history of plaquette", "autocorrelation function of plaquette", "time of trajectories"]
    assert names["fine"] == [f"{kind} of {name}" for name in ("plaquette", "chiral_condensate")
                             for kind in ("history", "autocorrelation function")] + [
        "history of dH", "histogram of dH", "mean of exp(-dH)", "acceptance along the chain", "time of trajectories",
        "solver iterations"]
    assert names["hmc"][:10] == names["fine"] and len(names["hmc"]) == 13


def test_equal_runs_give_equal_bytes(runs, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    paths = [tmp_path / "first.html", tmp_path / "second.html"]
    for path in paths:
        assert slhmc_command("report", runs[2], "--html", path) == 0
        assert f"page: {path}" in capsys.readouterr().out
    assert paths[0].read_bytes() == paths[1].read_bytes() and b"<title>heat_bath</title>" in paths[0].read_bytes()


def test_names_are_quoted(tmp_path):
    pytest.importorskip("matplotlib")
    odd = [write_run(tmp_path / name, 1, seed=seed, thermalization=0) for seed, name in enumerate(("<i>&\"'", "a b", "a-b"), 1)]
    page = Page(campaign_page.page(campaign(odd, describe), "t"))
    assert "i" not in page.tags and "<i>&\"'" in page.words
    ids = [name for name in page.attributes["id"] if name.startswith("run-")]
    assert len(set(ids)) == 3 and all(re.fullmatch(r"[\w-]+", name) for name in ids)


# ---- figures
def test_long_chains_have_small_figures_that_show_production(tmp_path):
    """Thermalization, where plaquettes are 0, is left of the axis' range; the number of points does not grow with the chain."""
    pytest.importorskip("matplotlib")
    (ensemble,) = read_ensembles([write_run(tmp_path / "run", 6000)])
    pictures = observable_pictures(ensemble, "plaquette")
    assert [picture.begins for picture in pictures] == [True, False]
    assert all(len(picture.svg) < 40_000 for picture in pictures)
    assert ensemble.last_of_thermalization == THERMALIZATION


def test_colours_are_variables_with_values_for_light_and_dark():
    pytest.importorskip("matplotlib")

    def draw(panels):
        for color in (*svg.COLORS, svg.MUTED):
            panels[0].plot([0, 1], [0, 1], color=color)
    text = svg.figure(draw).decode()
    style = re.search(r"<style>(.*?)</style>", text)[1]
    light, dark = style.split("@media(prefers-color-scheme:dark)")
    used = set(re.findall(r"var\((--c\d)\)", text))
    assert used == set(re.findall(r"(--c\d):", light)) == set(re.findall(r"(--c\d):", dark)) and len(used) == len(svg.COLORS) + 2
    assert not re.search("#[0-9a-fA-F]{6}", text.replace(style, ""))


def test_compact_figures_keep_their_coordinates():
    """To a twentieth of a point, and transforms, which are factors, to the last digit."""
    before = (b'<?xml?><!DOCTYPE x><svg><metadata>gone</metadata><!-- gone --><path d="M 1.0432 -2.5678 \nL 3 0.0449 "/>'
              b'<g transform="scale(0.015625)"><use x="7.04999"/></g></svg>')
    assert svg.compact(before) == (b'<svg><path d="M1 -2.6L3 0"/><g transform="scale(0.015625)"><use x="7"/></g></svg>').replace(
        b'L3 0"', b'L3 0 "')
