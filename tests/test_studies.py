"""Studies of docs/results: every row is a card that loads, a study runs from training to table, pages have the tables."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from running import CARDS, script

from slhmc.runcard import FitCard, load_card

ROOT = CARDS.parent
sys.path.insert(0, str(ROOT / "scripts"))
import commands  # noqa: E402
import figures  # noqa: E402
import fits  # noqa: E402

STUDIES = sorted((ROOT / "docs" / "results").glob("*.toml"))
SCRIPT = ROOT / "scripts" / "study.py"


def rows():
    return [pytest.param(path, row, id=f"{path.stem}: {row['table']}: {row['name']}")
            for path in STUDIES for row in tomllib.loads(path.read_text())["rows"]]


@pytest.mark.parametrize(("path", "row"), rows())
def test_a_row_is_a_card(path, row):
    study = tomllib.loads(path.read_text())
    assert row["table"] in study["columns"]
    for extra in ([], study["quick"]["set"]):
        card = load_card(CARDS / row.get("fit", row.get("card")), [*row["set"], *study["all"]["set"], *extra], FitCard)
        assert "fit" not in row or card.fit is not None
    if "train" in row:
        for extra in ([], study["quick"]["train_set"]):
            assert load_card(CARDS / row["train"], [*row["train_set"], *extra]).train is not None


def first_cells(page, name):
    """The names of the rows of a page's table."""
    table = re.search(rf"<!-- table {name} -->\n(.*?)\n<!-- end -->", page, re.S)[1]
    return [line.split("|")[1].strip() for line in table.splitlines()[2:]]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_page_has_the_tables_and_figures_of_its_study(path):
    page, study = path.with_suffix(".md").read_text(), tomllib.loads(path.read_text())
    for name in study["columns"]:
        names = [row["name"] for row in study["rows"] if row["table"] == name]
        assert first_cells(page, name) == names
        if any("fit" in row for row in study["rows"] if row["table"] == name):
            assert first_cells(page, f"{name}_seeds") == names
    for image in re.findall(r"!\[.*?\]\((.*?)\)", page):
        assert (path.parent / image).exists()


def test_a_study_trains_samples_and_tells(tmp_path):
    """One row, shortened; a second call takes it as it is."""
    study = [ROOT / "docs" / "results" / "acceptance.toml", "-o", tmp_path, "--only", "^centred, 1 layer$"]
    (code, *texts), (again, *same) = (script("study", *study, "--quick") for _ in range(2))
    assert code == again == 0
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert row["trajectories"] == "12" and len(row["weights"].split(", ")) == 3
    assert f"| centred, 1 layer | {row['acceptance']} |" in texts[0] and texts == same
    code, _, words = script("study", *study)
    assert code == 1 and "was begun with other keys" in words


def test_a_row_that_fails_says_where(tmp_path):
    study = tmp_path / "study.toml"
    study.write_text('[columns]\nx = []\n[[rows]]\nname = "bad"\ntable = "x"\ncard = "su2_staggered_hmc.toml"\n'
                     'set = ["gauge.beta=-1"]\n')
    done = subprocess.run([sys.executable, SCRIPT, study, "-o", tmp_path / "out"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "exit code 2, see" in done.stderr
    assert "gauge.beta" in (tmp_path / "out" / "x_bad" / "run.txt").read_text()


def test_studies_may_be_called_from_any_folder(tmp_path, monkeypatch):
    """Runs go where -o says, also from where it is a relative path."""
    called = []
    monkeypatch.setattr(commands.subprocess, "run",
                        lambda arguments, **_: called.append(arguments) or SimpleNamespace(returncode=0))
    monkeypatch.chdir(tmp_path)
    commands.slhmc("train", CARDS / "su2_heat_bath.toml", Path("out") / "row" / "train", [])
    (tmp_path / "out" / "row" / "train").mkdir()
    (tmp_path / "out" / "row" / "train" / "card.toml").touch()
    commands.slhmc("train", CARDS / "su2_heat_bath.toml", Path("out") / "row" / "train", [])
    place = str(tmp_path / "out" / "row" / "train")
    assert called[0][-2:] == ["-o", place] and called[1][-2:] == ["resume", place]


def result(seed, average, site, validation, epochs=3):
    """results.json of a training."""
    numbers = {"mse_average": average, "mse_site": site, "label_variance_average": 0.01, "label_variance_site": 0.2}
    return {"parameters": 35, "epochs": epochs, "best_epoch": 2, "seed": seed, "seconds": 60.0, "validation": validation,
            "test": {"8x8": numbers, "16x16": {**numbers, "mse_average": 2 * average}}}


def test_rows_of_fits_show_best_median_worst_and_who_never_trained(tmp_path):
    row = {"name": "small", "table": "1x2", "fit": "lcnn/none.toml", "set": ["fit.epochs=3"], "seeds": [1, 2, 3, 4]}
    found = fits.fits_of(row, tmp_path, [{"set": ["data.seed=2"]}])
    assert [fit.settings[:2] for fit in found] == [["fit.epochs=3", "data.seed=2"]] * 4
    assert found[0].settings[2:] == [f'data.directory="{tmp_path / "data" / "data"}"', "run.seed=1"]
    assert fits.numbers(found) == {}
    for fit, entry in zip(found, [result(1, 2e-9, 2e-8, 1.0), result(2, 4e-3, 0.15, 3.0), result(3, 3e-9, 1e-8, 0.5, 6)],
                          strict=False):
        fit.directory.mkdir(parents=True)
        fit.results.write_text(json.dumps(entry))
    shown = fits.numbers(found)
    assert shown["never_trained"] == "1 of 3" and shown["parameters"] == "35" and shown["epochs"] == "3"
    assert [shown[f"{which}.mse_average.8x8"] for which in ("best", "median", "worst")] == ["3e-09", "3e-09", "0.004"]
    assert [shown[f"{which}.mse_site.8x8"] for which in ("best", "median", "worst")] == ["1e-08", "2e-08", "0.15"]
    assert shown["median.mse_average.16x16"] == "6e-09"
    table = fits.seed_table([{"name": "small", **shown}, {"name": "large"}])
    assert table.splitlines()[2:] == ["| small | 2e-09 / 2e-08 | 0.004 / 0.15 | 3e-09 / 1e-08 |", "| large | - | - | - |"]
    assert fits.heading("best.mse_site.8x8") == "MSE per site 8x8, best"


def test_a_seed_that_runs_away_is_a_result(tmp_path):
    """It counts among those that never trained, is not run again, and other failures still end the study."""
    short = ["data.betas=[1.0]", "data.training=4", "data.validation=2", "data.test=2", "data.thermalization=2", "data.spacing=1",
             "data.test_extents=[[8, 8]]", "fit.batch=4", "fit.epochs=9"]
    row = {"name": "small", "table": "1x2", "fit": "lcnn/wilson_loop_1x2.toml", "seeds": [5],
           "set": [*short, "fit.learning_rate=1e30"]}
    for _ in range(2):
        fits.train_all(fits.fits_of(row, tmp_path, []), 1)
    shown = fits.numbers(fits.fits_of(row, tmp_path, []))
    assert shown == {"ran_away": [5], "never_trained": "1 of 1"}
    assert fits.seed_table([{"name": "small", **shown}]).splitlines()[2:] == ["| small | ran away |"]
    assert (tmp_path / "1x2_small" / "seed_5" / "train.txt").read_text().count("run away") == 1
    with pytest.raises(SystemExit, match="exit code 2"):
        fits.train_all(fits.fits_of(row | {"name": "bad", "set": ["fit.batch=0"]}, tmp_path, []), 1)


def test_figures_of_a_study(tmp_path):
    rows = [{"table": "1x2", "name": name} for name in ("small", "large")]
    results = [{"name": "small", "seeds": [result(1, 2e-9, 2e-8, 1.0), result(2, 4e-3, 0.15, 3.0)]}, {"name": "large"}]
    wanted = [{"name": kind, "kind": kind, "number": number, "tables": ["1x2"], "lines": {"published": [1e-8]}}
              for kind, number in (("seeds", "mse_average.8x8"), ("lattices", "mse_site"))]
    paths = figures.draw_figures(tmp_path / "study.toml", wanted, rows, results)
    assert [path.name for path in paths] == ["study_seeds.png", "study_lattices.png"]
    assert all(path.parent == tmp_path / "images" and path.stat().st_size > 5000 for path in paths)


@pytest.mark.parametrize("unknown", [None, float("nan")])
def test_rows_of_fits_that_only_know_averages(tmp_path, unknown):
    entry = result(1, 9e-3, unknown, 8e-3)
    (fit,) = fits.fits_of({"name": "cnn", "table": "x", "fit": "none.toml", "set": [], "seeds": [1]}, tmp_path, [])
    fit.directory.mkdir(parents=True)
    fit.results.write_text(json.dumps(entry))
    shown = fits.numbers([fit])
    assert shown["never_trained"] == "1 of 1" and "best.mse_site.8x8" not in shown
    assert fits.seed_table([{"name": "cnn", **shown}]).endswith("| cnn | 0.009 |")


def test_a_study_of_fits_trains_each_seed_on_the_same_data(tmp_path):
    """A row, shortened; a second call takes it as it is, --tables too."""
    study = [ROOT / "docs" / "results" / "lcnn_wilson_loops.toml", "-o", tmp_path, "--quick", "--only", "^1x2: small$"]
    codes, texts, _ = zip(*(script("study", *study, *more) for more in ([], [], ["--tables"])), strict=True)
    assert codes == (0, 0, 0)
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert row["parameters"] == "35" and [entry["seed"] for entry in row["seeds"]] == [1, 2] and row["epochs"] == "2"
    assert texts[0] == texts[1] == texts[2] and f"| small | 35 | 2 | {row['minutes']} |" in texts[0]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["su2"]
