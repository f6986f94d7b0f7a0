"""Requests to stop from outside: USR1 (batch systems, launchers) and TERM."""

import signal
import time


class StopRequest:
    """While entered, USR1 and TERM make `requested` true instead of killing the process; the trajectory at work is finished.

    Launchers signal whole process groups. The signals are therefore blocked in this thread, which programs that it starts
    (compilers) inherit; threads from before, which are not blocked, are met by a handler. `entered`: when (time.monotonic).
    """

    SIGNALS = (signal.SIGUSR1, signal.SIGTERM)

    def __init__(self):
        self.entered = 0.0
        self._noted = False
        self._previous: dict = {}
        self._previous_mask: set = set()

    @property
    def requested(self) -> bool:
        return self._noted or not signal.sigpending().isdisjoint(self.SIGNALS)

    def _note(self, *_):
        self._noted = True

    def __enter__(self) -> "StopRequest":
        self.entered = time.monotonic()
        for number in self.SIGNALS:
            self._previous[number] = signal.signal(number, self._note)
        self._previous_mask = signal.pthread_sigmask(signal.SIG_BLOCK, self.SIGNALS)
        return self

    def __exit__(self, *_) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._previous_mask)  # what is pending still meets our handler
        for number, handler in self._previous.items():
            signal.signal(number, handler)
