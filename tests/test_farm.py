"""`slhmc measure --farm`: several files at a time, each on a group of ranks."""

import numpy as np
import pytest
from running import run_process, slhmc_command
from test_campaign import QUARKS, arguments, measured, write


@pytest.fixture
def ensemble(tmp_path):
    """Five configurations, and values of them by one rank."""
    pytest.importorskip("mpi4py", exc_type=ImportError)
    (tmp_path / "card.toml").write_text(QUARKS.replace("[2, 2, 2, 4]", "[4, 4, 4, 4]"))
    (tmp_path / "lat").mkdir()
    for seed in range(1, 6):
        write(tmp_path / "lat" / f"cfg.{seed}", seed, extent=(4, 4, 4, 4))
    return tmp_path


def assert_same_values(first, second):
    assert set(first.names) == set(second.names) and first.configurations == second.configurations
    for name in first.names:
        for found, expected in zip(first.series(name), second.series(name), strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.mpi
def test_a_farm_has_the_bits_of_one_group(ensemble):
    """Two groups of two ranks as two ranks; 5 configurations leave a group idle in the end."""
    for number, farm in ((2, 1), (4, 2)):
        path = ensemble / f"{number}.h5"
        result = run_process("launch", "-n", number, *arguments(ensemble, "-o", path, "--farm", farm), timeout=240)
        assert result.returncode == 0, result.stderr
        assert [line[:6] for line in result.stdout.splitlines() if "/5" in line] == [f"cfg.{n}:" for n in range(1, 6)]
    assert_same_values(measured(ensemble / "4.h5"), measured(ensemble / "2.h5"))


@pytest.mark.mpi
def test_failures_in_a_farm_are_those_of_one_group(ensemble):
    """A damaged file is told once, the others have the bits of one rank; a card that does not fit one of them ends all."""
    path = ensemble / "lat" / "cfg.2"
    path.write_bytes(path.read_bytes()[:-8])
    result = run_process("launch", "-n", 2, *arguments(ensemble, "--farm", 2))
    assert result.returncode == 2 and result.stderr.count("cfg.2: ") == 1 and "(1 failure; all else is measured" in result.stderr
    assert slhmc_command(*arguments(ensemble, "-o", ensemble / "one.h5")) == 2
    assert_same_values(measured(ensemble / "lat" / "measure.h5"), measured(ensemble / "one.h5"))
    write(path, 2, extent=(4, 4, 4, 2))
    result = run_process("launch", "-n", 2, *arguments(ensemble, "--farm", 2, "-o", ensemble / "more.h5"))
    assert result.returncode == 2 and "slhmc: rank 1: " in result.stderr and "4x4x4x2 found" in result.stderr
