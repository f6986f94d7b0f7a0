"""A small card and what runs leave behind, for tests of whole runs."""

import importlib
import io
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from cards import gauge, hmc, quark, run_table

from slhmc import simulation
from slhmc.cli import main
from slhmc.io import EnsembleFile, load_checkpoint
from slhmc.runcard import parse_card

ROOT = Path(__file__).parents[1]
CARDS = ROOT / "run_cards"

CARD = "\n" + gauge((8, 8), 2.0) + quark(0.5) + hmc(6) + run_table(thermalization=3, trajectories=9, seed=7,
                                                                      checkpoint_every=4) + """\
[measure.rectangle]
every = 2
[measure.chiral_condensate]
every = 3
noise = 2
"""
HEAT_BATH_CARD = CARD[:CARD.index("[[quarks]]")] + "[heat_bath]\n" + CARD[CARD.index("[run]"):CARD.index("[measure.chiral")]
STOPPED_EARLY = 75


def card_of(*overrides):
    """CARD as a RunCard, with overrides as of --set."""
    return parse_card(CARD, "card.toml", list(overrides))


def card_file(folder, text=CARD):
    """`text` as a file in `folder`."""
    path = folder / "card.toml"
    path.write_text(text)
    return path


def sets(*overrides):
    """Arguments --set for each override."""
    return [word for override in overrides for word in ("--set", override)]


def slhmc_command(*arguments):
    """Run a command of slhmc in this process; its exit code."""
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return caught.value.code


def command_line(*arguments):
    """`slhmc ARGUMENTS` for a process of its own."""
    return [sys.executable, "-m", "slhmc", *map(str, arguments)]


def run_process(*arguments, environment=None, timeout=60, **options):
    """Run a command of slhmc as a process of its own; `environment` holds what differs from ours."""
    variables = dict(os.environ) | {"PYTHONPATH": str(ROOT)} | (environment or {})
    return subprocess.run(command_line(*arguments), env=variables, capture_output=True, text=True, timeout=timeout,
                          check=False, **options)


def script(name, *arguments):
    """scripts/NAME.py in this process: (exit code, standard output, last words)."""
    told, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(told), redirect_stderr(errors):
        patch.syspath_prepend(str(ROOT / "scripts"))
        patch.setattr(sys, "argv", [name, *map(str, arguments)])
        try:
            code = importlib.import_module("commands").guarded(importlib.import_module(name).main)
        except SystemExit as end:  # as the interpreter does with words
            return (end.code, told.getvalue(), "") if isinstance(end.code, int) else (1, told.getvalue(), end.code)
    return code, told.getvalue(), errors.getvalue()


def run_card(directory, *overrides, observer=None):
    """Run CARD to its end; the directory."""
    assert simulation.create(card_of(*overrides), directory).run(observer)
    return directory


def ask_to_stop():
    """USR1 for this process, taken by this thread at once: that of kill(2) may go to another one, which takes it late."""
    signal.raise_signal(signal.SIGUSR1)


def stop_after(*trajectories):
    """An observer that sends this process USR1 after these trajectories."""
    return lambda report: report.trajectory in trajectories and ask_to_stop()


def refusal(capsys, *arguments):
    """The message of a command that must refuse; a single one, without a traceback, in exit code 2."""
    capsys.readouterr()
    assert slhmc_command(*arguments) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    (line,) = captured.err.splitlines()
    assert line.startswith("slhmc: ")
    return line


def final_links(directory):
    """(links, trajectory) of the checkpoint."""
    links, trajectory, _ = load_checkpoint(directory / "checkpoint.h5")
    return links, trajectory


def assert_same_chain(directory, other):
    """Bitwise the same links, records (but for the time they took) and observables."""
    (links, trajectory), (expected, last) = final_links(directory), final_links(other)
    assert trajectory == last
    np.testing.assert_array_equal(links, expected)
    chain, expected = (EnsembleFile.open(folder / "chain.h5") for folder in (directory, other))
    for name in set(chain.records.dtype.names) - {"seconds"}:
        np.testing.assert_array_equal(chain.records[name], expected.records[name], err_msg=name)
    assert set(chain.observables) == set(expected.observables)
    for name, (trajectories, values) in expected.observables.items():
        np.testing.assert_array_equal(chain.observables[name][0], trajectories, err_msg=name)
        np.testing.assert_array_equal(chain.observables[name][1], values, err_msg=name)


def contents(directory):
    """{path: bytes} of all files below; the lock names the process that last asked for it, so it is left out."""
    return {path.relative_to(directory): path.read_bytes() for path in sorted(directory.rglob("*"))
            if path.is_file() and path.name != ".lock"}
