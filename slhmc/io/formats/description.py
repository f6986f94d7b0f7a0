"""What files of links say about themselves, in one form for all formats."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

COARSEST = 1e-2  # a claim of fewer digits is held to be printed without the zeros at its end, as %g does
SINGLE, DOUBLE = "single", "double"
REALS = {SINGLE: 4, DOUBLE: 8}


@dataclass(frozen=True)
class Claim:
    """A number in a header, and how far the links may be from it: the last digit that was written, or rounding."""

    value: float
    tolerance: float

    @classmethod
    def of_text(cls, text: str, least: float) -> "Claim":
        """The number in `text`, good to its last digit, but not finer than `least` or coarser than COARSEST.

        ValueError if it is none.
        """
        value = float(text)
        digits, _, exponent = text.strip().lower().partition("e")
        last = 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))
        return cls(value, max(min(last, COARSEST), least))

    def holds(self, found: float) -> bool:
        """Whether `found` is as near as claimed; a claim that is not a number holds never."""
        return abs(found - self.value) <= self.tolerance


@dataclass(frozen=True)
class Description:
    """Lattice (x first), group, precision, and the claims of a file; None where it makes none.

    plaquette: mean of Re tr P / Nc; link_trace: mean of Re tr U / Nc; checksum: words as the format writes them.
    """

    format: str
    extent: tuple[int, ...]
    colors: int
    precision: str
    plaquette: Claim | None = None
    link_trace: Claim | None = None
    checksum: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sites(self) -> int:
        """Of the whole lattice."""
        number = 1
        for length in self.extent:
            number *= length
        return number

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all links: [t, z, y, x, mu, row, column]."""
        return (*reversed(self.extent), len(self.extent), self.colors, self.colors)

    def site_bytes(self, rows: int | None = None) -> int:
        """Bytes of the links of a site, with all rows of a matrix or so many."""
        return len(self.extent) * (self.colors if rows is None else rows) * self.colors * 2 * REALS[self.precision]
