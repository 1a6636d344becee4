"""What is asked of a bench's figures, whether they keep to it, and how that is said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Bound:
    """`of` gives the figure from what was measured (None where it cannot be judged), which is to be at least (or at most) `bound`;
    without a bound it is only told."""

    what: str
    of: Callable[[Any], float | None]
    bound: float | None
    at_most: bool = False


def verdicts(bounds: Iterable[Bound], found: object) -> list[dict[str, Any]]:
    """{"what", "value", "bound", "at_most", "ok": None where it was not judged} of each."""
    said = []
    for bound in bounds:
        value = bound.of(found)
        ok = None if value is None or bound.bound is None else value <= bound.bound if bound.at_most else value >= bound.bound
        said.append({"what": bound.what, "value": value, "bound": bound.bound, "at_most": bound.at_most, "ok": ok})
    return said


def lines(said: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Verdicts, a line each."""
    for one in said:
        word = {True: "ok  ", False: "MISS", None: "?   "}[one["ok"]] if one["bound"] is not None else "    "
        value = "not judged" if one["value"] is None else f"{one['value']:.2f}"
        asked = f" ({'at most' if one['at_most'] else 'at least'} {one['bound']:g})" if one["bound"] is not None else ""
        yield f"{word} {one['what']}: {value}{asked}"
