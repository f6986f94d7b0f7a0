"""`slhmc compare`: chains of known autocorrelation and cost, what may be compared, exit codes, JSON and the page."""

import base64
import json
import math
import re
import shutil
import sys
import xml.etree.ElementTree
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from running import CARD, HEAT_BATH_CARD, ROOT, card_file, contents, refusal, run_process, sets, slhmc_command

from slhmc.analysis import autocorrelation, gamma_method, summarise
from slhmc.errors import InputError
from slhmc.io import EnsembleFile, RunDirectory
from slhmc.report import compare, figures, page, tables
from slhmc.report.comparison import difference
from slhmc.report.physics import differences, foreign_keys, physics
from slhmc.report.run import predicted_acceptance, run_numbers
from slhmc.runcard import card_text, parse_card

LENGTH, THERMALIZATION, EVERY = 8000, 20, 5
MEAN_DELTA_H = 1.0
MEMORY = {"hmc": 0.8, "guided": 0.5}
SECONDS = {"hmc": 2.0, "guided": 1.0}
ITERATIONS = {"hmc": 300, "guided": 90}
WIDTH = {"plaquette": 0.01, "chiral_condensate": 0.03}
KEYS_OF_PAGE = {"src", "href", "xlink:href", "action", "data", "srcset", "poster"}


def ar1(length, memory, rng):
    """Variance 1, tau_int = (1 + memory) / (1 - memory) / 2."""
    series, noise = np.empty(length), rng.standard_normal(length)
    series[0] = noise[0]
    for i in range(1, length):
        series[i] = memory * series[i - 1] + np.sqrt(1 - memory**2) * noise[i]
    return series


def exact_tau(memory):
    return 0.5 * (1 + memory) / (1 - memory)


def write_chain(folder, memory, seconds, iterations, *, seed, length=LENGTH, shift=0.0, overrides=(), scale=1.0, frozen=False):
    """A chain whose plaquette and condensate are AR(1) processes; dH is Gaussian of variance 2 <dH>. Thermalization is absurd."""
    rng = np.random.default_rng(seed)
    card = parse_card(CARD, "card.toml", [f"run.seed={seed}", *overrides])
    chain = EnsembleFile(folder / "chain.h5", card_text(card), "0.1.0")
    size = max(length, 1)
    plaquettes = np.full(size, 0.6) if frozen else 0.6 + shift + WIDTH["plaquette"] * ar1(size, memory, rng)
    condensates = 0.4 + WIDTH["chiral_condensate"] * ar1(size, memory, rng)
    delta_h = scale * (MEAN_DELTA_H + np.sqrt(2 * MEAN_DELTA_H) * rng.standard_normal(size))
    for trajectory in range(1, length + THERMALIZATION + 1):
        hot, i = trajectory <= THERMALIZATION, max(trajectory - THERMALIZATION - 1, 0)
        chain.append({"trajectory": trajectory, "accepted": hot or rng.random() < math.exp(min(0.0, -delta_h[i])),
                      "delta_h": 99.0 if hot else delta_h[i], "iterations": 10**6 if hot else iterations,
                      "seconds": 1e6 if hot else seconds, "thermalization": hot})
        chain.append_observable("plaquette", trajectory, 0.0 if hot else plaquettes[i])
        if trajectory % EVERY == 0 and not frozen:
            chain.append_observable("chiral_condensate", trajectory, np.full(2, 9.0 if hot else condensates[i]))
    folder.mkdir(parents=True, exist_ok=True)
    chain.flush()
    return folder


@pytest.fixture(scope="module")
def chains(tmp_path_factory):
    """Two long runs: hmc, and a guided one that decorrelates faster at half the time and moves in other steps."""
    folder = tmp_path_factory.mktemp("chains")
    for seed, (name, memory) in enumerate(MEMORY.items(), 1):
        write_chain(folder / name, memory, SECONDS[name], ITERATIONS[name], seed=seed, overrides=[f"hmc.steps={seed + 5}"])
    return folder


@pytest.fixture(scope="module")
def comparison(chains):
    return compare([chains / "hmc", chains / "guided"])


def of(comparison, observable):
    return dict(zip(MEMORY, comparison.result["observables"][observable], strict=True))


# ---- numbers
@pytest.mark.parametrize("name", MEMORY)
@pytest.mark.parametrize(("observable", "every"), [("plaquette", 1), ("chiral_condensate", EVERY)])
def test_costs_and_errors_are_those_of_the_exact_process(comparison, name, observable, every):
    """Every 5th number of an AR(1) process is one of memory^5; the cost counts the trajectories between measurements."""
    entry, tau = of(comparison, observable)[name], exact_tau(MEMORY[name]**every)
    assert entry["every"] == every
    assert entry["tau_int_trajectories"] == every * entry["tau_int"]
    assert abs(entry["tau_int_trajectories"] - every * tau) < 3 * entry["tau_int_trajectories_error"]
    assert entry["tau_int_trajectories_error"] < 0.15 * every * tau
    assert entry["cost"] == pytest.approx(SECONDS[name] * 2 * entry["tau_int_trajectories"], rel=1e-12)
    assert entry["cost_error"] == pytest.approx(SECONDS[name] * 2 * entry["tau_int_trajectories_error"], rel=1e-12)
    assert entry["cost_iterations"] == pytest.approx(ITERATIONS[name] / SECONDS[name] * entry["cost"], rel=1e-12)
    assert entry["error"] == pytest.approx(WIDTH[observable] * np.sqrt(2 * tau * every / LENGTH), rel=0.15)


def test_the_ratio_of_costs_is_the_exact_one(comparison):
    exact = exact_tau(0.5) * 1.0 / (exact_tau(0.8) * 2.0)
    entry = of(comparison, "plaquette")["guided"]
    assert abs(entry["cost_ratio"] - exact) < 3 * entry["cost_ratio_error"]
    assert 0 < entry["cost_ratio_error"] < 0.2 * exact
    assert entry["tau_int_trajectories_ratio"] == pytest.approx(2 * entry["cost_ratio"], rel=1e-12)
    assert entry["cost_iterations_ratio"] == pytest.approx(90 / 300 * 2 * entry["cost_ratio"], rel=1e-12)
    hmc, guided = (of(comparison, "plaquette")[name] for name in MEMORY)
    relative = [side["tau_int_error"] / side["tau_int"] for side in (hmc, guided)]
    assert entry["cost_ratio_error"] == pytest.approx(entry["cost_ratio"] * math.hypot(*relative), rel=1e-12)


def test_differences_are_in_combined_errors_of_production(comparison):
    hmc, guided = (gamma_method(run.series["plaquette"][1]) for run in comparison.runs)
    expected = (guided.mean - hmc.mean) / math.hypot(guided.error, hmc.error)
    assert of(comparison, "plaquette")["guided"]["difference"] == pytest.approx(expected, rel=1e-12)
    assert abs(expected) < 4 and comparison.result["consistent"] is True
    assert "difference" not in of(comparison, "plaquette")["hmc"]


def test_a_shift_is_found_as_often_as_errors_tell(chains, tmp_path):
    """A shift of 20 combined errors, which are known exactly, is seen as 20 within 4 and the error of the errors."""
    errors = [WIDTH["plaquette"] * np.sqrt(2 * exact_tau(memory) / LENGTH) for memory in (0.8, 0.5)]
    other = write_chain(tmp_path / "other", 0.5, 1.0, 90, seed=3, shift=20 * math.hypot(*errors))
    result = compare([chains / "hmc", other]).result
    assert result["largest_difference"]["observable"] == "plaquette" and result["largest_difference"]["run"] == "other"
    assert result["largest_difference"]["difference"] == pytest.approx(20, abs=4 + 20 * 0.1)
    assert result["consistent"] is False


def test_acceptance_is_beside_its_predictions(comparison):
    exact = math.erfc(0.5 * math.sqrt(MEAN_DELTA_H))
    for run in comparison.result["runs"]:
        assert run["trajectories"] == LENGTH and run["thermalization"] == THERMALIZATION
        for entry in (run["acceptance"], *run["predicted_acceptance"].values()):
            assert abs(entry["mean"] - exact) < 4 * entry["error"] and entry["error"] < 0.02
        assert abs(run["delta_h"]["mean"] - MEAN_DELTA_H) < 4 * run["delta_h"]["error"]
        weights = run["exp_minus_delta_h"]
        assert weights["deviation"] == pytest.approx((weights["mean"] - 1) / weights["error"], rel=1e-12)
        assert abs(weights["deviation"]) < 4


@pytest.mark.parametrize(("mean", "error", "expected"), [
    (0.0, 0.0, (1.0, 0.0)), (-0.3, 0.1, (1.0, 0.0)), (4.0, None, (math.erfc(1.0), None)), (None, None, (None, None)),
    (math.nan, 0.1, (None, None)), (0.0, 0.04, (1.0, 0.5 * (1 - math.erfc(0.1))))])
def test_predicted_acceptance(mean, error, expected):
    assert tuple(predicted_acceptance(mean, error).values()) == pytest.approx(expected)


def test_predicted_acceptance_has_the_error_of_its_slope():
    step = 1e-6
    slope = (math.erfc(0.5 * math.sqrt(1 + step)) - math.erfc(0.5 * math.sqrt(1 - step))) / (2 * step)
    assert predicted_acceptance(1.0, 0.01)["error"] == pytest.approx(-0.01 * slope, rel=1e-3)


def test_uneven_times_are_told_and_the_mean_is_the_cost(tmp_path):
    seconds = np.array([1.0] * 90 + [11.0] * 10)
    production = np.zeros(100, dtype=[("seconds", "f8"), ("delta_h", "f8"), ("accepted", "?"), ("iterations", "i8")])
    production["seconds"] = seconds
    entry = run_numbers(SimpleNamespace(production=production, label="a", directory="a", version="", thermalization=0))[
        "seconds_per_trajectory"]
    assert (entry["mean"], entry["median"], entry["total"]) == (2.0, 1.0, 200.0) and "uneven" in entry["note"]


def test_steps_that_hide_the_autocorrelation_are_told(chains, tmp_path, comparison):
    assert "upper bounds" in of(comparison, "chiral_condensate")["guided"]["note"]
    assert "note" not in of(comparison, "plaquette")["guided"]
    (words,) = [line for line in tables.notes(comparison.result) if line.startswith("guided: uncorrelated")]
    assert words.endswith("(chiral_condensate)")


def test_a_run_is_compared_with_itself_in_another_directory(chains, tmp_path):
    copy = shutil.copytree(chains / "hmc", tmp_path / "copy")
    result = compare([chains / "hmc", copy]).result
    for entries in result["observables"].values():
        assert entries[1]["difference"] == 0 and entries[1]["cost_ratio"] == 1
    assert any("copy: the seed of hmc" in note for note in result["notes"])


@pytest.mark.parametrize(("ours", "theirs", "expected"), [
    ((1.0, 3.0), (0.0, 4.0), 0.2), ((1.0, 0.0), (1.0, 0.0), 0.0), ((1.0, 0.0), (2.0, 0.0), None), ((1.0, 0.0), (2.0, 1.0), None),
    ((1.0, None), (1.0, 1.0), None), ((None, None), (1.0, 1.0), None)])
def test_difference_in_sigma(ours, theirs, expected):
    entries = [dict(zip(("mean", "error"), side, strict=True)) for side in (ours, theirs)]
    assert difference(*entries) == (None if expected is None else pytest.approx(expected))


# ---- what may be compared
def test_physics_must_agree_and_the_key_is_named(chains, tmp_path, capsys):
    other = write_chain(tmp_path / "other", 0.5, 1.0, 90, seed=3, length=12, overrides=["gauge.beta=2.5", "quarks.0.mass=0.25"])
    message = refusal(capsys, "compare", chains / "hmc", other)
    assert message.startswith(f"slhmc: {other}: other physics than {chains / 'hmc'}: ")
    assert "gauge.beta = 2.5 (there 2.0)" in message and "quarks.0.mass = 0.25 (there 0.5)" in message


WILSON = CARD.replace("[8, 8]", "[4, 4, 4, 4]").replace('"staggered"\nmass = 0.5', '"wilson"\nkappa = 0.125')


@pytest.mark.parametrize(("text", "overrides", "words"), [
    (CARD, ["lattice.extent=[8, 4]"], ["lattice.extent = [8, 4] (there [8, 8])"]),
    (CARD, ["lattice.colors=3"], ["lattice.colors = 3 (there 2)"]),
    (CARD, ['gauge.action="iwasaki"'], ['gauge.action = "iwasaki" (there "wilson")']),
    (CARD, ["quarks.0.flavors=2"], ["quarks.0.flavors = 2 (there 4)"]),
    (CARD, ["quarks.0.flavors=4"], []),
    (CARD, ["quarks.0.hasenbusch=[1.5]", "hmc.steps=9", "solver.force_tolerance=1e-6", "run.seed=9", "gauge.level=0"], []),
    (WILSON, ["quarks.0.kappa=0.12"], ["quarks.0.kappa = 0.12 (there 0.125)"])])
def test_physics_and_algorithm_are_told_apart(text, overrides, words):
    assert foreign_keys(parse_card(text, "card", overrides), parse_card(text, "card")) == words


def test_kappa_and_mass_of_one_quark_are_the_same_physics():
    by_mass = parse_card(WILSON.replace("kappa = 0.125", "mass = 0.0"), "card")
    assert physics(by_mass) == physics(parse_card(WILSON, "card"))
    heavier = parse_card(WILSON.replace("kappa = 0.125", "mass = 0.1"), "card")
    assert foreign_keys(heavier, parse_card(WILSON, "card")) == ["quarks.0.mass = 0.1 (there quarks.0.kappa = 0.125)"]


def test_another_number_of_quarks_is_another_physics():
    two = parse_card(CARD.replace("[hmc]", '[[quarks]]\noperator = "staggered"\nmass = 0.7\n[hmc]'), "card")
    assert "quarks.1.mass = 0.7 (there nothing)" in foreign_keys(two, parse_card(CARD, "card"))
    assert "quarks.1.mass = nothing (there 0.7)" in foreign_keys(parse_card(CARD, "card"), two)


def test_what_differs_is_listed_for_all_runs(comparison):
    assert comparison.result["what_differs"] == {"hmc.steps": ["6", "7"], "run.seed": ["1", "2"]}
    cards = [parse_card(CARD, "card", overrides) for overrides in ([], ["quarks.0.hasenbusch=[1.5]"])]
    assert differences(cards) == {"quarks.0.hasenbusch": ["", "[1.5]"]}


def test_observables_that_a_run_lacks_are_left_out_with_a_note(chains, tmp_path):
    other = write_chain(tmp_path / "other", 0.5, 1.0, 90, seed=3, length=100, frozen=True)
    result = compare([other, chains / "hmc"]).result
    assert list(result["observables"]) == ["plaquette"]
    assert "not in all runs, left out: chiral_condensate of hmc" in result["notes"]


def test_directories_of_one_name_are_told_apart(chains, tmp_path):
    copy = shutil.copytree(chains / "hmc", tmp_path / "hmc")
    assert [run.label for run in compare([chains / "hmc", copy]).runs] == [str(chains / "hmc"), str(copy)]


# ---- the command
def test_exit_codes(chains, tmp_path, capsys):
    shifted = write_chain(tmp_path / "shifted", 0.5, 1.0, 90, seed=3, length=2000, shift=0.01)
    assert slhmc_command("compare", chains / "hmc", chains / "guided") == 0
    assert "\nconsistent: no difference above 4 sigma" in capsys.readouterr().out
    assert slhmc_command("compare", chains / "hmc", chains / "guided", shifted) == 1
    assert "\nNOT consistent: plaquette of shifted, +" in capsys.readouterr().out
    assert slhmc_command("compare", chains / "hmc", shifted, "--json") == 1
    assert slhmc_command("compare", chains / "hmc") == 0
    out = capsys.readouterr().out
    assert "one run: nothing to compare with" in out and "sigma from" not in out


@pytest.mark.parametrize(("length", "frozen", "words"), [
    (5, False, "5 measurements found"), (200, True, "the same number in all")])
def test_runs_without_errors_are_shown_but_not_judged(chains, tmp_path, capsys, length, frozen, words):
    other = write_chain(tmp_path / "other", 0.5, 1.0, 90, seed=3, length=length, frozen=frozen)
    assert slhmc_command("compare", chains / "hmc", other, "--html", tmp_path / "page.html") == 2
    captured = capsys.readouterr()
    assert words in captured.out and "not enough data: there is no observable" in captured.out and captured.err == ""
    assert compare([chains / "hmc", other]).result["consistent"] is None


def test_directories_that_cannot_be_compared_are_refused_in_words(chains, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder in (empty, tmp_path / "missing"):
        assert "no chain.h5 found" in refusal(capsys, "compare", chains / "hmc", folder)
    hot = write_chain(tmp_path / "hot", 0.5, 1.0, 90, seed=3, length=0)
    assert "20 trajectories of thermalization found and none of production" in refusal(capsys, "compare", chains / "hmc", hot)
    assert "given twice" in refusal(capsys, "compare", chains / "hmc", chains / "guided" / ".." / "hmc")
    (empty / "chain.h5").write_bytes(b"nothing")
    assert f"{empty}/chain.h5: truncated" in refusal(capsys, "compare", empty)
    foreign = EnsembleFile(empty / "chain.h5", "[lattice]\n", "9")
    foreign.append({"trajectory": 1, "accepted": True, "delta_h": 0.0, "iterations": 0, "seconds": 1.0, "thermalization": False})
    foreign.flush()
    assert slhmc_command("compare", empty) == 2
    assert f"slhmc: {empty}/chain.h5: card:1: lattice.extent" in capsys.readouterr().err


def test_a_run_at_work_is_read_and_left_alone(chains, tmp_path):
    """Its lock is held by this process; the command is another one."""
    with RunDirectory(tmp_path / "working").create(CARD) as run:
        shutil.copy(chains / "guided" / "chain.h5", run.chain)
        before = contents(run.path)
        finished = run_process("compare", chains / "hmc", run.path)
        assert (finished.returncode, finished.stderr) == (0, "") and "consistent: no difference" in finished.stdout
        assert contents(run.path) == before


def test_runaway_energies_do_not_spoil_the_comparison(chains, tmp_path, capsys):
    wild = write_chain(tmp_path / "wild", 0.5, 1.0, 90, seed=3, length=200, scale=1e5)
    assert slhmc_command("compare", chains / "hmc", wild, "--json", "--html", tmp_path / "page.html") == 0
    run = json.loads(capsys.readouterr().out)["runs"][1]
    assert run["exp_minus_delta_h"]["mean"] is None and "not finite" in run["exp_minus_delta_h"]["note"]
    assert (tmp_path / "page.html").exists()


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


# ---- JSON
def keys_of(value):
    """All keys of all objects inside."""
    if isinstance(value, dict):
        return set(value).union(*map(keys_of, value.values()))
    return set().union(*map(keys_of, value)) if isinstance(value, list) else set()


def test_json_is_one_object_whose_keys_are_documented(chains, comparison, capsys):
    assert slhmc_command("compare", chains / "hmc", chains / "guided", "--json") == 0
    found = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found == comparison.result
    section = re.search(r"^## compare --json\n(.*?)^## ", (ROOT / "docs" / "file-format.md").read_text(), re.DOTALL | re.M)[1]
    told = set(re.findall(r"`(\w+)`", section))
    free = set(found["observables"]) | set(found["physics"]) | set(found["what_differs"])
    used = {key.removesuffix("_error") if key not in told else key for key in keys_of(found) - free}
    assert used <= told
    assert set(found) == set(re.findall(r"`(\w+)`", "\n".join(
        line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `"))))
    assert found["reference"] == "hmc" and [run["name"] for run in found["runs"]] == ["hmc", "guided"]


# ---- the page
class Page(HTMLParser):
    """Tags that are open, all addresses, all words."""

    void = frozenset({"meta", "img", "br", "link"})

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.addresses, self.words = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for key, value in attributes if key in KEYS_OF_PAGE]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


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
