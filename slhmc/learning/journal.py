"""What a training tells on its way: log.txt, status.json and the observer of the command line; rank 0 alone."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from slhmc.errors import SlhmcError
from slhmc.io import RunDirectory
from slhmc.simulation.simulation import error_words
from slhmc.simulation.status import LiveStatus


class Journal:
    """`open` once the directory is locked, `tell` after each piece of work, `finish` in the end."""

    def __init__(self, files: RunDirectory):
        self.files = files
        self.last: dict = {}
        self._status = LiveStatus(files, "training")

    def open(self) -> None:
        self.files.write_log("")  # one that cannot be written is found before anything is computed

    def tell(self, report, observer) -> None:
        """One piece of work: a line of the log, the status if it is old, and the observer.

        A report has `log_line` ("" for none) and `status`, what status.json has of it.
        """
        if report.log_line:
            self.files.write_log(report.log_line + "\n")
        self.last = report.status
        if self._status.old:
            self._status.write("running", self.last)
        if observer is not None:
            observer(report)

    def go_on(self, report) -> None:
        """Where a resumed training is, for a session with nothing left to do."""
        self.last = report.status

    def finish(self, state: str, error: str | None = None) -> None:
        """Last words in status and log; the directory is free then."""
        try:
            self._status.write(state, self.last, error)
            self.files.write_log(f"{state}\n")
        finally:
            self.close()

    def close(self) -> None:
        """Harmless if done before."""
        self.files.close()

    @contextmanager
    def told_on_error(self, root: bool) -> Iterator[None]:
        """`finish` with the error, on rank 0, if the block raises."""
        try:
            yield
        except BaseException as error:
            if root:
                self._status.warns = False
                interrupted = isinstance(error, KeyboardInterrupt)
                with suppress(SlhmcError):  # the first error is the one to tell
                    self.finish("interrupted" if interrupted else "failed", None if interrupted else error_words(error))
            raise


@contextmanager
def closed_on_error(journal: Journal) -> Iterator[None]:
    """`close` if the block raises."""
    try:
        yield
    except BaseException:
        journal.close()
        raise
