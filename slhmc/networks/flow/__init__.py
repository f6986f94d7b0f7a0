"""Learned flows of links, dU/dt = Q(U, theta, t) U on the group: generators, integrators, gradients. Needs torch."""

from slhmc.networks.flow.charge import clover_charge
from slhmc.networks.flow.generators import LCNNGenerator, LoopGenerator, MLPGenerator
from slhmc.networks.flow.learned import GRADIENTS, LearnedFlow
from slhmc.networks.flow.schemes import SCHEMES

__all__ = ["GRADIENTS", "SCHEMES", "LCNNGenerator", "LearnedFlow", "LoopGenerator", "MLPGenerator", "clover_charge"]
