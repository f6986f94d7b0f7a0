"""A comparison as one HTML file that needs nothing else: no network, no scripts; figures are in it as SVG."""

import base64
import html
from pathlib import Path

from slhmc.errors import InputError
from slhmc.io.atomic import replace_file
from slhmc.report.comparison import Comparison
from slhmc.report.figures import delta_h_figure, observable_figure, require_matplotlib, time_figure
from slhmc.report.tables import Table, cost_table, difference_table, notes, observable_table, run_table, verdict

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; } h3 { font-size: 1rem; margin: 1.6rem 0 .3rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .8rem; text-align: right; white-space: nowrap; }
th { border-bottom: 1px solid var(--line); } .text { text-align: left; }
tr.first td { border-top: 1px solid var(--line); } tbody tr:hover { background: var(--soft); }
.verdict { border-left: .4rem solid #009E73; background: var(--soft); padding: .6rem 1rem; }
.verdict.bad { border-color: #D55E00; } .verdict.open { border-color: #888; }
img { width: 100%; height: auto; background: #fff; border-radius: 4px; }
li, p { max-width: 60rem; }
"""


def check_page(path: Path) -> None:
    """InputError before anything is computed if no page can be made at `path`."""
    option = f"--html {path}"
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{option}: a name that ends in .html expected")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{option}: no such directory as {path.absolute().parent}; make it first")
    require_matplotlib(option)


def write_page(path: Path, comparison: Comparison, title: str) -> None:
    """Write the page at once; InputError if that cannot be done, the file that was there then stays."""
    check_page(path)
    replace_file(path, [page(comparison, title).encode()])


def page(comparison: Comparison, title: str) -> str:
    """The text of the page; `title` are the words for the physics of the runs."""
    result, runs = comparison.result, comparison.runs
    differing = difference_table(result)
    parts = [
        f"<h1>{html.escape(' | '.join(run.label for run in runs))}</h1>",
        f"<p>{html.escape(title)}. Reference: {html.escape(result['reference'])}. Averages are over production; errors and "
        f"tau_int are those of the Gamma method.</p>",
        f"<p class='verdict {_mood(result['consistent'])}'>{html.escape(verdict(result))}</p>",
        _table(run_table(result)),
        _table(observable_table(result)),
        _table(cost_table(result)),
        *([_table(differing)] if differing else []),
        _list("notes", notes(result)),
        "<h2>figures</h2>",
        _image("dH and acceptance", delta_h_figure(runs)),
        _image("time", time_figure(runs)),
        *(_image(name, observable_figure(name, runs)) for name in result["observables"]
          if any(len(run.series.get(name, ((),))[0]) for run in runs)),
        _list("directories", [f"{run['name']}: {run['directory']}" for run in result["runs"]]),
        f"<p>slhmc {html.escape(result['version'])}</p>",
    ]
    name = html.escape(" | ".join(run.label for run in runs))
    head = (f"<meta charset='utf-8'><meta name='viewport' content='width=device-width, initial-scale=1'>"
            f"<title>{name}</title><style>{_STYLE}</style>")
    return f"<!DOCTYPE html>\n<html lang='en'><head>{head}</head><body>\n" + "\n".join(parts) + "\n</body></html>\n"


def _mood(consistent: bool | None) -> str:
    return "open" if consistent is None else "good" if consistent else "bad"


def _table(table: Table) -> str:
    def cells(words: list[str], tag: str) -> str:
        return "".join(f"<{tag}{' class=text' * (number < table.names)}>{html.escape(word)}</{tag}>"
                       for number, word in enumerate(words))
    grouped = any(not row[0] for row in table.rows)
    rows = "\n".join(f"<tr{' class=first' * bool(grouped and row[0])}>{cells(row, 'td')}</tr>" for row in table.rows)
    return (f"<h2>{html.escape(table.title)}</h2>\n<div class='wide'><table><thead><tr>{cells(table.headings, 'th')}</tr></thead>"
            f"<tbody>\n{rows}\n</tbody></table></div>")


def _list(title: str, lines: list[str]) -> str:
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"<h2>{title}</h2><ul>{items}</ul>" if lines else ""


def _image(name: str, svg: bytes) -> str:
    return (f"<h3>{html.escape(name)}</h3>\n<img alt='{html.escape(name)}' "
            f"src='data:image/svg+xml;base64,{base64.b64encode(svg).decode()}'>")
