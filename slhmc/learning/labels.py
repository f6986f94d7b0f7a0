"""What a regression learns: numbers at each site of each configuration, computed from the links in double precision."""

import numpy as np
import torch

from slhmc.backend import Device
from slhmc.errors import InputError
from slhmc.io import DataSet
from slhmc.learning.flows import as_vectors, square_trace_flow
from slhmc.networks.flow import clover_charge
from slhmc.networks.lcnn import LinkBatch
from slhmc.networks.lcnn.loops import topological_charge_density, wilson_loops
from slhmc.runcard import DataTable

SITES = 32768  # of one batch that no card sizes: vectors are of samples, so a few of them even on large lattices


def label(data: DataTable, batch: LinkBatch) -> torch.Tensor:
    """(samples, sites) of data.label, one that is not a flow, times data.scale.

    wilson_loop: Re tr W / Nc of the n x m loop that begins at the site, n along mu, m along nu, mean over mu < nu.
    topological_charge: eps_{mu nu rho sigma} / (32 pi^2) tr F_{mu nu} F_{rho sigma}, F = (P - P^+) / 2i, P the plaquette.
    """
    if data.label == "wilson_loop":
        return data.scale * wilson_loops(batch, *data.loop).mean(-1)
    return data.scale * topological_charge_density(batch)


def labels_of(data: DataTable, links: DataSet, device: Device, name, flowed: DataSet | None = None) -> np.ndarray:
    """float64 [sample, site] of a whole data set; InputError, with the file's `name`, if one is not finite.

    flowed_links, square_trace_flow: [sample, site, mu x real], see `as_vectors`; flowed_charge: [sample, 1]. flowed: the same
    links at the flow time of the label, where it needs them.
    """
    if data.label == "flowed_links":
        found = as_vectors(flowed.links, flowed.colors)
    elif data.label == "square_trace_flow":
        found = as_vectors(square_trace_flow(links.links, data.flow_time), 2)
    elif data.label == "flowed_charge":
        found = _of_chunks(lambda batch: clover_charge(batch)[:, None], flowed, device)
    else:
        found = _of_chunks(lambda batch: label(data, batch), links, device)
    bad = len(found) - int(np.isfinite(found).reshape(len(found), -1).all(1).sum())
    if bad:
        raise InputError(f"{name}: labels of {bad} of {len(found)} configurations are not finite; remove the file and it is made "
                         "anew")
    return found


@torch.no_grad()
def _of_chunks(function, links: DataSet, device: Device) -> np.ndarray:
    rows = [function(LinkBatch(device, links.links[chosen], links.extent, links.colors)).cpu().numpy()
            for chosen in chunks(len(links.links), links.links.shape[-1])]
    return np.concatenate(rows)


def chunks(samples: int, sites: int) -> list[slice]:
    """Slices of samples with SITES sites or one sample each."""
    size = max(1, SITES // sites)
    return [slice(begin, min(begin + size, samples)) for begin in range(0, samples, size)]
