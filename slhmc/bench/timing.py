"""Time recorded kernels: many calls a measurement, the median of several measurements."""

import statistics
import time

MEASUREMENTS = 7


def seconds_per_call(device, work, target: float = 0.03, inner: int = 1) -> float:
    """Median wall time of `work()`, which launches kernels. `inner` is how often work() repeats what is to be timed."""
    with device.record() as tape:
        work()
    calls, elapsed = 1, 0.0
    tape.run()
    while True:
        elapsed = _run(device, tape, calls)
        if elapsed > target / 4:
            break
        calls *= 4
    calls = max(1, round(calls * target / elapsed))
    times = [_run(device, tape, calls) / calls for _ in range(MEASUREMENTS)]
    return statistics.median(times) / inner


def _run(device, tape, calls: int) -> float:
    device.synchronize()
    begun = time.perf_counter()
    for _ in range(calls):
        tape.run()
    device.synchronize()
    return time.perf_counter() - begun
