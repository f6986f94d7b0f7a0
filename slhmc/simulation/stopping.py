"""Requests to stop from outside: USR1 (batch systems, launchers) and TERM."""

import signal


class StopRequest:
    """While entered, USR1 and TERM set `requested` instead of killing the process; the trajectory at work is finished."""

    SIGNALS = (signal.SIGUSR1, signal.SIGTERM)

    def __init__(self):
        self.requested = False
        self._previous: dict = {}

    def _note(self, *_):
        self.requested = True

    def __enter__(self) -> "StopRequest":
        for number in self.SIGNALS:
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
