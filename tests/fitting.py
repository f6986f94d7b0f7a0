"""Fits and trainings in tests: run, stopped at a place, compared."""

import json

import numpy as np
from cards import fit_card, flow_card
from running import ask_to_stop

from slhmc.backend import HostDevice
from slhmc.io import FitFile
from slhmc.lattice.communicator import SerialCommunicator
from slhmc.learning import datasets, flux_data, regression


def make_data(card, directory):
    """All data sets of a card, in `directory`."""
    assert datasets.Maker(card, directory, HostDevice(), SerialCommunicator()).make(lambda: False, lambda *_: None)
    return directory


def make_flux_data(card, directory):
    """All data sets of a card of fluxes, in `directory`."""
    assert flux_data.FluxMaker(card, directory, HostDevice(), SerialCommunicator()).make(lambda: False, lambda *_: None)
    return directory


def fit(directory, *overrides, observer=None):
    """Run a fit of FIT: (whether it came to its end, its history)."""
    done = regression.create(fit_card(*overrides), directory).run(observer)
    return done, FitFile.open(directory / "fit.h5")


def fit_flow(data, directory):
    """A fit of a flow of plaquettes and rectangles, explicit in time: its directory."""
    card = flow_card(f"data.directory={data}", 'model.loops=["plaquette", "rectangle"]', "model.time_degree=1",
                     "model.precision=double")
    assert regression.create(card, directory).run()
    return directory


def stop_when(phase, done):
    """An observer that sends this process USR1 when a phase has got so far."""
    return lambda report: (report.phase, report.done) == (phase, done) and ask_to_stop()


def stop_after_batches(fit, number):
    """The fit gets USR1 after so many batches."""
    step, batches = fit._one_batch, []

    def counted(order):
        step(order)
        batches.append(1)
        if len(batches) == number:
            ask_to_stop()
    fit._one_batch = counted


def note_units(monkeypatch):
    """The set to which each unit of kernels that is loaded is added, as `fit_units` has them."""
    used, load = set(), HostDevice.unit

    def noted(self, file, *numbers):
        used.add((file, *numbers, *(0,) * (5 - len(numbers))))
        return load(self, file, *numbers)
    monkeypatch.setattr(HostDevice, "unit", noted)
    return used


def same_fit(directory, expected):
    """Same history, but for the time it took, and weights to the last bit."""
    ours, theirs = (FitFile.open(path / "fit.h5").epochs for path in (directory, expected))
    for key in set(ours.dtype.names) - {"seconds"}:
        np.testing.assert_array_equal(ours[key], theirs[key], err_msg=key)
    assert (directory / "weights.h5").read_bytes() == (expected / "weights.h5").read_bytes()
    results = [json.loads((path / "results.json").read_text()) for path in (directory, expected)]
    assert results[0] | {"seconds": 0} == results[1] | {"seconds": 0}
