"""Cards with [data], [model] and [fit]: every fault is found, at its line, in words."""

import pytest
from cards import faults, gauge

from slhmc.runcard import card_text, load_card, parse_card

CARD = gauge((8, 8)) + """\
[heat_bath]
[data]
label = "wilson_loop"
loop = [1, 2]
betas = [1, 2.5]
training = 10
validation = 4
test = 4
[model]
layers = [{ channels = 3 }, {}]
[fit]
[run]
seed = 1
"""


def test_defaults_of_a_fit():
    card = parse_card(CARD, "card.toml")
    assert card.data.betas == (1.0, 2.5) and card.gauge.beta is None and card.run.trajectories is None
    assert (card.data.scale, card.data.thermalization, card.data.spacing, card.data.seed) == (1.0, 200, 5, 1)
    assert card.data.test_extents is None and card.data.directory is None
    assert [(layer.kind, layer.kernel, layer.channels, layer.dilation) for layer in card.model.layers] == [
        ("lcb", 2, 3, None), ("lcb", 2, 2, None)]
    assert (card.model.kind, card.model.convention, card.model.weights, card.model.precision) == (
        "lcnn", "arxiv_v1", None, "single")
    fit = card.fit
    assert (fit.optimizer, fit.amsgrad, fit.weight_decay, fit.learning_rate, fit.decay) == ("adamw", True, 0.0, 1e-3, 1.0)
    assert (fit.schedule, fit.batch, fit.epochs, fit.patience) == ("constant", 50, 20, 0)
    assert parse_card(card_text(card), "resolved") == card


def test_betas_may_be_a_range():
    card = parse_card(CARD.replace("[1, 2.5]", "{ first = 0.1, last = 6, count = 10 }"), "card.toml")
    assert len(card.data.betas) == 10 and card.data.betas[0] == 0.1 and card.data.betas[-1] == 6.0
    assert card.data.betas[4] == pytest.approx(0.1 + 5.9 * 4 / 9, rel=1e-15)
    assert parse_card(card_text(card), "resolved") == card


def test_everything_survives_writing():
    card = parse_card(CARD, "card.toml", [
        "data.test_extents=[[8, 8], [16, 12]]", 'model.layers=[{dilation=1, symmetric=true}, {kind="lexp"}, {kind="lact"}]',
        "model.convention=prl_2022", "model.weights=complex", "model.polyakov=true", "fit.schedule=cosine", "data.directory=x"])
    assert parse_card(card_text(card), "resolved") == card


FAULTS = [
    ((), ("[fit]\n", ""), "7: data: belongs to a [fit]"),
    ((), ("[fit]\n", ""), "14: model: belongs to a [fit]"),
    ((), ("[fit]\n", ""), "16: run.trajectories: missing: trajectories of production"),
    ((), ("[fit]\n", ""), "4: gauge.beta: missing: inverse coupling beta"),
    ((), ("betas = [1, 2.5]\n", ""), "4: gauge.beta: missing: inverse coupling beta, or data.betas"),
    ((), ('"wilson"\n', '"wilson"\nbeta = 2\n'), "11: data.betas: gauge.beta and data.betas are both given; keep one"),
    ((), ("[1, 2.5]", "[]"), "10: data.betas: expected at least 1 entries, found 0"),
    ((), ("[1, 2.5]", "[1, -1]"), "10: data.betas.1: must be greater than 0, found -1"),
    ((), ("[1, 2.5]", "{ first = 1, last = 2, count = 10001 }"),
     "10: data.betas: expected a count up to 10000, not 10001, found a table"),
    ((), ("[1, 2.5]", "{ first = 1 }"), "10: data.betas: expected a list of numbers, or { first = 0.1, last"),
    ((), ("loop = [1, 2]\n", ""), "7: data.loop: missing: sites of the loop in both directions, such as [1, 2]"),
    ((), ("[1, 2]\n", "[1]\n"), "9: data.loop: expected at least 2 entries, found 1"),
    ((), ("[1, 2]\n", "[1, 8]\n"), "2: lattice.extent: a loop of 1 x 8 needs more than 8 sites in each direction"),
    (("data.test_extents=[[8, 8], [8, 2]]",), (), "--set data.test_extents=[[8, 8], [8, 2]]: data.test_extents.1: a loop of"),
    (("data.test_extents=[[8, 8, 8]]",), (), "--set data.test_extents=[[8, 8, 8]]: data.test_extents.0: 3 directions found, "),
    (("data.test_extents=[[8, 7]]",), (), "--set data.test_extents=[[8, 7]]: data.test_extents.0.1: must be even, found 7"),
    ((), ('"wilson_loop"\nloop = [1, 2]', '"topological_charge"'), '8: data.label: "topological_charge" needs four directions, '),
    ((), ('"wilson_loop"', '"topological_charge"'), '9: data.loop: has a meaning only with label = "wilson_loop"'),
    ((), ('"wilson_loop"', '"wilson_lop"'), '8: data.label: expected "wilson_loop", "topological_charge", "flowed_links", '),
    ((), ("colors = 2", "colors = 4"), "3: lattice.colors: a [fit] needs 2 or 3 colors, found 4"),
    (("lattice.colors=3", "model.weights=real"), (), '--set model.weights=real: "real" is for two colours, '),
    (("model.activation=tanh",), (), '--set model.activation=tanh: is of kind = "cnn"; an lcnn has layers of kind = "lact"'),
    (("model.kind=cnn", "model.layers=[{kernel = 3, symmetric = true}]"), (), "--set model.layers=[{kernel = 3, symm"),
    (("model.kind=cnn", "model.convention=prl_2022"), (), '--set model.convention=prl_2022: is of kind = "lcnn", found kind'),
    (("model.layers=[{kernel = 0}]",), (), "--set model.layers=[{kernel = 0}]: model.layers.0.kernel: must be at least 1, "),
    (('model.layers=[{kind = "lact", kernel = 3}]',), (), '--set model.layers=[{kind = "lact", kernel = 3}]: model.layers.0.'
     'kernel: has no meaning in a layer of kind = "lact", which has activation; leave it out'),
    (('model.layers=[{activation = "tanh"}]',), (), '--set model.layers=[{activation = "tanh"}]: model.layers.0.activation: has '
     'no meaning in a layer of kind = "lcb", which has channels, dilation, kernel, symmetric'),
    (('model.layers=[{kind = "lexp", channels = 5}]',), (), '--set model.layers=[{kind = "lexp", channels = 5}]: model.layers.0'
     '.channels: has no meaning in a layer of kind = "lexp", which has no keys of its own'),
    (("data.scale=0",), (), "--set data.scale=0: is 0, which makes every label 0"),
    (("model.layers=[5]",), (), "--set model.layers=[5]: model.layers.0: expected a table, found 5"),
    ((), ("[fit]", "[fit]\nlr = 1"), "17: fit.lr: unknown key; [fit] has optimizer, amsgrad, weight_decay, learning_rate"),
    (("run.thermalization=3",), (), "--set run.thermalization=3: chains of a [fit] thermalize by data.thermalization"),
    (("run.start=file", "run.start_file=x"), (), "--set run.start=file: each chain of a [fit] begins anew"),
    (("run.trajectories=9",), (), "--set run.trajectories=9: is of a run; a [fit] makes what [data] asks for"),
    (("run.save_every=9",), (), "--set run.save_every=9: is of a run; a [fit] makes"),
    (("run.checkpoint_every=9",), (), "--set run.checkpoint_every=9: is of a run; a [fit] makes"),
    (("measure.rectangle={}",), (), "--set measure.rectangle={}: measure: is of a run's observables, which a [fit] does not"),
    (("lattice.ranks=[1, 2]",), (), "--set lattice.ranks=[1, 2]: chains of a [fit] are of many lattices"),
    (("hmc.steps=2", "hmc.scheme=omf4"), (), "card.toml:6: heat_bath: the card has [hmc] and [heat_bath]; keep one"),
]


@pytest.mark.parametrize(("overrides", "edit", "expected"), FAULTS, ids=[fault[2] for fault in FAULTS])
def test_a_fault_of_a_fit_is_told_at_its_line(overrides, edit, expected):
    if edit:
        assert CARD.count(edit[0]) == 1
    found = faults(CARD.replace(*edit) if edit else CARD, *overrides)
    expected = expected if expected.startswith(("--set", "card")) else f"card.toml:{expected}"
    assert any(line.startswith(expected) for line in found), found
    assert edit in (("[fit]\n", ""), ('"wilson_loop"', '"topological_charge"')) or len(found) == 1


def test_tables_that_belong_together():
    without = CARD.replace(CARD[CARD.index("[data]"):CARD.index("[fit]")], "")
    found = faults(without)
    assert [line.partition(": ")[2] for line in found] == [
        "gauge.beta: missing: inverse coupling beta, or data.betas", "fit: needs [data], what is learned from",
        "fit: needs [model], the network"]
    guide = '[[quarks]]\noperator = "staggered"\nmass = 0.3\n[guide]\nbeta = 2.0\n[train]\ntrain_beta = true\n'
    hmc = CARD.replace("[heat_bath]\n", '[hmc]\nscheme = "omelyan2"\nsteps = 4\n')
    assert [line.split(": ", 1)[1] for line in faults(hmc + guide)] == [
        f"{name}: is of self-learning HMC, [fit] of labels; keep one of them" for name in ("guide", "train")]


def test_the_directory_of_data_is_found_beside_the_card(tmp_path, monkeypatch):
    (tmp_path / "cards").mkdir()
    path = tmp_path / "cards" / "card.toml"
    path.write_text(CARD.replace("test = 4", 'test = 4\ndirectory = "sets"'))
    monkeypatch.chdir(tmp_path)
    assert load_card(path).data.directory == str(tmp_path / "cards" / "sets")
    assert load_card(path, ["data.directory=here"]).data.directory == str(tmp_path / "here")


def test_a_table_that_is_none_is_one_fault():
    """What it lacks is not told as well."""
    assert faults(CARD.replace("[gauge]\naction = \"wilson\"\n", "") .replace("[lattice]", "gauge = 5\n[lattice]")) == [
        "card.toml:1: gauge: expected a table, found 5"]


FLOW = CARD.replace('"wilson_loop"\nloop = [1, 2]', '"flowed_links"\nflow_time = 1.0').replace(
    "layers = [{ channels = 3 }, {}]", 'kind = "flow"\ngenerator = "loops"')
FLOW_FAULTS = [
    (("data.later_times=[0.5]",), "data.later_times.0: 0.5 is not later than flow_time = 1"),
    (("data.scale=2",), 'data.scale: has no meaning with label = "flowed_links"; leave it out'),
    (("data.loop=[1, 1]",), 'data.loop: has a meaning only with label = "wilson_loop", found label = "flowed_links"'),
    (("data.label=wilson_loop", "data.loop=[1, 1]"), 'data.flow_time: is of the labels flowed_links, '),
    (("data.label=wilson_loop", "data.loop=[1, 1]"), 'model.kind: "flow" learns the labels flowed_links, '),
    (("data.label=flowed_charge",), 'data.label: "flowed_charge" needs four directions, lattice.extent has 2'),
    (("data.label=square_trace_flow",), 'model.generator: "loops" is covariant, but Re tr U^2 of a link is not gauge invariant'),
    (("data.label=square_trace_flow", "data.flow_action=zeuthen"), 'data.flow_action: "square_trace_flow" has an action of its'),
    (("data.label=square_trace_flow", "lattice.colors=3"), 'data.label: "square_trace_flow" is of SU(2), found 3 colors'),
    (("data.ensemble=haar",), 'data.betas: has no meaning with data.ensemble = "haar"'),
    (("data.ensemble=haar",), 'heat_bath: has no meaning with data.ensemble = "haar"'),
    (("model.kind=lcnn",), 'model.generator: is of kind = "flow", found kind = "lcnn"'),
    (("model.kind=lcnn",), 'model.kind: "lcnn" learns the labels wilson_loop, topological_charge, found label = "flowed_links"'),
    (("model.nodes=[3]",), 'model.nodes: is of generator = "mlp", found generator = "loops"'),
    (("model.layers=[{}]",), 'model.layers: is of generator = "lcnn", found generator = "loops"'),
    (('model.loops=["chair"]',), 'model.loops.0: "chair" found; the loops of a learned flow are plaquette, rectangle, polyakov'),
    (("model.generator=lcnn",), 'model.generator: "lcnn" needs [[model.layers]], one or more'),
    (("model.generator=lcnn", 'model.layers=[{kind = "lexp"}]'), 'model.layers.0.kind: "lexp" moves links, as the flow'),
    (("model.generator=mlp", "model.time_degree=2"), "model.time_degree: 0 or 1 expected with an mlp"),
    (("data.flow_time=1e300",), "data.flow_time: must be at most 1000000, found 1e+300"),
    (("data.later_times=[1e6]",), "data.later_times: 4e+06 steps to t = 1e+06, of which 4 to data.flow_time; 100000 are"),
    (("model.steps=1000000",), "model.steps: 1e+06 steps to t = 1, of which 1000000 to data.flow_time; 100000 are the most"),
    (("model.layers=[5]",), "model.layers.0: expected a table, found 5"),
    (("model.scheme=heun",), 'model.scheme: expected "euler", "munthe_kaas_2"'),
]


@pytest.mark.parametrize(("overrides", "expected"), FLOW_FAULTS, ids=[fault[1] for fault in FLOW_FAULTS])
def test_a_fault_of_a_flow_is_told(overrides, expected):
    key, words = expected.split(": ", 1)
    found = faults(FLOW, *overrides)
    assert any(key in line and f": {words}" in line for line in found), found


def test_a_flow_needs_a_time_and_a_generator():
    found = faults(FLOW.replace("flow_time = 1.0\n", "").replace('generator = "loops"\n', ""))
    assert [line.split(": ", 1)[1] for line in found] == [
        'data.flow_time: missing: flow time of the label "flowed_links"',
        'model.kind: "flow" needs model.generator: "mlp", "loops" or "lcnn"']


def test_a_card_of_a_flow_survives_writing():
    drawn = FLOW.replace("[heat_bath]\n", "").replace("betas = [1, 2.5]\n", "")
    for text, overrides in ((FLOW, ["data.later_times=[2.0, 3.0]", "model.gradient=adjoint"]),
                            (drawn, ["data.ensemble=haar", "data.label=square_trace_flow", "model.generator=mlp"])):
        card = parse_card(text, "card.toml", overrides)
        assert parse_card(card_text(card), "resolved") == card
    assert card.gauge.beta is None and card.heat_bath is None and card.model.nodes == (16, 64, 32, 16)
