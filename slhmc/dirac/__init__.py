"""Dirac operators."""

from slhmc.dirac.clover import CloverDirac, CloverEvenOdd
from slhmc.dirac.domain_wall import DomainWall, DomainWallDirac, DomainWallEvenOdd
from slhmc.dirac.even_odd import EvenOddOperator, NormalOperator
from slhmc.dirac.staggered import StaggeredDirac, StaggeredNormal
from slhmc.dirac.wilson import WilsonDirac, WilsonEvenOdd

__all__ = ["CloverDirac", "CloverEvenOdd", "DomainWall", "DomainWallDirac", "DomainWallEvenOdd", "EvenOddOperator",
           "NormalOperator", "StaggeredDirac", "StaggeredNormal", "WilsonDirac", "WilsonEvenOdd"]
