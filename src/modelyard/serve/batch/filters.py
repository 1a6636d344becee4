"""Filters: the part of JSONPath that SageMaker's batch transform knows, for what the model is given and for what is written.

    $             all of a record
    $.a  $['a']   a value by its name             $['a', 'b']   several, as a record
    $[1] $[-1]    a value by its place            $[0, 2]       several, as a list
    $[1:3] $[1:]  a span of places, as a list     $.*  $[*]     all values, as a list

Steps may follow each other. A row of a table is a record whose values have places too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modelyard.errors import BadInput


@dataclass(frozen=True)
class Names:
    """One name gives its value, several a record."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"[{', '.join(_quoted(name) for name in self.names)}]"


@dataclass(frozen=True)
class Places:
    """One place gives its value, several a list; -1 is the last."""

    places: tuple[int, ...]

    def __str__(self) -> str:
        return f"[{', '.join(map(str, self.places))}]"


@dataclass(frozen=True)
class Span:
    start: int | None
    end: int | None

    def __str__(self) -> str:
        return f"[{'' if self.start is None else self.start}:{'' if self.end is None else self.end}]"


@dataclass(frozen=True)
class All:
    def __str__(self) -> str:
        return "[*]"


Step = Names | Places | Span | All
_NAME = re.compile(r"\.([A-Za-z_][\w-]*|\*)")
_TEXT = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")
_INT = re.compile(r"-?\d{1,9}")
_SPAN = re.compile(r"\[\s*(-?\d{1,9})?\s*:\s*(-?\d{1,9})?\s*\]")
_MOST = 1000
"""Characters of a filter at the most."""


def _quoted(name: str) -> str:
    return "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"


@dataclass(frozen=True)
class Filter:
    steps: tuple[Step, ...] = ()

    def __str__(self) -> str:
        return "$" + "".join(map(str, self.steps))

    def of(self, record: Any) -> Any:
        """What the filter leaves of a record of JSON. Raises BadInput where it has no such name or place."""
        for step in self.steps:
            record = _taken(step, record)
        return record

    def columns(self, names: Sequence[str]) -> list[str]:
        """Which of a table's columns it leaves, each once. Raises BadInput."""
        found = self._columns(names)
        if len(set(found)) != len(found):
            twice = next(name for name in found if found.count(name) > 1)
            raise BadInput(f"the filter {self} asks for the column `{twice}` twice", next="name each column once")
        return found

    def _columns(self, names: Sequence[str]) -> list[str]:
        if not self.steps:
            return list(names)
        if len(self.steps) > 1:
            raise BadInput(
                f"the filter {self} looks inside of values; those of a table have no inside", next="use one step: $['a', 'b'], $[1:]"
            )
        (step,) = self.steps
        if isinstance(step, All):
            return list(names)
        if isinstance(step, Span):
            return list(names)[step.start : step.end]
        if isinstance(step, Places):
            return [names[_within(place, len(names))] for place in step.places]
        for name in step.names:
            if name not in names:
                raise BadInput(f"the filter names `{name}`, which is no column", next=f"columns: {', '.join(names[:30])}")
        return list(step.names)


def _taken(step: Step, record: Any) -> Any:
    if isinstance(step, All) and isinstance(record, dict | list):
        return list(record.values()) if isinstance(record, dict) else list(record)
    if isinstance(step, Names) and isinstance(record, dict):
        for name in step.names:
            if name not in record:
                raise BadInput(f"the filter names `{name}`, which the record does not have")
        return record[step.names[0]] if len(step.names) == 1 else {name: record[name] for name in step.names}
    if isinstance(step, Span) and isinstance(record, list):
        return record[step.start : step.end]
    if isinstance(step, Places) and isinstance(record, list):
        found = [record[_within(place, len(record))] for place in step.places]
        return found[0] if len(found) == 1 else found
    raise BadInput(f"the filter step {step} does not go with {type(record).__name__} of JSON")


def _within(place: int, count: int) -> int:
    if not -count <= place < count:
        raise BadInput(f"the filter asks for place {place} of {count}")
    return place


def parse(text: str) -> Filter:
    """The filter that is written so. Raises BadInput, naming the character from which it does not hold."""
    if len(text) > _MOST:
        raise BadInput(f"a filter has at most {_MOST} characters")
    if not text.startswith("$"):
        raise BadInput(f"the filter `{text[:60]}` does not begin with $", next="write $ for all of a record, $['a'] or $[1:] for a part")
    at, steps = 1, list[Step]()
    while at < len(text):
        found = _step(text, at)
        if found is None:
            said = f"the filter does not hold from `{text[at : at + 30]}` on (character {at + 1})"
            raise BadInput(said, where=text, next="write $.a, $['a', 'b'], $[0, 2], $[1:3] or $[*]")
        steps.append(found[0])
        at = found[1]
    return Filter(tuple(steps))


def _step(text: str, at: int) -> tuple[Step, int] | None:
    if (name := _NAME.match(text, at)) is not None:
        return (All() if name[1] == "*" else Names((name[1],))), name.end()
    if text.startswith("[*]", at):
        return All(), at + 3
    if (span := _SPAN.match(text, at)) is not None:
        return Span(*(None if part is None else int(part) for part in span.groups())), span.end()
    if not text.startswith("[", at):
        return None
    return _listed(text, at + 1)


def _listed(text: str, at: int) -> tuple[Step, int] | None:
    """Names or places up to the closing bracket."""
    names, places = list[str](), list[int]()
    while True:
        at = _blank(text, at)
        if (name := _TEXT.match(text, at)) is not None:
            names.append(re.sub(r"\\(.)", r"\1", name[1] if name[1] is not None else name[2], flags=re.DOTALL))
            at = name.end()
        elif (place := _INT.match(text, at)) is not None:
            places.append(int(place[0]))
            at = place.end()
        else:
            return None
        at = _blank(text, at)
        if text.startswith(",", at):
            at += 1
            continue
        if not text.startswith("]", at) or (names and places):
            return None
        return (Names(tuple(names)) if names else Places(tuple(places))), at + 1


def _blank(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t":
        at += 1
    return at


def shown(value: Any) -> str:
    """A value as an error names it."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:59] + "…"
