"""The tables and pictures of docs/explanation/detection.md, out of all words; each lies between two marks that name it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from detection import pictures
from detection.rates import OURS, RULES, TUNED, Delay, Rate, Record, Rule, delay, rate, same, violated
from detection.shifts import SHIFTS
from detection.windows import SHIFTED, SHIFTED_SETS, SIZES

DOCS = Path(__file__).parent.parent.parent.parent / "docs"
PAGE = DOCS / "explanation" / "detection.md"
ALLOWED, FEW = 0.01, 10
"""False alarms that our default may give, as a share; alarms that are told by their number."""
NAMES = [s.name for s in SHIFTS if s.kind != "none"]
ASKED = (
    "mean 0.2 sd, one column", "mean 0.5 sd, one column", "mean 1.0 sd, one column", "mean 0.5 sd, a third of the columns",
    "share +10 points", "new category in 5%", "missing +5 points", "broken relation",
)  # fmt: skip
Table = tuple[list[str], list[list[str]]]


def quiet(records: list[Record]) -> bool:
    """Whether what alerts by default cries wolf nowhere: at most one false alarm in a hundred stable windows of any set and size."""
    rates = [_of(records, rule, shift="stable", set=name, size=size) for name, size in _places(records) for rule in RULES[:2]]
    return all(found is None or found.share <= ALLOWED for found in rates)


def told(kept: dict[str, Any]) -> str:
    """All tables as text."""
    return "\n\n".join(f"{name}\n\n{_markdown(table)}" for name, table in tables(kept["records"]).items())


def write(kept: dict[str, Any]) -> None:
    """Put the tables into the page, and the pictures beside it."""
    page = PAGE.read_text(encoding="utf-8")
    for name, table in tables(kept["records"]).items():
        mark, end = f"<!-- study: {name} -->", "<!-- end -->"
        page, count = re.subn(f"{mark}.*?{end}", lambda _: f"{mark}\n{_markdown(table)}\n{end}", page, flags=re.DOTALL)  # noqa: B023
        if count != 1:
            raise SystemExit(f"{PAGE} has {mark} {count} times")
    PAGE.write_text(page, encoding="utf-8")
    for name, svg in pictures.drawn(kept["records"]).items():
        (DOCS / "images" / f"{name}.svg").write_text(svg, encoding="utf-8")


def tables(records: list[Record]) -> dict[str, Table]:
    shown = same(records)
    return {
        "false alarms": _false_alarms(records),
        "detected": _by_rule(shown, lambda found, rule: _percent(rate(found, rule.alarmed)), size=SHIFTED),
        "delay": _by_rule(shown, lambda found, rule: _windows(delay(found, rule.alarmed)), size=SHIFTED),
        "ours": _ours(_where(records, tool=OURS)),
        "settings": _settings(records),
        "real weeks": _real_weeks(records),
    }


def _false_alarms(records: list[Record]) -> Table:
    head = ["set", "rows", *(rule.name for rule in RULES)]
    rows = [
        [name, f"{size:,}", *(_counted(_of(records, rule, shift="stable", set=name, size=size)) for rule in RULES)]
        for name, size in _places(records)
    ]
    totals = [_of(records, rule, shift="stable") for rule in RULES]
    rows.append(["all", "", *(_counted(total) for total in totals)])
    rows.append(["at most (95%)", "", *("-" if total is None else _share(total.at_most) for total in totals)])
    return head, rows


def _by_rule(records: list[Record], said: Callable[[list[Record], Rule], str], **where: Any) -> Table:
    """A row a shift, a column a rule."""
    rows = [[name, *(said(_where(records, tool=rule.tool, shift=name, **where), rule) for rule in RULES)] for name in NAMES]
    return ["shift", *(rule.name for rule in RULES)], rows


def _ours(records: list[Record]) -> Table:
    """By default: a row a shift, a column a size, then a set; by each of our rules, with strokes between."""
    wanted = [{"size": size} for size in SIZES] + [{"size": SHIFTED, "set": name} for name in SHIFTED_SETS]
    rows = []
    for name in NAMES:
        cells = [_where(records, shift=name, **place) for place in wanted]
        rows.append([name, *(" / ".join(_percent(rate(found, rule.alarmed)) for rule in RULES[:3]) for found in cells)])
    return ["shift", *(f"{size:,} rows" for size in SIZES), *(f"{SHIFTED:,}, {name}" for name in SHIFTED_SETS)], rows


def _settings(records: list[Record]) -> Table:
    ours = _where(records, tool=OURS)
    stable = _where(ours, shift="stable")
    rows = []
    for settings in TUNED:

        def alarmed(record: Record) -> bool:
            return violated(record, settings)  # noqa: B023

        rates = [rate(_where(stable, set=name, size=size), alarmed) for name, size in _places(records)]
        worst = max((found.share for found in rates if found), default=0.0)
        found = [_percent(rate(_where(ours, shift=name, size=SHIFTED), alarmed)) for name in ASKED]
        found += [_percent(rate(_where(ours, shift="real week", set=name), alarmed)) for name in SHIFTED_SETS[:2]]
        rows.append([settings.name, _counted(rate(stable, alarmed)), _share(worst), *found])
    return ["settings", "false alarms", "most in one set and size", *ASKED, *(f"real weeks, {name}" for name in SHIFTED_SETS[:2])], rows


def _real_weeks(records: list[Record]) -> Table:
    weeks = _where(records, shift="real week")
    names = sorted({r["set"] for r in weeks})
    return ["set", *(rule.name for rule in RULES)], [[n, *(_counted(_of(weeks, rule, set=n)) for rule in RULES)] for n in names]


def _places(records: Iterable[Record]) -> list[tuple[str, int]]:
    """Sets and sizes of which there are stable windows, in the order of the sets."""
    return list(dict.fromkeys(sorted({(r["set"], r["size"]) for r in records if r["shift"] == "stable"}, key=_order)))


def _order(place: tuple[str, int]) -> tuple[bool, str, int]:
    return place[0] not in SHIFTED_SETS, *place


def _where(records: Iterable[Record], **wanted: Any) -> list[Record]:
    return [r for r in records if all(r[key] == value for key, value in wanted.items())]


def _of(records: Iterable[Record], rule: Rule, **wanted: Any) -> Rate | None:
    return rate(_where(records, tool=rule.tool, **wanted), rule.alarmed)


def _percent(found: Rate | None) -> str:
    return "-" if found is None else f"{100 * found.share:.0f}%"


def _counted(found: Rate | None) -> str:
    if found is None:
        return "-"
    return f"{found.alarms if found.alarms < FEW else _share(found.share)} of {found.windows:,}"


def _share(value: float) -> str:
    digits = 2 if value < 0.001 else 1 if value < 0.1 else 0
    return f"{100 * value:.{digits}f}%" if value else "0"


def _windows(found: Delay | None) -> str:
    if found is None or found.mean is None:
        return "-" if found is None else "never"
    return f"{found.mean:.1f}" + (f", {100 * found.never:.0f}% never" if found.never else "")


def _markdown(table: Table) -> str:
    head, rows = table
    return "\n".join(_line(cells) for cells in (head, ["---"] * len(head), *rows))


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def lines(page: str, name: str) -> Iterator[list[str]]:
    """The rows of a table of the page, its head left out."""
    found = re.search(f"<!-- study: {name} -->\n(.*?)\n<!-- end -->", page, flags=re.DOTALL)
    for line in (found[1].splitlines() if found else [])[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]
