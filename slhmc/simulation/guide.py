"""From [smearing], [network] and [guide] of a card to target, guide and the time scales of molecular dynamics."""

import json

from slhmc.actions import (
    RECTANGLE_COEFFICIENTS,
    Action,
    CompositeAction,
    GaugeAction,
    LinearCombination,
    LogDeterminantAction,
    SmearedAction,
    WallSlicesAction,
)
from slhmc.errors import InputError
from slhmc.io import Weights, check_weights, load_weights
from slhmc.io.sealed import sealed_kind
from slhmc.lattice import Lattice
from slhmc.networks import KINDS, Network, make_network
from slhmc.runcard import GuideQuarkTable, NetworkTable, QuarkTable, RunCard
from slhmc.runcard.checks import DRIFTS, quark_faults
from slhmc.runcard.guide import merged_quark
from slhmc.simulation.learned_flow import guide_weights
from slhmc.simulation.quarks import quark_actions
from slhmc.updates import TimeScale

PHASES = {"periodic": 1, "antiperiodic": -1}
Parts = dict[str, tuple[Action, int]]  # "gauge", "quarks.0", "quarks.1.0" ... -> action, level


def boundary_phases(card: RunCard) -> tuple[int, ...]:
    """+1 or -1 for each direction."""
    return tuple(PHASES[word] for word in card.lattice.fermion_boundary)


def make_gauge_action(card: RunCard, beta: float | None = None) -> GaugeAction:
    """The action of [gauge], with another beta if one is given."""
    c1 = card.gauge.c1 if card.gauge.action == "custom" else RECTANGLE_COEFFICIENTS[card.gauge.action]
    return GaugeAction(card.gauge.beta if beta is None else beta, c1)


# ---- networks
def network_of(table: NetworkTable, card: RunCard) -> Network:
    """The network of [smearing] or [network]."""
    return make_network(table.kind, card.lattice.colors, len(card.lattice.extent), table.layers, tuple(table.loops),
                        table.weights, table.time_degree)


def has_network(card: RunCard) -> bool:
    """Whether quarks see other links than the thin ones, those of the target or those of the guide."""
    return card.smearing is not None or (card.guide is not None and bool(card.network or card.guide.network))


def network_kinds(card: RunCard) -> set[str]:
    """Kinds of networks that the card may need: any, if only a file of weights tells."""
    if card.guide is not None and card.guide.network is not None and card.network is None:
        return set(KINDS)
    return {table.kind for table in (card.smearing, card.network) if table is not None}


def smearing_network(card: RunCard) -> Network | None:
    """What makes the links that the target's quarks see; None: thin links."""
    return None if card.smearing is None else network_of(card.smearing, card)


def read_weights(card: RunCard) -> Weights | None:
    """The file of guide.network, None if the card names none; InputError if it does not fit the card. For rank 0.

    The file of a fit will do if it is of a flow that the engine has too (`guide_weights`).
    """
    if card.guide is None or card.guide.network is None:
        return None
    fitted = sealed_kind(card.guide.network) == "model"
    weights = guide_weights(card.guide.network, len(card.quarks)) if fitted else load_weights(card.guide.network)
    if not card.quarks and weights.table["layers"]:
        raise InputError(f"{card.guide.network}: a network of {weights.table['layers']} layers found, but the card has no "
                         "[[quarks]] to see its links; leave guide.network out")
    table = None if card.network is None else network_of(card.network, card).table()
    check_weights(card.guide.network, weights, card.lattice.colors, len(card.lattice.extent), len(card.quarks), table)
    names = network_of_weights(weights).parameter_names
    if list(names) != [name for name in weights.parameters if name not in weights.trained]:
        raise InputError(f"{card.guide.network}: its weights are not those of its own layers; train the network anew")
    keys = {"gauge.beta", *(f"quarks.{number}.{key}" for number in range(len(card.quarks)) for key in ("mass", "factor"))}
    if alien := [name for name in weights.trained if name not in keys]:
        raise InputError(f"{card.guide.network}: {alien[0]} is no key of this card's guide; train the network anew")
    for name, value in weights.trained.items():
        if not name.endswith(".mass") and value <= 0:
            raise InputError(f"{card.guide.network}: {name} = {value:g}: a number above 0 expected; train the network anew")
    for number, quark in enumerate(guide_quarks(card, weights)):
        for key, words in quark_faults(quark):
            raise InputError(f"{card.guide.network}: trained quarks.{number}.mass: {'.'.join(map(str, key))} {words}")
    return weights


def guide_quarks(card: RunCard, weights: Weights | None) -> list[QuarkTable]:
    """The quarks of the guide with the masses that `weights` have."""
    masses = [None if weights is None else weights.trained.get(f"quarks.{number}.mass") for number in range(len(card.quarks))]
    return [quark if mass is None else merged_quark(quark, GuideQuarkTable(mass=mass))
            for quark, mass in zip(card.guide_quarks, masses, strict=True)]


def network_of_weights(weights: Weights) -> Network:
    """The network that `weights` are of, its own weights still zero."""
    table = weights.table
    return make_network(table["kind"], table["colors"], table["dimensions"], table["layers"], tuple(table["loops"]), None,
                        table["time_degree"])


def guide_network(card: RunCard, lattice: Lattice, weights: Weights | None = None) -> Network | None:
    """What makes the links that the guide's quarks see; None: thin links.

    That of `weights` (`read_weights`), else of [network], else of [smearing].
    """
    if weights is None:
        return smearing_network(card) if card.network is None else network_of(card.network, card)
    network = network_of_weights(weights)
    network.set_parameters(weights.network_values)
    return network


def frozen_guide(card: RunCard, weights: Weights | None) -> dict[str, str]:
    """Words about the guide's frozen network for the chain file: "network", "trained" (masses, beta): JSON; "weights_sha256"."""
    if card.guide is None or (weights is None and card.network is None):
        return {}
    if weights is None:
        network = network_of(card.network, card)
        numbers = dict(zip(network.parameter_names, network.parameters.tolist(), strict=True))
        weights = Weights(network.table(), numbers, len(card.quarks))
    return {"network": json.dumps(weights.table, sort_keys=True), "trained": json.dumps(weights.trained),
            "weights_sha256": weights.digest}


# ---- actions
def target_parts(card: RunCard, lattice: Lattice) -> Parts:
    """Actions of the target by name, on the links that they are given."""
    parts: Parts = {"gauge": (make_gauge_action(card), card.gauge.level)}
    for number, quark in enumerate(card.quarks):
        parts |= _quark_parts(f"quarks.{number}", quark, card.solver, card, lattice)
    return parts


def _quark_parts(name: str, quark: QuarkTable, solver, card: RunCard, lattice: Lattice, path: str = "", **keys) -> Parts:
    try:
        made = quark_actions(quark, boundary_phases(card), solver, lattice, **keys)
    except InputError as error:  # what only the numbers tell: a rational approximation that cannot be had
        raise InputError(f"{path}{name}: {error}") from None
    return {name + f".{factor}" * (len(made) > 1): part for factor, part in enumerate(made)}


def bare_guide_parts(card: RunCard, lattice: Lattice, weights: Weights | None, target: Parts) -> Parts:
    """Actions of the guide on the links that they are given, by name; what does not differ is the object of `target`."""
    beta, parts = (weights.trained if weights else {}).get("gauge.beta", card.guide.beta), dict(target)
    if beta is not None and beta != card.gauge.beta:
        parts["gauge"] = (make_gauge_action(card, beta), card.gauge.level)
    factors = [(weights.trained if weights else {}).get(f"quarks.{number}.factor", factor)
               for number, factor in enumerate(card.guide_factors)]
    for number, (own, quark, factor) in enumerate(zip(guide_quarks(card, weights), card.quarks, factors, strict=True)):
        if own == quark and card.guide_solver == card.solver and factor == 1:
            continue
        made = _quark_parts(f"quarks.{number}", own, card.guide_solver, card, lattice, "guide.", guides=True)
        parts |= {key: (_pseudofermions(action, own.Ls if own.Ls != quark.Ls else None, factor), level)
                  for key, (action, level) in made.items()}
    return parts


def _pseudofermions(action: Action, Ls: int | None, factor: float) -> Action:
    """An action of a guide's quark, of fewer slices if Ls is given, times factor; log det of site blocks as it is."""
    if isinstance(action, LogDeterminantAction):
        return action
    action = action if Ls is None else WallSlicesAction(action, Ls)
    return action if factor == 1 else LinearCombination([(factor, action)])


def guide_parts(card: RunCard, lattice: Lattice, network: Network | None = None, weights: Weights | None = None) -> Parts:
    """Actions of the guide by name, each by itself; those of quarks are SmearedActions where they see a network.

    network: in place of the card's.
    """
    network = network or guide_network(card, lattice, weights)
    parts = bare_guide_parts(card, lattice, weights, target_parts(card, lattice))
    return {name: (action if name == "gauge" or network is None else SmearedAction(network, action), level)
            for name, (action, level) in parts.items()}


def on_links(actions: dict[str, Action], network: Network | None) -> Action:
    """The sum of actions by name: the gauge action of thin links, those of quarks of the network's, if there is one."""
    quarks = {name: action for name, action in actions.items() if name != "gauge"}
    if network is None or network.is_identity or not quarks:
        return CompositeAction(actions)
    smeared = SmearedAction(network, CompositeAction(quarks))
    if "gauge" not in actions:
        return smeared
    return LinearCombination([(1.0, CompositeAction({"gauge": actions["gauge"]})), (1.0, smeared)])


# ---- time scales
def time_scales(card: RunCard, parts: Parts, network: Network | None) -> list[TimeScale]:
    """Molecular dynamics of [hmc] by these actions."""
    scales = []
    for level, table in enumerate((card.hmc, *card.hmc.inner)):
        actions = {name: action for name, (action, on) in parts.items() if on == level}
        scales.append(TimeScale(on_links(actions, network), table.scheme, table.steps))
    return scales


def corrected(card: RunCard, scales: list[TimeScale], kicks: Action) -> list[TimeScale]:
    """Those of the guide below kicks by target minus guide, a time scale of their own: `every` steps of [hmc] for each drift."""
    table = card.guide.correction
    outer = TimeScale(kicks, table.scheme, card.hmc.steps // (table.every * DRIFTS[table.scheme]))
    first = TimeScale(scales[0].action, scales[0].scheme, table.every)
    return [outer, first, *scales[1:]]


def difference(target: Parts, smearing: Network | None, guide: Parts, network: Network | None) -> Action | None:
    """Target minus guide, without the parts that they have in common; None if they have all."""
    apart = [name for name in target if target[name][0] is not guide[name][0] or (name != "gauge" and smearing is not network)]
    terms = [(sign, on_links({name: parts[name][0] for name in apart}, links))
             for sign, parts, links in ((1.0, target, smearing), (-1.0, guide, network))]
    return LinearCombination(terms) if apart else None


def molecular_dynamics(card: RunCard, lattice: Lattice, target: Parts, smearing, network, weights) -> list[TimeScale]:
    """The target's actions on their time scales, or those of [guide] with its correction."""
    correction = card.guide and card.guide.correction
    if card.guide is None or (correction is not None and correction.every == 1):
        return time_scales(card, target, smearing)
    parts = bare_guide_parts(card, lattice, weights, target)
    if network is None:
        network = smearing if weights is None and card.network is None else guide_network(card, lattice, weights)
    scales = time_scales(card, parts, network)
    if correction is None:
        return scales
    outer = difference(target, smearing, parts, network)
    return scales if outer is None else corrected(card, scales, outer)
