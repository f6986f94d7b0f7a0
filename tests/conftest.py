"""What tests share: the device under test, lattices on it, fields filled with reproducible numbers."""

import numpy as np
import pytest

from slhmc.backend import HostDevice, open_device
from slhmc.lattice import AlgebraField, Draws, FermionField, GaugeField, Lattice, Purpose

MARKERS = {"device": "works on any device; run with --device cuda on a machine that has a GPU",
           "mpi": "starts MPI jobs"}


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", choices=("cpu", "cuda", "threads"),
                     help="device of the kernels; threads: the GPU's launch geometry as loops on the host")


def pytest_configure(config):
    for name, text in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {text}")


@pytest.fixture(scope="session")
def device(request):
    """The device under test; one for the session, so that each kernel is loaded once."""
    name = request.config.getoption("--device")
    return HostDevice(threads_geometry=True) if name == "threads" else open_device(name)


@pytest.fixture(scope="session")
def make_lattice(device):
    """Factory of lattices on the device under test."""
    def make(*extent, lanes=None):
        return Lattice(extent, device, lanes=lanes)
    return make


@pytest.fixture(scope="session")
def hot_links(make_lattice):
    """Factory of Haar-random links: hot_links(colors, *extent)."""
    def make(colors, *extent, lanes=None, seed=1):
        U = GaugeField(make_lattice(*extent, lanes=lanes), colors)
        U.randomize(Draws(seed, 0).next(Purpose.START))
        return U
    return make


@pytest.fixture(scope="session")
def gaussian_momenta():
    """Factory of Gaussian momenta for the links of a gauge field."""
    def make(U, seed=2, scale=1.0):
        P = AlgebraField(U.lattice, U.colors)
        P.draw_gaussian(Draws(seed, 0).next(Purpose.MOMENTA), scale)
        return P
    return make


@pytest.fixture(scope="session")
def gaussian_vector():
    """Factory of Gaussian colour vectors for a gauge field."""
    def make(U, parity="both", seed=3, real="double"):
        psi = FermionField(U.lattice, U.colors, parity, real)
        psi.draw_gaussian(Draws(seed, 0).next(Purpose.NOISE))
        return psi
    return make


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory):
    """The small card of `running.py` run in one go: its directory."""
    from running import run_card  # here, because tests of devices also run without the command line's packages

    return run_card(tmp_path_factory.mktemp("uninterrupted") / "run")


@pytest.fixture(scope="session")
def chains(tmp_path_factory):
    """The pair of `made_chains.py`: the folder of both."""
    from made_chains import write_pair

    return write_pair(tmp_path_factory.mktemp("chains"))


@pytest.fixture(scope="session")
def comparison(chains):
    """Of this pair."""
    from slhmc.report import compare

    return compare([chains / "hmc", chains / "guided"])


@pytest.fixture(scope="session")
def gaussian_spinor():
    """Factory of Gaussian four-spinors for a gauge field."""
    def make(U, parity="both", seed=3, real="double"):
        psi = FermionField(U.lattice, U.colors, parity, real, spins=4)
        psi.draw_gaussian(Draws(seed, 0).next(Purpose.NOISE))
        return psi
    return make


@pytest.fixture(scope="session")
def smooth_links(make_lattice, gaussian_momenta):
    """Factory of links near unity, where quarks of all masses in use and the clover term are regular."""
    def make(colors, *extent):
        U = GaugeField(make_lattice(*extent), colors)
        U.drift(gaussian_momenta(U, seed=9), 0.4)
        return U
    return make


@pytest.fixture
def sites(tmp_path, monkeypatch):
    """A configuration folder of the test's own, for batch jobs; the folder of its sites. Ends jobs that are left."""
    from batch_jobs import end_jobs, environment_of_jobs

    for name, value in environment_of_jobs(tmp_path / "config").items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "config" / "slhmc" / "sites"
    folder.mkdir(parents=True)
    yield folder
    end_jobs(tmp_path)


@pytest.fixture
def rng():
    return np.random.default_rng(20240229)
