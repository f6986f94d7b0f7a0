"""Lattice gauge equivariant convolutional networks (L-CNN), arXiv:2012.12901; the part of `slhmc.networks` that needs torch."""

from slhmc.networks.lcnn.batch import LinkBatch
from slhmc.networks.lcnn.network import LCNN, Layer

__all__ = ["LCNN", "Layer", "LinkBatch"]
