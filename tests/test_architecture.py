"""The house rules: layers of imports as docs/architecture.md draws them, sizes of functions and modules, cards."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from slhmc.runcard import Card, ScalarCard, load_card

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "slhmc"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "kernels" not in path.parts)
CARDS = sorted((ROOT / "run_cards").rglob("*.toml"))
EVERYONES = {"slhmc", "slhmc.errors", "slhmc.kernels", "slhmc.stopping"}
FUNCTION_LINES, MODULE_LINES = 40, 400


def layers() -> list[set[str]]:
    """Rooms of each layer, top first, from the drawing in docs/architecture.md."""
    drawing = re.search(r"```\n(slhmc\.cli.*?)```", (ROOT / "docs" / "architecture.md").read_text(), re.DOTALL)[1]
    return [set(re.findall(r"slhmc\.\w+", line)) for line in drawing.splitlines()]


def room(module: str) -> str:
    """slhmc.lattice of slhmc.lattice.fields."""
    return ".".join(module.split(".")[:2])


def module_name(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every module of slhmc that an import statement of `path` names, also inside functions."""
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            origin = ".".join(filter(None, (base, node.module)))
            names = [f"slhmc.{alias.name}" for alias in node.names] if origin == "slhmc" else [origin]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.split(".")[0] == "slhmc")


def is_room(name: str) -> bool:
    return (PACKAGE / name.partition(".")[2]).is_dir() or (PACKAGE / f"{name.partition('.')[2]}.py").is_file()


def test_every_room_has_its_layer():
    folders = {f"slhmc.{path.parent.name}" for path in PACKAGE.glob("*/__init__.py")} - EVERYONES
    drawn = set().union(*layers())
    assert folders <= drawn, f"not in docs/architecture.md: {sorted(folders - drawn)}"


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_go_down_the_layers(path):
    level = {name: depth for depth, rooms in enumerate(layers()) for name in rooms}
    own = room(module_name(path))
    if own == "slhmc.__main__":
        level[own] = -1
    for line, name in imports(path):
        target = room(name)
        if target == own or target in EVERYONES or not is_room(target):  # `from slhmc import __version__`
            continue
        assert own not in EVERYONES, f"{path}:{line}: {own} is below every layer, it must not import {target}"
        assert level[target] > level[own], f"{path}:{line}: {own} must not import {target}"


def test_the_checker_sees_every_form_of_import(tmp_path, monkeypatch):
    monkeypatch.setattr("test_architecture.ROOT", tmp_path)
    folder = tmp_path / "slhmc" / "cli"
    folder.mkdir(parents=True)
    path = folder / "a.py"
    path.write_text("import slhmc.io.links\nfrom slhmc import simulation\nfrom ..io import x\nfrom . import b\n"
                    "def f():\n    from slhmc.lattice.fields import y\n    import numpy\n")
    assert [name for _, name in imports(path)] == [
        "slhmc.io.links", "slhmc.simulation", "slhmc.io", "slhmc.cli", "slhmc.lattice.fields"
    ]


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_functions_and_modules_are_short(path):
    text = path.read_text()
    assert text.count("\n") < MODULE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = node.end_lineno - node.lineno + 1
            assert lines < FUNCTION_LINES, f"{path}:{node.lineno}: {node.name} has {lines} lines"


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_every_card_is_valid_and_says_what_it_is(path):
    card = load_card(path, (), Card)
    assert isinstance(card, ScalarCard) or card.fit is not None or card.run.trajectories >= 1
    header = path.read_text().split("\n[")[0]
    assert header.startswith("# ") and "Costs" in header and "Expected" in header


def test_cards_have_different_names():
    assert len({path.stem for path in CARDS}) == len(CARDS) > 0, "a run goes to runs/NAME_OF_CARD"
