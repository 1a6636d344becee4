"""The scripts that a config names, read and never run: whether they can be started, and have the functions that are asked of them."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from modelyard.config import files, words
from modelyard.config.load import Loaded
from modelyard.config.spec import Config

_LARGEST = 1_000_000


def findings(loaded: Loaded) -> Iterator[files.Finding]:
    """What would end a step at its start. A file that is not there is `files`' to tell."""
    told = set[Path]()
    for path, name, source_dir in _named(loaded.config):
        script = files.found(loaded.folder, name, source_dir)
        if script is None or not script.is_file():
            continue
        wrong = _unreadable(script, name, loaded.config) if script.suffix == ".py" else _not_started(script, name)
        if wrong is None:
            yield from _lacking(loaded.config, path, script, name)
        elif script not in told:  # one script is often named twice
            yield path, *wrong
            told.add(script)


def _named(config: Config) -> Iterator[files.Named]:
    source = config.data.source
    if source.using == "script" and isinstance(source.location, str):
        yield ("data", "source", "location"), source.location, None
    for path, name, source_dir in files.scripts(config):
        if path[-1] in ("entry_point", "pre", "post") and path[-2] != "inputs":
            yield path, name, source_dir


def _not_started(script: Path, name: str) -> tuple[str, str] | None:
    """Why a script that is no Python cannot be run."""
    if script.suffix in (".sh", ".R") or os.access(script, os.X_OK):
        return None
    if script.suffix == ".ipynb":
        return f"{name} is a notebook, not a script", f"jupyter nbconvert --to script {name}"
    return f"{name} is neither a .py, .sh or .R script nor executable", f"chmod +x {name}"


def _unreadable(script: Path, name: str, config: Config) -> tuple[str, str] | None:
    """Where Python would stop reading a script. A Python newer than ours may know better, and is let try."""
    part = config.train or config.bring
    if part is not None and part.python is not None and tuple(map(int, part.python.split("."))) > sys.version_info[:2]:
        return None
    try:
        _tree(script)
    except SyntaxError as exc:
        return f"{name}, line {exc.lineno or 1}: {exc.msg}", f"python -m py_compile {name}"
    except (OSError, ValueError) as exc:
        return f"{name} is no Python: {str(exc)[:200]}", ""
    return None


def _lacking(config: Config, path: words.Path, script: Path, name: str) -> Iterator[files.Finding]:
    """A function that the platform would call, and the script does not have."""
    wanted, place = {"pre": "preprocess", "post": "postprocess"}.get(str(path[-1]), ""), path
    if path[:2] == ("evaluate", "custom_metrics"):
        wanted, place = config.evaluate.custom_metrics[int(path[2])].function, (*path[:-1], "function")
    if not wanted:
        return
    if script.suffix != ".py":
        yield path, f"{name} is no .py file", ""
        return
    known = names(script)
    if known is not None and wanted not in known and "*" not in known:
        near = words.nearest(wanted, known)
        yield place, f"{name} has no function `{wanted}`" + (f"; did you mean `{near}`?" if near else ""), ""


def names(script: Path) -> list[str] | None:
    """The names that a Python script binds at its top, `*` among them for whatever another module brings along; None where it cannot be
    read."""
    try:
        tree = _tree(script)
    except (OSError, SyntaxError, ValueError):
        return None
    return None if tree is None else list(_defined(tree.body))


def _tree(script: Path) -> ast.Module | None:
    """None where it is too much to be looked at. Raises OSError, SyntaxError, ValueError."""
    try:
        return None if script.stat().st_size > _LARGEST else ast.parse(script.read_bytes(), filename=script.name)
    except (RecursionError, MemoryError):
        return None


def _defined(body: Iterable[ast.stmt]) -> Iterator[str]:
    """The names that these statements bind; what stands in a function or a class is its own."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (re.sub(r"\..*", "", alias.asname or alias.name) for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name))
        for inner in ("body", "orelse", "finalbody"):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield from _defined(getattr(node, inner, ()))
        for handler in getattr(node, "handlers", ()):
            yield from _defined(handler.body)
