"""Pages that need nothing else: one file, no network, no scripts; figures are in it as SVG, light or dark as the reader wants."""

import base64
import html
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from slhmc.errors import InputError
from slhmc.report.svg import require_matplotlib
from slhmc.report.tables import Table

STYLE = """
:root { color-scheme: light dark; --line: #8885; --soft: #8881;
  --link: #0067a8; --good: #009e73; --bad: #d55e00; --open: #74808c; }
@media (prefers-color-scheme: dark) { :root { --link: #6cbdf0; --good: #2fc39b; --bad: #f0803c; --open: #8f9aa5; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; -webkit-text-size-adjust: 100%; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
h3 { font-size: 1rem; margin: 1.6rem 0 .3rem; }
a { color: var(--link); }
.wide { overflow-x: auto; max-width: 100%; background: linear-gradient(to right, Canvas 40%, transparent) 0 0 / 2rem 100% local,
  linear-gradient(to left, Canvas 40%, transparent) 100% 0 / 2rem 100% local,
  linear-gradient(to right, #8885, transparent) 0 0 / .7rem 100%,
  linear-gradient(to left, #8885, transparent) 100% 0 / .7rem 100%; background-repeat: no-repeat; }
.wide.figure img { min-width: 60rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .93rem; }
th, td { padding: .15rem .8rem; text-align: right; white-space: nowrap; vertical-align: top; }
th:first-child, td:first-child { padding-left: .2rem; }
th { border-bottom: 1px solid var(--line); white-space: normal; vertical-align: bottom; } .text { text-align: left; }
tr.first td { border-top: 1px solid var(--line); } tbody tr:hover { background: var(--soft); }
.verdict { border-left: .4rem solid var(--good); background: var(--soft); padding: .6rem 1rem; }
.verdict.bad { border-color: var(--bad); } .verdict.open { border-color: var(--open); }
img { width: 100%; height: auto; display: block; }
li, p { max-width: 60rem; }
@media print {
  :root { color-scheme: light; }
  body { font-size: 10pt; max-width: none; margin: 0; }
  table { font-size: 8pt; } .wide { overflow: visible; } .wide.figure img { min-width: 0; }
  th, td { white-space: normal; padding: .1rem .4rem; }
  img, figure, tr { break-inside: avoid; } h1, h2, h3, h4 { break-after: avoid; }
}
"""


def check_page(path: Path) -> None:
    """InputError before anything is computed if no page can be made at `path`."""
    option = f"--html {path}"
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{option}: a name that ends in .html expected")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{option}: no such directory as {path.absolute().parent}; make it first")
    require_matplotlib(option)


def document(title: str, parts: Iterable[str], style: str = "") -> str:
    """The text of a page; `parts` are HTML."""
    head = (f"<meta charset='utf-8'><meta name='viewport' content='width=device-width, initial-scale=1'>"
            f"<title>{html.escape(title)}</title><style>{STYLE}{style}</style>")
    return f"<!DOCTYPE html>\n<html lang='en'><head>{head}</head><body>\n" + "\n".join(parts) + "\n</body></html>\n"


def table_box(table: Table, cell: Callable[[int, str], str] | None = None) -> str:
    """A table in a box of its own that scrolls. `cell`: the HTML of a word in a column of the body, the word itself if None."""
    shown = cell or (lambda column, word: html.escape(word))

    def cells(words: Sequence[str], tag: str, content: Callable[[int, str], str]) -> str:
        return "".join(f"<{tag}{' class=text' * (number < table.names)}>{content(number, word)}</{tag}>"
                       for number, word in enumerate(words))
    grouped = any(not row[0] for row in table.rows)
    rows = "\n".join(f"<tr{' class=first' * bool(grouped and row[0])}>{cells(row, 'td', shown)}</tr>" for row in table.rows)
    head = cells(table.headings, "th", lambda column, word: html.escape(word))
    return f"<div class='wide' tabindex='0'><table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div>"


def titled(table: Table, level: int = 2) -> str:
    """A table below its title."""
    return f"<h{level}>{html.escape(table.title)}</h{level}>\n{table_box(table)}"


def bullets(lines: Sequence[str]) -> str:
    """Sentences as a list; nothing of none."""
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if lines else ""


def image(name: str, svg: bytes) -> str:
    """A figure; `name` is for those who do not see it."""
    return f"<img alt='{html.escape(name)}' src='data:image/svg+xml;base64,{base64.b64encode(svg).decode()}'>"
