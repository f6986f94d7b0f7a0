"""What the test of a learned flow tells beside mean squares: plaquettes, charges, the worst link, links on the wrong side."""

from itertools import pairwise

import numpy as np
import torch

from slhmc.learning.evaluation import Labelled
from slhmc.learning.flows import FlowedLinks
from slhmc.learning.labels import chunks
from slhmc.networks.flow import clover_charge
from slhmc.networks.lcnn import LinkBatch
from slhmc.networks.lcnn.loops import wilson_loops

EDGES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # of the bins in |tr U(0)| / 2


@torch.no_grad()
def flow_numbers(label: str, model: FlowedLinks, samples: Labelled, communicator, time: float | None = None) -> dict:
    """Numbers of a flow on all samples, at another time if one is given. Collective: each rank does its part of them.

    Of links: mse_site, the mean of |U - U*|^2 (Frobenius) over links; mse_start, the same of the links that the flow begins with;
    largest_link_error, the largest |U - U*|; plaquette_error, root mean square over configurations of the difference of mean
    plaquettes; in four dimensions those of charges. Of square_trace_flow besides wrong_pole, the part of links whose trace has
    another sign than the exact one, and bins, all by |tr U(0)| / 2. Of charges: charge_error, root mean square of Q - Q*,
    same_integer, the part of configurations where both are nearest to one integer, charge_variance of Q*.
    """
    mine = np.array_split(np.arange(len(samples)), communicator.size)[communicator.rank]
    rows_of = _of_charges if label == "flowed_charge" else _of_links
    rows = [rows_of(model, *samples.batch(mine[chosen]), time) for chosen in chunks(len(mine), samples.links.shape[-1])]
    parts = [row for part in communicator.allgather(rows) for row in part]
    table = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    found = {}
    if "squares" in table:
        found = {"mse_site": float(table["squares"].mean()), "mse_start": float(table["start"].mean()),
                 "largest_link_error": float(table["squares"].max() ** 0.5),
                 "plaquette_error": float((table["plaquette"] ** 2).mean() ** 0.5)}
    if label == "square_trace_flow":
        found |= _of_poles(table)
    if "charges" in table:
        ours, exact = table["charges"].T
        found |= {"charge_error": float(((ours - exact) ** 2).mean() ** 0.5),
                  "same_integer": float((np.rint(ours) == np.rint(exact)).mean()), "charge_variance": float(exact.var())}
    return found


def _of_links(model: FlowedLinks, batch: LinkBatch, labels: torch.Tensor, time: float | None) -> dict[str, np.ndarray]:
    """Rows for each sample: [link] |U - U*|^2, the same of U(0), tr U* / tr U / tr U(0) of SU(2), differences of plaquettes."""
    directions, start = batch.dimensions, batch.links_of_samples()
    wanted, ours = (values.unflatten(-1, (directions, -1)).permute(0, 2, 3, 1) / model.norm
                    for values in (labels.to(batch.links), model(batch, time)))

    def squares(links):
        return (2 if batch.colors == 2 else 1) * (links - wanted).square().sum(2).flatten(1).cpu().numpy()
    ends = [LinkBatch(batch.device, links, batch.extent, batch.colors) for links in (ours, wanted)]
    plaquettes = [wilson_loops(end, 1, 1).mean((1, 2)).cpu().numpy() for end in ends]
    rows = {"squares": squares(ours), "start": squares(start), "plaquette": plaquettes[0] - plaquettes[1]}
    if batch.colors == 2:
        rows["traces"] = torch.stack([links[:, :, 0].flatten(1) for links in (ours, wanted, start)], -1).cpu().numpy()
    if directions == 4:
        rows["charges"] = torch.stack([clover_charge(end) for end in ends], -1).cpu().numpy()
    return rows


def _of_charges(model: FlowedLinks, batch: LinkBatch, labels: torch.Tensor, time: float | None) -> dict[str, np.ndarray]:
    return {"charges": torch.stack([model(batch, time)[:, 0, 0], labels[:, 0].to(batch.links)], -1).cpu().numpy()}


def _of_poles(table: dict[str, np.ndarray]) -> dict:
    """Links on the wrong side, in all and by how far they were from the equator."""
    ours, wanted, start = table["traces"].reshape(-1, 3).T
    wrong, squares, bins = ours * wanted <= 0, table["squares"].ravel(), []
    for first, last in pairwise(EDGES):
        inside = (np.abs(start) >= first) & ((np.abs(start) < last) | (last == 1))
        if inside.any():
            bins.append({"from": first, "to": last, "links": int(inside.sum()), "mse": float(squares[inside].mean()),
                         "wrong_pole": float(wrong[inside].mean())})
    return {"wrong_pole": float(wrong.mean()), "bins": bins}
