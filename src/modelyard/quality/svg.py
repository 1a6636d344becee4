"""Charts as inline SVG that takes its colours and its font from the page around it: one picture serves light, dark and print.

Drawn by hand rather than by a library: a report is written in every build, and a picture of lines, dots and bars costs a millisecond.
Colours are CSS variables, text stays text, there is no id, no script and no style; everything that a person wrote is escaped.
"""

from __future__ import annotations

import html
from dataclasses import dataclass

INK, MUTED, GRID, PAPER = "var(--ink)", "var(--muted)", "var(--rule)", "var(--card)"
ONE, TWO, THREE, FOUR, FIVE = (f"var(--c{i})" for i in range(1, 6))


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


def escaped(text: str) -> str:
    """Text that any page can hold."""
    return html.escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))


def tag(name: str, inside: str | None = None, /, **attributes: float | str | None) -> str:
    """An element. `stroke_width` stands for stroke-width; numbers are rounded to a tenth; None leaves an attribute out."""
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    written = "".join(f' {key}="{value if isinstance(value, str) else short_number(value)}"' for key, value in given.items())
    return f"<{name}{written}/>" if inside is None else f"<{name}{written}>{inside}</{name}>"


def short_number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if value % 1 else f"{value:.0f}"


def words(x: float, y: float, said: str, *, anchor: str = "start", color: str = MUTED, size: float = 10, **more: str) -> str:
    return tag("text", escaped(said), x=x, y=y, font_size=size, text_anchor=None if anchor == "start" else anchor, fill=color, **more)


def bar(x: float, y: float, width: float, height: float, color: str, opacity: float, said: str = "") -> str:
    """A rectangle, at least a hair wide and high; `said` is what it says when it is pointed at."""
    inside = tag("title", escaped(said)) if said else None
    return tag("rect", inside, x=x, y=y, width=max(width, 0.4), height=max(height, 0.4), fill=color, fill_opacity=opacity)
