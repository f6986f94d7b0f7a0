"""Networks of gauge-covariant layers: smeared links with trainable weights, and the way back for forces and gradients."""

from slhmc.networks.loops import LOOPS
from slhmc.networks.network import KERNEL_FILES, KINDS, Network, make_network

__all__ = ["KERNEL_FILES", "KINDS", "LOOPS", "Network", "make_network"]
