"""Studies of docs/results: every row is a card that loads, a study runs from training to table, pages have the tables."""

import json
import re
import subprocess
import sys
import tomllib

import pytest
from running import CARDS

from slhmc.runcard import load_card

ROOT = CARDS.parent
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
        load_card(CARDS / row["card"], [*row["set"], *study["all"]["set"], *extra])
    if "train" in row:
        for extra in ([], study["quick"]["train_set"]):
            assert load_card(CARDS / row["train"], [*row["train_set"], *extra]).train is not None


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_page_has_the_tables_and_figures_of_its_study(path):
    page, study = path.with_suffix(".md").read_text(), tomllib.loads(path.read_text())
    for name in study["columns"]:
        table = re.search(rf"<!-- table {name} -->\n(.*?)\n<!-- end -->", page, re.S)[1]
        found = [line.split("|")[1].strip() for line in table.splitlines()[2:]]
        assert found == [row["name"] for row in study["rows"] if row["table"] == name]
    for image in re.findall(r"!\[.*?\]\((.*?)\)", page):
        assert (path.parent / image).exists()


def test_a_study_trains_samples_and_tells(tmp_path):
    """One row, shortened; a second call takes it as it is."""
    command = [sys.executable, SCRIPT, ROOT / "docs" / "results" / "acceptance.toml", "-o", tmp_path, "--quick", "--only",
               "^centred, 1 layer$"]
    texts = [subprocess.run(command, capture_output=True, text=True, check=True, timeout=200).stdout for _ in range(2)]
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert row["trajectories"] == "12" and len(row["weights"].split(", ")) == 3
    assert f"| centred, 1 layer | {row['acceptance']} |" in texts[0] and texts[0] == texts[1]
    refused = subprocess.run(command[:5] + command[6:], capture_output=True, text=True, check=False)  # without --quick
    assert refused.returncode == 1 and "was begun with other keys" in refused.stderr


def test_a_row_that_fails_says_where(tmp_path):
    study = tmp_path / "study.toml"
    study.write_text('[columns]\nx = []\n[[rows]]\nname = "bad"\ntable = "x"\ncard = "su2_staggered_hmc.toml"\n'
                     'set = ["gauge.beta=-1"]\n')
    done = subprocess.run([sys.executable, SCRIPT, study, "-o", tmp_path / "out"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "exit code 2, see" in done.stderr
    assert "gauge.beta" in (tmp_path / "out" / "x_bad" / "run.txt").read_text()
