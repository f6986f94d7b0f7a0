"""Scripts of studies on fluxes, shortened: rows, figures, feature maps, searches of each family; the page on oddness."""

import csv
import json
import sys
import tomllib

import numpy as np
import pytest
from cards import FLUXES
from running import CARDS, ROOT, card_file, script, sets, slhmc_command

torch = pytest.importorskip("torch")

from slhmc.networks.convolutional import Stage, family_of  # noqa: E402
from slhmc.runcard import FitCard, load_card  # noqa: E402

sys.path.insert(0, str(ROOT / "scripts"))
import figures  # noqa: E402
import fits  # noqa: E402
import flux_families  # noqa: E402
import flux_figures  # noqa: E402

SHORT = ("data.training=8", "data.validation=4", "data.test=3", "fit.epochs=2", "fit.batch=8")


@pytest.mark.parametrize(("study", "row", "seeds"), [
    ("scalar_counting", "^least_squares: ST2$", [1, 2]), ("scalar_detection", "^networks: FL$", [1]),
    ("scalar_regression", "^EQ 100$", [1])])
def test_rows_of_studies(tmp_path, study, row, seeds):
    """Seeds on one data set, and what tables show of them."""
    path = ROOT / "docs" / "results" / f"{study}.toml"
    code, out, error = script("study", path, "-o", tmp_path, "--only", row, "--quick")
    assert code == 0, error
    (entry,) = json.loads((tmp_path / "rows.json").read_text())
    found = entry["seeds"]
    assert [seed["seed"] for seed in found] == seeds and len(list((tmp_path / "data").rglob("*.h5"))) == 3
    table = tomllib.loads(path.read_text())["columns"]
    shown = [column for columns in table.values() for column in columns if column in entry]
    assert {"parameters", "epochs", "minutes"} < set(shown) and len(shown) >= 5
    extent = next(iter(found[0]["test"]))
    losses = [seed["test"][extent]["loss_mean"] for seed in found]
    assert entry[f"median.loss_mean.{extent}"] == f"{sum(losses) / len(losses):.2g}"
    assert f"{losses[0]:.2g} / " in out and (entry.get("family"), entry.get("samples")) == (
        ("EQ", "100") if study.endswith("regression") else (None, None))


def made(name, label, scale, **keys):
    """A row with the results of two seeds, on two lattices, at two mu, with 0 and 2 open worms."""
    seeds, counts, names = [], (0,) if label == "observables" else (0, 2), ("density", "phi_squared")
    for seed in (1, 2):
        points = {f"{extent} {mu} {count}": {
            "extent": extent, "eta": 4.01, "mu": mu, "open_worms": count, "samples": 5, "loss": scale * seed * (1 + count),
            **{f"{key}_{kind}": mu for key in names for kind in ("label", "label_error", "output")}}
            for extent in ("8x8", "9x5") for mu in (1.0, 1.2) for count in counts}
        test = {extent: {"loss_mean": scale * seed, "loss_median": scale} for extent in ("8x8", "9x5", "up to 9x5")}
        seeds.append({"seed": seed, "test": test, "combinations": points, "parameters": 3, "validation": scale * seed,
                      "epochs": 2, "seconds": 60.0})
    return {"name": name, "seeds": seeds, **keys}


def test_figures_of_studies_are_drawn(tmp_path):
    entries = [made(f"{family} {samples}", "observables", scale, family=family, samples=samples)
               for family, samples, scale in (("EQ", "10", 1e-3), ("EQ", "100", 1e-4), ("ST", "10", 1e-2))]
    entries.append({"name": "FL 10", "family": "FL", "samples": "10"})
    rows = [{"name": entry["name"], "table": "networks"} for entry in entries]
    wanted = [{"name": "a", "kind": "samples", "extents": ["8x8", "9x5"], "tables": ["networks"]},
              {"name": "b", "kind": "transition", "extent": "9x5", "rows": ["EQ 100", "ST 10", "FL 10"], "tables": ["networks"]},
              {"name": "c", "kind": "counts", "extents": ["8x8", "9x5"], "tables": ["networks"]}]
    paths = figures.draw_figures(tmp_path / "study.toml", wanted, rows, entries)
    assert [path.name for path in paths] == ["study_a.png", "study_b.png", "study_c.png"]
    assert all(path.stat().st_size > 8000 for path in paths) and set(flux_figures.KINDS) > {"seeds", "counts"}


def test_tables_of_losses():
    assert fits.heading("median.loss_median.up to 64x64") == "median loss up to 64x64, median"
    assert fits.heading("published validation") == "published validation"
    row = made("EQ", "open_worms", 1e-3)
    assert fits.cell(fits.shown_of(row["seeds"][1])) == "0.002 / 0.001"
    assert "| EQ | 0.001 / 0.001 | 0.002 / 0.001 |" in fits.seed_table([row])
    assert fits.never_trained(row["seeds"], 1) == "1 of 3"


def test_feature_maps_of_trained_networks(tmp_path):
    card, keys = CARDS / "scalar" / "detecting_violations.toml", (*SHORT, "data.test_extents=[[8, 8]]", "data.thermalization=5",
                                                                  "data.spacing=1", f"data.directory={tmp_path / 'data'}")
    runs = []
    for name in ("eq", "st", "fl"):
        assert slhmc_command("train", card, "-o", tmp_path / name, *sets(*keys, f"model.published=detection_{name}")) == 0
        runs.append(f"{name.upper()}={tmp_path / name}")
    code, out, error = script("feature_maps", *runs, "-o", tmp_path / "maps.png")
    assert code == 0, error
    assert "EQ, ST, FL" in out and (tmp_path / "maps.png").stat().st_size > 10000


def test_maps_of_an_equivariant_network_are_shifted():
    import feature_maps

    from slhmc.networks.convolutional import Convolutional, published
    fluxes = torch.from_numpy(np.random.default_rng(1).integers(-1, 2, (1, 4, 8, 8)).astype(float))
    for name, same in (("detection_eq", True), ("detection_st", False)):
        *_, last, shifted = feature_maps.maps(Convolutional(published(name), real="double"), fluxes)
        assert np.allclose(np.roll(last, 1, 0), shifted) == same


@pytest.mark.parametrize("family", ["equivariant", "strided", "flattening"])
def test_a_search_of_a_family(tmp_path, family):
    """Every trial is of the family, all are recorded, and the number of trials is the card's if none is given."""
    card = card_file(tmp_path, FLUXES.replace("extent = [4, 6]", "extent = [8, 8]", 1) + "[search]\ntrials = 2\nminutes = 5\n")
    options = sets(*SHORT, "data.test_extents=[[8, 8]]")
    code, out, error = script("search_baseline", card, "-o", tmp_path / "out", "--family", family, "--widest", 8,
                              "--deepest", 2, *options)
    assert code == 0, error
    rows = list(csv.DictReader((tmp_path / "out" / "card" / "trials.csv").open()))
    assert len(rows) == 2 and "median loss 8x8" in out
    for number, row in enumerate(rows):
        found = load_card(tmp_path / "out" / "card" / f"trial_{number:04d}" / "card.toml", kinds=FitCard)
        assert family_of([Stage(layer.kind) for layer in found.model.layers]) == family
        assert row["layers"].split()[-1] == "lin1"
    code, _, error = script("search_baseline", card, "-o", tmp_path / "out", "--family", "flattening" * (family != "flattening"),
                            "--widest", 8, "--deepest", 2, *options, *sets("search.trials=3"))
    assert code == 2 and f"(was {family})" in error


def test_a_family_that_is_none(tmp_path):
    card = card_file(tmp_path, FLUXES)
    options = ("--family", "convolutional", "--trials", 1, *sets(*SHORT))
    code, _, words = script("search_baseline", card, "-o", tmp_path / "out", *options)
    assert code == 1 and "equivariant, strided, flattening expected" in words and flux_families.KERNELS == (1, 2, 3)


def test_the_page_on_oddness(tmp_path):
    """The odd network is odd whatever it has learned; the table says so."""
    page = tmp_path / "page.md"
    page.write_text("".join(f"<!-- table {name} -->\n<!-- end -->\n" for name in ("x^3", "x^2")))
    code, out, error = script("oddness", "--steps", 30, "--seeds", 2, "--page", page)
    assert code == 0, error
    lines = [line.split("|")[1:-1] for line in page.read_text().splitlines() if line.startswith(("| tanh", "| sigmoid"))]
    assert len(lines) == 8 and (tmp_path / "images" / "page.png").stat().st_size > 10000
    assert "sigmoid, biases" in out
    for name, _, *errors, oddness in lines:
        odd = name.strip().startswith("tanh")
        assert (float(oddness) < 1e-13) == odd
        if odd and line_of_cube(lines, errors):
            assert errors[0] == errors[3] and errors[1] == errors[2]


def line_of_cube(lines, errors):
    """Whether the errors are of x^3, the first table."""
    return any(errors == line[2:-1] for line in lines[:4])
