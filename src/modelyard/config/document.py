"""config.yaml as a tree in which every value knows its line and column.

The tree is built from the parser's events, so nothing is constructed and no alias is expanded before the caps have been checked.
Scalars follow YAML 1.2's core schema: `on`, `yes` and `2013-01-01` are text; keys are always text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import AliasEvent, MappingEndEvent, MappingStartEvent, ScalarEvent, SequenceEndEvent, SequenceStartEvent

from modelyard.errors import Problem

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
MAX_ALIASED = 1000
MAX_NODES = 50_000
MAX_LINE = 100_000  # the parser takes quadratic time over some very long tokens
MAX_INT = 2**63 - 1
_MAX_SHOWN = 200

# What YAML 1.2 calls unprintable, and the exotic line separators on which parsers and editors disagree about line numbers.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_NULL = re.compile(r"|~|null|Null|NULL")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

Place = tuple[int, int]
"""Line and column, both from 1."""


@dataclass(frozen=True, slots=True)
class Scalar:
    place: Place
    text: str
    plain: bool
    """Written without quotes, so that it may mean a number, true, false or null."""
    size: int = 1
    depth: int = 0


@dataclass(slots=True)
class Sequence:
    place: Place
    items: list[Node] = field(default_factory=list)
    size: int = 1
    depth: int = 1


@dataclass(slots=True)
class Mapping:
    place: Place
    entries: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, Place] = field(default_factory=dict)
    size: int = 1
    depth: int = 1


Node = Scalar | Sequence | Mapping


class InvalidError(Exception):
    """The text is no usable document beyond this place; `problems` of the `Document` say why."""


def resolve(text: str) -> str | int | float | bool | None:
    """The value of an unquoted scalar; raises ValueError for numbers that JSON cannot carry."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text[0] in "tT"
    if _INT.fullmatch(text):
        if len(text) > 32:
            raise ValueError("this whole number is too large; the limit is 2^63 - 1")
        number = int(text, 0 if text[:2] in ("0o", "0x") else 10)
        if abs(number) > MAX_INT:
            raise ValueError("this whole number is too large; the limit is 2^63 - 1")
        return number
    if _NOT_FINITE.fullmatch(text) or (_FLOAT.fullmatch(text) and not math.isfinite(float(text))):
        raise ValueError(f"'{text[:40]}' is not a finite number")
    return float(text) if _FLOAT.fullmatch(text) else text


def unprintable(text: str) -> re.Match[str] | None:
    """The first character that no config may hold."""
    return _UNPRINTABLE.search(text)


class Document:
    """One parsed file: its lines, its tree, and the problems met while reading it."""

    def __init__(self, text: str, name: str) -> None:
        self.name, self.lines = name, re.split(r"\r\n|\r|\n", text)
        self.problems: list[Problem] = []
        self.unusable: set[Place] = set()
        """Scalars whose text was refused already, so that nothing more need be said of their value."""
        self.root: Node | None = None
        self._said: set[tuple[int, int, str]] = set()
        self._anchors: dict[str, Node] = {}
        self._aliased = self._nodes = 0
        try:
            self._check_text(text)
            self._parse(text)
        except InvalidError:
            self.root = None

    def report(self, place: Place, message: str, next: str = "") -> None:
        """Adds a problem, once, clamped to a place that exists in the file."""
        line = min(max(place[0], 1), len(self.lines))
        source = self.lines[line - 1]
        column = min(max(place[1], 1), len(source) + 1)
        shown = source.replace("\t", " ")[:_MAX_SHOWN] if column <= _MAX_SHOWN else ""
        problem = Problem(self.name, line, column, message, _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", shown), next)
        key = (line, column, re.sub(r"\[\d+\]", "[]", message))  # the same item may have another index in the other stage
        if key not in self._said:
            self._said.add(key)
            self.problems.append(problem)

    def _fail(self, place: Place, message: str, next: str = "") -> InvalidError:
        self.report(place, message, next)
        return InvalidError(message)

    def _check_text(self, text: str) -> None:
        if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
            raise self._fail((1, 1), f"the file is larger than {MAX_BYTES:,} bytes")
        if bad := unprintable(text):
            before = re.split(r"\r\n|\r|\n", text[: bad.start()])
            raise self._fail((len(before), len(before[-1]) + 1), f"the character U+{ord(bad.group()):04X} is not allowed here")
        for number, line in enumerate(self.lines, 1):
            if len(line) > MAX_LINE:
                raise self._fail((number, 1), f"the line is longer than {MAX_LINE:,} characters")
            # A directive would change the YAML version, and with it what `on` or `010` mean.
            if line.startswith("%"):
                raise self._fail((number, 1), "a line cannot begin with '%'; put the text in quotes")

    def _parse(self, text: str) -> None:
        parser = YAML(typ="safe", pure=True)
        try:
            self._document(iter(parser.parse(text)))
        except MarkedYAMLError as exc:
            mark = exc.problem_mark or exc.context_mark
            words = ", ".join(str(p) for p in (exc.problem, exc.context) if p)
            place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            hint = _yaml_hint(words, self.lines[place[0] - 1 : place[0]])
            raise self._fail(place, f"this is not valid YAML: {words}", hint) from exc
        except InvalidError:
            raise
        except Exception as exc:  # the parser lets other errors out on hostile text, and whatever it is, the file is to blame
            reader = parser.reader
            raise self._fail((reader.line + 1, reader.column + 1), f"this is not valid YAML: {exc}") from exc

    def _document(self, events: Iterator[Any]) -> None:
        for event in events:
            if type(event).__name__ == "DocumentStartEvent":
                if self.root is not None:
                    raise self._fail(_place(event), "a second document begins here; one file holds one config")
            elif isinstance(event, ScalarEvent | SequenceStartEvent | MappingStartEvent | AliasEvent):
                self.root = self._node(event, events, 1)

    def _node(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._fail(_place(event), f"the file holds more than {MAX_NODES:,} values")
        if isinstance(event, AliasEvent):
            return self._alias(event, depth)
        if event.tag is not None:
            self.report(_place(event), f"the tag '{str(event.tag)[:40]}' is not allowed; write plain values")
        if isinstance(event, ScalarEvent):
            node: Node = self._scalar(event)
        elif depth > MAX_DEPTH:
            raise self._fail(_place(event), f"this is nested more than {MAX_DEPTH} levels deep")
        else:
            build = self._sequence if isinstance(event, SequenceStartEvent) else self._mapping
            node = build(event, events, depth)
        if event.anchor:
            self._anchors[event.anchor] = node  # only now: a value cannot contain itself
        return node

    def _alias(self, event: Any, depth: int) -> Node:
        node = self._anchors.get(event.anchor)
        if node is None:
            raise self._fail(_place(event), f"the alias '*{event.anchor[:40]}' names no value before it")
        self._aliased += node.size
        if self._aliased > MAX_ALIASED:
            raise self._fail(_place(event), f"aliases stand for more than {MAX_ALIASED:,} values in all")
        if depth + node.depth - 1 > MAX_DEPTH:
            raise self._fail(_place(event), f"this is nested more than {MAX_DEPTH} levels deep")
        return node

    def _scalar(self, event: Any) -> Scalar:
        if bad := re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", event.value):
            self.report(_place(event), f"the text holds the character U+{ord(bad.group()):04X}, which is not allowed")
            self.unusable.add(_place(event))
            return Scalar(_place(event), "", plain=False)
        return Scalar(_place(event), event.value, plain=event.style in (None, ""))

    def _sequence(self, start: Any, events: Iterator[Any], depth: int) -> Sequence:
        node = Sequence(_place(start))
        for event in events:
            if isinstance(event, SequenceEndEvent):
                break
            item = self._node(event, events, depth + 1)
            node.items.append(item)
            node.size, node.depth = node.size + item.size, max(node.depth, item.depth + 1)
        return node

    def _mapping(self, start: Any, events: Iterator[Any], depth: int) -> Mapping:
        node = Mapping(_place(start))
        for event in events:
            if isinstance(event, MappingEndEvent):
                break
            key = self._node(event, events, depth + 1)
            value = self._node(next(events), events, depth + 1)
            node.size, node.depth = node.size + key.size + value.size, max(node.depth, value.depth + 1)
            where = _place(event)
            if not isinstance(key, Scalar) or not key.text:
                self.report(where, "a key must be text")
            elif key.text == "<<" and key.plain:
                self.report(where, "merge keys (<<) are no part of YAML 1.2; name each key")
            elif key.text in node.entries:
                first = node.keys[key.text]
                self.report(where, f"`{key.text[:60]}` is written twice; the first is in line {first[0]}")
            else:
                node.entries[key.text], node.keys[key.text] = value, where
        return node


def _yaml_hint(words: str, line: list[str]) -> str:
    """What most often lies behind one of the parser's messages."""
    if "${" in "".join(line):
        return "between { } or [ ], put ${NAME} in quotes; where it stands for a number, give it a line of its own"
    if "mapping values are not allowed" in words:
        return "put a value that holds ': ' in quotes"
    if "'\\t'" in words:
        return "indent with spaces; YAML does not take tabs"
    if "%" in words or "`" in words or "'@'" in words:
        return "put the value in quotes"
    return ""


def _place(event: Any) -> Place:
    return event.start_mark.line + 1, event.start_mark.column + 1


def locate(root: Node, path: tuple[str | int, ...], *, key: bool = False) -> Place:
    """Where `path` stands, or the deepest part of it that exists: the value's place, or the key's with `key=True`."""
    node, place = root, root.place
    for segment in path:
        if isinstance(node, Mapping) and segment in node.entries:
            name = str(segment)
            place, node = node.keys[name], node.entries[name]
        elif isinstance(node, Sequence) and isinstance(segment, int) and segment < len(node.items):
            node = node.items[segment]
            place = node.place
        else:
            return place
    return place if key else node.place
