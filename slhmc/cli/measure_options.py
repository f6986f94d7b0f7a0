"""Options of `slhmc measure`; a bracket of help is escaped, lest it be markup."""

from pathlib import Path
from typing import Annotated

import typer

Directories = Annotated[
    list[Path], typer.Argument(metavar="DIR...", help="Directories of runs, or of files of links if a card is given.")
]
Names = Annotated[
    list[str] | None,
    typer.Option("--observable", metavar="NAME", help="Measure this one (repeatable).", show_default="those of the card"),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help=r"Change \[measure] or \[solver] of the card (repeatable)."),
]
Card = Annotated[
    Path | None,
    typer.Option("--card", metavar="CARD", help=r"Card with \[lattice] and \[measure], for files of other programs in DIR."),
]
Pattern = Annotated[
    str | None, typer.Option("--files", metavar="PATTERN", help="Files of DIR by name: *, ?, and {n} for their number.")
]
Results = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="File of results.", show_default="DIR/measure.h5")
]
Groups = Annotated[int, typer.Option("--farm", metavar="F", help="Groups of MPI ranks, each on configurations of its own.")]
Plot = Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Plot effective masses and the flow (png, pdf, svg).")]
Plateau = Annotated[
    str | None, typer.Option("--plateau", metavar="FIRST:LAST", help="Average the effective masses over these times.")
]
Flow = Annotated[bool, typer.Option("--flow", help="Measure along the gradient flow: --observable gradient_flow.")]
Online = Annotated[bool, typer.Option("--online", help="Measure nothing: show what the run itself has measured.")]
