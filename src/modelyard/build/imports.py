"""What scripts import, and whether their environment has it: a missing requirement is found before minutes are spent.

Scripts are read, never run. Only imports that run whenever the script does are looked at: those at the top of it and of the files
beside it that it imports. What stands in a `try`, a condition or a function may be optional, and is left to fail by itself.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from modelyard.errors import BadInput

PROVIDED = ("sagemaker_training", "sagemaker_containers", "sagemaker_inference", "sagemaker_xgboost_container")
"""Modules that the platform itself shows to a script."""
_ASK = "import importlib.util, sys; print(*[n for n in sys.argv[1:] if importlib.util.find_spec(n) is None])"
_PACKAGES = {
    "sklearn": "scikit-learn", "cv2": "opencv-python-headless", "PIL": "pillow", "yaml": "pyyaml", "bs4": "beautifulsoup4",
    "dateutil": "python-dateutil", "dotenv": "python-dotenv", "skimage": "scikit-image", "Crypto": "pycryptodome", "attr": "attrs",
}  # fmt: skip
"""Modules that are not called as the package that brings them."""


@dataclass(frozen=True)
class Import:
    """A module's top name, where it is imported first (a file below the code, and a line), and the dotted names that are imported."""

    module: str
    file: str
    line: int
    dotted: tuple[str, ...] = ()


def imported(code: Path, entry_point: str) -> list[Import]:
    """What `entry_point`, and the files of `code` that it imports, import from outside. Empty for what is no Python or cannot be read."""
    found: dict[str, Import] = {}
    waiting, seen = [entry_point], set[str]()
    while waiting:
        name = waiting.pop(0)
        if name in seen or not name.endswith(".py"):
            continue
        seen.add(name)
        for module, line in _top_level(code / name):
            beside = list(_local(code, (code / name).parent, module))
            waiting += beside
            top = module.partition(".")[0]
            if top and not beside and top not in sys.stdlib_module_names and top not in PROVIDED:
                first = found.setdefault(top, Import(top, name, line))
                if module not in first.dotted:
                    found[top] = replace(first, dotted=(*first.dotted, module))
    return list(found.values())


def modules(code: Path, entry_points: Iterable[str]) -> list[str]:
    """The dotted names of the modules that the scripts import from outside, for whoever imports them beforehand."""
    found: dict[str, None] = {}
    for entry in entry_points:
        for one in imported(code, entry):
            found.update(dict.fromkeys(one.dotted))
    return list(found)


def _top_level(file: Path) -> Iterator[tuple[str, int]]:
    """(dotted module, line) of each import at the top of a file; a relative one begins with a dot."""
    try:
        tree = ast.parse(file.read_bytes(), filename=str(file))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return  # a script that is no Python says so itself, with its own line; one nested too deep for ours may run in its own
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield base, node.lineno
            if node.level and not node.module:
                yield from ((base + alias.name, node.lineno) for alias in node.names)


def _local(code: Path, here: Path, module: str) -> Iterator[str]:
    """The files below `code` that a module's name means: a script finds what lies at the top of the code, a package what lies in it."""
    plain = module.lstrip(".")
    roots = [code, here] if plain == module else [here]
    for _ in range(len(module) - len(plain) - 1):
        roots = [root.parent for root in roots]
    for root in roots:
        if not root.is_relative_to(code):
            continue
        for place in (root / plain.replace(".", "/"), root / plain.partition(".")[0]):
            for file in (place.with_suffix(".py"), place / "__init__.py"):
                if plain and file.is_file():
                    yield str(file.relative_to(code))
            if plain and place.is_dir() and not (place / "__init__.py").exists():
                yield str(place.relative_to(code))  # a namespace package, or a folder of modules: ours at any rate


def verify(scripts: Iterable[tuple[Path, str]], python: Path, where: str, known: Path | None = None) -> None:
    """See that `python` finds all that the scripts (a folder, and an entry point in it) import. Raises BadInput that names script, line
    and requirement. What it was found to have is remembered in the file `known`, and not asked for again."""
    wanted = {one.module: one for folder, entry in scripts for one in imported(folder, entry)}
    had = set(known.read_text(encoding="utf-8").split()) if known is not None and known.exists() else set()
    asked = [module for module in wanted if module not in had]
    absent = _absent(python, asked)
    for module in absent:
        one, package = wanted[module], _PACKAGES.get(module, module)
        said = f"{one.file}, line {one.line}, imports `{module}`, which the environment does not have"
        raise BadInput(said, where=where, next=f"add `{package}` to the requirements, or put the module beside the script")
    if known is not None and asked:
        with known.open("a", encoding="utf-8") as file:
            file.write("".join(f"{module}\n" for module in asked))


def _absent(python: Path, modules: Collection[str]) -> list[str]:
    if not modules:
        return []
    # Isolated: what lies in the working directory or in the user's own folder is no part of the environment.
    done = subprocess.run([str(python), "-I", "-c", _ASK, *modules], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    return done.stdout.split() if done.returncode == 0 else []
