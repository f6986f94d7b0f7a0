"""Susceptibilities of Polyakov loops and condensates: the formula, no bias by noise, tables of runs and of measurements."""

import numpy as np
import pytest
from running import run_card, sets, slhmc_command

from slhmc.analysis import summarise, susceptibility_entries
from slhmc.io import EnsembleFile

EXTENT = (4, 6, 8)


def test_polyakov_loops_have_the_variance_of_their_modulus(rng):
    """V_s is that of the directions but the last."""
    loops = rng.standard_normal((50, 3)) + 1j * rng.standard_normal((50, 3))
    entry = susceptibility_entries("polyakov_loop", loops, EXTENT)["polyakov_loop_susceptibility_t"]
    assert entry["mean"] == pytest.approx(24 * np.var(abs(loops[:, 2])), rel=1e-12)
    assert entry["error"] > 0 and entry["tau_int"] >= 0.5 and entry["measurements"] == 50 and "note" not in entry


def test_errors_are_the_spread_of_ensembles(rng):
    """Gaussian fluctuations: 60 ensembles of 100 measurements."""
    found = [susceptibility_entries("chiral_condensate", 0.3 + 0.1 * rng.standard_normal((100, 1)) + np.zeros((1, 2)), EXTENT)
             ["chiral_condensate_susceptibility"] for _ in range(60)]
    assert np.std([entry["mean"] for entry in found]) == pytest.approx(np.mean([entry["error"] for entry in found]), rel=0.3)
    assert np.mean([entry["mean"] for entry in found]) == pytest.approx(192 * 0.01, rel=0.1)


def test_noise_does_not_bias_the_condensate(rng):
    """Noise 5 times as wide as the fluctuations of the trace; the square of the mean over vectors would be far off."""
    trace = 0.3 + 0.1 * rng.standard_normal((20000, 1))
    estimates = trace + 0.5 * rng.standard_normal((20000, 4))
    entry = susceptibility_entries("chiral_condensate_2", estimates, EXTENT)["chiral_condensate_2_susceptibility"]
    assert abs(entry["mean"] - 192 * 0.01) < 4 * entry["error"] < 0.7
    assert 192 * np.var(estimates.mean(1)) > 192 * 0.01 + 10 * entry["error"]


def test_it_is_the_covariance_of_different_noise_vectors(rng):
    """Which noise does not change on average, however few configurations there are; it is in neither square."""
    estimates = 0.3 + 0.1 * rng.standard_normal((10, 1)) + 0.6 * rng.standard_normal((10, 4))
    covariances = np.cov(estimates.T, bias=True)
    entry = susceptibility_entries("chiral_condensate", estimates, EXTENT)["chiral_condensate_susceptibility"]
    assert entry["mean"] == pytest.approx(192 * covariances[~np.eye(4, dtype=bool)].mean(), rel=1e-10)


def test_what_cannot_be_known_says_why(rng):
    def entry(*shape):
        return susceptibility_entries("chiral_condensate", rng.random(shape), EXTENT)["chiral_condensate_susceptibility"]
    one = entry(30, 1)
    assert one["mean"] is None and "two noise vectors or more; raise noise" in one["note"] and one["measurements"] == 30
    for few in (1, 2):    # the jackknife of two leaves one out, and one does not fluctuate: its error would be 0
        assert entry(few, 4)["mean"] is None and "three measurements or more" in entry(few, 4)["note"]
    few = entry(5, 4)
    assert few["error"] > 0 and few["tau_int"] is None and "taken for independent" in few["note"]
    assert susceptibility_entries("plaquette", rng.random(30), EXTENT) == {}
    assert susceptibility_entries("polyakov_loop", np.empty((0, 3)), EXTENT) == {}


def test_summaries_and_tables_of_measurements_have_them(tmp_path, capsys):
    """In both the formula on their own values."""
    run = run_card(tmp_path / "run", "run.save_every=3", "measure.chiral_condensate.every=1")
    chain = EnsembleFile.open(run / "chain.h5")
    estimates = chain.observables["chiral_condensate"][1][3:]
    pairs = estimates[:, 0] * estimates[:, 1]
    entry = summarise(run)["susceptibilities"]["chiral_condensate_susceptibility"]
    assert entry["mean"] == pytest.approx(64 * (pairs.mean() - np.prod(estimates.mean(0))), rel=1e-9)
    assert entry["every"] == 1 and entry["measurements"] == 9
    assert slhmc_command("summary", run) == 0
    assert "polyakov_loop_susceptibility_t" in capsys.readouterr().out
    assert slhmc_command("measure", run, "--observable", "chiral_condensate", *sets("measure.chiral_condensate.noise=1")) == 0
    out = capsys.readouterr().out
    assert "chiral_condensate_susceptibility: the square of a trace needs two noise vectors or more" in out
