"""scripts/search_baseline.py and scripts/adversarial.py, shortened: what they write, and that a search goes on."""

import csv
import json
import re
from itertools import combinations, product

import numpy as np
import pytest
from running import CARDS, script, sets, slhmc_command

from slhmc.io import load_model, save_model

SHORT = ("data.betas=[1.0, 5.0]", "data.training=4", "data.validation=2", "data.test=3", "data.test_extents=[[8, 8], [10, 8]]",
         "data.thermalization=2", "data.spacing=1", "fit.epochs=2", "fit.batch=4")
CARD = CARDS / "lcnn" / "wilson_loop_1x2.toml"


def page_of(folder, table):
    page = folder / "page.md"
    page.write_text(f"before\n<!-- table {table} -->\nold\n<!-- end -->\nafter\n")
    return page


def test_a_search_records_every_trial_and_goes_on(tmp_path):
    page = page_of(tmp_path, "baselines")
    for trials in (2, 3):
        code, _, error = script("search_baseline", CARD, "-o", tmp_path, "--trials", trials, "--page", page,
                                *sets(*SHORT))
        assert code == 0, error
    place = tmp_path / CARD.stem
    rows = list(csv.DictReader((place / "trials.csv").open()))
    told = json.loads((place / "search.json").read_text())
    assert [row["trial"] for row in rows] == ["0", "1", "2"] and told["trials"] == 3
    losses = {int(row["trial"]): float(row["validation"]) for row in rows if row["state"] == "complete"}
    assert told["best"] == min(losses, key=losses.get) and told["results"]["validation"] <= min(losses.values()) * (1 + 1e-12)
    best = rows[told["best"]]
    assert int(best["parameters"]) == told["results"]["parameters"] and best["layers"] == told["layers"]
    assert len({row["learning_rate"] for row in rows}) == 3
    line = page.read_text().splitlines()[4]
    assert line.startswith(f"| 1x2 | 3 | {told['pruned']} |") and page.read_text().endswith("<!-- end -->\nafter\n")
    assert (tmp_path / "data" / "training_8x8.h5").exists()
    for other, words in ((("--widest", 8), "--widest 8 (was 512)"), (sets("fit.epochs=3"), "the card ")):
        code, _, error = script("search_baseline", CARD, "-o", tmp_path, "--trials", 4, *sets(*SHORT), *other)
        assert code == 2 and f"{place}: trials of another search are here, differing in {words}" in error
    assert len(list(csv.DictReader((place / "trials.csv").open()))) == 3


@pytest.fixture(scope="module")
def trainings(tmp_path_factory):
    """An L-CNN and a CNN on the same data."""
    folder = tmp_path_factory.mktemp("trainings")
    keys = (*SHORT, f"data.directory={json.dumps(str(folder / 'data'))}")
    cnn = "model={kind = 'cnn', layers = [{kernel = 2, channels = 4}]}"
    for name, more in (("lcnn", ()), ("cnn", (cnn,))):
        assert slhmc_command("train", CARD, "-o", folder / name, *sets(*keys, *more)) == 0
    return folder


def test_adversarial_drifts_of_trained_networks(trainings, tmp_path):
    page = page_of(tmp_path, "adversarial")
    code, out, error = script("adversarial", f"L-CNN={trainings / 'lcnn'}", f"CNN={trainings / 'cnn'}", "-o",
                              tmp_path / "a.json", "--page", page, "--samples", 4, "--draws", 3, "--steps", 10)
    assert code == 0, error
    found = json.loads((tmp_path / "a.json").read_text())
    ours, baseline = (found[name]["of_spread"] for name in ("L-CNN", "CNN"))
    assert ours["optimised"]["largest"] < 1e-12 and ours["site"]["largest"] < 1e-12
    assert baseline["optimised"]["largest"] > baseline["random_largest"]["largest"] > 1e-6
    assert found["CNN"]["beta"] == [1.0, 1.0, 5.0, 5.0] and found["L-CNN"]["labels"] == found["CNN"]["labels"]
    assert len(found["CNN"]["drifts"]["optimised"]) == 4 and (tmp_path / "images" / "page.png").stat().st_size > 5000
    lines = page.read_text().splitlines()
    assert re.match(r"\| L-CNN \| 35 \| \S+e-1\d", lines[4]) and lines[5].startswith("| CNN | ")
    assert "\n".join(lines[2:6]) in out


def test_adversarial_of_what_is_no_training(tmp_path):
    code, _, error = script("adversarial", f"x={tmp_path}", "-o", tmp_path / "a.json")
    assert code == 2 and error.startswith("error: ") and "weights.h5" in error


@pytest.mark.parametrize(("name", "arguments", "words"), [
    ("flow_cost", ("x={}/none", "-o", "{}/a.json"), "weights.h5"),
    ("flow_cost", ("x={}/lcnn", "-o", "{}/a.json"), "moves no links"),
    ("flow_figures", ("--link", "{}/lcnn", "-o", "{}/i"), '"square_trace_flow" expected with --link'),
    ("flow_figures", ("--cost", "{}/none.json", "-o", "{}/i"), "none.json: No such file"),
    ("flowed_charge", ("x={}/lcnn", "-o", "{}/a.json"), 'label = "wilson_loop" found, "topological_charge" expected')])
def test_scripts_refuse_what_they_cannot_use(trainings, name, arguments, words):
    code, _, error = script(name, *(argument.format(trainings) for argument in arguments))
    assert code == 2 and error.startswith("error: ") and words in error and "Traceback" not in error


def test_the_charge_along_the_flow(tmp_path):
    """A network with the weights of q itself says the charge of all flowed links."""
    page, run = page_of(tmp_path, "flow"), tmp_path / "train"
    short = ("lattice.extent=[4, 4, 4, 4]", "data.betas=[2.0]", "data.training=30", "data.validation=4", "data.test=2",
             "data.test_extents=[[4, 4, 4, 4]]", "data.thermalization=10", "data.spacing=1", "fit.epochs=2",
             "model.precision=double")
    assert slhmc_command("train", CARDS / "lcnn" / "topological_charge_4d_exact.toml", "-o", run, *sets(*short)) == 0
    set_exact_weights(run / "weights.h5")
    code, _, error = script("flowed_charge", f"exact={run}", "-o", tmp_path / "q.json", "--page", page, "--extent", 6, 4, 4, 4,
                            "--sweeps", 5, "--times", 0, 0.1, 0.3)
    assert code == 0, error
    rows = json.loads((tmp_path / "q.json").read_text())["rows"]
    assert [row["time"] for row in rows] == [0.0, 0.1, 0.3] and len({row["plaquettes"] for row in rows}) == 3
    assert all(abs(row["exact"] - row["plaquettes"]) < 1e-10 for row in rows)
    assert all(abs(row["five_loops"]) < 10 and row["five_loops"] != row["plaquettes"] for row in rows)
    assert (tmp_path / "images" / "page_flow.png").stat().st_size > 5000
    assert page.read_text().splitlines()[4].startswith(f"| 0 | {rows[0]['plaquettes']:.5f} |")


def set_exact_weights(path):
    """sum eps Tr[C C] / (32 pi^2), C = (P - P^+) / 2i, as L-CB of channels (W, W^+, 1) x (W, W^+, 1) and trace; label x 100."""
    values, text, epoch = load_model(path)
    weight = np.zeros_like(values["layers.0.weight"])[0]
    planes = list(combinations(range(4), 2))
    for first, plane in enumerate(planes):
        second = planes.index(tuple(sorted(set(range(4)) - set(plane))))
        order = [*plane, *planes[second]]
        sign = (-1) ** sum(order[i] > order[j] for i in range(4) for j in range(i + 1, 4))
        for left, right in product((0, 1), repeat=2):  # -(P - P^+)(Q - Q^+) / 4, four orders of indices
            weight[first + 6 * left, second + 6 * right] += -sign * (-1) ** (left + right)
    values["layers.0.weight"] = weight[None].astype(values["layers.0.weight"].dtype)
    values["head.weight"] = np.array([[100 / (32 * np.pi**2), 0]], values["head.weight"].dtype)
    values["head.bias"][:] = 0
    save_model(path, values, text, epoch)
