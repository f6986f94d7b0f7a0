"""A comparison as one HTML file."""

import html
from pathlib import Path

from slhmc.io.atomic import replace_file
from slhmc.report.comparison import Comparison
from slhmc.report.figures import delta_h_figure, observable_figure, time_figure
from slhmc.report.markup import bullets, check_page, document, image, titled
from slhmc.report.tables import cost_table, difference_table, notes, observable_table, run_table, verdict


def write_page(path: Path, comparison: Comparison, title: str) -> None:
    """Write the page at once; InputError if that cannot be done, the file that was there then stays."""
    check_page(path)
    replace_file(path, [page(comparison, title).encode()])


def page(comparison: Comparison, title: str) -> str:
    """The text of the page; `title` are the words for the physics of the runs."""
    result, runs = comparison.result, comparison.runs
    name = " | ".join(run.label for run in runs)
    differing = difference_table(result)
    return document(name, [
        f"<h1>{html.escape(name)}</h1>",
        f"<p>{html.escape(title)}. Reference: {html.escape(result['reference'])}. Averages are over production; errors and "
        f"tau_int are those of the Gamma method.</p>",
        verdict_box(result),
        titled(run_table(result)),
        titled(observable_table(result)),
        titled(cost_table(result)),
        *([titled(differing)] if differing else []),
        _list("notes", notes(result)),
        "<h2>figures</h2>",
        _image("dH and acceptance", delta_h_figure(runs)),
        _image("time", time_figure(runs)),
        *(_image(name, observable_figure(name, runs)) for name in result["observables"]
          if any(len(run.series.get(name, ((),))[0]) for run in runs)),
        _list("directories", [f"{run['name']}: {run['directory']}" for run in result["runs"]]),
        f"<p>slhmc {html.escape(result['version'])}</p>",
    ])


def verdict_box(result: dict) -> str:
    """Whether runs agree, in the colour of that."""
    mood = {None: "open", True: "good", False: "bad"}[result["consistent"]]
    return f"<p class='verdict {mood}'>{html.escape(verdict(result))}</p>"


def _list(title: str, lines: list[str]) -> str:
    return f"<h2>{title}</h2>{bullets(lines)}" if lines else ""


def _image(name: str, svg: bytes) -> str:
    """Panels side by side: on a narrow screen they scroll in a box of their own."""
    return f"<h3>{html.escape(name)}</h3>\n<div class='wide figure' tabindex='0'>{image(name, svg)}</div>"
