"""A campaign as one HTML file: the table of its ensembles, then a section for each."""

import html
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from slhmc.io.atomic import replace_file
from slhmc.report.campaign import Campaign, Measurements
from slhmc.report.campaign_tables import SLOWEST, change_table, ensemble_table, facts, observables_of, state_words
from slhmc.report.comparison import Comparison
from slhmc.report.ensemble import Ensemble
from slhmc.report.ensemble_figures import (
    Picture,
    cost_pictures,
    dynamics_pictures,
    observable_pictures,
    overview_pictures,
    panel_picture,
)
from slhmc.report.markup import bullets, check_page, document, image, table_box, titled
from slhmc.report.page import verdict_box
from slhmc.report.tables import cost_table, difference_table, notes, observable_table

_OPEN = ("plaquette", "rectangle", "chiral_condensate", "polyakov_loop_t", "learned_flow")    # first, and not folded
_FOLDED = 12    # rows of a table that is shown at once
_REMARKS = 3    # notes that are shown at once
_GUIDE = ("Histories: thermalization grey, long ones as means of blocks in the band of their extremes; thick: running mean; "
          "dashed: mean of production with its error. Autocorrelation functions with their errors; dashed: the window.")
_STYLE = """
body { max-width: 84rem; }
main { min-width: 0; }
nav ul { list-style: none; margin: 0; padding: 0; } nav li { padding: .1rem 0; } nav a { text-decoration: none; }
nav a:hover { text-decoration: underline; }
section { border-top: 1px solid var(--line); margin-top: 2.5rem; }
section > h2 { font-size: 1.3rem; margin: 1.2rem 0 .2rem; }
section > p { margin: .2rem 0; } h4 { font-size: .95rem; margin: 1.2rem 0 .2rem; }
.soft { color: color-mix(in srgb, currentColor 72%, transparent); }
.state { white-space: nowrap; } .state::before { content: "\\25cf\\00a0"; color: var(--open); }
.state.done::before { color: var(--good); } .state.running::before { color: #0072b2; }
.state.failed::before, .state.killed::before { color: var(--bad); }
.physics { display: block; white-space: normal; min-width: 10rem; } .below { display: block; white-space: normal; }
.below { font-size: .8rem; min-width: 7rem; max-width: 8rem; margin-left: auto; }
.ensembles table { font-size: .87rem; } .ensembles :is(th, td) { padding-left: .3rem; padding-right: .3rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 11rem), 1fr)); gap: .6rem; margin: 1rem 0; }
.facts div { background: var(--soft); border-radius: 6px; padding: .5rem .7rem; }
.facts dt { font-size: .82rem; } .facts dd { margin: 0; font-size: 1.15rem; font-variant-numeric: tabular-nums; }
.facts dd.soft { font-size: .82rem; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 25rem), 1fr)); gap: 1.2rem 1.6rem; }
.panels { margin: .6rem 0; }
figure { margin: 0; min-width: 0; } .begins { grid-column-start: 1; } figcaption { font-size: .85rem; margin-top: .2rem; }
.notes { border-left: .4rem solid var(--open); background: var(--soft); padding: .5rem 1rem .5rem 2rem; margin: .8rem 0; }
.notes.bad { border-color: var(--bad); }
details { margin: .8rem 0; } summary { cursor: pointer; }
.top { font-size: .85rem; }
@media (min-width: 70rem) {
  body { display: grid; grid-template-columns: 10.5rem minmax(0, 1fr); gap: 2rem; }
  nav { position: sticky; top: 1.5rem; align-self: start; max-height: calc(100vh - 3rem); overflow-y: auto; font-size: .93rem; }
}
@media print {
  body { display: block; } nav, .top { display: none; } section { break-before: page; border: 0; margin-top: 0; }
  .panels { grid-template-columns: 1fr 1fr; } details::details-content { content-visibility: visible; block-size: auto; }
}
"""


def write_campaign(path: Path, campaign: Campaign, title: str) -> None:
    """Write the page at once; InputError if that cannot be done, the file that was there then stays."""
    check_page(path)
    replace_file(path, [page(campaign, title).encode()])


def page(campaign: Campaign, title: str) -> str:
    """The text of the page."""
    result = campaign.result
    anchors = _anchors([entry["name"] for entry in result["ensembles"]])
    groups = [(f"same-physics-{number}", comparison) for number, comparison in enumerate(campaign.comparisons, 1)]
    main = [
        f"<h1 id='top'>{html.escape(title)}</h1>",
        f"<p class='soft'>{_count(len(campaign.ensembles), 'ensemble')}. Averages are over production; errors and τ_int are "
        "those of the Gamma method, τ_int in trajectories; dH is the energy violation ΔH of a trajectory.</p>",
        "<h2 id='ensembles'>Ensembles</h2>", _ensembles(result, anchors), _pictures(overview_pictures(result["ensembles"])),
        *(_comparison(anchor, comparison, anchors) for anchor, comparison in groups),
        *(_section(ensemble, entry, shown, anchors, groups) for ensemble, entry, shown in
          zip(campaign.ensembles, result["ensembles"], campaign.measurements, strict=True)),
        f"<p class='soft'>slhmc {html.escape(result['version'])}</p>"]
    return document(title, [_navigation(anchors, groups), "<main>", *main, "</main>"], _STYLE)


def _anchors(names: list[str]) -> dict[str, str]:
    """Name of an ensemble -> id of its section: letters and digits, all different."""
    found: dict[str, str] = {}
    for number, name in enumerate(names, 1):
        slug = "run-" + (re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-") or str(number))
        while slug in found.values():
            slug += f"-{number}"
        found[name] = slug
    return found


def _navigation(anchors: dict[str, str], groups: list[tuple[str, Comparison]]) -> str:
    items = [("ensembles", "Ensembles"), *((anchor, _group(group)) for anchor, group in groups),
             *((anchor, name) for name, anchor in anchors.items())]
    return "<nav aria-label='sections'><ul>" + "".join(
        f"<li>{_link(anchor, words)}</li>" for anchor, words in items) + "</ul></nav>"


def _group(group: Comparison) -> str:
    return f"Same physics: {group.runs[0].label} and {len(group.runs) - 1} more"


def _link(anchor: str, words: str) -> str:
    return f"<a href='#{anchor}'>{html.escape(words)}</a>"


def _ensembles(result: dict[str, Any], anchors: dict[str, str]) -> str:
    def cell(column: int, word: str) -> str:
        if column == 0:
            return _link(anchors[word], word)
        if column == 1:
            return _state(word)
        first, _, rest = word.partition(" ") if column == SLOWEST else ("", "", "")
        below = html.escape(rest).replace("_", "_<wbr>")
        if rest:
            return f"{first}<span class='below soft'>{below}</span>"
        return f"<span class='physics'>{html.escape(word)}</span>" if column == 2 else html.escape(word)
    return f"<div class='ensembles'>{table_box(ensemble_table(result), cell)}</div>"


def _state(words: str) -> str:
    return f"<span class='state {html.escape(words.split()[0])}'>{html.escape(words)}</span>"


def _comparison(anchor: str, comparison: Comparison, anchors: dict[str, str]) -> str:
    """Differences of the ensembles that share a physics, from the first of them."""
    result = comparison.result
    names = ", ".join(_link(anchors[run.label], run.label) for run in comparison.runs)
    differing = difference_table(result)
    said = notes(result)
    return "\n".join([
        f"<section id='{anchor}'><h2>Same physics</h2><p>{names}; differences are from the first.</p>", verdict_box(result),
        titled(observable_table(result), 3), _folded("costs", titled(cost_table(result), 4)),
        _folded("what differs in the cards", table_box(differing)) if differing else "",
        _folded(_count(len(said), "note"), bullets(said)) if said else "", _top(), "</section>"])


def _section(ensemble: Ensemble, entry: dict[str, Any], shown: list[Measurements], anchors: dict[str, str],
             groups: list[tuple[str, Comparison]]) -> str:
    """All that there is to say about one ensemble."""
    parts = [f"<section id='{anchors[ensemble.label]}'><h2>{html.escape(ensemble.label)}</h2>",
             f"<p>{_state(state_words(entry))} · {html.escape(entry['physics'] or 'no card that can be read')}</p>",
             f"<p class='soft'>{html.escape(_origin(entry))}</p>", _notes(entry)]
    for anchor, group in groups:
        if ensemble.label in (run.label for run in group.runs):
            others = [run.label for run in group.runs if run.label != ensemble.label]
            parts.append(f"<p>Same physics as {', '.join(_link(anchors[name], name) for name in others)}: "
                         f"{_link(anchor, 'differences')}.</p>")
    parts.append(_facts(entry))
    if entry["observables"]:
        parts.append(titled(observables_of(entry), 3))
    parts += [*_histories(ensemble, entry), *_titled_pictures("molecular dynamics", dynamics_pictures(ensemble)),
              *_titled_pictures("cost", cost_pictures(ensemble)), *(_measurements(part) for part in shown)]
    changes = change_table(entry)
    return "\n".join([*parts, titled(changes, 3) if changes else "", _top(), "</section>"])


def _facts(entry: dict[str, Any]) -> str:
    return "<dl class='facts'>" + "".join(
        f"<div><dt class='soft'>{html.escape(name)}</dt><dd>{html.escape(words)}</dd>"
        f"<dd class='soft'>{html.escape(beside)}</dd></div>" for name, words, beside in facts(entry)) + "</dl>"


def _origin(entry: dict[str, Any]) -> str:
    known = [entry["algorithm"], entry["seed"] is not None and f"seed {entry['seed']}",
             entry["version"] and f"slhmc {entry['version']}", entry["directory"]]
    return " · ".join(words for words in known if words)


def _notes(entry: dict[str, Any]) -> str:
    """About the run; folded those about its numbers, the same words once with the names that they are about."""
    said: dict[str, list[str]] = {}
    numbers = {name: row for name, row in entry.items() if isinstance(row, dict) and name != "observables"} | entry["observables"]
    for name, row in numbers.items():
        if note := row.get("note"):
            said.setdefault(note, []).append(name)
    lines = [f"{', '.join(names)}: {note}" for note, names in said.items()]
    box = bullets(entry["notes"]).replace("<ul>", f"<ul class='notes{' bad' * (entry['state'] == 'failed')}'>")
    return box + (_folded(f"{_count(len(lines), 'note')} on the numbers", bullets(lines)) if lines else "")


def _histories(ensemble: Ensemble, entry: dict[str, Any]) -> list[str]:
    """Those that matter most first, the others folded."""
    names = sorted(ensemble.histories, key=lambda name: next((place for place, first in enumerate(_OPEN)
                                                                if name.startswith(first)), len(_OPEN)))
    slowest = (entry["slowest"] or {}).get("observable")
    first = [name for name in names if name.startswith(_OPEN) or name == slowest]
    shown = _titled_pictures("histories and autocorrelations", [picture for name in first
                                                               for picture in observable_pictures(ensemble, name)])
    shown[1:1] = [f"<p class='soft'>{_GUIDE}</p>"] * bool(shown)
    others = [name for name in names if name not in first]
    rest = [picture for name in others for picture in observable_pictures(ensemble, name)]
    return shown + ([_folded(f"more: {', '.join(others)}", _pictures(rest))] if rest else [])


def _measurements(part: Measurements) -> str:
    """What `slhmc measure` shows."""
    pictures = [panel_picture(words, words, draw) for words, draw in part.panels]
    remarks = [f"{name}: {entry['note']}" for name, entry in part.numbers.get("observables", {}).items() if entry.get("note")]
    said = bullets(remarks) if len(remarks) <= _REMARKS else _folded(_count(len(remarks), "note"), bullets(remarks))
    tables = [titled(table, 4) if len(table.rows) <= _FOLDED else _folded(table.title, table_box(table)) for table in part.tables]
    return "\n".join([f"<h3>measured: {html.escape(part.source)}</h3>", bullets(part.notes), _pictures(pictures),
                      said, *tables])


def _titled_pictures(title: str, pictures: list[Picture]) -> list[str]:
    return [f"<h3>{title}</h3>", _pictures(pictures)] if pictures else []


def _pictures(pictures: Iterable[Picture]) -> str:
    shown = "".join(f"<figure{' class=begins' * picture.begins}>{image(picture.name, picture.svg)}<figcaption class='soft'>"
                    f"{html.escape(picture.caption)}</figcaption></figure>" for picture in pictures)
    return f"<div class='panels'>{shown}</div>" if shown else ""


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{html.escape(title)}</summary>{content}</details>"


def _top() -> str:
    return "<p class='top'><a href='#top'>back to the top</a></p>"


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'s' * (number != 1)}"
