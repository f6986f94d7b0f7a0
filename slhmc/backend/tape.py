"""Tapes: sequences of kernel calls, recorded once and replayed without the interpreter.

`with device.record() as tape:` every kernel called inside is written down instead of run; arguments are fixed, values
live in device memory. `tape.run()` runs them. A loop that ends on a computed scalar is `device.repeat_while(cell,
body)`: recorded inside a tape, run at once outside. What must be looked at after a run (did the solver converge?) is
`tape.check`.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field

from slhmc.errors import SlhmcError

CALL, CALLBACK, REPEAT, SKIP = range(4)
_CALLBACK_TYPE = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_void_p)


class _Step(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_long), ("function", ctypes.c_void_p), ("arguments", ctypes.c_void_p),
                ("target", ctypes.c_long), ("shared", ctypes.c_long)]


class CompiledCall:
    """A compiled function `long f(arguments *)` between kernels; `failure()` is the error if it returns other than 0.

    Called, it runs, and raises that error. It keeps alive what `arguments` point to: `keep`, or what `failure` is bound to.
    """

    def __init__(self, function, arguments: ctypes.Structure, failure: Callable[[], Exception], keep=()):
        self.function, self.arguments, self.failure, self.keep = function, arguments, failure, keep

    def __call__(self) -> None:
        if self.function(ctypes.addressof(self.arguments)):
            raise self.failure()


@dataclass
class Straight:
    """Kernel calls one after the other. `runs` and `graph` are for the device that replays them."""

    calls: list[tuple] = field(default_factory=list)
    runs: int = 0
    graph: object = None


@dataclass
class Loop:
    """While the double at address `cell` is not 0: the pieces of `body`."""

    cell: int
    body: list


class Tape:
    """Recorded steps of one device. Not for reuse on other arrays: addresses are part of the recording."""

    def __init__(self, device):
        self.device = device
        self.steps: list[tuple] = []
        self.kept: list = []
        self.checks: list[Callable[[], None]] = []
        self.failure: BaseException | None = None
        self._compiled = self._pieces = None

    def add(self, kind: int, function, arguments, target: int = 0, keep: tuple = ()) -> None:
        self.steps.append((kind, function, arguments, target))
        self.kept.append((arguments, keep))

    def add_callback(self, function: Callable[[], None]) -> None:
        """A call into Python, or of a CompiledCall (messages), between kernels."""
        self.add(CALLBACK, function, None)

    def check(self, function: Callable[[], None]) -> None:
        """Call `function` after each run; it raises if a recorded computation failed."""
        if function not in self.checks:
            self.checks.append(function)

    def run(self) -> None:
        """Replay, then run the checks, all of them: one that raises must not leave the next with an old failure."""
        self.device.replay(self)
        failures = []
        for check in self.checks:
            try:
                check()
            except SlhmcError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def compiled(self):
        """The steps as an array for the compiled executor (host)."""
        if self._compiled is None:
            array = (_Step * max(1, len(self.steps)))()
            for i, (kind, function, arguments, target) in enumerate(self.steps):
                shared = kind == CALL and self.device.shares(function, arguments)
                if isinstance(function, CompiledCall):
                    function, arguments = function.function, function.arguments
                elif kind == CALLBACK:
                    function = _CALLBACK_TYPE(self._guarded(function))
                    self.kept.append(function)
                elif kind == CALL:
                    function = function.function
                function = None if function is None else ctypes.cast(function, ctypes.c_void_p).value
                address = ctypes.addressof(arguments) if isinstance(arguments, ctypes.Structure) else arguments
                array[i] = _Step(kind, function, address, target, shared)
            self._compiled = array
        return self._compiled

    def pieces(self) -> list:
        """The steps as nested pieces, for a device that replays from Python: Straight, Loop, or a function to call."""
        if self._pieces is None:
            self._pieces = _pieces(self.steps, 0, len(self.steps))
        return self._pieces

    def error_at(self, step: int) -> BaseException:
        """Why the compiled executor stopped at a CALLBACK step."""
        function = self.steps[step][1]
        return function.failure() if isinstance(function, CompiledCall) else self.failure

    def _guarded(self, function):
        def call(_):
            try:
                function()
                return 0
            except BaseException as error:  # noqa: BLE001 - carried across the compiled executor and raised again
                self.failure = error
                return 1
        return call


def _pieces(steps: list[tuple], begin: int, end: int) -> list:
    pieces, i = [], begin
    while i < end:
        kind, function, arguments, target = steps[i]
        if kind == SKIP:  # its REPEAT is the step before its target
            pieces.append(Loop(arguments, _pieces(steps, i + 1, target - 1)))
            i = target
            continue
        if kind == CALLBACK:
            pieces.append(function)
        else:
            if not pieces or not isinstance(pieces[-1], Straight):
                pieces.append(Straight())
            pieces[-1].calls.append((function, arguments))
        i += 1
    return pieces
