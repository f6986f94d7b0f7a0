"""What a card says arrives in what is made of it; other tests make actions, solvers and observables by hand."""

import pytest
from cards import fit_card, gauge, hmc, quark, run_table, training_card

from slhmc.actions import LinearCombination, SmearedAction
from slhmc.actions.pseudofermion import QuarkAction
from slhmc.backend import HostDevice
from slhmc.runcard import parse_card
from slhmc.simulation.build import make_lattice, make_observables, make_update
from slhmc.simulation.guide import guide_parts, target_parts

FOUR = gauge((4, 4, 4, 4), 2.7) + "{quark}" + hmc(4) + run_table(trajectories=1, seed=1) + """
[solver]
force_tolerance = 1e-6
action_tolerance = 1e-11
max_iterations = 1234
[guide]
solver = { force_tolerance = 1e-4, max_iterations = 777 }
[measure.chiral_condensate]
tolerance = 1e-5
[measure.mesons]
tolerance = 1e-7
"""
QUARKS = [quark(0.3), quark(0.3) + "flavors = 2\n", quark(0.3) + "hasenbusch = [0.8]\n", quark(0.2, "wilson"),
          quark(0.2, "clover") + "c_sw = 1.0\n", quark(0.2, "domain_wall") + "Ls = 4\nM5 = 1.5\n"]


def solving(action):
    """The quark actions that an action is made of."""
    if isinstance(action, QuarkAction):
        return [action]
    if isinstance(action, LinearCombination):
        return [inner for _, part in action.terms for inner in solving(part)]
    return solving(action.base) if isinstance(action, SmearedAction) else []


@pytest.mark.parametrize("text", QUARKS)
def test_tolerances_go_where_the_card_says(text):
    card = parse_card(FOUR.replace("{quark}", text), "card.toml")
    lattice = make_lattice(card, HostDevice())
    for parts, expected in ((target_parts(card, lattice), (1e-6, 1e-11, 1234)), (guide_parts(card, lattice), (1e-4, 1e-11, 777))):
        found = [(a.force_solver.tolerance, a.action_solver.tolerance, a.force_solver.max_iterations)
                 for action, _ in parts.values() for a in solving(action)]
        assert found and set(found) == {expected}
    for observable, _ in make_observables(card, lattice):
        wanted = {"chiral_condensate": 1e-5, "mesons": 1e-7}.get(observable.name)
        solver = getattr(observable, "solver", None) or getattr(observable, "propagator", None)
        if wanted:
            for one in ([solver.bicgstab, solver.conjugate_gradient] if hasattr(solver, "bicgstab") else [solver]):
                assert (one.tolerance, one.max_iterations) == (wanted, 1234)


def test_blocks_of_clover_quarks_are_on_the_last_level():
    text = FOUR.replace("{quark}", quark(0.2, "clover") + "c_sw = 1.0\nhasenbusch = [0.8]\nlevel = [0, 1]\n").replace(
        "[run]", '[[hmc.inner]]\nscheme = "leapfrog"\nsteps = 2\n[run]')
    card = parse_card(text, "card.toml", ["gauge.level=1"])
    parts = target_parts(card, make_lattice(card, HostDevice()))
    assert [(type(action).__name__, level) for name, (action, level) in parts.items() if name != "gauge"] == [
        ("RatioAction", 0), ("PseudofermionAction", 1), ("LogDeterminantAction", 1)]


def test_optimizers_have_the_numbers_of_the_card():
    torch = pytest.importorskip("torch")
    from slhmc.learning.optimizers import make_fit_optimizer, make_optimizer

    model = torch.nn.Linear(2, 1)
    for kind in ("adam", "adamw"):
        fit = fit_card(f"fit.optimizer={kind}", "fit.weight_decay=0.1", "fit.amsgrad=false", "fit.learning_rate=0.02").fit
        (group,) = make_fit_optimizer(fit, model).param_groups
        assert (group["weight_decay"], group["amsgrad"], group["lr"]) == (0.1, False, 0.02)
    (group,) = make_optimizer(training_card("train.betas=[0.8, 0.95]", "train.learning_rate=0.02").train, model).param_groups
    assert (group["betas"], group["lr"]) == ((0.8, 0.95), 0.02)


def held(thing, seen=None):
    """All numbers and words below the attributes of an object."""
    seen = {} if seen is None else seen
    if isinstance(thing, (int, float, str)):
        yield thing
        return
    if id(thing) in seen:
        return
    seen[id(thing)] = thing  # kept, so that no other object gets its id
    if isinstance(thing, dict):
        parts = thing.values()
    elif isinstance(thing, (list, tuple, set)):
        parts = thing
    else:
        parts = getattr(thing, "__dict__", {}).values() if type(thing).__module__.startswith("slhmc") else ()
    for part in parts:
        yield from held(part, seen)


HELD = gauge((4, 4, 4, 4), 2.345) + quark(0.3) + run_table(trajectories=1, seed=1)
MEASURED = ("measure.chiral_condensate.noise=17", "measure.chiral_condensate.tolerance=1.7e-6", "measure.mesons.noise=19",
            "measure.mesons.source=wall", "measure.mesons.tolerance=1.9e-6", "measure.mesons.every=23",
            "solver.max_iterations=1234",
            "measure.static_potential.rho=0.0123", "measure.gradient_flow.step=0.0111", "measure.gradient_flow.t_max=0.75",
            "measure.gradient_flow.points=8", "measure.gradient_flow.action=zeuthen", "solver.precision=double")
WALLS = ("quarks.0.operator=domain_wall", "quarks.0.Ls=4", "quarks.0.M5=1.5", "measure.residual_mass.noise=29",
         "measure.residual_mass.tolerance=2.9e-6")
SOLVED = ("hmc.scheme=omelyan2", "hmc.steps=31", "hmc.length=0.87", "run.max_delta_h=432", "solver.force_tolerance=3.1e-11",
          "solver.action_tolerance=3.7e-12", "solver.start=chronological", "solver.precision=double",
          "solver.max_iterations=1234", "gauge.action=iwasaki", "gauge.beta=1.234")
CASES = {"observables": (HELD + hmc(3), MEASURED, "observables"), "walls": (HELD + hmc(3), WALLS, "observables"),
         "hmc": (HELD + "[hmc]\n", SOLVED, "update"),
         "heat bath": (HELD.replace(quark(0.3), "[heat_bath]\n"), ("heat_bath.over_relaxation=37", "gauge.beta=1.234"), "update")}


@pytest.mark.parametrize("name", CASES)
def test_every_number_of_a_card_arrives(name):
    text, overrides, what = CASES[name]
    card = parse_card(text, "card.toml", list(overrides))
    lattice = make_lattice(card, HostDevice())
    found = list(held(make_update(card, lattice) if what == "update" else make_observables(card, lattice)))
    for override in overrides:
        key, _, value = override.partition("=")
        if key.endswith(("operator", "scheme", "steps", "length")):
            continue  # what becomes the moves of a schedule
        if key.endswith("gauge.action"):
            assert -0.331 in found, override
        elif key == "solver.precision":
            assert "mixed" not in found and "double" in found, override
        else:
            assert value in found or any(isinstance(x, (int, float)) and repr(float(value)) == repr(float(x)) for x in found
                                         if value[0].isdigit()), override
