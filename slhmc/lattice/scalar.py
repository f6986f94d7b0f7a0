"""Numbers that stay on the device: sums are formed there, so that a recorded trajectory needs no host."""

import numpy as np


class Scalar:
    """A double on the device, the same on all ranks. +, -, * with numbers and other Scalars; float() reads it."""

    def __init__(self, lattice, array=None):
        self.lattice = lattice
        self.array = lattice.device.zeros((1,), np.float64) if array is None else array

    def _combined(self, a: float, other: "Scalar | float", b: float) -> "Scalar":
        result, layout, device = Scalar(self.lattice), self.lattice.layout("double"), self.lattice.device
        kernel = layout.kernel("linear_algebra.cc", "combine_scalars")
        if isinstance(other, Scalar):
            second, b, c = other, b, 0.0
        else:
            second, b, c = self, 0.0, b * float(other)
        pointers = [device.pointer(s.array) for s in (self, second, result)]
        device.launch(kernel, kernel.structure(*pointers, a, b, c), self, second, result)
        return result

    def __add__(self, other):
        return self._combined(1.0, other, 1.0)

    __radd__ = __add__

    def __sub__(self, other):
        return self._combined(1.0, other, -1.0)

    def __rsub__(self, other):
        return self._combined(-1.0, other, 1.0)

    def __mul__(self, factor: float):
        return self._combined(float(factor), 0.0, 0.0)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float):
        return self._combined(1.0 / float(divisor), 0.0, 0.0)

    def __neg__(self):
        return self._combined(-1.0, 0.0, 0.0)

    def __float__(self) -> float:
        if self.lattice.device.tape is not None:
            raise RuntimeError("a Scalar was read while a tape is recorded: its value exists only after the tape has run")
        self.lattice.device.synchronize()
        return float(self.lattice.device.to_host(self.array)[0])
