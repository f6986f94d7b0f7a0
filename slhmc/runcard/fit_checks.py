"""What must hold between [data], [model], [fit] and the other tables."""

from collections.abc import Iterator
from typing import Any

from slhmc.runcard.base import Table
from slhmc.runcard.fit import LayerTable

Fault = tuple[tuple[str | int, ...], str]
CNN_KEYS = ("kernel", "channels")
LAYER_KEYS = {"lcb": {"channels", "kernel", "dilation", "symmetric"}, "lconv": {"channels", "kernel", "dilation", "symmetric"},
              "lbl": {"channels"}, "lact": {"activation"}, "lexp": set()}
MOST_STEPS = 100_000  # of a flow, to the last of the later times
FLOW_LABELS = ("flowed_links", "square_trace_flow", "flowed_charge")
FLOW_SHAPES = ("plaquette", "rectangle", "polyakov")  # of a generator of loops
KEYS_OF_KINDS = {"lcnn": {"convention", "weights", "polyakov"},
                 "flow": {"generator", "nodes", "loops", "time_degree", "step_weights", "scheme", "steps", "gradient"}}
KEYS_OF_GENERATORS = {"mlp": {"nodes", "activation"}, "loops": {"loops", "step_weights"},
                      "lcnn": {"layers", "convention", "weights", "polyakov"}}


def draws_links(card: Any) -> bool:
    """Whether the data of a [fit] are drawn, not made by the card's update."""
    return card.fit is not None and card.data is not None and card.data.ensemble == "haar"


def fit_faults(card: Any) -> Iterator[Fault]:
    """(path of the key to mend, words) of what [data], [model], [fit] and the other tables do not agree on."""
    yield from _couplings(card)
    if card.fit is None:
        for name, table in (("data", card.data), ("model", card.model)):
            if table is not None:
                yield (name,), "belongs to a [fit], which the card lacks; add one (it may be empty), or leave it out"
        if card.run is not None and "trajectories" not in card.run.model_fields_set:
            yield ("run", "trajectories"), "missing: trajectories of production"
        return
    for name, table, words in (("data", card.data, "what is learned from"), ("model", card.model, "the network")):
        if table is None:
            yield ("fit",), f"needs [{name}], {words}"
    yield from _strangers(card)
    if card.data is not None:
        yield from _data(card.data, card.lattice)
    if card.model is not None:
        yield from _model(card.model, card.lattice)
    if card.data is not None and card.model is not None:
        yield from _flow_of_label(card.data, card.model)
        yield from _length_of_a_flow(card.data, card.model)
    if draws_links(card):
        yield from _drawn(card)


def _couplings(card: Any) -> Iterator[Fault]:
    """Exactly one of gauge.beta and data.betas."""
    if card.gauge is None:
        return
    listed = card.fit is not None and card.data is not None and "betas" in card.data.model_fields_set
    if "beta" not in card.gauge.model_fields_set and not listed and not draws_links(card):
        more = ", or data.betas" if card.fit is not None else ""
        yield ("gauge", "beta"), f"missing: inverse coupling beta{more}"
    if listed and card.gauge.beta is not None:
        yield ("data", "betas"), "gauge.beta and data.betas are both given; keep one"


def _strangers(card: Any) -> Iterator[Fault]:
    """What has no meaning beside a [fit]."""
    for name in ("train", "guide", "network"):
        if getattr(card, name) is not None:
            yield (name,), "is of self-learning HMC, [fit] of labels; keep one of them"
    for name, default in (("measure", type(card.measure)), ("reference", lambda: None)):
        if getattr(card, name) not in (None, default()):
            yield (name,), "is of a run's observables, which a [fit] does not measure; leave it out"
    if card.run is not None:
        if card.run.thermalization:
            yield ("run", "thermalization"), "chains of a [fit] thermalize by data.thermalization; leave it out"
        for key in ("trajectories", "save_every", "checkpoint_every"):
            if _chosen(card.run, key):
                yield ("run", key), "is of a run; a [fit] makes what [data] asks for, and ends with fit.epochs; leave it out"
        if card.run.start == "file":
            yield ("run", "start"), 'each chain of a [fit] begins anew: "hot" or "cold", found "file"'
    if card.lattice is not None:
        for key in ("ranks", "lanes"):
            if getattr(card.lattice, key) is not None:
                yield ("lattice", key), "chains of a [fit] are of many lattices, each on one rank; leave it out"


def _data(data: Any, lattice: Any) -> Iterator[Fault]:
    extent = tuple(lattice.extent or ()) if lattice is not None else ()
    if lattice is not None and lattice.colors is not None and lattice.colors not in (2, 3):
        yield ("lattice", "colors"), f"a [fit] needs 2 or 3 colors, found {lattice.colors}"
    if data.label == "wilson_loop" and "loop" not in data.model_fields_set:
        yield ("data", "loop"), "missing: sites of the loop in both directions, such as [1, 2]"
    if data.label not in ("wilson_loop", None) and data.loop is not None:
        yield ("data", "loop"), f'has a meaning only with label = "wilson_loop", found label = "{data.label}"'
    if data.label in ("topological_charge", "flowed_charge") and extent and len(extent) != 4:
        yield ("data", "label"), f'"{data.label}" needs four directions, lattice.extent has {len(extent)}'
    if data.scale == 0:
        yield ("data", "scale"), "is 0, which makes every label 0; give another factor, or leave it out"
    yield from _flow_times(data, lattice)
    for path, lengths in _lattices(data, extent):
        if extent and len(lengths) != len(extent):
            yield path, f"{len(lengths)} directions found, lattice.extent has {len(extent)}"
        elif data.label == "wilson_loop" and data.loop and lengths and max(data.loop) >= min(lengths):
            yield path, f"a loop of {data.loop[0]} x {data.loop[1]} needs more than {max(data.loop)} sites in each direction"


def _lattices(data: Any, extent: tuple) -> Iterator[tuple[tuple, tuple]]:
    yield ("lattice", "extent"), extent
    for number, lengths in enumerate(data.test_extents or ()):
        yield ("data", "test_extents", number), lengths


def _flow_times(data: Any, lattice: Any) -> Iterator[Fault]:
    """Keys of labels that are flows."""
    if data.label is None:
        return
    if data.label not in FLOW_LABELS:
        for key in ("flow_time", "flow_action", "later_times"):
            if _chosen(data, key):
                yield ("data", key), f'is of the labels {", ".join(FLOW_LABELS)}, found label = "{data.label}"'
        return
    if "flow_time" not in data.model_fields_set:
        yield ("data", "flow_time"), f'missing: flow time of the label "{data.label}"'
    if _chosen(data, "scale") and data.scale != 1:
        yield ("data", "scale"), f'has no meaning with label = "{data.label}"; leave it out'
    if data.label == "square_trace_flow" and _chosen(data, "flow_action"):
        yield ("data", "flow_action"), '"square_trace_flow" has an action of its own, Re tr U^2 of a link; leave it out'
    if data.label == "square_trace_flow" and lattice is not None and lattice.colors not in (2, None):
        yield ("data", "label"), f'"square_trace_flow" is of SU(2), found {lattice.colors} colors'
    for number, time in enumerate(data.later_times or ()):
        if data.flow_time is not None and time <= data.flow_time:
            yield ("data", "later_times", number), f"{time:g} is not later than flow_time = {data.flow_time:g}"


def _drawn(card: Any) -> Iterator[Fault]:
    """What has no meaning where links are drawn from the Haar measure."""
    words = 'has no meaning with data.ensemble = "haar", which has neither action nor chain; leave it out'
    found = {("data", key): _chosen(card.data, key) for key in ("betas", "test_betas", "thermalization", "spacing")}
    found |= {("gauge", "beta"): card.gauge is not None and card.gauge.beta is not None}
    found |= {(name,): bool(getattr(card, name)) for name in ("heat_bath", "hmc", "quarks")}
    yield from ((path, words) for path, given in found.items() if given)


def _model(model: Any, lattice: Any) -> Iterator[Fault]:
    """Keys of another kind of network, and layers that this one cannot have."""
    colors = lattice.colors if lattice is not None else None
    if model.weights == "real" and colors == 3:
        yield ("model", "weights"), ('"real" is for two colours, whose matrices stay real quaternions; three need "complex", or '
                                     "leave it out")
    if model.kind == "lcnn" and _chosen(model, "activation"):
        yield ("model", "activation"), 'is of kind = "cnn"; an lcnn has layers of kind = "lact"'
    if model.kind == "flow":
        yield from _flow(model)
    elif model.kind is not None:
        for kind, keys in KEYS_OF_KINDS.items():
            yield from ((("model", key), f'is of kind = "{kind}", found kind = "{model.kind}"') for key in sorted(keys)
                        if kind != model.kind and _chosen(model, key))
    if model.kind == "cnn":
        yield from _layers_of_a_cnn(model)
    elif model.kind in ("lcnn", "flow"):
        yield from _layers_of_an_lcnn(model)


def _layers_of_a_cnn(model: Any) -> Iterator[Fault]:
    for number, layer in enumerate(_layers(model)):
        for key in set(LayerTable.model_fields) - set(CNN_KEYS):
            if _chosen(layer, key):
                yield ("model", "layers", number, key), f"a layer of a cnn has {' and '.join(CNN_KEYS)} only"


def _layers_of_an_lcnn(model: Any) -> Iterator[Fault]:
    """Keys that have no effect on a layer of its kind."""
    for number, layer in enumerate(_layers(model)):
        own = LAYER_KEYS.get(layer.kind, set(LayerTable.model_fields))
        for key in sorted(set(LayerTable.model_fields) - own - {"kind"}):
            if _chosen(layer, key):
                has = f"which has {', '.join(sorted(own))}" if own else "which has no keys of its own"
                yield ("model", "layers", number, key), f'has no meaning in a layer of kind = "{layer.kind}", {has}; leave it out'


def _layers(model: Any) -> list[Any]:
    return [LayerTable.model_construct(**layer) if isinstance(layer, dict) else layer for layer in model.layers or ()]


def _flow(model: Any) -> Iterator[Fault]:
    """Keys of other generators than that of the flow."""
    if "generator" not in model.model_fields_set:
        yield ("model", "kind"), '"flow" needs model.generator: "mlp", "loops" or "lcnn"'
    if model.generator is None:
        return
    own = KEYS_OF_GENERATORS[model.generator]
    for generator, keys in KEYS_OF_GENERATORS.items():
        for key in sorted(keys - own):
            if _chosen(model, key) and not (key == "layers" and not model.layers):
                yield ("model", key), f'is of generator = "{generator}", found generator = "{model.generator}"'
    if model.generator == "lcnn" and not model.layers:
        yield ("model", "generator"), '"lcnn" needs [[model.layers]], one or more'
    for number, layer in enumerate(_layers(model)):
        if model.generator == "lcnn" and layer.kind == "lexp":
            yield ("model", "layers", number, "kind"), '"lexp" moves links, as the flow itself does; leave it out'
    for number, loop in enumerate(model.loops or ()):
        if model.generator == "loops" and isinstance(loop, str) and loop.partition("_")[0] not in FLOW_SHAPES:
            yield ("model", "loops", number), f'"{loop}" found; the loops of a learned flow are {", ".join(FLOW_SHAPES)}'
    if model.generator == "loops" and model.step_weights:
        yield from _step_weights(model)
    if model.generator == "mlp" and (model.time_degree or 0) > 1:
        yield ("model", "time_degree"), f"0 or 1 expected with an mlp, which takes time as an input, found {model.time_degree}"


def _step_weights(model: Any) -> Iterator[Fault]:
    """A row of weights for each step: nothing is known of other times."""
    if model.time_degree:
        yield ("model", "time_degree"), "has no meaning with step_weights, which are constant during a step; leave it out"
    if model.scheme not in ("euler", None):
        yield ("model", "scheme"), f'"{model.scheme}" asks for weights within a step; with step_weights use "euler"'


def _flow_of_label(data: Any, model: Any) -> Iterator[Fault]:
    """Flows learn flows, and nothing else does."""
    if None in (data.label, model.kind):
        return
    if (model.kind == "flow") != (data.label in FLOW_LABELS):
        others = ", ".join(FLOW_LABELS) if model.kind == "flow" else "wilson_loop, topological_charge"
        yield ("model", "kind"), f'"{model.kind}" learns the labels {others}, found label = "{data.label}"'
    elif data.later_times and model.step_weights:
        yield ("data", "later_times"), "model.step_weights are of the steps to flow_time; leave later times out"
    elif data.label == "square_trace_flow" and model.generator in ("loops", "lcnn"):
        yield ("model", "generator"), (f'"{model.generator}" is covariant, but Re tr U^2 of a link is not gauge invariant: '
                                       'no such flow can follow it; use "mlp"')


def _length_of_a_flow(data: Any, model: Any) -> Iterator[Fault]:
    """Steps that would never end."""
    if model.kind != "flow" or not model.steps or not data.flow_time:
        return
    last = max((data.flow_time, *(time for time in data.later_times or () if time)))
    if (steps := last / data.flow_time * model.steps) > MOST_STEPS:
        path = ("model", "steps") if model.steps > MOST_STEPS else ("data", "later_times")
        yield path, f"{steps:.3g} steps to t = {last:g}, of which {model.steps} to data.flow_time; {MOST_STEPS} are the most"


def _chosen(table: Table, key: str) -> bool:
    """Whether a key has another value than its default; a faulty value is None."""
    return getattr(table, key) not in (None, type(table).model_fields[key].default)
