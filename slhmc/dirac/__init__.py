"""Dirac operators."""

from slhmc.dirac.staggered import StaggeredDirac, StaggeredNormal

__all__ = ["StaggeredDirac", "StaggeredNormal"]
