"""Run cards: read, overridden, written out as the same card; the schema. Faults are in test_card_faults.py."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cards import PLAIN, STAGGERED, edited, faults
from pydantic import ValidationError

from slhmc.errors import RunCardError
from slhmc.runcard import RunCard, card_text, json_schema, load_card, parse_card
from slhmc.runcard.positions import key_lines


def test_defaults_are_those_of_the_documentation():
    card = parse_card(PLAIN, "card.toml")
    assert card.lattice.extent == (4, 4, 4, 8)
    assert card.lattice.fermion_boundary == ("periodic", "periodic", "periodic", "antiperiodic")
    assert card.quarks[0].mass == 0.3 and card.quarks[0].level == 0
    assert card.solver.precision == "mixed" and card.solver.action_tolerance == 1e-12
    assert card.hmc.length == 1.0 and card.hmc.inner == () and card.heat_bath is None
    assert (card.run.start, card.run.thermalization, card.run.checkpoint_every) == ("hot", 0, 50)
    assert card.measure.plaquette.every == card.measure.polyakov_loop.every == 1
    assert card.measure.rectangle is None and card.measure.chiral_condensate is None
    pure = parse_card(PLAIN.replace('[[quarks]]\noperator = "staggered"\nmass = 0.3\n', ""), "card.toml")
    assert pure.quarks == () and pure.lattice.colors == 2


def test_a_guide_has_the_targets_keys_but_for_its_own():
    text = edited(STAGGERED, 'operator = "clover"\nkappa = 0.125\nc_sw = 1.1\nflavors = 1\nlevel = 0\n'
                             "rational = { lowest = 0.01, highest = 60, order = 20 }")
    own = "quarks = [{ mass = 0.2, rational = { highest = 80 } }]\nsolver.force_tolerance = 1e-6\n"
    card = parse_card(f"{text}[guide]\n{own}", "card.toml")
    (quark,), (target,) = card.guide_quarks, card.quarks
    assert (quark.operator, quark.bare_mass, quark.kappa, quark.c_sw, quark.power) == ("clover", 0.2, None, 1.1, 0.5)
    assert (quark.rational.lowest, quark.rational.highest, quark.rational.order) == (0.01, 80, 20)
    assert target.bare_mass == 0.0 and target.rational.highest == 60
    assert (card.guide_solver.force_tolerance, card.guide_solver.action_tolerance) == (1e-6, 1e-12)
    assert parse_card(card_text(card), "resolved") == card
    assert parse_card(PLAIN, "card.toml").guide_quarks == parse_card(PLAIN, "card.toml").quarks
    assert parse_card(text + "[guide]\nquarks = [{ kappa = 0.12 }]\n", "x").guide_quarks[0].bare_mass == 0.5 / 0.12 - 4


def test_weights_are_found_beside_the_card(tmp_path):
    (tmp_path / "card.toml").write_text(PLAIN + '[guide]\nnetwork = "trained/weights.h5"\n')
    assert load_card(tmp_path / "card.toml").guide.network == str(tmp_path / "trained" / "weights.h5")


def test_choices_of_a_card_are_those_of_the_engine():
    """Loops, kinds and rows of weights of networks, drifts of each scheme."""
    from slhmc.networks import KINDS, LOOPS, make_network
    from slhmc.runcard import guide
    from slhmc.runcard.checks import DRIFTS
    from slhmc.updates import SCHEMES
    assert set(guide.Loop.__args__) == set(LOOPS)
    assert set(guide.NetworkTable.model_fields["kind"].annotation.__args__) == set(KINDS)
    for kind in KINDS:
        table = guide.NetworkTable(kind=kind, layers=3, time_degree=2 if kind == "flow" else 0)
        network = make_network(kind, 2, 4, table.layers, table.loops, time_degree=table.time_degree)
        assert table.rows * len(table.loops) == len(network.parameter_names)
    assert {name: sum(kind == "U" for kind, _ in scheme) for name, scheme in SCHEMES.items()} == DRIFTS


def test_quarks_know_their_masses_and_levels():
    text = edited(STAGGERED, 'operator = "wilson"\nkappa = 0.125\nhasenbusch = [0.5, 1]\nlevel = [0, 1, 1]')
    card = parse_card(text, "card.toml", ["hmc.inner=[{scheme='omf4', steps=2}]"])
    assert card.quarks[0].bare_mass == 0.0 and card.quarks[0].levels == (0, 1, 1)
    assert parse_card(card_text(card), "resolved") == card
    assert parse_card(edited("mass = 0.3", "mass = 0.3\nhasenbusch = [1]"), "card.toml").quarks[0].levels == (0, 0)


@pytest.mark.parametrize(
    ("text", "where"),
    [("a = \n", "1:5"), ("[a\n", "1:3"), ("a = 1\na = 2\n", "2:6"), ("x = [1,\n\n2", "3:2"), ('a = "\\q"', "1:8")],
)
def test_toml_syntax_errors_have_line_and_column(text, where):
    (line,) = faults(text)
    assert line.startswith(f"card.toml:{where}: not valid TOML: ")


@pytest.mark.parametrize(("text", "words"), [
    ("[gauge]\nbeta = 1\nbeta = 2\n", "this key is there twice in its table; keep one"),
    ("[gauge]\nbeta = 1\n[gauge]\nc1 = 2\n", "[gauge] is there twice; keep one table, with the keys of both"),
    ("[measure.plaquette]\n[measure.plaquette]\n", "[measure.plaquette] is there twice; keep one table, with the keys of both")])
def test_what_is_there_twice_is_told(text, words):
    (line,) = faults(text)
    assert line.endswith(f": not valid TOML: {words}")


def test_overrides_set_values_as_toml_or_words():
    card = parse_card(
        PLAIN, "card.toml", ["run.start=cold", "quarks.0.mass=0.4", "lattice.extent=[8, 8]", "measure.rectangle.every=3",
                            "quarks.1.operator='staggered'", "quarks.1.mass=1", "gauge.beta=1", "gauge.beta=2"],
    )
    assert card.run.start == "cold" and [quark.mass for quark in card.quarks] == [0.4, 1.0]
    assert card.lattice.extent == (8, 8) and card.measure.rectangle.every == 3 and card.gauge.beta == 2.0


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("gauge.betta=2", "unknown key; did you mean beta?"),
        ("gauge.beta=strong", 'expected a number, found "strong"'),
        ("guage.x=1", "guage: unknown table; did you mean gauge?"),
        ("lattice.extent=[4, 5]", "lattice.extent.1: must be even, found 5"),
        ("lattice.colors=5", "quarks need 2 or 3 colors, found 5"),
        ("gauge", "expected table.key=value, such as gauge.beta=5.7 or quarks.0.mass=0.1"),
        ("gauge..beta=1", "expected table.key=value, such as gauge.beta=5.7 or quarks.0.mass=0.1"),
        ("gauge.beta=[1", "[1 is not a TOML value"),
        ("gauge.beta=", "nothing is not a TOML value"),
        ("gauge.beta.x=1", "gauge.beta is not a table, so it has no key x"),
        ("gauge.0=1", "gauge is not a list, so it has no entry 0"),
        ("quarks.mass=1", "quarks is not a table, so it has no key mass"),
        ("quarks.2.mass=1", "quarks has 1 entry, counted from 0"),
    ],
)
def test_a_fault_of_an_override_names_the_override(override, words):
    assert faults(PLAIN, override) == [f"--set {override}: {words}"]


def test_an_override_cannot_smuggle_in_another_key():
    assert faults(PLAIN, "gauge.beta=1\nx = 2")[0].startswith("--set gauge.beta=1")


def test_files_that_cannot_be_read_are_refused_in_words(tmp_path):
    (tmp_path / "binary.toml").write_bytes(b"a = '\xff'")
    for name, words in (("none.toml", "no such file"), (".", "is a directory"), ("binary.toml", "byte 5 is not UTF-8")):
        with pytest.raises(RunCardError, match=words):
            load_card(tmp_path / name)
    (tmp_path / "marked.toml").write_bytes(b"\xef\xbb\xbf" + PLAIN.replace("\n", "\r\n").encode())
    assert load_card(tmp_path / "marked.toml") == parse_card(PLAIN, "card.toml")
    with pytest.raises(RunCardError, match="nested too deeply"):
        parse_card("a = " + "[" * 100000, "card.toml")


def test_files_in_overrides_are_found_in_the_current_folder(tmp_path, monkeypatch):
    """As a shell completes their names; those in the card stay relative to it."""
    (tmp_path / "cards").mkdir()
    path = tmp_path / "cards" / "card.toml"
    path.write_text(edited("seed = 1", 'seed = 1\nstart = "file"\nstart_file = "cfg.h5"'))
    monkeypatch.chdir(tmp_path)
    assert load_card(path).run.start_file == str(tmp_path / "cards" / "cfg.h5")
    guided = load_card(path, ["guide.network=runs/weights.h5"])
    assert guided.guide.network == str(tmp_path / "runs" / "weights.h5") and guided.run == load_card(path).run
    assert load_card(path, ["run.start_file=other.h5"]).run.start_file == str(tmp_path / "other.h5")


def test_start_file_is_found_beside_the_card(tmp_path):
    text = edited("seed = 1", 'seed = 1\nstart = "file"\nstart_file = "links/cfg.h5"')
    (tmp_path / "card.toml").write_text(text)
    card = load_card(tmp_path / "card.toml")
    assert card.run.start_file == str(tmp_path / "links" / "cfg.h5")
    assert parse_card(card_text(card), "resolved") == card


EVERYTHING = """\
[lattice]
extent = [4, 4, 8]
colors = 3
fermion_boundary = ["antiperiodic", "periodic", "periodic"]
ranks = [1, 1, 2]
lanes = 4
[gauge]
action = "custom"
beta = 1e16
c1 = -0.331
level = 2
[[quarks]]
operator = "staggered"
mass = 1e-3
[[quarks]]
operator = "staggered"
mass = 0.1
level = 1
[solver]
precision = "double"
start = "chronological"
force_tolerance = 1e-11
[hmc]
scheme = "omf4"
length = 0.5
steps = 3
[[hmc.inner]]
scheme = "omelyan2"
steps = 2
[[hmc.inner]]
scheme = "leapfrog"
steps = 1
[smearing]
weights = [[0.1]]
[network]
kind = "flow"
layers = 20
loops = ["plaquette_ss", "polyakov"]
time_degree = 1
weights = [[0.1, -0.001], [2, 0.0]]
[guide]
beta = 3
network = 'w "1".h5'
quarks = [{}, { mass = 0.2 }]
solver = { precision = "mixed", start = "zero" }
correction = { every = 3 }
[run]
start = "file"
start_file = 'odd \\ "name".h5'
thermalization = 3
trajectories = 4
seed = 4294967295
time_limit = 3600
[measure.rectangle]
[measure.chiral_condensate]
noise = 1
[reference]
source = "a\\tb"
["reference"."odd name."]
value = -1
error = 0
note = "exact"
"""


def test_a_written_card_is_the_same_card():
    card = parse_card(EVERYTHING, "card.toml")
    text = card_text(card)
    assert parse_card(text, "resolved") == card
    assert card_text(parse_card(text, "resolved")) == text
    assert list(tomllib.loads(text)) == [
        "lattice", "gauge", "smearing", "quarks", "solver", "hmc", "network", "guide", "run", "measure", "reference"]


ROOTED = """[lattice]
extent = [4, 4]
colors = 2
[gauge]
action = "wilson"
beta = 2.0
[[quarks]]
operator = "staggered"
mass = 0.3
flavors = 2
rational = { accuracy = 1e-14, force_accuracy = 1e-3, check_every = 3 }
[hmc]
scheme = "omelyan2"
steps = 6
[guide]
quarks = [{ mass = 0.35, rational = { highest = 6.0 } }]
[measure.gradient_flow]
step = 0.05
[run]
trajectories = 1
seed = 1
"""


def test_a_written_card_means_the_same():
    """Its defaults take nothing from the target, and contradict no key."""
    card = parse_card(ROOTED, "card.toml")
    again = parse_card(card_text(card), "resolved")
    (quark,) = again.guide_quarks
    assert again == card and again.guide_quarks == card.guide_quarks
    assert (quark.rational.accuracy, quark.rational.force_accuracy, quark.rational.check_every) == (1e-14, 1e-3, 3)
    assert (quark.rational.highest, quark.mass) == (6.0, 0.35)
    assert again.measure.gradient_flow.control == {"step": 0.05}
    older = card_text(card).replace("step = 0.05", "step = 0.05\ntolerance = 0.0003")
    assert parse_card(older, "older") == card
    with pytest.raises(RunCardError, match="step fixes the steps, tolerance chooses them"):
        parse_card(older.replace("0.0003", "0.0002"), "card.toml")
    without = parse_card(ROOTED.replace("rational = { accuracy = 1e-14, force_accuracy = 1e-3, check_every = 3 }\n", ""), "x")
    assert without.guide_quarks[0].rational.accuracy == 1e-12


@pytest.mark.parametrize("word", ['"', "\\", "\n", "\t", "\x01", "\x7f", "é", "\U0001f600", "#", "'''"])
def test_any_text_survives_writing(word):
    card = parse_card(PLAIN, "card.toml", ["reference.source=x"])
    odd = card.model_copy(update={"reference": card.reference.model_copy(update={"source": f"a{word}b"})})
    assert parse_card(card_text(odd), "resolved") == odd


TOML_TEXTS = [
    PLAIN,
    EVERYTHING,
    "a.b.c = 1 # [x]\n'lit' = '#]'\n\"k e\" = [[1, 2], [3, # ]\n 4]]\n",
    'a = """x\n[b]\n"""\nb = \'\'\'\n[c]\'\'\'\nc = "\\""\nd = """a\\"""b"""\n',
    "[ a . b ]\nx = {y = [1, {z = 2}], 'w' = 3}\n[[a.c]]\nq = 1\n[[a.c]]\nq = 2\n[a.c.d]\nr = 1979-05-27 07:32:00\n",
    "[[a]]\n[[a.b]]\nx = 1\n[[a.b]]\nx = 2\n[[a]]\n[[a.b]]\nx = 3\n",
]


def leaves(value, path=()):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    yield path, value
    for key, entry in items:
        yield from leaves(entry, (*path, key))


@pytest.mark.parametrize("text", TOML_TEXTS, ids=range(len(TOML_TEXTS)))
def test_every_key_of_toml_has_its_line(text):
    found = key_lines(text)
    paths = {path: value for path, value in leaves(tomllib.loads(text)) if path}
    assert found.keys() == paths.keys()
    lines = text.split("\n")
    for path, value in paths.items():
        line = lines[found[path] - 1]
        assert path[-1] in line if isinstance(path[-1], str) else str(value) in line or isinstance(value, (list, dict))


def test_a_card_built_in_python_is_checked_too():
    card = parse_card(PLAIN, "card.toml")
    with pytest.raises(ValidationError, match="quarks need 2 or 3 colors"):
        RunCard(**dict(card) | {"lattice": card.lattice.model_copy(update={"colors": 4})})
    with pytest.raises(ValidationError, match="frozen"):
        card.gauge.beta = 1.0


def test_schema_describes_every_key():
    schema = json_schema()
    assert json.loads(json.dumps(schema)) == schema
    assert schema["if"] == {"required": ["scalar"]}
    for kind, required in (("then", ["lattice", "scalar", "run"]), ("else", ["lattice", "gauge", "run"])):
        found = schema[kind] if kind == "then" else schema["else"]["else"]
        assert found["required"] == required and found["additionalProperties"] is False
    assert schema["else"]["then"]["required"] == ["lattice", "data", "model", "fit", "run"]
    for table in schema["$defs"].values():
        assert table["description"] and all("description" in key for key in table["properties"].values())
    assert schema["$defs"]["LatticeTable"]["properties"]["extent"]["items"] == {
        "minimum": 2, "maximum": 2**31 - 1, "multipleOf": 2, "type": "integer"
    }


def test_cards_need_no_numerics():
    code = "import slhmc.runcard, sys; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], timeout=60).returncode == 0
