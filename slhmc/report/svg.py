"""Figures of pages: one style, colours that all eyes tell apart, small SVG texts that follow a page's light or dark scheme."""

import io
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

from slhmc.errors import InputError

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#444444")    # Okabe and Ito
INK, MUTED = "#1f262d", "#74808c"    # axes and words; what is beside the point
_DARK = {"#0072B2": "#4aa8e0", "#D55E00": "#f0803c", "#009E73": "#2fc39b", "#CC79A7": "#dd93bd", "#56B4E9": "#8accf2",
         "#E69F00": "#f2b84b", "#444444": "#bbbbbb", INK: "#dfe5ea", MUTED: "#8f9aa5"}
_STYLE = {
    "svg.hashsalt": "slhmc", "font.size": 10, "axes.titlesize": 10, "axes.labelsize": 10, "xtick.labelsize": 9,
    "ytick.labelsize": 9, "legend.fontsize": 9, "legend.frameon": False, "axes.spines.top": False, "axes.spines.right": False,
    "axes.formatter.useoffset": False, "axes.formatter.limits": (-3, 5), "axes.prop_cycle": None, "lines.linewidth": 1.3,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.titlecolor": INK, "axes.facecolor": "none", "grid.color": MUTED,
}
_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
_NAME = 26    # letters of a name in a figure
SIZE = (5.0, 2.9)    # inches of a panel that stands alone: its letters are legible on a telephone


def require_matplotlib(option: str) -> None:
    """InputError that says what to install, if there is no matplotlib."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError(f"{option}: matplotlib does not load ({error}); pip install 'slhmc[plot]'") from error
    logging.getLogger("matplotlib").setLevel(logging.ERROR)


def figure(draw: Callable[[Sequence[Any]], None], panels: int = 1, size: tuple[float, float] = SIZE, form: str = "svg") -> bytes:
    """What `draw` puts onto so many panels side by side; the same data give the same bytes.

    Where something has a label, a legend stands above the first panel.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE | {"axes.prop_cycle": matplotlib.cycler(color=COLORS)}):
        shown = Figure(figsize=size, layout="constrained")
        axes = list(shown.subplots(1, panels, squeeze=False)[0])
        draw(axes)
        if (handles := axes[0].get_legend_handles_labels()) != ([], []) and axes[0].get_legend() is None:
            shown.legend(*handles, loc="outside upper left", ncols=4, columnspacing=1.2, handlelength=1.6, borderpad=0.1)
        image = io.BytesIO()
        if form != "svg":
            shown.savefig(image, format=form, dpi=100)
            return image.getvalue()
        shown.savefig(image, format="svg", metadata=_METADATA, transparent=True)
    return themed(compact(image.getvalue()))


def short(name: str) -> str:
    """A name in a figure: the middle of a long one is left out."""
    return name if len(name) <= _NAME else f"{name[:_NAME // 2]}…{name[-_NAME // 2 + 1:]}"


def compact(svg: bytes) -> bytes:
    """Without prologue, metadata and comments, coordinates to a tenth of a point."""
    text = svg[svg.index(b"<svg"):]    # without the address of a document type
    text = re.sub(rb"<metadata>.*?</metadata>|<!--.*?-->", b"", text, flags=re.DOTALL)
    text = re.sub(rb' (d|x|y)="[^"]*"', lambda found: _shorter(found[0]), text)
    return re.sub(rb"\n\s*", b"\n", text)


def _shorter(attribute: bytes) -> bytes:
    """Numbers to one decimal, one space between them."""
    text = re.sub(rb"-?\d+\.\d+", lambda number: b"%g" % round(float(number[0]), 1), attribute)
    return b" " + re.sub(rb"\s*([MLQCZz])\s*", rb"\1", re.sub(rb"\s+", b" ", text[1:]))


def themed(svg: bytes) -> bytes:
    """Colours as variables, which have other values where the reader wants a dark page."""
    names = {color: f"--c{number}" for number, color in enumerate(_DARK)}
    def values(colors: dict[str, str]) -> str:
        return "svg{" + ";".join(f"{names[color]}:{value}" for color, value in colors.items()) + "}"
    style = values({color: color for color in _DARK}) + "@media(prefers-color-scheme:dark){" + values(_DARK) + "}"
    text = re.sub("#[0-9a-fA-F]{6}", lambda found: _variable(found[0], names), svg.decode())
    opened = text.index(">") + 1
    return (text[:opened] + f"<style>{style}</style>" + text[opened:]).encode()


def _variable(color: str, names: dict[str, str]) -> str:
    lower = {name.lower(): variable for name, variable in names.items()}
    return f"var({lower[color.lower()]})" if color.lower() in lower else color
