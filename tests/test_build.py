"""`slhmc build`: what it puts into the cache is all that a run needs on a node without a compiler."""

import json
import os
import subprocess

import pytest
from cards import gauge, run_table
from running import CARD, ROOT, card_file, command_line, run_process, sets

from slhmc.backend import compiler, signatures
from slhmc.errors import KernelError

RANKS_CARD = CARD.replace("extent = [8, 8]", "extent = [4, 4, 4, 8]\nranks = [1, 1, 1, 2]")
HEAT_BATH = gauge((4, 4), 2.0) + "[heat_bath]\n" + run_table(trajectories=2, seed=7)
SCALAR = ("[lattice]\nextent = [4, 4]\n[scalar]\neta = 4.01\ncoupling = 1\nmu = [0.5, 1]\nchains = 2\n"
          "[run]\nsweeps = 2\nseed = 1\n")
SHORT = sets("run.trajectories=1", "run.thermalization=0")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty kernel cache, for this process and its children."""
    for name in ("CXX", "SLHMC_CXXFLAGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("SLHMC_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def bare(tmp_path):
    """The environment of a node without a compiler."""
    (tmp_path / "bin").mkdir()
    return {"PATH": str(tmp_path / "bin")}


def build(*arguments):
    result = run_process("build", *arguments, timeout=300)
    assert result.returncode == 0, result.stderr


def refusal(result):
    """The one message of a command that found its input wrong."""
    assert result.returncode == 2, result.stderr
    (line,) = result.stderr.splitlines()
    return line


@pytest.mark.timeout(600)
def test_a_built_card_runs_without_a_compiler(tmp_path, cache, bare):
    card = card_file(tmp_path)
    build(card)
    libraries = set(cache.glob("*.so"))
    result = run_process("run", card, "-o", tmp_path / "run", environment=bare)
    assert result.returncode == 0, result.stderr
    assert set(cache.glob("*.so")) == libraries
    (tmp_path / "other").mkdir()
    line = refusal(run_process("run", card, "-o", tmp_path / "other", *sets("lattice.colors=3"), environment=bare))
    assert line.startswith("slhmc: kernel ") and " COLORS=3 " in line
    assert f" is not in the cache {cache}: no C++ compiler found" in line and "`slhmc build`" in line
    for changed in ({"CXX": "/nowhere/g++"}, {"SLHMC_CXXFLAGS": "-O1"}):
        line = refusal(run_process("run", card, "-o", tmp_path / "other", environment=bare | changed))
        assert line.startswith(("slhmc: CXX = '/nowhere/g++': no such program", "slhmc: no C++ compiler found"))
    (manifest,) = cache.glob("toolchain-*.json")
    for spoil in (lambda: manifest.write_text(manifest.read_text()[:100]), manifest.unlink):
        spoil()
        line = refusal(run_process("run", card, "-o", tmp_path / "other", environment=bare))
        assert line.startswith("slhmc: no C++ compiler found") and "`slhmc build`" in line


@pytest.mark.parametrize("text", [HEAT_BATH, SCALAR], ids=["heat bath", "scalar field"])
def test_another_built_card_runs_without_a_compiler(tmp_path, cache, bare, text):
    card = card_file(tmp_path, text)
    build(card)
    result = run_process("run", card, "-o", tmp_path / "run", environment=bare)
    assert result.returncode == 0, result.stderr


@pytest.mark.mpi
@pytest.mark.timeout(600)
@pytest.mark.parametrize("text, options", [(RANKS_CARD, []), (CARD, ["-n", 2])], ids=["card", "option"])
def test_a_card_built_for_ranks_runs_on_them_without_a_compiler(tmp_path, cache, bare, text, options):
    pytest.importorskip("mpi4py")
    card = card_file(tmp_path, text)
    build(card, *options)
    command = command_line("launch", "-n", 2, "run", card, "-o", tmp_path / "run", *SHORT)
    result = subprocess.run(command, env=dict(os.environ) | {"PYTHONPATH": str(ROOT)} | bare, capture_output=True,
                            text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr


def test_ranks_that_do_not_fit_are_told(tmp_path, cache):
    card = card_file(tmp_path, RANKS_CARD)
    assert "ranks = [1, 1, 1, 2]: 2 ranks in 4 directions, but the job has 4" in refusal(
        run_process("build", card, "-n", 4))
    assert "3 ranks do not divide the lattice [8, 8]" in refusal(run_process("build", card_file(tmp_path), "-n", 3))


def test_the_cache_remembers_the_toolchain_of_each_cpu_and_setting(cache, monkeypatch):
    compiler.toolchain.cache_clear()
    try:
        tools = compiler.toolchain()
        entry = json.loads(compiler.toolchain_file().read_text())
    finally:
        compiler.toolchain.cache_clear()
    assert compiler.Toolchain(tuple(entry["compiler"]), tuple(entry["flags"]), entry["identity"]) == tools
    plain = compiler.toolchain_file()
    monkeypatch.setenv("SLHMC_CXXFLAGS", "-O1")
    assert compiler.toolchain_file() != plain


# ---- what the cache goes by
QUARKS = {"clover.cc", "clover_term.cc", "domain_wall.cc", "hopping.cc", "staggered.cc", "wilson.cc"}
LOOPS = {"gauge.cc", "flow.cc", "plaquette_layer.cc", "rectangle_layer.cc"}
INCLUDERS = {"gauge.cc": {"gauge.cc"}, "staples.h": {"heat_bath.cc"}, "tape.cc": {"tape.cc"},
             "plaquettes.h": LOOPS, "rectangles.h": LOOPS, "layer.h": {"plaquette_layer.cc", "rectangle_layer.cc"},
             "philox.h": {"clover_term.cc", "heat_bath.cc", "links.cc", "random.cc", "worm.cc"},  # its logarithm
             "lattice.h": {"attention.cc", "flow.cc", "gauge.cc", "heat_bath.cc", "links.cc", "loops.cc", "plaquette_layer.cc",
                           "rectangle_layer.cc", "static_potential.cc", "stout.cc", "topology.cc"} | QUARKS,
             "target.h": set(signatures.KERNELS)}


@pytest.mark.parametrize("edited", INCLUDERS)
def test_an_edit_of_a_kernel_file_compiles_again_what_includes_it(monkeypatch, edited):
    files = [*signatures.KERNELS, "tape.cc"]
    before, sources = [compiler.source_key(file) for file in files], compiler.kernel_sources()
    monkeypatch.setattr(compiler, "kernel_sources", lambda: sources | {edited: sources[edited] + "//"})
    assert {file for file, key in zip(files, before, strict=True) if compiler.source_key(file) != key} == INCLUDERS[edited]


def test_an_edit_of_a_signature_compiles_its_file_again(monkeypatch):
    before = [compiler.source_key(file) for file in signatures.KERNELS]
    monkeypatch.setitem(signatures.KERNELS["links.cc"], "reunitarize", ("site", "Range range"))
    changed = [compiler.source_key(file) != key for file, key in zip(signatures.KERNELS, before, strict=True)]
    assert [file for file, new in zip(signatures.KERNELS, changed, strict=True) if new] == ["links.cc"]


def test_an_include_of_nothing_is_named(monkeypatch):
    sources = compiler.kernel_sources()
    monkeypatch.setattr(compiler, "kernel_sources", lambda: sources | {"lattice.h": '#include "grup.h"'})
    with pytest.raises(KernelError, match=r"gauge\.cc needs grup\.h, which is not in kernels/"):
        compiler.source_key("gauge.cc")
