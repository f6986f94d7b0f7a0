"""The commands of `slhmc`, their options and help. Each imports what it needs when it is called."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from slhmc import __version__
from slhmc.cli import measure_options as options
from slhmc.cli import ranks
from slhmc.cli.failure import fail

INTERRUPTED = 130

app = typer.Typer(
    name="slhmc",
    help="Lattice QCD by (self-learning) Hybrid Monte Carlo, from run cards.",
    epilog="Exit codes: 0 done, 1 runs differ (compare), 2 the input is wrong, 3 the computation failed, "
           "75 stopped early with a checkpoint, 130 interrupted from the keyboard.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
card_commands = typer.Typer(help="Check run cards; print their schema.")
app.add_typer(card_commands, name="card")


class Device(StrEnum):
    """Where the lattice lives."""

    CPU = "cpu"
    CUDA = "cuda"


class Precision(StrEnum):
    """Of numbers in a file."""

    SINGLE = "single"
    DOUBLE = "double"


class Scheduler(StrEnum):
    """What a batch job is sent to; local is this machine."""

    SLURM = "slurm"
    PBS = "pbs"
    LSF = "lsf"
    FLUX = "flux"
    LOCAL = "local"


class Work(StrEnum):
    """What a batch job does with its card."""

    RUN = "run"
    TRAIN = "train"


Card = Annotated[Path, typer.Argument(metavar="CARD", help="Run card (TOML).")]
Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Directory of a run or a training.")]
Run = Annotated[Path, typer.Argument(metavar="DIR", help="Directory of a run.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key (repeatable): gauge.beta=5.7, quarks.0.mass=0.1."),
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the card that is not physics (repeatable)."),
]


def _directory(text: str) -> Path:
    """A path that somebody wrote: an empty one is a variable of the shell that has nothing, not the current folder."""
    if not text:
        raise typer.BadParameter("nothing found, a directory expected, such as . for the current one")
    return Path(text)


Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="DIR", parser=_directory, help="Output directory.", show_default="runs/NAME_OF_CARD"),
]
JSONFile = Annotated[Path | None, typer.Argument(metavar="[FILE]", help="File for the JSON; default is the terminal.")]
DeviceOption = Annotated[Device, typer.Option(help="Compute device.")]
JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LinksFile = Annotated[Path, typer.Argument(metavar="FILE", help="File of links: ILDG, NERSC, MILC, openQCD, .npy or our own.")]
Extent = Annotated[
    str | None, typer.Option(metavar="XxYxZxT", help="Lattice of a file that does not tell it, such as 8x8x8x16.")
]
Colors = Annotated[int | None, typer.Option(min=2, max=6, metavar="N", help="Group of a file that does not tell it.")]
Version = Annotated[bool, typer.Option("--version", help="Print the version.")]


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit; an error of a user is a message, not a traceback (SLHMC_DEBUG=1 shows it)."""
    ranks.silence_all_but_the_first()
    try:
        code = app(sys.argv[1:] if arguments is None else arguments, prog_name="slhmc", standalone_mode=False)
    except Exception as error:  # noqa: BLE001 - the last place where it can be told
        fail(error)
    if code == INTERRUPTED:
        print("slhmc: interrupted", file=sys.stderr)
    ranks.leave(code or 0)


@app.callback(invoke_without_command=True)
def slhmc(context: typer.Context, version: Version = False) -> None:
    """What `slhmc` does without a command."""
    if version:
        print(f"slhmc {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def run(
    card: Card, output: Output = None, overrides: Overrides = None, device: DeviceOption = Device.CPU
) -> int:
    """Make the ensemble of a run card."""
    from slhmc.cli.chain import start

    return start(card, output or Path("runs") / card.stem, overrides or [], device.value)


@app.command()
def train(
    card: Card, output: Output = None, overrides: Overrides = None, device: DeviceOption = Device.CPU
) -> int:
    """Train the guide of a run card, or fit its model to labels."""
    from slhmc.cli.train import start

    return start(card, output or Path("runs") / card.stem, overrides or [], device.value)


@app.command()
def resume(
    directory: Directory,
    trajectories: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Production trajectories in all: run.trajectories of the card.")
    ] = None,
    overrides: Changes = None,
    device: DeviceOption = Device.CPU,
) -> int:
    """Continue a run or a training from its checkpoint, bit for bit as if it had not stopped."""
    from slhmc.cli.train import is_training, resume_training

    if is_training(directory):
        return resume_training(directory, trajectories, overrides or [], device.value)
    from slhmc.cli.chain import resume_run

    return resume_run(directory, trajectories, overrides or [], device.value)


@app.command()
def summary(directory: Run, as_json: JSON = False) -> None:
    """Averages, errors and autocorrelations of a run beside its published values."""
    from slhmc.cli.scalar import print_scalar
    from slhmc.cli.summary import print_json, print_summary
    from slhmc.io import is_scalar_chain

    if is_scalar_chain(directory / "chain.h5"):
        print_scalar(directory, as_json)
    else:
        (print_json if as_json else print_summary)(directory)


@app.command()
def compare(
    directories: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Directories of runs; the first is the reference.")
    ],
    as_json: JSON = False,
    page: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with tables and figures, in one file.")
    ] = None,
) -> int:
    """Runs of the same physics side by side; exit code 1 if an observable differs by more than 4 sigma."""
    from slhmc.cli.compare import compare_runs

    return compare_runs(directories, as_json, page)


@app.command()
def report(
    directories: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Directories of runs of gauge theories.")],
    as_json: JSON = False,
    page: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with tables and figures, in one file.")
    ] = None,
) -> int:
    """The ensembles of a campaign: state, averages, autocorrelations, costs, measurements."""
    from slhmc.cli.report import report_runs

    return report_runs(directories, as_json, page)


@app.command()
def measure(
    directories: options.Directories,
    observables: options.Names = None,
    overrides: options.Settings = None,
    card: options.Card = None,
    pattern: options.Pattern = None,
    output: options.Results = None,
    farm: options.Groups = 1,
    plot: options.Plot = None,
    plateau: options.Plateau = None,
    flow: options.Flow = False,
    as_json: JSON = False,
    online: options.Online = False,
    device: DeviceOption = Device.CPU,
) -> None:
    """Measure kept configurations, of runs or of other programs: effective masses, scales, charges, static potential."""
    from slhmc.cli.measure import Request, measure_directories

    names = [*(observables or []), *["gradient_flow"] * flow]
    request = Request(names, overrides or [], card, pattern, output, plot, plateau, as_json, farm, online, device.value)
    measure_directories(directories, request)


@app.command()
def export(
    directory: Run,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="File to write: .json or .json.gz.", show_default="DIR/observables.json.gz"),
    ] = None,
    ensemble: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the ensemble.", show_default="name of DIR")
    ] = None,
) -> None:
    """Write what a run has measured in production as JSON of pyerrors."""
    from slhmc.cli.files import export_run

    export_run(directory, file, ensemble)


@app.command()
def inspect(file: LinksFile, as_json: JSON = False, extent: Extent = None, colors: Colors = None) -> None:
    """Format, lattice, group, precision, plaquette, link trace, checksum and unitarity of a file of links."""
    from slhmc.cli.files import inspect_file

    inspect_file(file, as_json, extent, colors)


@app.command()
def convert(
    file: LinksFile,
    output: Annotated[Path, typer.Argument(metavar="OUT", help="File to write.")],
    output_format: Annotated[
        str | None,
        typer.Option("--format", metavar="NAME", help="ildg, nersc, nersc-2x3, milc, openqcd, npy, slhmc.",
                     show_default="by the suffix of OUT"),
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="Precision of the numbers in OUT.", show_default="that of FILE")
    ] = None,
    extent: Extent = None,
    colors: Colors = None,
) -> None:
    """Write a file of links in another format; on MPI ranks each rank reads and writes its part."""
    from slhmc.cli.files import convert_file

    convert_file(file, output, output_format, precision and precision.value, extent, colors)


@app.command()
def submit(
    card: Annotated[Path, typer.Argument(metavar="CARD", help="Run card (TOML), or the directory of a run that is to go on.")],
    output: Output = None,
    overrides: Overrides = None,
    scheduler: Annotated[
        Scheduler | None, typer.Option(help="Scheduler.", show_default="the site's, else the one whose commands are there")
    ] = None,
    nodes: Annotated[int | None, typer.Option(min=1, metavar="N", help="Nodes.", show_default="1")] = None,
    processes: Annotated[
        int | None, typer.Option("-n", "--ranks", min=1, metavar="N", help="MPI ranks in all.", show_default="one a GPU or node")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="Threads of each rank.", show_default="1")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, metavar="N", help="GPUs in all, one for each rank.")] = None,
    time: Annotated[
        str | None, typer.Option(metavar="TIME", help="Limit of a job: 12:00:00, 90m, 2d.", show_default="1h")
    ] = None,
    warning: Annotated[
        int | None, typer.Option(min=1, metavar="SECONDS", help="How long before the limit the run stops.", show_default="300")
    ] = None,
    account: Annotated[str | None, typer.Option(metavar="NAME", help="Account or project.")] = None,
    partition: Annotated[str | None, typer.Option(metavar="NAME", help="Partition or queue.")] = None,
    site: Annotated[
        str | None, typer.Option(metavar="NAME", help="Settings in ~/.config/slhmc/sites/NAME.toml.", show_default="default")
    ] = None,
    chain: Annotated[
        int, typer.Option(min=1, max=1000, metavar="N", help="Jobs, each going on where the one before stopped.")
    ] = 1,
    command: Annotated[
        Work | None, typer.Option(help="What the jobs do.", show_default="train for a card with [train] or [fit], else run")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the job script; write and submit nothing.")] = False,
) -> int:
    """Write a job script for a card and submit it."""
    from slhmc.cli.submit import Options, submit_jobs

    options = Options(scheduler, nodes, processes, threads, gpus, time, warning, account, partition, site, command, chain)
    return submit_jobs(card, output, overrides or [], options, dry_run)


@app.command()
def cancel(
    directories: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Directories of runs.")],
    now: Annotated[bool, typer.Option("--now", help="End the running job at once, without a checkpoint.")] = False,
) -> int:
    """Cancel the jobs of runs; the one that runs stops with a checkpoint."""
    from slhmc.cli.submit import cancel_jobs

    return cancel_jobs(directories, now)


@app.command()
def status(
    directories: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Directories of runs.")], as_json: JSON = False
) -> int:
    """How far runs are, and their jobs in the queue; of several runs in one table."""
    from slhmc.cli.status import print_status

    return print_status(directories, as_json)


@app.command()
def bench(
    file: JSONFile = None,
    as_json: JSON = False,
    quick: Annotated[bool, typer.Option("--quick", help="Small lattices only.")] = False,
    device: DeviceOption = Device.CPU,
) -> int | None:
    """Measure the kernels and the machine's bounds for them."""
    from slhmc.bench import main as measure

    return measure(device=device.value, quick=quick, json_file=str(file or "-") if as_json or file else None)


@app.command()
def build(
    cards: Annotated[list[Path], typer.Argument(metavar="CARD...", help="Run cards.")],
    processes: Annotated[
        int | None,
        typer.Option("-n", "--ranks", min=1, metavar="N", help="MPI ranks of the runs, where a card has no ranks."),
    ] = None,
) -> None:
    """Compile the kernels that run cards need, for machines without a compiler."""
    from slhmc.cli.chain import build_kernels

    build_kernels(cards, processes)


@app.command()
def doctor() -> int:
    """Check Python, compiler, cache, MPI and GPU; say what to do about what is missing."""
    from slhmc.cli.doctor import examine

    return examine()


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}
)
def launch(
    context: typer.Context,
    processes: Annotated[int, typer.Option("-n", "--ranks", min=1, metavar="N", help="Number of MPI ranks.")],
) -> int:
    """Run a command of slhmc on N MPI ranks: slhmc launch -n 4 run CARD."""
    from slhmc.cli.launch import launch_ranks

    return launch_ranks(processes, context.args)


@card_commands.command("check")
def check(card: Card, overrides: Overrides = None) -> None:
    """Report every fault of a run card."""
    from slhmc.runcard import Card, load_card

    load_card(card, overrides or [], Card)
    print(f"{card}: valid")


@card_commands.command("schema")
def schema() -> None:
    """Print the JSON schema of run cards, for editors."""
    import json

    from slhmc.runcard import json_schema

    print(json.dumps(json_schema(), indent=2))
