"""`slhmc compare`: chains of known autocorrelation and cost, what may be compared, exit codes, JSON.

The page is in tests/test_compare_page.py.
"""

import json
import math
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from made_chains import EVERY, ITERATIONS, LENGTH, MEAN_DELTA_H, MEMORY, SECONDS, THERMALIZATION, WIDTH, exact_tau, write_chain
from running import CARD, ROOT, contents, refusal, run_process, slhmc_command

from slhmc.analysis import gamma_method
from slhmc.io import EnsembleFile, RunDirectory
from slhmc.report import compare, tables
from slhmc.report.comparison import compare_runs, difference
from slhmc.report.physics import differences, foreign_keys, physics
from slhmc.report.run import predicted_acceptance, read_runs, run_numbers
from slhmc.runcard import parse_card


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


@pytest.mark.parametrize(("accepted", "still"), [(0, True), (9, True), (10, False)])
def test_a_run_that_stands_still_has_no_differences(tmp_path, accepted, still):
    """A guide that leads nowhere: its links are the same again and again, and errors of them say nothing."""
    for seed, name in enumerate(("hmc", "stuck"), 1):
        write_chain(tmp_path / name, 0.5, 1.0, 90, seed=seed, length=400, shift=seed - 1.0)
    hmc, stuck = read_runs([tmp_path / name for name in ("hmc", "stuck")])
    stuck.production["accepted"] = np.arange(400) < accepted
    for runs in ([hmc, stuck], [stuck, hmc]):
        result = compare_runs(runs).result
        assert result["consistent"] is (None if still else False)
        assert all((entries[1]["difference"] is None) == still for entries in result["observables"].values())
        assert (result["runs"][runs.index(stuck)]["exp_minus_delta_h"]["deviation"] is None) == still
        told = [note for note in result["notes"] if note.startswith(f"stuck: {accepted} of 400 trajectories accepted, too few")]
        assert len(told) == still


def test_runs_of_a_few_trajectories_are_compared(tmp_path):
    run = read_runs([write_chain(tmp_path / "short", 0.5, 1.0, 90, seed=1, length=6)])[0]
    for accepted, still in ((3, False), (2, True)):
        run.production["accepted"] = np.arange(6) < accepted
        assert run.stands_still == still


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
    run = SimpleNamespace(production=production, label="a", directory="a", version="", thermalization=0, stands_still=False)
    entry = run_numbers(run)["seconds_per_trajectory"]
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


def test_other_flows_are_not_compared(chains, tmp_path):
    """Another flow has another t0."""
    for name, action in (("a", "wilson"), ("b", "wilson"), ("c", "zeuthen")):
        chain = EnsembleFile.open(shutil.copytree(chains / "hmc", tmp_path / name) / "chain.h5")
        flow = np.array([[0.0, 1.0, 2.0], [5.0, 0.2, 0.1], [5.0, 0.2, 0.1], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
        for number in chain.records["trajectory"][-40::2]:
            chain.append_observable("gradient_flow", int(number), flow + 1e-3 * np.cos(number))
        chain.settings["gradient_flow"] = {"action": action}
        chain.flush()
    same, other = (compare([tmp_path / "a", tmp_path / name]).result for name in "bc")
    flowed = [name for name in same["observables"] if name.startswith("gradient_flow")]
    assert flowed and not any(name in other["observables"] for name in flowed)
    assert f"of different flows, left out: {', '.join(flowed)}" in other["notes"]


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
