"""Observables as pyerrors reads them."""

import gzip
import json

import numpy as np
import pyerrors
import pytest
from running import refusal, slhmc_command

from slhmc.analysis import encoded, open_chain, pyerrors_json, summarise
from slhmc.errors import InputError
from slhmc.io import EnsembleFile


def loaded(path, compressed=True):
    """Name -> Obs or array of them."""
    found = pyerrors.input.json.load_json(str(path), verbose=False, gz=compressed)
    found = found if isinstance(found, list) else [found]
    return {np.ravel(entry)[0].tag: entry for entry in found}


def chain_of(path, length=40):
    """A chain with every kind of observable."""
    rng, chain = np.random.default_rng(1), EnsembleFile.create(path, "[lattice]\n", "0.1")
    for trajectory in range(1, length + 1):
        chain.append({"trajectory": trajectory, "accepted": True, "delta_h": 0.1, "iterations": 1, "seconds": 1.0,
                      "thermalization": trajectory <= 10})
        chain.append_observable("plaquette", trajectory, rng.standard_normal())
        if trajectory % 2 == 0:
            chain.append_observable("polyakov_loop", trajectory, rng.standard_normal(2) + 1j * rng.standard_normal(2))
            chain.append_observable("mesons", trajectory, rng.standard_normal((2, 3)))
            chain.append_observable("residual_mass", trajectory, rng.standard_normal((4, 2)))
            chain.append_observable("chiral_condensate", trajectory, np.full(2, np.nan if trajectory == 30 else 1.0))
        if trajectory % 10 == 0:
            chain.append_observable("rectangle", trajectory, rng.standard_normal())
    chain.flush()
    return chain


def test_pyerrors_finds_the_samples_of_production(tmp_path):
    chain = chain_of(tmp_path / "chain.h5")
    content, left_out = pyerrors_json(chain, "ensemble")
    assert left_out == ["chiral_condensate", "rectangle"]
    (tmp_path / "a.json.gz").write_bytes(encoded(content, True))
    found = loaded(tmp_path / "a.json.gz")
    assert set(found) == {"plaquette", "mesons", "residual_mass", "polyakov_loop_x", "polyakov_loop_t",
                          "polyakov_loop_modulus_x", "polyakov_loop_modulus_t"}
    for name, shape, expected in (("plaquette", (), lambda values: values), ("mesons", (2, 3), lambda values: values),
                                  ("residual_mass", (2,), lambda values: values.mean(1))):
        trajectories, values = chain.observables[name]
        values = expected(values[trajectories > 10])
        assert np.ravel(found[name]).size == np.prod(shape) and (not shape or found[name].shape == shape)
        for observable, series in zip(np.ravel(found[name]), values.reshape(len(values), -1).T, strict=True):
            assert list(observable.idl["ensemble"]) == trajectories[trajectories > 10].tolist()
            assert observable.value == pytest.approx(series.mean(), abs=1e-15)
            np.testing.assert_allclose(observable.deltas["ensemble"] + observable.value, series, atol=1e-14)
            observable.gamma_method()
            assert observable.dvalue > 0


def test_export_of_a_run(uninterrupted, tmp_path, capsys):
    assert slhmc_command("export", uninterrupted, tmp_path / "a.json", "--ensemble", "A8") == 0
    assert "plaquette" in capsys.readouterr().out
    found = loaded(tmp_path / "a", compressed=False)
    assert found["plaquette"].value == pytest.approx(summarise(uninterrupted)["observables"]["plaquette"]["mean"], abs=1e-14)
    assert json.loads((tmp_path / "a.json").read_text())["description"]["card"] == open_chain(uninterrupted).card_text
    files = [tmp_path / f"{k}.json.gz" for k in (1, 2)]
    for path in files:
        assert slhmc_command("export", uninterrupted, path) == 0
    assert files[0].read_bytes() == files[1].read_bytes() and b"obsdata" in gzip.decompress(files[0].read_bytes())


def test_what_cannot_be_exported_is_refused(uninterrupted, tmp_path, capsys):
    assert ".json.gz expected" in refusal(capsys, "export", uninterrupted, tmp_path / "a.txt")
    assert "no chain.h5 found" in refusal(capsys, "export", tmp_path, tmp_path / "a.json")
    assert "--ensemble" in refusal(capsys, "export", uninterrupted, tmp_path / "a.json", "--ensemble", "a|b")
    before = (uninterrupted / "status.json").read_bytes()
    assert "a file of the run" in refusal(capsys, "export", uninterrupted, uninterrupted / "status.json")
    assert (uninterrupted / "status.json").read_bytes() == before
    chain_of(tmp_path / "chain.h5", length=12)
    assert "run longer" in refusal(capsys, "export", tmp_path, tmp_path / "a.json")
    with pytest.raises(InputError, match="ensemble name"):
        pyerrors_json(open_chain(uninterrupted), "")
