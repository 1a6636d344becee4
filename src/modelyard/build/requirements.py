"""What a model asks for: a requirements.txt with all that it includes, or a project's pyproject.toml, read before uv is.

Read here: which files it consists of (a lock is kept for as long as they stay the same), the indexes that it names (the lock names
none), the hashes that it demands (uv drops them when it resolves), and what no lock in a bundle could name: paths of one machine.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.errors import BadInput, NotFound

_OPTION = re.compile(r"(-[a-zA-Z]|--[a-z-]+)(?:\s*=\s*|\s+|(?<=-[a-zA-Z]))(.*)")
_INDEXES = ("-i", "--index-url", "--pypi-url", "--extra-index-url", "-f", "--find-links", "--no-index", "--trusted-host")
_HASH = re.compile(r"--hash[=\s]\s*([a-z0-9]+:[0-9a-fA-F]+)")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_PATHS = re.compile(r"(\.{0,2}/|file:|~)|.*\.(whl|zip|tar\.gz|tar\.bz2|tgz)(\[.*\])?$")


@dataclass
class Wanted:
    """Requirements as read. `indexes` are the lines that name them, `hashes` those demanded by package."""

    path: Path
    files: dict[Path, bytes] = field(default_factory=dict)
    indexes: list[str] = field(default_factory=list)
    hashes: dict[str, set[str]] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 over the content of every file, wherever they lie."""
        seen = hashlib.sha256()
        for path, content in self.files.items():
            seen.update(f"{path.name}\0{len(content)}\0".encode() + content)
        return seen.hexdigest()


def read(path: Path, where: str) -> Wanted:
    """Read a requirements.txt or a pyproject.toml. Raises NotFound, and BadInput with the file's line for what cannot be locked by name."""
    wanted = Wanted(path)
    if path.name == "pyproject.toml":
        _project(wanted, path, where)
    else:
        _include(wanted, path, where, constraints=False)
    return wanted


def normal(name: str) -> str:
    """A package's name as indexes have it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _project(wanted: Wanted, path: Path, where: str) -> None:
    content = _content(wanted, path, where)
    try:
        project = tomllib.loads(content).get("project")
    except tomllib.TOMLDecodeError as exc:
        raise BadInput(f"{path.name} is no TOML: {exc}", where=where) from exc
    if project is None or "dependencies" in project.get("dynamic", ()):
        said = "has no [project] table" if project is None else "leaves its dependencies to be found out by running its build"
        raise BadInput(f"{path.name} {said}", where=where, next="write them to [project] dependencies, or name a requirements.txt")
    if (locked := path.with_name("uv.lock")).is_file():
        _content(wanted, locked, where)


def _content(wanted: Wanted, path: Path, where: str) -> str:
    if not path.is_file():
        raise NotFound(f"there is no {path.name}", where=where, next="the path is relative to config.yaml")
    wanted.files[path] = path.read_bytes()
    try:
        return wanted.files[path].decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise BadInput(f"{path.name} is not UTF-8", where=where) from exc


def _include(wanted: Wanted, path: Path, where: str, *, constraints: bool) -> None:
    if path in wanted.files:
        return
    for number, line in _lines(_content(wanted, path, where)):
        at = f"{path.name}:{number}"
        option = _OPTION.match(line)
        if option is None and line.startswith("-"):
            option = _OPTION.match(line + " ")
        if option is not None:
            _option(wanted, path, option[1], option[2].strip(), at, where)
            continue
        _no_path(line, at)
        if hashes := _HASH.findall(line):
            name = _NAME.match(line)
            wanted.hashes.setdefault(normal(name[0]) if name else line, set()).update(hashes)


def _option(wanted: Wanted, path: Path, option: str, value: str, at: str, where: str) -> None:
    if option in ("-r", "--requirement", "-c", "--constraint"):
        if "://" in value:
            raise BadInput(f"{value} is on the web, and may change unseen", where=at, next="keep the file in the repository")
        _include(wanted, path.parent / value, where, constraints=option in ("-c", "--constraint"))
    elif option in ("-e", "--editable"):
        raise _unlockable(f"{option} {value}", at)
    elif option in _INDEXES:
        if re.search(r"://[^/@$]+@", value):
            hint = "write ${NAME} in its place, and set that variable where Modelyard runs"
            raise BadInput("the address of an index holds a password", where=at, next=hint)
        if option in ("-f", "--find-links") and "://" not in value:
            value = str((path.parent / value).absolute())
        wanted.indexes.append(f"{option} {value}".strip())


def _no_path(line: str, at: str) -> None:
    requirement = line.partition(" --hash")[0].partition(";")[0].strip()
    target = requirement.partition("@")[2].strip() if re.match(r"[\w.-]+(\[[^]]*\])?\s*@", requirement) else requirement
    if "://" in target and not target.startswith("file:"):
        return
    if _PATHS.match(target) or "/" in target:
        raise _unlockable(requirement, at)


def _unlockable(what: str, at: str) -> BadInput:
    hint = "put its code beside the script (`train.source_dir`), publish it to an index, or name it by a Git address with a commit"
    return BadInput(f"`{what}` is a path: a bundle's lock cannot name it, since it is there on this machine only", where=at, next=hint)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Logical lines with their numbers, as pip reads them: continued ones joined, comments and blank ones left out."""
    start, joined = 1, list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        start = start if joined else number
        if line.endswith("\\") and not re.match(r"\s*#", line):
            joined.append(line[:-1])
            continue
        line = f" {line}" if re.match(r"\s*#", line) else line  # else it would end what it follows, and be no comment
        whole, joined = re.sub(r"(^|\s+)#.*$", "", "".join([*joined, line])).strip(), []
        if whole:
            yield start, whole
    if whole := re.sub(r"(^|\s+)#.*$", "", "".join(joined)).strip():
        yield start, whole
