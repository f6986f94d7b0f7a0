"""`slhmc` as the scripts of studies call it: once for each directory, gone on with if it was interrupted."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from slhmc.errors import InputError, SlhmcError

ROOT = Path(__file__).resolve().parent.parent
CARDS = ROOT / "run_cards"


class Failed(SystemExit):
    """A command of `slhmc` ended with an exit code other than 0, which is `returned`."""

    def __init__(self, words: str, returned: int):
        super().__init__(words)
        self.returned = returned


def guarded(main: Callable[[], int]) -> int:
    """What `main` returns, or the exit codes of `slhmc`, with one line in place of a traceback."""
    try:
        return main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except SlhmcError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3


def place_of(row: dict, output: Path) -> Path:
    """The directory of a row of a study."""
    return output / re.sub(r"[^a-z0-9]+", "_", f"{row['table']} {row['name']}".lower()).strip("_")


def slhmc(command: str, card: Path, directory: Path, settings: list[str], finished: Path | None = None) -> None:
    """`slhmc COMMAND CARD -o DIRECTORY`, or `slhmc resume DIRECTORY` of what is there; nothing if the file `finished` is.

    Raises Failed.
    """
    directory = directory.resolve()  # slhmc is called from another folder
    program, asked = [sys.executable, "-m", "slhmc"], directory.parent / f"{command}.json"
    if asked.exists() and json.loads(asked.read_text()) != settings:
        raise SystemExit(f"{directory} was begun with other keys than {settings}; remove it to begin anew")
    if finished is not None and finished.exists():
        return
    directory.parent.mkdir(parents=True, exist_ok=True)
    asked.write_text(json.dumps(settings))
    if (directory / "card.toml").exists():
        arguments = ["resume", str(directory)]
    else:
        arguments = [command, str(card), "-o", str(directory)]
        for setting in settings:
            arguments += ["--set", setting]
    with (directory.parent / f"{command}.txt").open("a") as log:
        done = subprocess.run(program + arguments, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, env=os.environ, check=False)
    if done.returncode:
        raise Failed(f"slhmc {' '.join(arguments)}: exit code {done.returncode}, see {log.name}", done.returncode)
