"""config.yaml, from text to a `Config` for each stage, or every problem at once with its place.

In order: the text is parsed under caps (`document`), `${NAME}` is put in, each stage's values are picked, pydantic judges what
comes out (`spec`), and its complaints are put in plain words (`words`) at the place where the value stands.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelyard.config import clarify, constraints, words
from modelyard.config.document import MAX_BYTES, Document, Node, Scalar, Sequence, locate, resolve, unprintable
from modelyard.config.document import Mapping as MappingNode
from modelyard.config.spec import STAGES, Config, Stage
from modelyard.config.verdict import Verdict
from modelyard.errors import BadConfig, BadInput, NotFound, Problem

_REFERENCE = re.compile(r"\$\$\{|\$\{([A-Z][A-Z0-9_]*)\}|\$\{")


@dataclass(frozen=True)
class Loaded:
    """A config that holds.

    Attributes:
        path: the file, absolute.
        text: its text.
        config: production's values.
        staging: staging's values.
        digest: sha256 (hex) of the canonical JSON of both.
    """

    path: Path
    text: str
    config: Config
    staging: Config
    digest: str

    @property
    def folder(self) -> Path:
        """The folder that relative paths of the config start from."""
        return self.path.parent

    def for_stage(self, stage: Stage) -> Config:
        return self.staging if stage == "staging" else self.config

    def canonical(self) -> dict[Stage, dict[str, Any]]:
        """Each stage's values as JSON data, which is what `plan` compares."""
        return {stage: canonical(self.for_stage(stage)) for stage in STAGES}

    def where(self, *path: str | int) -> str:
        """`config.yaml:12:5`, the place of a value such as `where("train", "entry_point")`, for errors that show up later."""
        document = Document(self.text, shown_path(self.path))
        line, column = locate(document.root, path) if document.root else (1, 1)
        return f"{document.name}:{line}:{column}"


def canonical(config: Config) -> dict[str, Any]:
    """A config as JSON data, defaults included."""
    return config.model_dump(mode="json", by_alias=True)


def shown_path(path: Path) -> str:
    """A path as messages name it: relative to the working directory where it lies below it."""
    absolute = path.absolute()
    try:
        return str(absolute.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(absolute)


def load(path: Path) -> Loaded:
    """Reads and judges a config.yaml.

    Raises:
        NotFound: there is no such file.
        BadInput: it cannot be read.
        BadConfig: it does not hold; all problems at once, in the file's order.
    """
    name = shown_path(path)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError as exc:
        raise NotFound("there is no such file", where=name, next="modelyard init writes one") from exc
    except IsADirectoryError as exc:
        raise BadInput("this is a folder, not a config", where=name, next=f"name the file: {name}/config.yaml") from exc
    except (OSError, ValueError) as exc:
        raise BadInput(f"the file cannot be read: {exc}", where=name) from exc
    if len(raw) > MAX_BYTES:
        raise BadConfig([Problem(name, 1, 1, f"the file is larger than {MAX_BYTES:,} bytes")])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        before = exc.object[: exc.start].decode("utf-8", "replace")  # `object` and `start` are without the byte-order mark
        lines = re.split(r"\r\n|\r|\n", before)
        message = f"the file is not UTF-8: byte 0x{exc.object[exc.start]:02x} stands for no character"
        raise BadConfig([Problem(name, len(lines), len(lines[-1]) + 1, message, next="save it as UTF-8")]) from exc
    return loads(text, path)


def loads(text: str, path: Path, *, environ: Mapping[str, str] | None = None) -> Loaded:
    """Judges the text of a config.yaml that stands, or will stand, at `path`.

    Raises:
        BadConfig: it does not hold; all problems at once, in the file's order.
    """
    document = Document(text, shown_path(path))
    configs = _Reading(document, os.environ if environ is None else environ).configs() if document.root else {}
    if not document.problems and not configs:
        document.report((1, 1), "the file is empty; a config begins with `version: 1`", "modelyard init writes one")
    if document.problems:
        raise BadConfig(sorted(document.problems, key=lambda p: (p.line, p.column)))
    configs = {stage: clarify.inlined(constraints.inlined(config, path.parent), path.parent) for stage, config in configs.items()}
    both = json.dumps([canonical(configs[s]) for s in STAGES], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(both.encode()).hexdigest()
    return Loaded(path.absolute(), text, configs["production"], configs["staging"], digest)


@dataclass
class _Reading:
    """One reading of one document: variables, stages, and pydantic's verdict."""

    document: Document
    environ: Mapping[str, str]
    variables: dict[str, str | None] = field(default_factory=dict)

    def configs(self) -> dict[Stage, Config]:
        root = self.document.root
        assert root is not None
        if not isinstance(root, MappingNode):
            self.document.report(root.place, "a config is a mapping that begins with `version: 1`")
            return {}
        self._declare(root.entries.get("variables"))
        configs: dict[Stage, Config] = {}
        seen: dict[str, Config | None] = {}
        for stage in STAGES:
            tree = MappingNode(root.place, {}, root.keys)
            for key, node in root.entries.items():
                if (seen_so := self._seen(node, key, stage)) is not None:
                    tree.entries[key] = seen_so
            data = {key: self._value(node, literal=key == "variables") for key, node in tree.entries.items()}
            text = json.dumps(data)
            if text not in seen:  # most configs do not differ by stage
                seen[text] = Verdict(self.document, tree, data).config()
            if (config := seen[text]) is not None:
                configs[stage] = config
        return configs if len(configs) == len(STAGES) else {}

    def _declare(self, node: Node | None) -> None:
        for name, value in node.entries.items() if isinstance(node, MappingNode) else ():
            default = value.text if isinstance(value, Scalar) else None
            if isinstance(value, Scalar) and value.plain and resolve_or_none(value.text) is None:
                default = None
            self.variables[name] = self.environ.get(name, default)
            if self.variables[name] is None and isinstance(node, MappingNode):
                self.document.report(
                    node.keys[name], f"{name} must be set in the environment, for it has no default here", f"export {name}=..."
                )

    def _seen(self, node: Node, name: str, stage: Stage) -> Node | None:
        """The node called `name` (dotted) as one stage sees it; None where it says nothing for that stage."""
        if name in words.BY_STAGE:
            return self._pick(node, stage, within=False)
        if not isinstance(node, MappingNode) or not any(part.startswith(f"{name}.") for part in words.BY_STAGE):
            return node
        parts = {key: self._seen(value, f"{name}.{key}", stage) for key, value in node.entries.items()}
        return MappingNode(node.place, {key: part for key, part in parts.items() if part is not None}, node.keys)

    def _pick(self, node: Node, stage: Stage, *, within: bool) -> Node | None:
        """The node as one stage sees it; None where it says nothing for that stage."""
        if isinstance(node, Sequence):
            items = [self._pick(item, stage, within=within) for item in node.items]
            return Sequence(node.place, [item for item in items if item is not None])
        if not isinstance(node, MappingNode):
            return node
        if node.entries and node.entries.keys() <= set(STAGES):
            if within:
                self.document.report(node.place, "this already stands under a stage, and cannot differ by stage again")
                return None
            chosen = node.entries.get(stage)
            for other in node.entries.values():
                self._pick(other, stage, within=True)
            return None if chosen is None else self._pick(chosen, stage, within=True)
        picked = MappingNode(node.place, {}, node.keys)
        for key, value in node.entries.items():
            if (one := self._pick(value, stage, within=within)) is not None:
                picked.entries[key] = one
        return picked

    def _value(self, node: Node, *, literal: bool = False) -> Any:
        """The node as JSON data; `literal` leaves `${NAME}` alone, for it may not stand there."""
        if isinstance(node, Sequence):
            return [self._value(item, literal=literal) for item in node.items]
        if isinstance(node, MappingNode):
            return {key: self._value(value, literal=literal) for key, value in node.entries.items()}
        if literal and "${" in node.text:
            self.document.report(node.place, "a default cannot name another variable")
            return node.text
        text = _REFERENCE.sub(lambda match: self._reference(match, node), node.text)
        try:
            return resolve(text) if node.plain else text
        except ValueError as exc:
            self._refuse(node, str(exc))
            return None

    def _reference(self, match: re.Match[str], node: Scalar) -> str:
        if match.group() == "$${":
            return "${"
        name = match.group(1)
        if name is None:
            self._refuse(node, "`${` begins a reference such as ${DATA_FOLDER}", "write $${ for the characters themselves")
            return ""
        if name not in self.variables:
            near = words.nearest(name, self.variables)
            hint = f"; did you mean ${{{near}}}?" if near else ""
            self._refuse(node, f"${{{name[:60]}}} is not declared under `variables`{hint}", f"variables: {{{name[:60]}: null}}")
            return ""
        value = self.variables[name] or ""
        if bad := unprintable(value):
            self._refuse(node, f"{name} holds the character U+{ord(bad.group()):04X}, which is not allowed")
            return ""
        return value

    def _refuse(self, node: Scalar, message: str, next: str = "") -> None:
        self.document.report(node.place, message, next)
        self.document.unusable.add(node.place)


def resolve_or_none(text: str) -> Any:
    """As `resolve`, and the text itself where it is no usable number."""
    try:
        return resolve(text)
    except ValueError:
        return text
