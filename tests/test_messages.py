"""Messages between ranks and sums over ranks, below the lattice: message_program.py on three ranks."""

import re

import pytest
from running import ROOT

from slhmc.backend.messages import handle_word
from slhmc.cli.launch import run_ranks

PROGRAM = ROOT / "tests" / "message_program.py"


@pytest.mark.mpi
def test_three_ranks_send_sum_fail_and_free(tmp_path):
    pytest.importorskip("mpi4py", exc_type=ImportError)
    job = run_ranks(3, [str(PROGRAM)], {"PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}"}, timeout=120)
    assert job.returncode == 0, job.stdout + job.stderr
    checks = re.findall(r"^def (check_\w+)", PROGRAM.read_text(), re.MULTILINE)
    assert job.stdout.split() == checks
    assert not job.stderr


def test_handles_are_words_as_calling_conventions_have_them():
    assert handle_word(0x44000000, 4) == 0x44000000
    assert handle_word(0x84000002, 4) == 0x84000002 - 2**32  # an int: sign-extended
    assert handle_word(0x7FD730B6D060, 8) == 0x7FD730B6D060
