"""Data sets of fits: chains of the engine, labels, what is found again, made on, refused."""

import fcntl
import json
import shutil

import numpy as np
import pytest
from cards import FIT, fit_card, flux_card
from running import card_file, contents, refusal, sets
from scipy.special import iv

torch = pytest.importorskip("torch")

from fitting import fit, make_data, stop_when  # noqa: E402

from slhmc.backend import HostDevice  # noqa: E402
from slhmc.errors import InputError  # noqa: E402
from slhmc.io import FitFile, load_data_set, save_data_set  # noqa: E402
from slhmc.lattice import Draws, GaugeField, Lattice, Purpose  # noqa: E402
from slhmc.learning import datasets, regression  # noqa: E402
from slhmc.learning.labels import labels_of  # noqa: E402
from slhmc.runcard import parse_card  # noqa: E402

SETS = ["test_4x4.h5", "test_6x4.h5", "training_4x4.h5", "validation_4x4.h5"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A directory with the data sets of the card, for all fits that want no others."""
    return make_data(fit_card(), tmp_path_factory.mktemp("data"))


# ---- data sets
def test_data_sets_hold_what_the_card_asks_for(data):
    assert sorted(path.name for path in data.glob("*.h5")) == SETS and not list(data.glob(".*chain*"))
    for name, extent, each in (("training_4x4", (4, 4), 16), ("validation_4x4", (4, 4), 8), ("test_6x4", (6, 4), 6)):
        found = load_data_set(data / f"{name}.h5")
        assert (found.extent, found.colors) == (extent, 2)
        assert found.links.shape == (3 * each, 2, 4, extent[0] * extent[1]) and found.links.dtype == np.float64
        np.testing.assert_array_equal(found.beta, np.repeat([0.5, 2, 5], each))
        np.testing.assert_allclose((found.links**2).sum(2), 1, rtol=1e-13)
        assert found.origin["betas"] == [0.5, 2, 5] and found.origin["heat_bath"] == {"over_relaxation": 3}
        assert (found.origin["split"], found.origin["configurations"]) == (name.split("_")[0], each)
    everything = np.concatenate([load_data_set(data / name).links[..., 0].reshape(-1, 8) for name in SETS])
    assert len(np.unique(everything, axis=0)) == len(everything), "all chains differ"


@pytest.mark.parametrize("colors", [2, 3])
def test_links_are_packed_site_by_site(hot_links, colors):
    """[mu, real, site], x fastest: the matrices are those of to_sites."""
    U = hot_links(colors, 4, 2, 6)
    packed, sites = datasets.pack_links(U), U.to_sites()
    for x, y, t in ((0, 0, 0), (3, 1, 2), (1, 0, 5)):
        matrix = sites[t, y, x]
        number = x + 4 * (y + 2 * t)
        expected = matrix[:, 0] if colors == 2 else matrix.reshape(3, 9)
        np.testing.assert_array_equal(packed[..., number], np.ascontiguousarray(expected).view(np.float64))


def test_seeds_of_chains_differ():
    card = fit_card("data.betas={first=0.1, last=6.0, count=60}", "data.test_extents=[[4, 4], [4, 6], [6, 4], [8, 8]]")
    seeds = [datasets.chain_seed(card.model_copy(update={"data": card.data.model_copy(update={"seed": seed})}), part, chain)
             for seed in range(3) for part in datasets.parts(card) for chain in range(60)]
    assert len(set(seeds)) == len(seeds) == 3 * 6 * 60 and max(seeds) < 2**32


def test_the_plaquette_of_the_data_is_exact(tmp_path):
    """I_2(beta) / I_1(beta) in two-dimensional SU(2), within 4 sigma (blocks of ten configurations); 8x8 is infinite volume."""
    card = parse_card(FIT, "card.toml", ["lattice.extent=[8, 8]", "data.betas={first=0.1, last=6.0, count=10}",
                                          "data.test_extents=[[8, 8]]", "data.training=400", "data.thermalization=100"])
    part = datasets.parts(card)[0]
    maker = datasets.ChainMaker(card, part, HostDevice())
    deviations = []
    for chain, beta in enumerate(datasets.betas(card)):
        links = maker.make(chain, lambda: False)
        found = labels_of(card.data, datasets.DataSet(links, np.full(400, beta), {}, (8, 8), 2), HostDevice(), "here")
        blocks = found.mean(1).reshape(40, 10).mean(1)
        deviations.append((blocks.mean() - iv(2, beta) / iv(1, beta)) / (blocks.std(ddof=1) / 40**0.5))
    assert max(map(abs, deviations)) < 4 and sum(value**2 for value in deviations) < 35, deviations


def test_molecular_dynamics_makes_data_too(tmp_path):
    """With quarks, too, at the one beta of [gauge]."""
    text = FIT.replace("[heat_bath]", '[hmc]\nscheme = "omelyan2"\nsteps = 4').replace("betas = [0.5, 2, 5]\n", "")
    card = parse_card(text, "card.toml", ["gauge.beta=2.0", "quarks.0.operator=staggered", "quarks.0.mass=0.5"])
    maker = datasets.ChainMaker(card, datasets.parts(card)[0], HostDevice())
    assert maker.make(0, lambda: False).shape == (16, 2, 4, 16)
    made = datasets.origin(card, maker.part)
    assert made["quarks"][0]["mass"] == 0.5 and made["betas"] == [2.0] and made["hmc"]["steps"] == 4


@pytest.mark.parametrize("colors", [2, 3])
def test_labels_are_loops_at_each_site(colors):
    """Against products of matrices, site by site; the mean over planes in three directions."""
    lattice = Lattice((4, 2, 6), HostDevice())
    U = GaugeField(lattice, colors)
    U.randomize(Draws(5, 0).next(Purpose.START))
    card = fit_card("lattice.extent=[4, 4, 6]", f"lattice.colors={colors}", "data.loop=[1, 2]", "data.scale=10",
                   "data.test_extents=[[4, 4, 6]]")
    sample = datasets.DataSet(datasets.pack_links(U)[None], np.ones(1), {}, (4, 2, 6), colors)
    found = labels_of(card.data, sample, HostDevice(), "here")
    links, extent = U.to_sites(), (4, 2, 6)

    def link(x, mu):
        return links[tuple(x[d] % extent[d] for d in (2, 1, 0))][mu]

    def loop(x, mu, nu, n, m):
        x, result = list(x), np.eye(colors)
        for direction, length, step in ((mu, n, 1), (nu, m, 1), (mu, n, -1), (nu, m, -1)):
            for _ in range(length):
                if step < 0:
                    x[direction] -= 1
                result = result @ (link(x, direction) if step > 0 else link(x, direction).conj().T)
                if step > 0:
                    x[direction] += 1
        return np.trace(result).real / colors
    for x in ((0, 0, 0), (3, 1, 5), (2, 0, 3)):
        expected = 10 * np.mean([loop(x, mu, nu, 1, 2) for mu, nu in ((0, 1), (0, 2), (1, 2))])
        assert found[0, x[0] + 4 * (x[1] + 2 * x[2])] == pytest.approx(expected, rel=1e-12)


def test_found_again_and_not_made_again(tmp_path, data):
    """By any card with the same chains: another label, network, or seed of the weights."""
    before = contents(data)
    phases = set()
    overrides = (f"data.directory={data}", "data.loop=[1, 2]", "run.seed=9", "fit.epochs=1", "model.layers=[{channels = 1}]")
    assert fit(tmp_path / "run", *overrides, observer=lambda report: phases.add(report.phase))[0]
    assert contents(data) == before and phases == {"training", "testing"}


@pytest.mark.parametrize(("override", "words"), [
    ("data.betas=[0.5, 2, 4]", "betas = [0.5, 2.0, 5.0] ([0.5, 2.0, 4.0] expected)"),
    ("data.spacing=3", "spacing = 2 (3 expected)"),
    ("heat_bath.over_relaxation=0", "heat_bath.over_relaxation = 3 (0 expected)"),
    ("lattice.colors=3", "colors = 2 (3 expected)"),
])
def test_data_of_another_card_are_refused(tmp_path, capsys, data, override, words):
    before = contents(data)
    card = card_file(tmp_path, FIT)
    told = refusal(capsys, "train", card, "-o", tmp_path / "run", *sets(f"data.directory={data}", override))
    assert "a data set made by another card" in told and words in told and "4x4.h5" in told
    assert contents(data) == before


@pytest.mark.parametrize(("name", "samples"), [("training_4x4", 48), ("test_6x4", 18)])
def test_links_that_are_no_numbers_are_refused_before_training(tmp_path, data, name, samples):
    """Those of a test, too, which are not read before the end."""
    broken = shutil.copytree(data, tmp_path / "data")
    found = load_data_set(broken / f"{name}.h5")
    found.links[7, 0, 0, 3] = np.nan
    save_data_set(broken / f"{name}.h5", found, "0")
    with pytest.raises(InputError, match=f"{name}.h5: links of 1 of {samples} configurations are not finite; remove"):
        fit(tmp_path / "run", f"data.directory={broken}")
    assert len(FitFile.open(tmp_path / "run" / "fit.h5").epochs) == 0
    with pytest.raises(InputError, match=f"here: labels of 1 of {samples} configurations are not finite"):
        labels_of(fit_card().data, found, HostDevice(), "here")


def test_a_damaged_data_set_is_refused(tmp_path, data):
    broken = shutil.copytree(data, tmp_path / "data")
    image = bytearray((broken / "test_6x4.h5").read_bytes())
    image[-9] ^= 1
    (broken / "test_6x4.h5").write_bytes(image)
    with pytest.raises(InputError, match=r"test_6x4.h5: damaged.*remove it and it is made anew"):
        fit(tmp_path / "run", f"data.directory={broken}")


def test_chains_that_are_done_are_kept(tmp_path, data):
    """Generation that was interrupted goes on, and comes to the same files; a chain of another card is made anew."""
    run = tmp_path / "run"
    assert not fit(run, observer=stop_when("data", 5))[0]
    kept = sorted(path.name for path in (run / "data").glob("*.h5"))
    assert kept == [".validation_4x4.chain000.h5", ".validation_4x4.chain001.h5", "training_4x4.h5"]
    (run / "data" / ".validation_4x4.chain001.h5").write_bytes(b"of another time")
    chains = []
    assert regression.resume(run).run(lambda report: chains.append((report.phase, report.done, report.total)))
    assert chains[:3] == [("data", 2, 9), ("data", 3, 9), ("data", 4, 9)]
    for name in SETS:
        assert (run / "data" / name).read_bytes() == (data / name).read_bytes()


def test_data_that_may_only_be_read_are_enough(tmp_path, data):
    """No lock can be had there; it is asked for only where something is to be made."""
    readable = shutil.copytree(data, tmp_path / "data", ignore=shutil.ignore_patterns(".lock"))
    (readable / ".lock").mkdir()
    assert fit(tmp_path / "run", f"data.directory={readable}", "fit.epochs=1")[0]
    (readable / SETS[0]).unlink()
    with pytest.raises(InputError, match="data sets cannot be kept here"):
        fit(tmp_path / "other", f"data.directory={readable}")


def test_more_configurations_than_memory_are_refused_before_any_is_made(tmp_path, capsys):
    told = refusal(capsys, "train", card_file(tmp_path, FIT), "-o", tmp_path / "run", *sets("data.training=2147483647"))
    assert "data.training = 2147483647 configurations of 4x4 take " in told
    assert not list((tmp_path / "run" / "data").glob("*.h5"))


@pytest.mark.parametrize("kind", ["links", "fluxes"])
def test_a_fit_that_waits_for_the_data_of_another_says_so(tmp_path, kind):
    """And stops when asked to."""
    card = fit_card() if kind == "links" else flux_card()
    (tmp_path / "data").mkdir()
    card = card.model_copy(update={"data": card.data.model_copy(update={"directory": str(tmp_path / "data")})})
    with open(tmp_path / "data" / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not regression.create(card, tmp_path / "run").run(stop_when("waiting for data", 0))
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (status["state"], status["phase"], status["step"]) == ("stopped", "waiting for data", 0) and status["total"] >= 3


def test_couplings_that_hardly_differ_have_files_of_their_own(tmp_path):
    card = fit_card("data.test_betas=[3.5, 3.5000000000000004, 4]")
    paths = [part.path(tmp_path).name for part in datasets.parts(card)]
    assert len(set(paths)) == len(paths)
    assert {"test_4x4_beta3.5.h5", "test_4x4_beta3.5000000000000004.h5", "test_4x4_beta4.h5"} <= set(paths)
