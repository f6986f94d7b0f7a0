"""A Slurm of one node for tests: its own folder, ports and keys; daemons of this process, ended with it."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")
SECONDS = 30
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=16 State=UNKNOWN
PartitionName=debug Nodes={host} Default=YES MaxTime=60 State=UP
"""


def why_not() -> str | None:
    """Why no Slurm can be started here; None if one can."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    if missing:
        return f"no {', '.join(missing)}; Debian: apt-get install slurm-wlm munge"
    if os.geteuid() != 0:
        return "its daemons are started by root only"
    try:
        socket.gethostbyname(socket.gethostname().partition(".")[0])
    except OSError:
        return "the name of this machine has no address"
    return None


@contextmanager
def private_slurm() -> Iterator[dict[str, str]]:
    """The environment variables of a Slurm that is up."""
    folder = Path(tempfile.mkdtemp(prefix="sl", dir="/tmp"))  # names of sockets must be short
    variables = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    try:
        _start(folder, os.environ | variables)
        yield variables
    finally:
        _empty_queue(os.environ | variables)
        for name in ("slurmctld", "slurmd", "munged"):
            _stop(folder / f"{name}.pid")
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path, environment: dict[str, str]) -> None:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    controller, node = _free_ports()
    (folder / "slurm.conf").write_text(CONFIGURATION.format(
        host=socket.gethostname().partition(".")[0], controller=controller, node=node, folder=folder))
    munge = [f"--{name}={folder}/{file}" for name, file in (
        ("socket", "munge.socket"), ("key-file", "munge.key"), ("pid-file", "munged.pid"), ("log-file", "munged.log"),
        ("seed-file", "munged.seed"))]
    for command in (["munged", "--force", *munge], ["slurmctld", "-c"], ["slurmd"]):
        subprocess.run(command, env=environment, check=True, timeout=SECONDS)
    deadline = time.monotonic() + SECONDS
    while "idle" not in subprocess.run(["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True, text=True,
                                       timeout=SECONDS, check=False).stdout:
        assert time.monotonic() < deadline, (folder / "slurmctld.log").read_text()
        time.sleep(0.1)


def _free_ports() -> list[int]:
    with socket.socket() as first, socket.socket() as second:
        for one in (first, second):
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in (first, second)]


def _empty_queue(environment: dict[str, str]) -> None:
    """No process of a job may stay behind when a test has failed."""
    subprocess.run(["scancel", "--me"], env=environment, timeout=SECONDS, check=False)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and subprocess.run(
            ["squeue", "-h"], env=environment, capture_output=True, timeout=SECONDS, check=False).stdout:
        time.sleep(0.1)


def _stop(pid_file: Path) -> None:
    """End a daemon and wait until it has gone; nobody may be there to collect it, so a zombie has."""
    with suppress(OSError, ValueError):
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
