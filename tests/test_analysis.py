"""Errors of averages: against pyerrors, against the exact AR(1) process, and the summary of a chain file."""

import json

import numpy as np
import pyerrors
import pytest

from slhmc.analysis import gamma_method, gamma_method_derived, summarise
from slhmc.errors import InputError
from slhmc.io import EnsembleFile

CARD = "[lattice]\nextent = [4, 4]\n"


def ar1(length, memory, rng, chains=None):
    """x_{i+1} = memory x_i + noise, of variance 1, in equilibrium: tau_int = (1 + memory) / (1 - memory) / 2."""
    noise = rng.standard_normal((length, *([chains] if chains else [])))
    series = noise.copy()
    for i in range(1, length):
        series[i] = memory * series[i - 1] + np.sqrt(1 - memory**2) * noise[i]
    return series


def by_pyerrors(observable, S):
    observable.gamma_method(S=S)
    name = observable.e_names[0]
    return [observable.value, observable.dvalue, observable.e_tauint[name], observable.e_dtauint[name],
            observable.e_windowsize[name], observable.ddvalue]


def numbers(estimate):
    return [estimate.mean, estimate.error, estimate.tau_int, estimate.tau_int_error, estimate.window,
            estimate.error_of_error]


@pytest.mark.parametrize("memory", [-0.5, 0.0, 0.3, 0.9])
@pytest.mark.parametrize("length", [10, 11, 237, 5000])
@pytest.mark.parametrize("S", [1.5, 2.0])
def test_gamma_method_agrees_with_pyerrors(memory, length, S):
    series = 3.0 + ar1(length, memory, np.random.default_rng(7))
    expected = by_pyerrors(pyerrors.Obs([series], ["a"]), S)
    assert numbers(gamma_method(series, S=S)) == pytest.approx(expected, rel=1e-9)
    assert numbers(gamma_method(series.tolist(), S=S)) == numbers(gamma_method(series, S=S))


def test_replica_agree_with_pyerrors_up_to_the_choice_of_the_mean():
    """pyerrors subtracts each replicum's own mean, Wolff's estimator the common one: a relative difference of 1/N."""
    rng = np.random.default_rng(8)
    replica = [ar1(length, 0.8, rng) for length in (4000, 6000, 2500)]
    expected = by_pyerrors(pyerrors.Obs(replica, ["a|1", "a|2", "a|3"]), 2.0)
    found = numbers(gamma_method(replica))
    assert found[0] == pytest.approx(expected[0], rel=1e-12)
    assert found[1:] == pytest.approx(expected[1:], rel=0.1)


def test_one_replicum_is_the_series_itself():
    series = ar1(300, 0.5, np.random.default_rng(9))
    assert gamma_method([series]) == gamma_method(series)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_replica_too_short_for_correlations_count_as_uncorrelated(length):
    series = np.random.default_rng(3).normal(size=(30, length))
    found = gamma_method(list(series))
    error = (series.var() / series.size * (1 + 1 / series.size))**0.5
    assert found.window == 0 and found.tau_int == pytest.approx(0.5, rel=1e-12)
    assert found.error == pytest.approx(error, rel=1e-12)


def test_derived_quantity_agrees_with_pyerrors():
    rng = np.random.default_rng(10)
    common = ar1(8000, 0.8, rng)
    series = [4 + common + 0.3 * rng.standard_normal(8000), 5 - common]
    first, second = (pyerrors.Obs([part], ["a"]) for part in series)
    expected = by_pyerrors(np.log(first) / second**2, 2.0)
    estimate = gamma_method_derived(lambda a, b: np.log(a) / b**2, series)
    assert numbers(estimate) == pytest.approx(expected, rel=1e-4)


def test_derived_identity_is_the_gamma_method_and_replica_are_kept_apart():
    rng = np.random.default_rng(11)
    replica = [ar1(500, 0.7, rng), ar1(700, 0.7, rng)]
    expected = numbers(gamma_method(replica))
    assert numbers(gamma_method_derived(lambda a: a, [replica])) == pytest.approx(expected, rel=1e-9)
    assert gamma_method_derived(lambda a, b: a + 1 - a, [replica, replica]).error == 0


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.8, 0.95])
def test_tau_int_of_ar1_is_exact_within_three_of_its_errors(memory):
    exact = 0.5 * (1 + memory) / (1 - memory)
    series = ar1(40000, memory, np.random.default_rng(12))
    estimate = gamma_method(series)
    assert abs(estimate.tau_int - exact) < 3 * estimate.tau_int_error + 1e-12
    assert estimate.tau_int_error < 0.2 * exact
    assert estimate.error == pytest.approx(np.sqrt(2 * exact / 40000), rel=0.15)


def test_errors_cover_the_exact_mean_as_often_as_they_claim():
    """300 chains of 100 tau_int: pulls have variance 1; the bound is 3 sigma of a sample variance plus 5 % bias."""
    chains = ar1(1000, 0.82, np.random.default_rng(13), chains=300).T
    pulls = [estimate.mean / estimate.error for estimate in map(gamma_method, chains)]
    assert np.mean(np.square(pulls)) == pytest.approx(1, abs=0.05 + 3 * np.sqrt(2 / 300))


@pytest.mark.parametrize("value", [0.0, 0.1, -1e300, 1 / 3])
def test_constant_series_has_no_error(value):
    estimate = gamma_method(np.full(1001, value))
    assert (estimate.error, estimate.tau_int, estimate.tau_int_error) == (0.0, 0.5, 0.0)
    assert estimate.mean == pytest.approx(value)


def test_error_scales_with_the_series_and_does_not_see_shifts():
    series = ar1(2000, 0.6, np.random.default_rng(14))
    estimate = gamma_method(series)
    for scale in (-1e-200, 1e-12, 1e200):
        scaled = gamma_method(scale * series)
        assert scaled.error == pytest.approx(abs(scale) * estimate.error, rel=1e-9)
        assert scaled.tau_int == pytest.approx(estimate.tau_int, rel=1e-9)
    assert gamma_method(series + 1e6).tau_int == pytest.approx(estimate.tau_int, rel=1e-6)


@pytest.mark.parametrize(("series", "words"), [
    ([], "0 measurements"), (np.ones(9), "at least 10"), ([np.ones(4), np.ones(5)], "9 measurements"),
    ([1.0] * 10 + [np.nan], "1 of 11 measurements are not finite"), (np.ones((20, 2, 2)), "one component"),
    ([np.ones(20), []], "list of series"), (np.ones(20) + 1j, "of real numbers"), (["a"] * 20, "of real numbers")])
def test_bad_series_are_refused_in_words(series, words):
    with pytest.raises(InputError, match=words):
        gamma_method(series)


def test_window_parameter_must_be_positive():
    with pytest.raises(InputError, match="S = 0"):
        gamma_method(np.arange(20.0), S=0)


def test_bad_derived_quantities_are_refused_in_words():
    with pytest.raises(InputError, match="equal lengths"):
        gamma_method_derived(lambda a, b: a, [np.ones(20), np.ones(21)])
    with pytest.raises(InputError, match="check the function"):
        gamma_method_derived(lambda a: np.nan, [np.arange(20.0)])


def record(trajectory, thermalization, delta_h=0.0):
    return {"trajectory": trajectory, "accepted": trajectory % 4 != 0, "delta_h": delta_h, "iterations": 30,
            "seconds": 2.0, "thermalization": thermalization}


def chain_in(directory, production, thermalization=20, dimensions=4, delta_h=0.1):
    """A chain file with all kinds of observables; the thermalization would spoil every average."""
    rng = np.random.default_rng(15)
    chain = EnsembleFile.create(directory / "chain.h5", CARD, "1.2.3")
    for trajectory in range(1, thermalization + production + 1):
        hot = trajectory <= thermalization
        chain.append(record(trajectory, hot, 50.0 if hot else delta_h * rng.standard_normal()))
        chain.append_observable("plaquette", trajectory, 1e6 if hot else rng.standard_normal())
        loops = rng.standard_normal(dimensions) + 1j * rng.standard_normal(dimensions)
        chain.append_observable("polyakov_loop", trajectory, np.full(dimensions, 1e6) + 0j if hot else loops)
        if trajectory % 5 == 0:
            chain.append_observable("chiral_condensate", trajectory, np.full(3, 1e6 * hot) + rng.random(3))
            chain.append_observable("chiral_condensate_2", trajectory, rng.random(3) + 1j * rng.random(3))
    chain.flush()
    return chain


def test_summary_has_production_only_and_matches_the_series(tmp_path):
    chain = chain_in(tmp_path, production=400)
    summary = summarise(tmp_path)
    assert (summary["version"], summary["trajectories"], summary["thermalization"]) == ("1.2.3", 400, 20)
    assert summary["acceptance"] == 0.75
    assert (summary["seconds_per_trajectory"], summary["iterations_per_trajectory"]) == (2.0, 30.0)
    expected = gamma_method(np.exp(-chain.records["delta_h"][20:]))
    assert summary["exp_minus_delta_h"]["mean"] == expected.mean
    assert summary["exp_minus_delta_h"]["error"] == expected.error
    observables = {name: values[trajectories > 20] for name, (trajectories, values) in chain.observables.items()}
    plaquette, loops = gamma_method(observables["plaquette"]), observables["polyakov_loop"]
    assert summary["cost_per_independent_configuration"] == pytest.approx(4.0 * plaquette.tau_int)
    expected = {"plaquette": plaquette,
                "polyakov_loop_x": gamma_method(loops[:, 0].real),
                "polyakov_loop_modulus_t": gamma_method(np.abs(loops[:, 3])),
                "chiral_condensate": gamma_method(observables["chiral_condensate"].mean(axis=1)),
                "chiral_condensate_2": gamma_method(observables["chiral_condensate_2"].real.mean(axis=1)),
                "chiral_condensate_2_imaginary": gamma_method(observables["chiral_condensate_2"].imag.mean(axis=1))}
    for name, estimate in expected.items():
        for key in ("mean", "error", "tau_int", "tau_int_error"):
            assert summary["observables"][name][key] == pytest.approx(getattr(estimate, key), rel=1e-12), (name, key)
    assert summary["observables"]["chiral_condensate"]["every"] == 5
    assert summary["observables"]["chiral_condensate"]["measurements"] == 80
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


@pytest.mark.parametrize(("dimensions", "names"), [(2, "xt"), (3, "xyt"), (4, "xyzt")])
def test_polyakov_loops_are_named_by_direction_with_time_last(tmp_path, dimensions, names):
    chain_in(tmp_path, production=12, dimensions=dimensions)
    found = {name for name in summarise(tmp_path)["observables"] if name.startswith("polyakov")}
    assert found == {f"polyakov_loop_{part}{name}" for part in ("", "modulus_") for name in names}


def test_cost_counts_trajectories_between_measurements(tmp_path):
    chain = EnsembleFile.create(tmp_path / "chain.h5", CARD, "1")
    for trajectory in range(1, 201):
        chain.append(record(trajectory, False))
        if trajectory % 10 == 0:
            chain.append_observable("plaquette", trajectory, 0.5)
    chain.flush()
    assert summarise(tmp_path)["cost_per_independent_configuration"] == 2.0 * 2 * 0.5 * 10


@pytest.mark.parametrize("production", [0, 1, 9])
def test_short_chain_gives_null_errors_and_says_why(tmp_path, production):
    chain_in(tmp_path, production)
    summary = json.loads(json.dumps(summarise(tmp_path), allow_nan=False))
    plaquette = summary["observables"]["plaquette"]
    assert plaquette["error"] is plaquette["tau_int"] is plaquette["tau_int_error"] is None
    assert (plaquette["mean"] is None) == (production == 0)
    assert f"{production} measurements found, an error needs at least 10" in plaquette["note"]
    assert summary["exp_minus_delta_h"]["error"] is summary["cost_per_independent_configuration"] is None
    assert (summary["acceptance"] is None) == (production == 0)


def test_runaway_trajectories_do_not_spoil_the_summary(tmp_path):
    chain_in(tmp_path, production=60, delta_h=1e5)
    summary = json.loads(json.dumps(summarise(tmp_path), allow_nan=False))
    assert summary["exp_minus_delta_h"]["mean"] is None
    assert "not finite" in summary["exp_minus_delta_h"]["note"]
    assert summary["observables"]["plaquette"]["error"] > 0


def test_series_of_few_autocorrelation_times_is_flagged(tmp_path):
    chain = EnsembleFile.create(tmp_path / "chain.h5", CARD, "1")
    for trajectory, value in enumerate(ar1(300, 0.98, np.random.default_rng(16))):
        chain.append(record(trajectory, False))
        chain.append_observable("plaquette", trajectory, value)
    chain.flush()
    assert "run longer" in summarise(tmp_path)["observables"]["plaquette"]["note"]


def test_summary_of_a_directory_without_chain_is_refused_in_words(tmp_path):
    for directory in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match="no chain.h5 found"):
            summarise(directory)
