"""pydantic's verdict on the values of a config, told at the places where they stand in the file."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from modelyard.config import words
from modelyard.config.document import Document, Mapping, Node, Sequence, locate
from modelyard.config.spec import WRITTEN, Config

_ABSENT = object()
_PARTS = ("Secret", "Slice")
"""Parts that may stand where a plain value may."""


@dataclass
class Verdict:
    """pydantic's verdict on one stage's data, told at the places of `tree`."""

    document: Document
    tree: Mapping
    data: dict[str, Any]

    def config(self) -> Config | None:
        try:
            return _validate(self.data)
        except ValidationError as exc:
            faulty, named = self._report(exc)
        # Rules over several fields run only where the fields hold by themselves: look again without what was just reported.
        rest = json.loads(json.dumps(self.data))
        for path in faulty:
            _prune(rest, path)
        try:
            _validate(rest)
        except ValidationError as exc:
            self._report_rules(exc, faulty, named)
        return None

    def _report(self, exc: ValidationError) -> tuple[list[words.Path], set[str]]:
        """Reports the errors; returns the faulty paths, and the names that are at fault or were probably meant."""
        groups: dict[words.Path, list[tuple[str | None, words.Path, dict[str, Any]]]] = {}
        for error in exc.errors(include_url=False):
            path, tag, inner = self._split(tuple(error["loc"]))
            groups.setdefault(path, []).append((tag, inner, dict(error)))
        meant = {
            (*path[:-1], near)
            for path, errors in groups.items()
            if errors[0][2]["type"] == "extra_forbidden" and (near := words.nearest(str(path[-1]), words.known_keys(path[:-1])))
        }
        faulty: list[words.Path] = []
        for path, errors in groups.items():
            if errors[0][2]["type"] == "missing" and (path in meant or words.all_stages(errors[0][2]["input"])):
                continue
            faulty.append(path)
            if any(tag for tag, _, _ in errors):
                self._report_union(path, errors)
            else:
                self._say(path, errors[0][2])
        return faulty, {words.dotted(p) for p in (*faulty, *meant)}

    def _split(self, loc: words.Path) -> tuple[words.Path, str | None, words.Path]:
        """pydantic's location as (path in the file, union branch, rest inside that branch)."""
        node: Node | None = self.tree
        for index, segment in enumerate(loc):
            if segment == "[key]":
                return loc[:index], None, ()
            if isinstance(node, Mapping) and segment in node.entries:
                node = node.entries[str(segment)]
            elif isinstance(node, Sequence) and isinstance(segment, int) and segment < len(node.items):
                node = node.items[segment]
            elif segment in ("str", "int", "float", "bool", *_PARTS) or str(segment).startswith(("function-", "constrained-")):
                return loc[:index], str(segment), loc[index + 1 :]
        return loc, None, ()

    def _report_union(self, path: words.Path, errors: list[tuple[str | None, words.Path, dict[str, Any]]]) -> None:
        value = _get(self.data, path)
        ruled = [e for tag, inner, e in errors if tag not in _PARTS and not e["type"].endswith("_type")]
        inside = [(inner, e) for tag, inner, e in errors if tag in _PARTS]
        if isinstance(value, dict) and inside:
            known = words.known_keys(path)
            slip = words.all_stages(value) or any(
                words.nearest(str(inner[-1]), known) for inner, e in inside if e["type"] == "extra_forbidden"
            )
            for inner, error in inside:
                if not (slip and error["type"] == "missing"):
                    self._say((*path, *inner), error)
        elif ruled:
            self._say(path, ruled[0])
        elif locate(self.tree, path) not in self.document.unusable:
            self.document.report(locate(self.tree, path), words.explain_union(path, {t for t, _, _ in errors if t}, value))

    def _say(self, path: words.Path, error: dict[str, Any]) -> None:
        message, next = words.explain(path, error)
        at_key = error["type"] in ("extra_forbidden", "missing", "string_pattern_mismatch") or not path
        place = locate(self.tree, path, key=at_key)
        if error["type"] == "value_error" and (named := self._named(path, message)):
            place = locate(self.tree, named, key=True)
        if place not in self.document.unusable:
            self.document.report(place, message, next)

    def _named(self, path: words.Path, message: str) -> words.Path | None:
        """The first key that a rule's message names and the file holds, seen from `path`."""
        for name in re.findall(r"`([a-z_.]+)[`:]", message):
            parts: words.Path = (*path, *name.split("."))
            if _get(self.data, parts) is not _ABSENT:
                return parts
        return None

    def _report_rules(self, exc: ValidationError, faulty: list[words.Path], named: set[str]) -> None:
        for error in exc.errors(include_url=False):
            path, _, _ = self._split(tuple(error["loc"]))
            message = words.explain(path, dict(error))[0]
            about = {words.dotted((*path, *n.split("."))) for n in re.findall(r"`([a-z_.]+)[`:]", message)}
            # A rule about something that was left out of this second look proves nothing.
            if error["type"] == "value_error" and path not in faulty and not any(_related(a, n) for a in about for n in named):
                self._say(path, dict(error))


def _related(one: str, other: str) -> bool:
    return one == other or one.startswith((other + ".", other + "[")) or other.startswith((one + ".", one + "["))


def _validate(data: dict[str, Any]) -> Config:
    # JSON mode, strict: a list may become a tuple, but text never becomes a number, which is what the JSON Schema says too.
    return Config.model_validate_json(json.dumps(data), strict=True, by_alias=True, by_name=False, context=WRITTEN)


def _get(data: Any, path: words.Path) -> Any:
    for segment in path:
        known = segment in data if isinstance(data, dict) else isinstance(data, list) and segment in range(len(data))
        if not known:
            return _ABSENT
        data = data[segment]
    return data


def _prune(data: Any, path: words.Path) -> None:
    parent = _get(data, path[:-1]) if path else None
    if isinstance(parent, dict):
        parent.pop(path[-1], None)
