"""Bounds of the machine, measured in the same run: FMA peak and bandwidth at a given working set."""

import numpy as np

from slhmc.backend.signatures import FMA_CHAINS, Range
from slhmc.bench.timing import seconds_per_call


class Machine:
    """Measured bounds of a device, remembered per precision and working set."""

    def __init__(self, device):
        self.device = device
        self._peaks: dict[str, float] = {}
        self._bandwidths: dict[int, float] = {}

    def _kernel(self, name: str, real: str):
        lanes = self.device.default_lanes(real)
        return self.device.unit("bounds.cc", real, lanes)[name], lanes

    def peak(self, real: str) -> float:
        """Multiply-adds from registers, in flop/s."""
        if real not in self._peaks:
            kernel, lanes = self._kernel("multiply_add_peak", real)
            groups, rounds = 1 << 14, 200
            dtype = np.float64 if real == "double" else np.float32
            data = self.device.from_host(np.full(2 * lanes, 0.5, dtype))
            out = self.device.empty((groups, lanes), dtype)
            structure = kernel.structure(Range(0, groups, 0, 1, 0), self.device.pointer(data), self.device.pointer(out), rounds)
            seconds = seconds_per_call(self.device, lambda: self.device.launch(kernel, structure, data, out))
            self._peaks[real] = 2.0 * FMA_CHAINS * rounds * groups * lanes / seconds
        return self._peaks[real]

    def bandwidth(self, working_set: float) -> float:
        """Bytes read and written per second by a triad over arrays of `working_set` bytes in all."""
        step = max(12, round(2 * np.log2(max(working_set, 1))))  # half octaves
        if step not in self._bandwidths:
            self._bandwidths[step] = self._triad(2.0 ** (step / 2))
        return self._bandwidths[step]

    def _triad(self, working_set: float) -> float:
        kernel, lanes = self._kernel("triad", "double")
        groups = max(1, int(working_set / (3 * 8 * lanes)))
        x, y, out = (self.device.zeros((groups, lanes), np.float64) for _ in range(3))
        pointers = [self.device.pointer(array) for array in (x, y, out)]
        structure = kernel.structure(Range(0, groups, 0, 1, 0), *pointers, 0.5)
        seconds = seconds_per_call(self.device, lambda: self.device.launch(kernel, structure, x, y, out))
        return 3.0 * 8 * lanes * groups / seconds

    def bound(self, real: str, flops: float, moved: float, working_set: float) -> float:
        """Shortest possible seconds: flops at the peak or bytes at the bandwidth of the working set."""
        return max(flops / self.peak(real), moved / self.bandwidth(working_set))
