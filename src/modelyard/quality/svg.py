"""One Matplotlib picture as inline SVG that takes its colours and its font from the page around it.

Matplotlib draws (SVG backend, no display, no pyplot); what it writes is then made fit for a page: colours become CSS variables,
so that one picture serves light, dark and print; ids get the picture's own prefix; text stays text; nothing styles the page
itself.
"""

from __future__ import annotations

import html
import io
import re
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, GRID, PAPER = "#010101", "#020202", "#030303", "#040404"
ONE, TWO, THREE, FOUR, FIVE = "#050505", "#060606", "#070707", "#080808", "#090909"
"""Stand-ins that Matplotlib writes and `_inline` turns into the page's own colours."""
VARIABLES = {INK: "ink", MUTED: "muted", GRID: "rule", PAPER: "card", ONE: "c1", TWO: "c2", THREE: "c3", FOUR: "c4", FIVE: "c5"}
_LOCK = threading.Lock()  # Matplotlib's settings are global to the process


@dataclass(frozen=True)
class Plot:
    """A picture: `svg` is safe, self-contained markup without script; `reading` says in a sentence how to read it.

    wide: drawn for a page of two columns rather than three.
    """

    name: str
    title: str
    reading: str
    svg: str
    wide: bool = False


def short(text: str, length: int = 20) -> str:
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return flat if len(flat) <= length else flat[: length - 1] + "…"


_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "text.usetex": False,
    "text.color": INK,
    "font.size": 10,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "legend.facecolor": PAPER,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.85,
    "legend.labelcolor": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}


def draw(name: str, title: str, reading: str, paint: Callable[[Axes], None], *, wide: bool = False) -> Plot:
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    out = io.StringIO()
    with _LOCK, mpl.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the page's font draws the text, not Matplotlib's
        figure = Figure(figsize=(6.0, 4.0) if wide else (4.4, 3.6), layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure.add_subplot())
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return Plot(name, title, reading, _inline(out.getvalue(), name, title), wide)


def _inline(svg: str, name: str, title: str) -> str:
    """Matplotlib's document as an element of a page. Only tags are rewritten, never the text between them."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)  # it would style the whole page
    svg = re.sub(r"<[^>]*>", lambda tag: _tag(tag.group(), name), svg)
    svg = re.sub(r"\n\s*", "\n", svg)
    head = f'role="img" aria-label="{html.escape(title)}"'
    return re.sub(r"<svg [^>]*?viewBox=\"([^\"]*)\"[^>]*>", rf'<svg viewBox="\1" {head}>', svg, count=1)


def _tag(tag: str, name: str) -> str:
    tag = re.sub(r"font-family: [^;\"]*; ", "", tag)
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = re.sub(r'(href="#|url\(#)', rf"\1{name}-", tag)
    tag = re.sub("|".join(VARIABLES), lambda m: f"var(--{VARIABLES[m.group()]})", tag)
    return re.sub(r"(\d\.\d\d)\d+", r"\1", tag)
