"""What is installed is what is on disk, and the scripts run the same tests as continuous integration."""

import configparser
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = [".ci/run", "scripts/test", "scripts/quickstart"]


@pytest.fixture(scope="module")
def setup():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def lines(value: str) -> list[str]:
    return [line.strip() for line in value.splitlines() if line.strip()]


def test_packages_are_the_folders_on_disk(setup):
    folders = {path.parent for path in (ROOT / "slhmc").rglob("__init__.py") if "kernels" not in path.parts}
    on_disk = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    listed = lines(setup["options"]["packages"])
    assert listed == sorted(listed)
    assert set(listed) == on_disk | {"slhmc.kernels"}


def test_kernels_travel_with_the_package(setup):
    assert (ROOT / "kernels" / "__init__.py").exists()
    assert lines(setup["options"]["package_dir"]) == ["slhmc.kernels = kernels"]
    shipped = {f"*{path.suffix}" for path in (ROOT / "kernels").iterdir() if path.suffix not in (".py", "")}
    assert shipped <= set(setup["options.package_data"]["slhmc.kernels"].split(", "))


def test_the_command_is_the_entry_point(setup):
    assert lines(setup["options.entry_points"]["console_scripts"]) == ["slhmc = slhmc.cli:main"]


def test_torch_is_pinned_for_tests_and_not_required(setup):
    """Whatever pulls torch in, tests and CI take the CPU build of one version."""
    assert (ROOT / "constraints.txt").read_text() == "torch==2.13.0\n"
    assert "torch" not in setup["options"]["install_requires"]


def test_the_linter_is_pinned_and_its_rules_chosen(setup):
    assert re.fullmatch(r"ruff==[\d.]+", lines(setup["options.extras_require"]["dev"])[0])
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]["select"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_can_be_run(name):
    assert os.access(ROOT / name, os.X_OK)
    assert (ROOT / name).read_text().startswith("#!/usr/bin/env bash\n")


def test_continuous_integration_runs_the_tests_and_nothing_else():
    commands = [line for line in lines((ROOT / ".ci" / "run").read_text()) if not line.startswith("#")]
    assert len(commands) == 1 and commands[0].startswith("exec ") and "scripts/test" in commands[0]


STAND_INS = """
source {root}/scripts/environment
id() {{ echo {user}; }}
apt-get() {{ echo "apt-get $*" >&2; if [ "$1" = install ]; then {install}; fi; }}
python() {{ case "$2" in *ensurepip*) [ -e {folder}/venv ];; *) echo python3.11-venv;; esac; }}
ensure_venv python
echo ready
"""


@pytest.mark.parametrize(("present", "user", "install", "told", "code"), [
    (True, 1000, "false", "ready", 0),
    (False, 0, "touch {folder}/venv", "installing python3.11-venv", 0),
    (False, 0, "false", "python cannot make virtual environments (no ensurepip): install python3.11-venv", 2),
    (False, 0, "true", "python cannot make virtual environments (no ensurepip): install python3.11-venv", 2),
    (False, 1000, "false", "python cannot make virtual environments (no ensurepip): install python3.11-venv", 2)])
def test_debian_without_its_package_for_environments(tmp_path, present, user, install, told, code):
    """Installed by root, named for others."""
    if present:
        (tmp_path / "venv").touch()
    script = STAND_INS.format(root=ROOT, folder=tmp_path, user=user, install=install.format(folder=tmp_path))
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == code and told in result.stdout + result.stderr
    assert ("apt-get install" in result.stderr.replace("(Debian: apt-get install", "")) == (user == 0)
    assert ("ready" in result.stdout) == (code == 0)


@pytest.mark.parametrize(("user", "install", "told"), [
    (0, "true", "installing slurm-wlm munge\n"),
    (0, "false", "installing slurm-wlm munge\nno Slurm: its tests will be skipped"),
    (1000, "true", "no Slurm: its tests will be skipped")])
def test_slurm_is_installed_where_it_may_be_and_nobody_stops_without(tmp_path, user, install, told):
    script = STAND_INS.format(root=ROOT, folder=tmp_path, user=user, install=install).partition("ensure_venv")[0]
    script += "command() { [ \"$2\" = apt-get ]; }\noffer_slurm\necho ready"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert result.stdout.startswith(told) and result.stdout.endswith("ready\n")


def test_a_python_that_is_not_there_is_named():
    script = f"source {ROOT}/scripts/environment; ensure_compiler() {{ :; }}; cksum() {{ echo none; }}; environment mpi"
    environment = dict(os.environ) | {"PYTHON": "/nowhere/python3"}
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 2
    assert result.stderr.startswith("no /nowhere/python3 found: install Python 3.11 or later (Debian: apt-get install")
