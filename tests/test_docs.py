"""What README and docs say is so: snippets run or are parsed, links lead somewhere, tables name what there is."""

import configparser
import os
import re
import shlex
import tomllib

import pytest
import typer
from running import CARDS, ROOT, sets, slhmc_command

from slhmc.actions import GaugeAction
from slhmc.backend import HostDevice
from slhmc.bench import flow, smearing, spinors
from slhmc.bench.cases import Workbench
from slhmc.cli.app import app
from slhmc.jobs import Site
from slhmc.lattice import Purpose
from slhmc.runcard import (
    Card,
    FlowTable,
    LearnedFlowTable,
    StaticPotentialTable,
    card_text,
    fit,
    guide,
    load_card,
    parse_card,
    quarks,
    scalar,
    tables,
    train,
)
from slhmc.simulation.changes import CHANGEABLE
from slhmc.simulation.scalar import SCALAR_CHANGEABLE
from slhmc.updates import SCHEMES

DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text() for path in DOCUMENTS}
LANGUAGES = {"", "python", "sh", "toml"}
COMMANDS = typer.main.get_command(app)
# variables of slhmc that are set by the program itself
INTERNAL_VARIABLES = {"SLHMC_TERMINAL"}


def blocks(name, language):
    """The texts of the fenced blocks of a document."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXTS[name], re.DOTALL | re.MULTILINE)


def snippets(language):
    """(document, text) of each fenced block."""
    return [pytest.param(name, block, id=f"{name}-{number}") for name in TEXTS
            for number, block in enumerate(blocks(name, language), 1)]


def table(name, heading):
    """Rows of the table whose first row begins with `heading`, as lists of cells."""
    lines = TEXTS[name].split("\n")
    begin = next(number for number, line in enumerate(lines) if line.startswith(f"| {heading} |")) + 2
    end = next(number for number in range(begin, len(lines)) if not lines[number].startswith("|"))
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[begin:end]]


def names(cell):
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def test_every_block_has_a_language_that_is_checked():
    for name, text in TEXTS.items():
        fences = re.findall(r"^```(.*)$", text, re.MULTILINE)
        assert len(fences) % 2 == 0 and set(fences) <= LANGUAGES, name


# ---- python
@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A folder with the runs that the snippets read."""
    folder = tmp_path_factory.mktemp("docs")
    name = "su2_2d_pure_gauge"
    shorter = sets("run.thermalization=2", "run.trajectories=12", "run.save_every=4")
    assert slhmc_command("run", CARDS / f"{name}.toml", "-o", folder / "runs" / name, *shorter) == 0
    return folder


@pytest.mark.parametrize("name", [name for name in TEXTS if "```python" in TEXTS[name]])
def test_python_snippets_run(run_folder, monkeypatch, name):
    """Those of one document one after the other, as a reader would type them."""
    monkeypatch.chdir(run_folder)
    known = {}
    for block in blocks(name, "python"):
        exec(compile(block, name, "exec"), known)


def test_the_action_of_the_readme_has_the_force_that_it_says():
    """Against GaugeAction, which the other tests prove; and it fits on a page."""
    block = next(block for block in blocks("README.md", "python") if "class TwoCouplings" in block)
    assert block.count("\n") <= 25
    known, U = {}, Workbench(HostDevice(), (8, 8), 2).U
    exec(block, known)
    ours, action = GaugeAction(2.0, -1 / 12), known["TwoCouplings"](2.0 * (1 + 8 / 12), -2.0 / 12)
    assert float(action.action(U, None)) == pytest.approx(float(ours.action(U, None)), rel=1e-13)
    difference, force = action.force(U, None), ours.force(U, None)
    difference.assign_combination(1.0, difference, -1.0, force)
    assert float(difference.inner(difference)) < 1e-24 * float(force.inner(force))


# ---- cards
@pytest.mark.parametrize(("name", "text"), snippets("toml"))
def test_cards_are_valid(name, text):
    card = parse_card(text, name, (), Card)
    assert parse_card(card_text(card), name, (), Card) == card


# ---- commands
def command_of(words):
    """(click command, its context) of the arguments of slhmc; an unknown command or option is an error."""
    command, context = COMMANDS, None
    while hasattr(command, "commands"):
        assert words and words[0] in command.commands, f"no such command: {words}"
        command, words = command.commands[words[0]], words[1:]
    context = command.make_context(command.name, list(words))
    return command, context


def check_slhmc(words):
    command, context = command_of(words)
    if command.name == "launch":
        check_slhmc(context.args)
    card = context.params.get("card")
    if card is not None:
        load_card(ROOT / card, context.params.get("overrides") or [], Card)


def check_pip(words):
    assert words[0] == "install" and len(words) == 2
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    extras = re.fullmatch(r"\.(?:\[([\w,-]+)\])?", words[1])[1]
    assert set(extras.split(",") if extras else []) <= set(parser["options.extras_require"])


def check_script(path, words):
    assert os.access(ROOT / path, os.X_OK)
    assert all(f"[{word}]" in (ROOT / path).read_text() for word in words)


@pytest.mark.parametrize(("name", "text"), snippets("sh"))
def test_shell_snippets_are_commands_that_there_are(name, text):
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["mpiexec"]:
            words = words[words.index("slhmc"):]
        if not words or words[0] == "mkdir":
            continue
        if words[0].startswith("scripts/"):
            check_script(words[0], words[1:])
        else:
            {"slhmc": check_slhmc, "pip": check_pip}[words[0]](words[1:])


def test_the_cheap_commands_of_the_readme_work(run_folder, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    run = run_folder / "runs" / "su2_2d_pure_gauge"
    for words in (("card", "check", CARDS / "su2_staggered_hmc.toml"), ("card", "schema"), ("status", run),
                  ("summary", run), ("summary", run, "--json")):
        assert slhmc_command(*words) == 0
    assert "plaquette" in capsys.readouterr().out


def test_the_table_of_commands_is_the_command_line():
    listed = {}
    for usage, _ in table("README.md", "command"):
        words = names(usage)[0].split()
        depth = 3 if words[1] == "card" else 2
        listed[tuple(words[1:depth])] = set(re.findall(r"(?<=[\s\[])--?[a-z]\S*?(?=[\s\]]|$)", " ".join(words)))
    groups = {name: command for name, command in COMMANDS.commands.items() if hasattr(command, "commands")}
    known = {(name,): command for name, command in COMMANDS.commands.items() if name not in groups}
    known |= {(name, sub): command for name, group in groups.items() for sub, command in group.commands.items()}
    assert listed.keys() == known.keys()
    for name, command in known.items():
        options = [set(p.opts) - {"--help", "-h"} for p in command.params if p.opts[0].startswith("-")]
        assert all(option & listed[name] for option in options if option), f"{name}: {options} of which {listed[name]}"
        assert listed[name] <= set().union(*options), name


# ---- tables
def test_the_table_of_the_card_has_all_keys():
    known = {"[lattice]": tables.LatticeTable, "[gauge]": tables.GaugeTable, "[[quarks]]": quarks.QuarkTable,
             "[quarks.rational]": quarks.RationalTable,
             "[solver]": tables.SolverTable, "[hmc]": tables.HMCTable, "[[hmc.inner]]": tables.InnerTable,
             "[smearing]": guide.NetworkTable, "[network]": guide.NetworkTable, "[guide]": guide.GuideTable,
             "[[guide.quarks]]": guide.GuideQuarkTable, "[guide.solver]": guide.GuideSolverTable,
             "[guide.correction]": guide.CorrectionTable, "[train]": train.TrainTable,
             "[data]": fit.DataTable, "[model]": fit.ModelTable, "[[model.layers]]": fit.LayerTable, "[fit]": fit.FitTable,
             "[heat_bath]": tables.HeatBathTable, "[run]": tables.RunTable, "[measure.NAME]": tables.MeasureTable,
             "[measure.chiral_condensate]": tables.CondensateTable, "[measure.mesons]": tables.MesonsTable,
             "[measure.residual_mass]": tables.ResidualMassTable, "[measure.gradient_flow]": FlowTable,
             "[measure.learned_flow]": LearnedFlowTable, "[measure.static_potential]": StaticPotentialTable,
             "[reference.NAME]": tables.ReferenceValue}
    rows = {names(head)[0]: names(keys) for head, keys, _ in table("README.md", "table")}
    assert rows.keys() == known.keys()
    assert {re.match(r"\w+", name.strip("[]"))[0] for name in rows} == set(tables.RunCard.model_fields)
    for name, model in known.items():
        assert set(rows[name]) == set(model.model_fields), name


def test_the_table_of_a_scalar_card_has_all_keys():
    known = {"[lattice]": scalar.ScalarLatticeTable, "[scalar]": scalar.ScalarTable, "[run]": scalar.ScalarRunTable}
    rows = {names(head)[0]: names(keys) for head, keys, _ in table("README.md", "table of a scalar card")}
    assert rows.keys() == known.keys() and set(scalar.ScalarCard.model_fields) == {name.strip("[]") for name in known}
    for name, model in known.items():
        assert rows[name] == list(model.model_fields), name
    told = TEXTS["docs/file-format.md"].split("`FluxChains`. `resume` may change ")[1].partition(".\n")[0]
    assert set(names(told)) == set(SCALAR_CHANGEABLE)


def test_the_table_of_sites_has_all_keys():
    told = [name for cell, *_ in table("docs/batch.md", "key | default") for name in names(cell)]
    assert told == list(Site.model_fields)
    block = re.search(r"^```\n(scheduler = .*?)^```$", TEXTS["docs/batch.md"], re.DOTALL | re.MULTILINE)
    assert Site.model_validate(tomllib.loads(block[1])).launcher == "srun"


def test_what_resume_may_change_is_told():
    told = TEXTS["README.md"].split("may change what leaves the chain one chain: ")[1].partition(". ")[0]
    assert {name.strip("[]") for name in names(told)} == set(CHANGEABLE)


def test_variables_of_the_environment_are_told():
    told = {name for cell, _ in table("README.md", "variable") for name in names(cell)}
    used = set()
    for path in [*(ROOT / "slhmc").rglob("*.py"), *(ROOT / "scripts").iterdir()]:
        used |= set(re.findall(r"\bSLHMC_[A-Z_]+\b", path.read_text()))
    assert told - {"CXX"} == used - INTERNAL_VARIABLES


def test_exit_codes_are_told_in_three_places():
    codes = {row[0] for row in table("docs/architecture.md", "exit code")}
    line = next(line for line in TEXTS["README.md"].split("\n") if line.startswith("Exit codes: "))
    for words in (line.removeprefix("Exit codes: "), app.info.epilog.removeprefix("Exit codes: ")):
        assert {part.split()[0] for part in words.split(", ") if part[0].isdigit()} == codes, words


def test_kinds_of_sealed_files_are_told():
    told = TEXTS["docs/file-format.md"].split("The kind is ")[1].partition(". ")[0]
    sources = "".join(path.read_text() for path in (ROOT / "slhmc" / "io").glob("*.py"))
    assert set(names(told)) == set(re.findall(r'(?:open|write)_sealed\([\w.]+, "(\w+)"', sources))


def test_purposes_and_schemes_are_told():
    assert {names(name)[0]: int(number) for name, number, _ in table("docs/conventions.md", "purpose")} == {
        purpose.name: purpose.value for purpose in Purpose}
    assert {names(row[0])[0] for row in table("docs/conventions.md", "scheme")} == set(SCHEMES)
    told = set(re.findall(r"= (-?0\.\d{12,})", TEXTS["docs/conventions.md"]))
    source = (ROOT / "slhmc" / "updates" / "integrators.py").read_text()
    assert told == set(re.findall(r"-?0\.\d{12,}", source)) and len(told) == 5


def test_flops_and_bytes_of_the_benchmarks_are_those_counted():
    bench = Workbench(HostDevice(), (4, 4, 4, 4), 3)
    quarks = (bench.quark_force_case(), bench.hopping_links_case("double"), bench.hopping_case("double"),
              *bench.linear_algebra_cases("double"), bench.solver_case("double"))
    links = (*bench.gauge_cases(), *bench.update_cases(), *smearing.cases(bench), *flow.cases(bench))
    cases = {case.name: case for case in (*links, *quarks, *spinors.cases(bench))
             if case.real == "double"}
    rows = table("docs/benchmarks.md", "kernel | per")
    assert {row[0] for row in rows} == set(cases)
    for name, per, flops, moved, _ in rows:
        sites = bench.lattice.sites // (2 if "parity" in per else 1)
        assert (cases[name].flops / sites, cases[name].moved / sites) == (int(flops), int(moved)), name


# ---- links
def anchors(path):
    """The anchors of a document's headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if re.match(r"https?://", target):
            continue
        file, _, anchor = target.partition("#")
        path = (document.parent / file).resolve() if file else document
        assert path.exists() and path.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(path), target


def test_paths_in_backticks_exist():
    """kernels/x.h, slhmc/x/y.py, docs/..., also without the leading slhmc/."""
    for name, text in TEXTS.items():
        for path in re.findall(r"`((?:[\w.]+/)+[\w.]+\.(?:py|cc|h|md|toml))`", text):
            assert (ROOT / path).exists() or (ROOT / "slhmc" / path).exists(), f"{name}: {path}"


def test_pictures_are_small_and_need_nothing_from_elsewhere():
    for picture in (ROOT / "docs" / "images").iterdir():
        text = picture.read_text().replace("http://www.w3.org/2000/svg", "")
        assert picture.stat().st_size < 100_000 and "http" not in text and "@font-face" not in text


def test_every_document_can_be_reached_from_the_readme():
    linked = {(ROOT / target.partition("#")[0]).resolve() for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS["README.md"])}
    assert set(DOCUMENTS) - {ROOT / "README.md"} <= linked
    assert ROOT / "docs" / "images" / "run.svg" in linked
