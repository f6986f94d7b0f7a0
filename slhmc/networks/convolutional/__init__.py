"""Convolutional networks on the fluxes of a scalar field: equivariant under translations, with strides, flattening."""

from slhmc.networks.convolutional.network import FAMILIES, POOLS, Convolutional, Stage, family_of
from slhmc.networks.convolutional.published import PUBLISHED, published

__all__ = ["FAMILIES", "POOLS", "PUBLISHED", "Convolutional", "Stage", "family_of", "published"]
