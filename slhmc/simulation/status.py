"""`LiveStatus`: status.json while something runs."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from slhmc.errors import InputError
from slhmc.io import RunDirectory

STATUS_SECONDS = 1.0  # status.json need not be written more often than this

logger = logging.getLogger(__name__)


class LiveStatus:
    """status.json only tells how a run does: one warning if it cannot be written, and the run goes on."""

    def __init__(self, files: RunDirectory, what: str = "the run"):
        self.files, self.what, self.warns, self._written = files, what, True, 0.0

    @property
    def old(self) -> bool:
        """Whether it is time to write it again."""
        return time.monotonic() - self._written > STATUS_SECONDS

    def write(self, state: str, told: Mapping[str, Any], error: str | None = None) -> None:
        """state, what is told, and the error if there is one."""
        self._written = time.monotonic()
        try:
            self.files.write_status({"state": state} | dict(told) | ({} if error is None else {"error": error}))
        except InputError as fault:
            if self.warns:
                logger.warning("%s; %s goes on without it", fault, self.what)
            self.warns = False
