#!/usr/bin/env python3
"""Time per configuration of learned flows, and of exact flows that are as good: tables of docs/results/learned_flow.md.

    .venv/bin/python scripts/flow_cost.py "2D=runs/a/train" "4D=runs/b/train" -o runs/flow_cost.json

NAME=DIRECTORY of `slhmc train` with label = "flowed_links" or "flowed_charge". On test configurations of each test lattice: the
learned flow, by the engine's kernels where it has them (simulation.learned_flow.flow_network), else by torch; and by the engine

- Runge-Kutta: GradientFlow in n equal steps, n from the fewest that are stable;
- Euler: n equal steps, stout smearing by plaquettes;
- Chebyshev: Euler steps whose lengths, not learned, make long times stable (networks.flow.schemes.chebyshev_lengths);
- of charges, stopped early: n of the longest Runge-Kutta steps that are stable, to an earlier time.

The fewest steps whose error is not above that of the learned flow are found by bisection. Errors are the mean over links of
|U - U*|^2 (Frobenius), of charges the root mean square of Q - Q* (clover). Times are those of the processor, which jobs beside
this one disturb little: of each configuration the shortest of --repeats, the median over configurations, without reading and
writing links. What OUTPUT has of other NAMEs stays, so flows may be timed one by one.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, isfinite, pi, sqrt
from pathlib import Path

import numpy as np
import torch
from commands import guarded
from pages import filled, markdown

from slhmc.backend import Device, open_device
from slhmc.errors import InputError
from slhmc.io import load_data_set
from slhmc.lattice import GaugeField, Lattice, field_strength_sums
from slhmc.learning.datasets import Part, origin, parts, target
from slhmc.networks import Network, make_network
from slhmc.networks.flow.schemes import chebyshev_lengths
from slhmc.networks.lcnn import LinkBatch
from slhmc.observables.gradient_flow import GradientFlow
from slhmc.runcard import RunCard
from slhmc.simulation.learned_flow import flow_network, load_flow, make_flow, pack_links, unpack_links

FAMILIES = {"runge_kutta": "Runge-Kutta", "euler": "Euler", "chebyshev": "Chebyshev", "stopped_early": "stopped early"}
MOST_STEPS = 256


@dataclass
class Method:
    """A way from U(0) to U(t): `run` takes the links that U has to its end and may overwrite them."""

    steps: int
    loops: int  # evaluations of the generator: of all staples of a configuration
    run: Callable[[], GaugeField]


def smearing(network: Network, U: GaugeField) -> Method:
    """The layers of a network, recorded."""
    U.changed()
    with U.lattice.device.record() as tape:
        end = network.smear(U)

    def run() -> GaugeField:
        tape.run()
        end.changed()
        return end
    return Method(network.layers, network.layers, run)


def by_torch(tensors: dict, card: RunCard, U: GaugeField) -> Method:
    """A learned flow that the engine does not have, one configuration after the other."""
    flow = make_flow(card, "double")
    flow.load_state_dict({name: torch.from_numpy(np.array(values)).double() for name, values in tensors.items()})
    stages = {"euler": 1, "munthe_kaas_2": 2, "munthe_kaas_4": 4}.get(flow.scheme, 3)

    @torch.no_grad()
    def run() -> GaugeField:
        batch = LinkBatch(U.lattice.device, pack_links(U)[None], U.lattice.extent, U.colors)
        unpack_links(U, flow.generator.packed(flow(batch))[0].numpy())
        return U
    return Method(flow.steps, flow.steps * stages, run)


def runge_kutta(U: GaugeField, action: str, to_time: float, steps: int) -> Method:
    """Equal steps of the gradient flow."""
    flow = GradientFlow(U, action, to_time / steps)

    def run() -> GaugeField:
        flow.restart()
        return flow.advance_links(to_time)
    return Method(steps, 3 * steps, run)


def stout_steps(U: GaugeField, lengths: list[float]) -> Method:
    """Euler steps of the Wilson flow: dU = Z U is a stout layer with weights 1/2 of plaquettes."""
    weights = [[length / 2] for length in lengths]
    return smearing(make_network("stout", U.colors, U.lattice.dimensions, len(lengths), ("plaquette",), weights), U)


def families(U: GaugeField, card: RunCard) -> dict[str, tuple[int, Callable[[int], Method]]]:
    """The fewest steps of each family, and the method of so many."""
    to_time, action, dimensions = card.data.flow_time, card.data.flow_action, U.lattice.dimensions
    limit = GradientFlow(U, action, tolerance=0.5).limit
    fewest = ceil(to_time / limit - 1e-9)
    found = {"runge_kutta": (fewest, lambda steps: runge_kutta(U, action, to_time, steps))}
    if card.data.label == "flowed_charge" and fewest > 1:
        found["stopped_early"] = (1, lambda steps: runge_kutta(U, action, min(to_time, steps * limit), steps))
    if action == "wilson":
        found["euler"] = (1, lambda steps: stout_steps(U, [to_time / steps] * steps))
        first = 1 + int(sqrt(to_time * 2 * dimensions))
        found["chebyshev"] = (first, lambda steps: stout_steps(U, chebyshev_lengths(to_time, steps, 4.0 * dimensions)))
    return found


class Bench:
    """Test configurations of one lattice: errors and times of methods."""

    def __init__(self, card: RunCard, part: Part, data: Path, device: Device, configurations: int, repeats: int):
        plain = load_data_set(part.path(data), origin(card, part))
        flowed = load_data_set(target(card, part).path(data), origin(card, target(card, part)))
        chosen = np.unique(np.linspace(0, len(plain.links) - 1, configurations).round().astype(int))
        self.links, self.ends, self.beta = plain.links[chosen], flowed.links[chosen], plain.beta[chosen]
        self.charges, self.repeats = card.data.label == "flowed_charge", repeats
        self.U = GaugeField(Lattice(part.extent, device), card.lattice.colors)
        self.wanted = [self._charge(end) for end in self.ends] if self.charges else []

    def _charge(self, packed: np.ndarray) -> float:
        unpack_links(self.U, packed)
        return self._charge_of(self.U)

    def _charge_of(self, links: GaugeField) -> float:
        return float(links.lattice.device.to_host(field_strength_sums(links))[1]) / (8 * pi**2)

    def measure(self, method: Method) -> dict:
        """steps, loops, error, milliseconds; of charges Q of all configurations, and the part with the same nearest integer."""
        values, seconds = [], []
        unpack_links(self.U, self.links[0])
        method.run()  # buffers and kernels
        for start, end in zip(self.links, self.ends, strict=True):
            found, shortest = min((self._run(method, start) for _ in range(self.repeats)), key=lambda run: run[1])
            seconds.append(shortest)
            values.append(self._charge_of(found) if self.charges else self._mean_square(found, end))
        told = {"steps": method.steps, "loops": method.loops, "milliseconds": 1e3 * float(np.median(seconds))}
        if not self.charges:
            return told | {"error": float(np.mean(values))}
        return told | {"error": float(np.mean(np.square(np.subtract(values, self.wanted)))) ** 0.5, "charges": values,
                       "same_integer": float((np.rint(values) == np.rint(self.wanted)).mean())}

    def _run(self, method: Method, start: np.ndarray) -> tuple[GaugeField, float]:
        """The links at the end, always the same field, and seconds."""
        unpack_links(self.U, start)
        begun = time.process_time()
        found = method.run()
        self.U.lattice.device.synchronize()
        return found, time.process_time() - begun

    def _mean_square(self, links: GaugeField, end: np.ndarray) -> float:
        """Mean over links of |U - U*|^2; four reals are one row of two of an SU(2) link."""
        return float((2 if links.colors == 2 else 1) * ((pack_links(links) - end) ** 2).sum(1).mean())

    def fewest(self, error: float, first: int, make: Callable[[int], Method]) -> tuple[dict | None, list[dict]]:
        """The method of the fewest steps with no larger error, None beyond MOST_STEPS; and all that were tried, by steps."""
        tried: dict[int, dict] = {}

        def good(steps: int) -> bool:
            if steps not in tried:
                tried[steps] = self.measure(make(steps))
            return isfinite(tried[steps]["error"]) and tried[steps]["error"] <= error
        low, high = first - 1, first
        while not good(high) and high < MOST_STEPS:
            low, high = high, min(MOST_STEPS, 2 * high)
        found = good(high)
        while found and high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if good(middle) else (middle, high)
        return tried[high] if found else None, [tried[steps] for steps in sorted(tried)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("flows", nargs="*", help="NAME=DIRECTORY of a training; none: the tables of what OUTPUT has")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file of all numbers")
    parser.add_argument("--page", type=Path, help="Markdown page whose tables `cost` and `cost_charge` are replaced")
    parser.add_argument("--configurations", type=int, default=20, help="test configurations of a lattice, evenly over all beta")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each configuration")
    parser.add_argument("--lattices", nargs="+", help='names of test lattices, "8x8" or "8x8 beta 3"; all if left out')
    options = parser.parse_args()
    found = json.loads(options.output.read_text()) if options.output.exists() else {}
    for flow in options.flows:
        name, _, directory = flow.rpartition("=")
        found[name or directory] = found.get(name or directory, {}) | numbers(Path(directory), options)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=1))
    texts = {name: table(found, charges) for name, charges in (("cost", False), ("cost_charge", True))}
    if options.page:
        options.page.write_text(filled(options.page.read_text(), texts))
    print("\n\n".join(texts.values()))
    return 0


def numbers(directory: Path, options: argparse.Namespace) -> dict:
    """For each test lattice the learned flow, the fewest steps of each family that are as good, and all that were tried."""
    tensors, card = load_flow(directory / "weights.h5")
    if card.data.label not in ("flowed_links", "flowed_charge"):
        raise InputError(f'{directory}: label = "{card.data.label}" found, "flowed_links" or "flowed_charge" expected, which the '
                         "engine's flow reaches too")
    data, device = Path(card.data.directory) if card.data.directory else directory / "data", open_device("cpu")
    found = {}
    for part in parts(card)[2:]:
        if options.lattices and part.name not in options.lattices:
            continue
        bench = Bench(card, part, data, device, options.configurations, options.repeats)
        network = flow_network(tensors, card)
        learned = by_torch(tensors, card, bench.U) if network is None else smearing(network, bench.U)
        entry = {"label": card.data.label, "time": card.data.flow_time, "beta": bench.beta.tolist(), "wanted": bench.wanted,
                 "engine": network is not None, "learned": bench.measure(learned)}
        for name, (first, make) in families(bench.U, card).items():
            entry[name], entry[f"{name}_tried"] = bench.fewest(entry["learned"]["error"], first, make)
        found[part.name] = entry
        print(f"{part.name}: {words(entry['learned'])} | " + " | ".join(words(entry.get(name)) for name in FAMILIES),
              file=sys.stderr, flush=True)
    return found


def words(entry: dict | None) -> str:
    """A cell of the table."""
    if entry is None:
        return "-"
    return f"{entry['steps']} steps ({entry['loops']}): {entry['error']:.2g}, {entry['milliseconds']:.3g} ms"


def table(found: dict, charges: bool) -> str:
    """A line for each flow and lattice: steps (evaluations of the generator), error, time of each method."""
    names = [name for name in FAMILIES if charges or name != "stopped_early"]
    rows = [[flow, lattice, f"{entry['time']:g}", words(entry["learned"]) + ("" if entry["engine"] else " (torch)"),
             *(words(entry.get(name)) for name in names)]
            for flow, lattices in found.items() for lattice, entry in lattices.items()
            if (entry["label"] == "flowed_charge") == charges]
    return markdown(["flow", "lattice", "t", "learned", *(FAMILIES[name] for name in names)], rows)


if __name__ == "__main__":
    sys.exit(guarded(main))
