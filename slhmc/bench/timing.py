"""Time recorded kernels: many calls a measurement, the median of several measurements."""

import statistics
import time

MEASUREMENTS = 7
TARGET = 0.03  # seconds of one measurement
COPIES = 32  # of work that is short beside the call that replays it


def seconds_per_call(device, work, inner: int = 1) -> float:
    """Median wall time of `work()`, which launches kernels. `inner` is how often work() repeats what is to be timed."""
    tape = _recorded(device, work, 1)
    copies = 1
    if _run(device, tape, 1) < 100e-6:
        copies = COPIES
        tape = _recorded(device, work, copies)
    calls = 1
    while (elapsed := _run(device, tape, calls)) < TARGET / 4:
        calls *= 4
    calls = max(1, round(calls * TARGET / elapsed))
    times = [_run(device, tape, calls) / calls for _ in range(MEASUREMENTS)]
    return statistics.median(times) / (inner * copies)


def _recorded(device, work, copies: int):
    with device.record() as tape:
        for _ in range(copies):
            work()
    tape.run()
    return tape


def _run(device, tape, calls: int) -> float:
    device.synchronize()
    begun = time.perf_counter()
    for _ in range(calls):
        tape.run()
    device.synchronize()
    return time.perf_counter() - begun
