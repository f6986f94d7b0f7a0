"""scripts/scalar_density.py: its tables from chains that are made by hand, and the page in the tree."""

import re

import numpy as np
import pytest
from running import ROOT, script
from test_scalar_runs import TEXT

from slhmc.io import FluxChains

CARD = TEXT.replace("eta = [4.01, 4.25]", "eta = 4.01").replace("[3, 6]", "[2, 5]")
ENERGIES = (0.0, 1.1, 2.3)  # of 0, 1, 2 particles


@pytest.fixture
def run(tmp_path):
    """Independent charges 0, 1, 2 with probabilities exp(Nt (mu q - E_q)), Nt = 5, at three values of mu, four chains each."""
    generator, mus = np.random.default_rng(1), np.repeat([0.9, 1.1, 1.3], 4)
    weights = np.exp(5 * (np.outer(mus, range(3)) - ENERGIES))
    shares = weights / weights.sum(1, keepdims=True)
    chains = FluxChains(tmp_path / "chain.h5", CARD, "x", {"eta": np.full(12, 4.01), "coupling": np.ones(12), "mu": mus}, 50)
    for sweep in range(1, 1051):
        charges = (generator.random((12, 1)) > shares.cumsum(1)[:, :2]).sum(1) if sweep > 50 else np.full(12, 7)
        chains.append(sweep, 0.1, charges / 2, generator.normal(0.3, 0.01, 12))
    chains.flush()
    (tmp_path / "card.toml").write_text(CARD)
    return tmp_path


def test_tables_and_figure_of_made_chains(run):
    page = run / "page.md"
    page.write_text("".join(f"<!-- table {name} -->\n<!-- end -->\n" for name in ("density", "gaps")))
    code, out, error = script("scalar_density", run, "--page", page)
    assert code == 0, error
    gaps = re.findall(r"\| (\d) \| \S+ to \S+ \| 3 \| (\d\.\d+)\((\d+)\) \|", page.read_text())
    assert [q for q, *_ in gaps] == ["0", "1"]
    for (_, mean, error), expected in zip(gaps, (1.1, 1.2), strict=True):
        assert abs(float(mean) - expected) < 4 * int(error) / 10**(len(mean) - 2) and int(error) / 10**(len(mean) - 2) < 0.02
    assert "| 0.9 | " in out and (run / "images" / "page.png").stat().st_size > 5000


def test_the_page_has_the_couplings_of_its_card():
    page = (ROOT / "docs" / "results" / "scalar_density.md").read_text()
    rows = re.search(r"<!-- table density -->\n(.*?)\n<!-- end -->", page, re.S)[1].splitlines()[2:]
    assert [float(row.split("|")[1]) for row in rows] == [round(0.8 + 0.01 * step, 12) for step in range(51)]
    assert (ROOT / "docs" / "results" / "images" / "scalar_density.png").exists()
