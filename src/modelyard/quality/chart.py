"""A chart: two axes and the marks between them, written as SVG (see `svg`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelyard.quality.scales import Scale, between, extent, path, said, ticks
from modelyard.quality.svg import GRID, INK, MUTED, ONE, Plot, bar, escaped, short_number, tag, words

DASHED, DOTTED = "4 4", "2 2"
SIZE, WIDE = (330, 262), (460, 290)
"""Width and height of a picture, in the units that its text is 10 high in."""
LETTER = 5.4
"""About how wide a letter is."""
Mark = Callable[[Scale, Scale], str]


def draw(name: str, title: str, reading: str, chart: Chart, *, facts: str = "") -> Plot:
    """A chart as a picture. facts: what it shows, in words, for those who do not see it; beside the reading."""
    wide = chart.size[0] >= WIDE[0]
    return Plot(name, title, reading, chart.svg(". ".join(part.rstrip(".") for part in (title, facts, reading) if part)), wide)


@dataclass
class Chart:
    """Two axes and what is drawn between them, in the units of the data. Marks come to lie in the order in which they are added.

    x, y: what the axes say. x_lim, y_lim: their ends, by default those of the marks, and a little more. x_names, y_names: texts at
    places in place of numbers; y_names are written as rows, the first one above. rising: whether greater y is above.
    """

    x: str = ""
    y: str = ""
    size: tuple[int, int] = SIZE
    x_lim: tuple[float, float] | None = None
    y_lim: tuple[float, float] | None = None
    x_names: Sequence[tuple[float, str]] | None = None
    y_names: Sequence[tuple[float, str]] | None = None
    rising: bool = True
    bare: bool = False
    _marks: list[Mark] = field(default_factory=list)
    _legend: list[tuple[str, str, str]] = field(default_factory=list)
    _x: list[float] = field(default_factory=list)
    _y: list[float] = field(default_factory=list)

    # -- marks ---------------------------------------------------------------------------------------------------------------

    def line(
        self,
        x: Iterable[float],
        y: Iterable[float],
        color: str = ONE,
        *,
        width: float = 2,
        dash: str = "",
        label: str = "",
        steps: bool = False,
    ) -> None:
        """Points joined; `steps` holds each y back to the x before."""
        points = self._seen(x, y)
        if steps:
            points = [p for (x0, _), (x1, y1) in zip(points[:1] + points[:-1], points, strict=True) for p in ((x0, y1), (x1, y1))]
        style: dict[str, Any] = {"stroke": color, "stroke_width": width, "stroke_dasharray": dash or None}
        style |= {"fill": "none", "stroke_linejoin": "round"}
        self._add(lambda sx, sy: tag("path", d=path(points, sx, sy), **style))
        self._say(label, "line", color, dash)

    def area(self, x: Iterable[float], low: Iterable[float], high: Iterable[float], color: str = ONE, *, opacity: float = 0.13) -> None:
        """The band between two lines."""
        xs = list(x)
        upper, lower = self._seen(xs, high), self._seen(xs, low)
        self._add(lambda sx, sy: tag("path", d=path(upper + lower[::-1], sx, sy) + "Z", fill=color, fill_opacity=opacity))

    def dots(
        self,
        x: Iterable[float],
        y: Iterable[float],
        color: str | Sequence[str] = ONE,
        *,
        radius: float = 2,
        opacity: float | None = None,
        label: str = "",
    ) -> None:
        """A dot a point, one path a colour: a thousand dots are a line of text."""
        points = self._seen(x, y)
        colors = [color] * len(points) if isinstance(color, str) else list(color)
        style: dict[str, Any] = {"stroke_width": 2 * radius, "stroke_linecap": "round", "stroke_opacity": opacity, "fill": "none"}

        def mark(sx: Scale, sy: Scale) -> str:
            groups: dict[str, list[str]] = {}
            for (px, py), c in zip(points, colors, strict=True):
                if math.isfinite(px) and math.isfinite(py):
                    groups.setdefault(c, []).append(f"M{short_number(round(sx(px), 1))} {short_number(round(sy(py), 1))}h0")
            return "".join(tag("path", d="".join(found), stroke=c, **style) for c, found in groups.items())

        self._add(mark)
        self._say(label, "dot", color if isinstance(color, str) else ONE)

    def bars(
        self,
        edges: Sequence[float],
        heights: Iterable[float],
        color: str = ONE,
        *,
        opacity: float = 0.7,
        label: str = "",
        hover: Sequence[str] = (),
    ) -> None:
        """A histogram's bars; `hover`: what each says when it is pointed at."""
        tall = list(heights)
        self._seen(edges, [0.0] * len(edges))
        self._seen([edges[0]] * len(tall), tall)

        def mark(sx: Scale, sy: Scale) -> str:
            return "".join(
                bar(sx(a), sy(h), sx(b) - sx(a) - 0.6, sy(0) - sy(h), color, opacity, hover[i] if hover else "")
                for i, (a, b, h) in enumerate(zip(edges[:-1], edges[1:], tall, strict=True))
                if h
            )

        self._add(mark)
        self._say(label, "bar", color)

    def rows(
        self, places: Iterable[float], values: Iterable[float], colors: Sequence[str], *, thick: float = 0.62, ends: Sequence[str] = ()
    ) -> None:
        """Bars that lie: from 0 to a value, at a place of the other axis; `ends` are written at their ends."""
        points = self._seen(values, places)
        self._seen([0.0], [points[0][1]] if points else [0.0])

        def mark(sx: Scale, sy: Scale) -> str:
            high = abs(sy(thick) - sy(0))
            found = [
                bar(min(sx(0), sx(v)), sy(p) - high / 2, abs(sx(v) - sx(0)), high, color, 0.85)
                for (v, p), color in zip(points, colors, strict=True)
            ]
            return "".join(found) + "".join(
                words(sx(max(v, 0)) + 4, sy(p) + 3.4, text, size=9) for (v, p), text in zip(points, ends, strict=True) if text
            )

        self._add(mark)

    def whiskers(
        self, x: Iterable[float], low: Iterable[float], high: Iterable[float], color: str = ONE, *, width: float = 1.5, opacity: float = 0.5
    ) -> None:
        """An upright line a point, from `low` to `high`."""
        xs = list(x)
        below, above = self._seen(xs, low), self._seen(xs, high)
        style: dict[str, Any] = {"stroke": color, "stroke_width": width, "stroke_opacity": opacity, "fill": "none"}

        def mark(sx: Scale, sy: Scale) -> str:
            ends = zip(below, above, strict=True)
            return tag("path", d="".join(f"M{sx(a):.1f} {sy(b):.1f}V{sy(c):.1f}" for (a, b), (_, c) in ends), **style)

        self._add(mark)

    def spans(self, y: Iterable[float], low: Iterable[float], high: Iterable[float], color: str = ONE, *, width: float = 2) -> None:
        """A level line a point, from `low` to `high`."""
        ys = list(y)
        left, right = self._seen(low, ys), self._seen(high, ys)
        style: dict[str, Any] = {"stroke": color, "stroke_width": width, "fill": "none", "stroke_linecap": "round", "stroke_opacity": 0.65}

        def mark(sx: Scale, sy: Scale) -> str:
            ends = zip(left, right, strict=True)
            return tag("path", d="".join(f"M{sx(a):.1f} {sy(p):.1f}H{sx(b):.1f}" for (a, p), (b, _) in ends), **style)

        self._add(mark)

    def upright(self, x: float, color: str = MUTED, *, dash: str = "", label: str = "") -> None:
        """A line over the whole height."""
        self._seen([x], [])
        self._add(
            lambda sx, sy: tag("line", x1=sx(x), x2=sx(x), y1=sy(-math.inf), y2=sy(math.inf), stroke=color, stroke_dasharray=dash or None)
        )
        self._say(label, "line", color, dash)

    def level(self, y: float, color: str = MUTED, *, dash: str = "", label: str = "") -> None:
        """A line over the whole width."""
        self._seen([], [y])
        self._add(
            lambda sx, sy: tag("line", x1=sx(-math.inf), x2=sx(math.inf), y1=sy(y), y2=sy(y), stroke=color, stroke_dasharray=dash or None)
        )
        self._say(label, "line", color, dash)

    def text(
        self,
        x: float,
        y: float,
        said: str,
        *,
        anchor: str = "start",
        color: str = MUTED,
        size: float = 10,
        down: float = 0,
        bold: bool = False,
    ) -> None:
        """Words at a place; `down`: so far below it, in the picture's own units."""
        more = {"font_weight": "700"} if bold else {}
        self._add(lambda sx, sy: words(sx(x), sy(y) + down, said, anchor=anchor, color=color, size=size, **more))

    def cell(self, x: float, y: float, color: str, opacity: float) -> None:
        """A square of side 1 (less a seam), whose upper left corner is at a place of axes that fall."""
        self._add(lambda sx, sy: bar(sx(x), sy(y), sx(x + 0.97) - sx(x), sy(y + 0.97) - sy(y), color, opacity))

    def marks(self, mark: Mark) -> None:
        """What none of the above draws: a function of the two scales that gives SVG."""
        self._add(mark)

    def key(self, label: str, color: str) -> None:
        """A line of the legend for what `marks` draws."""
        self._say(label, "bar", color)

    def _seen(self, x: Iterable[float], y: Iterable[float]) -> list[tuple[float, float]]:
        xs, ys = [float(v) for v in x], [float(v) for v in y]
        self._x += [v for v in xs if math.isfinite(v)]
        self._y += [v for v in ys if math.isfinite(v)]
        return list(zip(xs, ys, strict=False))

    def _add(self, mark: Mark) -> None:
        self._marks.append(mark)

    def _say(self, label: str, kind: str, color: str, dash: str = "") -> None:
        if label:
            self._legend.append((label, color, kind + dash))

    # -- the picture ---------------------------------------------------------------------------------------------------------

    def svg(self, label: str) -> str:
        width, height = self.size
        x0, x1 = self.x_lim or extent(self._x)
        y0, y1 = self.y_lim or extent(self._y)
        across, upward = (
            self._x_ticks(x0, x1, width),
            self.y_names if self.y_names is not None else [(t, said(t)) for t in ticks(y0, y1, 5)],
        )
        legend, top = self._written_legend(width)
        names = max((len(text) for _, text in upward), default=0)
        left = min(width * 0.42, 12 + LETTER * names) + (14 if self.y else 0)
        turned = self.x_names is not None and max((len(t) for _, t in across), default=0) * LETTER * len(across) > width - left
        longest = max((len(text) for _, text in across), default=0)
        bottom = height - (18 if self.x else 4) - (8 + min(70, longest * LETTER * 0.72) if turned else 16)
        right = width - 10.0

        def sx(value: float) -> float:
            return between(value, x0, x1, left, right)

        def sy(value: float) -> float:
            return between(value, y0, y1, bottom, top) if self.rising else between(value, y0, y1, top, bottom)

        parts = [] if self.bare else self._grid(across, upward, sx, sy, (left, right, top, bottom))
        parts += [mark(sx, sy) for mark in self._marks]
        parts += self._labels(across, upward, sx, sy, (left, right, top, bottom), turned)
        inside = "\n".join([*parts, *legend])
        return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escaped(label)}">\n{inside}\n</svg>'

    def _x_ticks(self, low: float, high: float, width: int) -> Sequence[tuple[float, str]]:
        if self.x_names is not None:
            return self.x_names
        for most in (7, 5, 4, 3, 2):
            found = [(t, said(t)) for t in ticks(low, high, most)]
            if sum(len(text) + 2 for _, text in found) * LETTER < width - 60:
                return found
        return found[:1]

    def _grid(
        self, across: Sequence[tuple[float, str]], upward: Sequence[tuple[float, str]], sx: Scale, sy: Scale, box: tuple[float, ...]
    ) -> list[str]:
        left, right, top, bottom = box
        lines = [] if self.x_names is not None else [f"M{sx(t):.1f} {top:.1f}V{bottom:.1f}" for t, _ in across]
        lines += [] if self.y_names is not None else [f"M{left:.1f} {sy(t):.1f}H{right:.1f}" for t, _ in upward]
        return [tag("path", d="".join([*lines, f"M{left:.1f} {bottom:.1f}H{right:.1f}"]), stroke=GRID, stroke_width=0.8, fill="none")]

    def _labels(
        self,
        across: Sequence[tuple[float, str]],
        upward: Sequence[tuple[float, str]],
        sx: Scale,
        sy: Scale,
        box: tuple[float, ...],
        turned: bool,
    ) -> list[str]:
        left, right, top, bottom = box
        color = INK if self.y_names is not None else MUTED
        parts = [words(left - 6, sy(t) + 3.5, text, anchor="end", color=color) for t, text in upward]
        if turned:
            parts += [
                words(sx(t) + 3, bottom + 12, text, anchor="end", transform=f"rotate(-40 {sx(t) + 3:.1f} {bottom + 12:.1f})")
                for t, text in across
            ]
        else:
            parts += [words(sx(t), bottom + 14, text, anchor="middle") for t, text in across]
        if self.x:
            parts.append(words((left + right) / 2, self.size[1] - 4, self.x, anchor="middle", font_weight="500"))
        if self.y:
            middle = (top + bottom) / 2
            parts.append(words(10, middle, self.y, anchor="middle", font_weight="500", transform=f"rotate(-90 10 {middle:.1f})"))
        return parts

    def _written_legend(self, width: int) -> tuple[list[str], float]:
        """The legend above the picture, in as many lines as it needs, and where the picture begins."""
        parts, x, y = [], 12.0, 12.0
        for label, color, kind in self._legend:
            wide = 20 + LETTER * len(label) + 14
            if x > 12 and x + wide > width:
                x, y = 12.0, y + 15
            if kind.startswith("line"):
                dash = kind.removeprefix("line") or None
                parts.append(tag("line", x1=x, x2=x + 14, y1=y - 3.5, y2=y - 3.5, stroke=color, stroke_width=2, stroke_dasharray=dash))
            elif kind == "bar":
                parts.append(bar(x + 2, y - 8, 9, 9, color, 0.7))
            else:
                parts.append(tag("circle", cx=x + 7, cy=y - 3.5, r=3.4, fill=color))
            parts.append(words(x + 19, y, label, color=INK))
            x += wide
        return parts, (y + 10 if self._legend else 8.0)
