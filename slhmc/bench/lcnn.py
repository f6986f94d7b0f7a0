"""Training steps of L-CNNs beside the direct formulation of the same layers: transport all channels, form all pairs, contract.

Both take the same links and weights and are run in turns; their outputs are compared before anything is timed.
"""

import ctypes
import re
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch

from slhmc.bench.cases import matrix_flops
from slhmc.lattice import Draws, GaugeField, Lattice, Purpose
from slhmc.networks.lcnn import LCNN, Layer, LinkBatch

PATIENCE = 3  # measurements of each


@dataclass(frozen=True)
class Step:
    """A training step: a network on a batch of links."""

    name: str
    colors: int
    extent: tuple[int, ...]
    batch: int
    layers: tuple[Layer, ...]
    convention: str = "arxiv_v1"


STEPS = (Step("W(4x4) large", 2, (8, 8), 50, (Layer(kernel=4, channels=8),) * 4),
         Step("q_plaq", 2, (8, 8, 8, 4), 4, (Layer(kernel=2, channels=4),), "prl_2022"),
         Step("W(2x2) large", 3, (8, 8), 50, (Layer(kernel=4, channels=8),) * 2))
QUICK = (Step("W(2x2) small", 2, (8, 8), 50, (Layer(kernel=2, channels=2),) * 2),
         Step("W(2x2) small", 3, (8, 8), 50, (Layer(kernel=2, channels=2),) * 2))


def measure(device, machine, step: Step, threads: int) -> dict:
    """One row: seconds and peak memory of a training step in single precision, and of the direct one."""
    torch.set_num_threads(threads)
    links = random_links(device, step)
    net = LCNN(step.colors, len(step.extent), step.layers, step.convention, real="float")
    ways = {"kernels": lambda: net(LinkBatch(device, links, step.extent, step.colors, "float"))[..., 0],
            "direct": lambda: direct(net, links, step.extent)}
    with torch.no_grad():
        ours, theirs = (way() for way in ways.values())
    difference = float((ours - theirs).abs().max() / theirs.abs().max())
    if not difference < 1e-4:
        raise AssertionError(f"{step.name}: outputs differ by {difference:.1e} of the largest")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    peaks = {name: peak_bytes(lambda way=way: train(net, way)) for name, way in ways.items()}
    for _ in range(PATIENCE):
        for name, way in ways.items():
            begun = time.perf_counter()
            train(net, way)
            device.synchronize()
            seconds[name].append(time.perf_counter() - begun)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    flops = step.batch * prod(step.extent) * training_flops(net)
    bound = flops / machine.peak("float")
    return {"name": f"{step.name} SU({step.colors})", "lattice": "x".join(map(str, step.extent)), "batch": step.batch,
            "parameters": net.parameter_count, "threads": threads,
            "seconds": median["kernels"], "direct_seconds": median["direct"],
            "samples_per_second": step.batch / median["kernels"], "ratio": median["direct"] / median["kernels"],
            "peak_bytes": peaks["kernels"], "direct_peak_bytes": peaks["direct"], "difference": difference, "flops": flops,
            "bound_seconds": bound, "fraction": bound / median["kernels"]}


def line(row: dict) -> str:
    """A row in words."""
    memory = "" if row["peak_bytes"] is None else (
        f", peak memory {row['peak_bytes'] / 2**20:.0f} and {row['direct_peak_bytes'] / 2**20:.0f} MiB")
    return (f"L-CNN step {row['name']}, {row['parameters']} parameters, {row['lattice']}, batch {row['batch']}: "
            f"{row['seconds'] * 1e3:.1f} ms, {row['samples_per_second']:.0f} samples/s, {row['fraction']:.0%} of the FMA peak; "
            f"direct {row['direct_seconds'] * 1e3:.0f} ms, {row['ratio']:.1f} times as long{memory}")


def random_links(device, step: Step) -> torch.Tensor:
    """Haar-random packed links of the engine, [sample, mu, real, site]."""
    U = GaugeField(Lattice(step.extent, device), step.colors)
    samples = []
    for number in range(step.batch):
        U.randomize(Draws(1, number).next(Purpose.START))
        matrices = torch.as_tensor(U.to_sites()).flatten(0, -4)  # site, mu, row, column
        rows = matrices[:, :, 0] if step.colors == 2 else matrices.flatten(2)
        samples.append(torch.view_as_real(rows.contiguous()).flatten(2).permute(1, 2, 0))
    return torch.stack(samples)


def train(net, way) -> None:
    """Forward, loss, backward."""
    net.zero_grad()
    (way() - 0.3).square().mean().backward()


def training_flops(net: LCNN) -> int:
    """Per site: three times the way forward, which is the mixtures (two flops a weight and component) and the products."""
    total = 0
    for layer in net.layers:
        shape = layer.shape
        parts = (shape.transported + shape.unit, shape.transported)
        if net.algebra == "quaternion":
            total += 2 * shape.rows * (parts[0] + 3 * parts[1])
        else:
            total += 2 * shape.rows * net.colors**2 * 4 * parts[0]
        total += 2 * shape.channels * shape.outputs * (matrix_flops(net.colors) + 2 * net.colors**2)
    return 3 * total


# ---------------------------------------------------------------- the direct formulation
def direct(net: LCNN, links: torch.Tensor, extent) -> torch.Tensor:
    """y [sample, site] by complex matrices [sample, channel, sites..., row, column]."""
    u = complex_links(links, extent, net.colors).to(torch.complex64)
    w = torch.stack([_loop(u, mu, nu) for mu in range(len(extent)) for nu in range(mu + 1, len(extent))], 1)
    for layer in net.layers:
        shape = layer.shape
        everything = _enlarged(w)
        moved = {(mu, 0): everything for mu in range(len(extent))}
        for mu, steps in shape.shifts:  # one step further than the one before
            moved[mu, steps] = _transport(u, moved[mu, steps - 1], mu)
        transported = [everything] * shape.local + [moved[shift] for shift in shape.shifts]
        n = shape.channels  # W of all sites, then W^+ of all sites, then 1
        listed = torch.cat([part[:, :n] for part in transported] + [part[:, n:2 * n] for part in transported]
                           + [everything[:, 2 * n:]], 1)
        pairs = everything[:, :, None] @ listed[:, None]
        w = torch.einsum("ijk,bjk...->bi...", layer.weight.to(w.dtype), pairs)
    traces = torch.diagonal(w, dim1=-2, dim2=-1).sum(-1)
    y = torch.einsum("i,bi...->b...", net.head.weight[0], torch.cat([traces.real, traces.imag], 1)) + net.head.bias
    return y.flatten(1)


def complex_links(links: torch.Tensor, extent, colors: int) -> torch.Tensor:
    """Packed links as complex matrices [sample, mu, sites..., row, column]."""
    rows = torch.view_as_complex(links.movedim(2, -1).unflatten(-1, (-1, colors, 2)).contiguous())
    if colors == 2:
        rows = torch.cat([rows, torch.stack([-rows[..., 1].conj(), rows[..., 0].conj()], -1)], -2)
    return rows.unflatten(2, tuple(extent[::-1]))


def _shifted(field, mu: int, steps: int):
    return torch.roll(field, -steps, dims=field.ndim - 3 - mu)


def _loop(u, mu: int, nu: int):
    return u[:, mu] @ _shifted(u[:, nu], mu, 1) @ _shifted(u[:, mu], nu, 1).mH @ u[:, nu].mH


def _enlarged(w):
    unit = torch.eye(w.shape[-1], dtype=w.dtype).expand_as(w[:, :1])
    return torch.cat([w, w.mH, unit], 1)


def _transport(u, w, mu: int):
    along = u[:, mu, None]
    return along @ _shifted(w, mu, 1) @ along.mH


# ---------------------------------------------------------------- memory
def peak_bytes(work) -> int | None:
    """How far work() raises the resident memory of this process at its highest; None where Linux does not tell."""
    work()
    try:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before = _resident("VmRSS")
        work()
        return max(0, _resident("VmHWM") - before)
    except OSError:
        return None


def _resident(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(found[1]) if found else 0
