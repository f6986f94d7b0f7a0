"""`slhmc submit` and `cancel`: a card or a run's directory becomes a job script and a chain of jobs."""

import fcntl
import math
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from slhmc.cli.failure import USAGE
from slhmc.cli.launch import mpiexec
from slhmc.errors import InputError
from slhmc.io import RunDirectory
from slhmc.io.atomic import describe, replace_file
from slhmc.jobs import (
    SCHEDULERS,
    Job,
    JobRecord,
    Resources,
    Site,
    cancel,
    directive_word,
    find_scheduler,
    job_script,
    load_site,
    queue_states,
    submit,
)
from slhmc.runcard import Card, FluxCard, ScalarCard, card_text, load_card, parse_card

# the file whose presence shows that a run or a training has begun, so that `slhmc resume` takes it
_BEGUN_BY = {"run": "card.toml", "train": "train.h5", "fit": "fit.h5"}
_OF_A_RUN = ("chain.h5", "train.h5", "fit.h5", "card.toml")
_NOT_HANDED_ON = ("SLHMC_RANKS", "SLHMC_TERMINAL")


@dataclass(frozen=True)
class Options:
    """Of `slhmc submit`, None for those left out: the site's, else the default."""

    scheduler: str | None = None
    nodes: int | None = None
    ranks: int | None = None
    threads: int | None = None
    gpus: int | None = None
    time: str | None = None
    warning: int | None = None
    account: str | None = None
    partition: str | None = None
    site: str | None = None
    command: str | None = None
    chain: int = 1


@dataclass(frozen=True)
class _Work:
    """What the jobs do: `card` for a new run, None for one that has begun."""

    name: str
    directory: Path
    kind: str
    card: Card | None


def submit_jobs(path: Path, output: Path | None, overrides: list[str], options: Options, dry_run: bool = False) -> int:
    """Write DIR/job/job.sh for the card, or the directory of a run, at `path`, and submit it; `dry_run` prints it."""
    site = load_site(options.site)
    work = _continued(path, output, overrides) if path.is_dir() else _new(path, output, overrides, options, site)
    resources = _resources(options, site)
    _check_ranks(work.card or _card_of(work.directory), resources)
    scheduler = options.scheduler or site.scheduler or find_scheduler()
    if scheduler not in SCHEDULERS:
        raise InputError(f"--scheduler {scheduler}: {', '.join(SCHEDULERS)} expected")
    text = job_script(scheduler, _job(work, resources, site))
    if dry_run:
        print(text, end="")
        return 0
    with _alone(work.directory):
        _refuse_busy(work.directory)
        _write(work, text)
        record = submit(scheduler, work.directory, options.chain)
    print(f"{work.directory}: {scheduler} job {', then '.join(job.id for job in record.jobs)}; "
          f"see: slhmc status {work.directory}")
    return 0


def cancel_jobs(directories: list[Path], now: bool) -> int:
    """Cancel the jobs of each directory that are not over; 2 if that fails for one of them, after the others."""
    code = 0
    for directory in directories:
        try:
            record = JobRecord.read(directory)
            if record is None:
                raise InputError(f"{directory}: no jobs of `slhmc submit` found; check the path")
            cancelled = cancel(record, now=now)
        except InputError as error:
            print(f"slhmc: {error}", file=sys.stderr)
            code = USAGE
            continue
        words = ", ".join(f"{state.id} ({state.state})" for state in reversed(cancelled))
        print(f"{directory}: " + (f"cancelled {words}" if cancelled else "no job is left in the queue"))
    return code


def _new(path: Path, output: Path | None, overrides: list[str], options: Options, site: Site) -> _Work:
    card = load_card(path, overrides, Card)
    directory = (output or _scratch(site) / path.stem).absolute()
    if found := next((name for name in _OF_A_RUN if (directory / name).exists()), None):
        raise InputError(f"{directory}: {found} of another run found, a directory without a run expected; go on with that run by "
                         f"`slhmc submit {directory}`, or give another -o")
    if isinstance(card, ScalarCard):
        if options.command == "train":
            raise InputError(f"{path}: a card with [scalar] found, which has no [train] or [fit]; leave --command out")
        return _Work(path.stem, directory, "run", card)
    command = options.command or ("train" if card.train is not None or card.fit is not None else "run")
    if command == "run" and card.fit is not None:
        raise InputError(f"{path}: the card has a [fit]; leave --command out")
    if command == "train" and card.train is None and card.fit is None:
        raise InputError(f"{path}: the card has no [train] or [fit]; leave --command out")
    return _Work(path.stem, directory, "fit" if card.fit is not None else command, card)


def _scratch(site: Site) -> Path:
    try:
        return Path(os.path.expandvars(site.scratch)).expanduser() if site.scratch else Path("runs")
    except RuntimeError as error:
        raise InputError(f"scratch = {site.scratch!r} of the site: {error} Write the path out, or give -o") from None


def _continued(directory: Path, output: Path | None, overrides: list[str]) -> _Work:
    """A run that has begun, or one whose jobs ended before they did anything."""
    directory = directory.absolute()
    if output is not None or overrides:
        raise InputError(f"{directory}: the directory of a run goes on as it is; leave -o and --set out, or edit its card.toml")
    if _was_to_train(directory):
        card = load_card(directory / "card.toml")
        return _Work(directory.name, directory, "train" if card.fit is None else "fit", card)
    if any((directory / name).exists() for name in _OF_A_RUN):
        return _Work(directory.name, directory, "run", None)
    if (directory / "job" / "card.toml").exists():
        raise InputError(f"{directory}: no run has begun here; submit its card again: slhmc submit CARD -o {directory}")
    raise InputError(f"{directory}: no card.toml found, a run card or the directory of a run expected")


def _card_of(directory: Path) -> Card:
    """As the job will read it; InputError now rather than then."""
    return parse_card(RunDirectory(directory).read_card(), str(directory / "card.toml"), (), Card)


def _was_to_train(directory: Path) -> bool:
    """Whether jobs of a training left nothing but its card, which `resume` would take for that of a run."""
    if [name for name in _OF_A_RUN if (directory / name).exists()] != ["card.toml"]:
        return False
    try:
        script = (directory / "job" / "job.sh").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return "\n    set -- train " in script


def _resources(options: Options, site: Site) -> Resources:
    return Resources.asked(
        nodes=options.nodes, ranks=options.ranks, threads=options.threads, gpus=options.gpus, time=options.time,
        warning=options.warning or site.warning, account=_word("--account", options.account) or site.account,
        partition=_word("--partition", options.partition) or site.partition)


def _word(option: str, text: str | None) -> str | None:
    try:
        return text and directive_word(text)
    except ValueError as error:
        raise InputError(f"{option} {text!r}: {error}") from None


def _check_ranks(card: Card, resources: Resources) -> None:
    if isinstance(card, ScalarCard):
        if resources.ranks != 1:
            raise InputError(f"{resources.ranks} ranks asked for, a card with [scalar] runs on 1: threads share its chains; give "
                             "--ranks 1 and --threads")
        return
    if isinstance(card, FluxCard):
        return
    grid = card.lattice.ranks
    if grid is not None and math.prod(grid) != resources.ranks:
        raise InputError(f"lattice.ranks = {list(grid)} is a grid of {math.prod(grid)} ranks, but the job has "
                         f"{resources.ranks}; give --ranks {math.prod(grid)}, or leave the grid out")
    if card.fit is None:  # whose lattices are on one rank each
        from slhmc.simulation import check_ranks

        check_ranks(card, resources.ranks)


def _job(work: _Work, resources: Resources, site: Site) -> Job:
    if bad := re.search(r"[\s\"'%{}$\\,:#\x00-\x1f\x7f]", str(work.directory)):
        shown = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in str(work.directory))
        raise InputError(f"{shown}: {bad[0]!r} in the path, which schedulers do not take; choose another directory")
    try:
        starter = mpiexec()
    except InputError:  # there may be one where the job runs
        starter = "mpiexec"
    handed_on = {name: value for name, value in sorted(os.environ.items())
                 if name in ("PYTHONPATH", "CXX") or (name.startswith("SLHMC_") and name not in _NOT_HANDED_ON)}
    if "PYTHONPATH" in handed_on:  # the job is in another directory
        entries = handed_on["PYTHONPATH"].split(os.pathsep)
        handed_on["PYTHONPATH"] = os.pathsep.join(os.path.abspath(entry) for entry in entries if entry)
    name = re.sub(r"[^\w.-]", "_", work.name)
    return Job(name if name[:1].isalpha() else f"run_{name}", work.directory, "run" if work.kind == "run" else "train",
               _BEGUN_BY[work.kind], resources, site, sys.executable, starter, handed_on)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """One submission at a time: a second one waits, and then finds the jobs of the first."""
    folder = JobRecord.folder(directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made a directory: {describe(error)}") from error
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _refuse_busy(directory: Path) -> None:
    """Two chains in one directory would stand in each other's way."""
    record = JobRecord.read(directory)
    if record is None:
        return
    states, faults = queue_states([record])
    if faults:
        raise InputError(f"{directory}: has jobs, but {'; '.join(faults)}")
    if busy := [f"{state.id} ({state.state})" for state in states.values() if not state.over]:
        raise InputError(f"{directory}: jobs of this run are in the queue: {', '.join(busy)}; wait for them, or "
                         f"`slhmc cancel {directory}`")


def _write(work: _Work, text: str) -> None:
    folder = JobRecord.folder(work.directory)
    try:
        (folder / "exit_code").unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{folder / 'exit_code'}: cannot be removed: {describe(error)}") from error
    if work.card is not None:
        replace_file(folder / "card.toml", [card_text(work.card).encode()])
    replace_file(folder / "job.sh", [text.encode()])
