"""What tests of batch jobs share: the card, the machine's own settings out of the way, waiting for a job."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from running import CARD, ROOT

SECONDS = 120
# no solver, so few messages: ranks that share cores are slow at them
GAUGE_CARD = CARD[:CARD.index("[[quarks]]")] + CARD[CARD.index("[hmc]"):CARD.index("[measure.chiral")]


def environment_of_jobs(configuration):
    """Variables of `slhmc submit`: a folder with settings, this package for jobs."""
    python_path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"XDG_CONFIG_HOME": str(configuration), "PYTHONPATH": python_path}


def waited(condition, run):
    """Return when condition() holds; what the jobs of `run` have said if it never does."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        outputs = "".join(path.read_text() for path in (run / "job").glob("*.out"))
        assert time.monotonic() < deadline, f"{run}: {outputs}"
        time.sleep(0.05)


def end_jobs(folder):
    """A job that a failed test has left is at work in its directory."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if process.name != str(os.getpid()) and (process / "cwd").resolve().is_relative_to(folder):
                os.kill(int(process.name), signal.SIGKILL)
