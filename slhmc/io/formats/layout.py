"""What a writer of a format hands over: bytes of this rank, and what stands before and after those of all ranks."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Encoded(NamedTuple):
    """`data`: reals of this rank's slices, rows of one site each, in the byte order of the file. `head` and `tail` make the bytes
    around the data of all ranks, from the checksum as text (empty for formats without one); `head` has the same length for any.
    """

    data: np.ndarray
    head: Callable[[str], bytes]
    tail: Callable[[str], bytes] = lambda checksum: b""
