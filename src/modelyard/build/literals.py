"""Whether code names /opt/ml itself, so that it cannot run where that folder cannot be made."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ML = "/opt/ml"
_LARGEST = 2**20
_NAMED = re.compile(rf"(?<![\w./-]){ML}(?![\w-])")
_FALLBACK = re.compile(r"SM_[A-Z_]+|MODELYARD_[A-Z_]+")


def hard_coded(code: Path) -> tuple[str, int] | None:
    """The first file (relative to `code`) and line that needs /opt/ml; None where there is none.

    In Python, text that only stands in for a variable which we set (`os.environ.get("SM_MODEL_DIR", "/opt/ml/model")`, `x if "SM_.."
    in os.environ else ..`), a docstring or a `help=` needs nothing. In shell and R, a comment or a `${SM_MODEL_DIR:-...}` does not.
    """
    for path in sorted(code.rglob("*")):
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST:
            continue
        if path.suffix not in (".py", ".sh", ".R", ".r", ""):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        if ML not in text:
            continue
        line = _in_python(text) if path.suffix == ".py" else _in_shell(text)
        if line:
            return str(path.relative_to(code)), line
    return None


def _in_python(text: str) -> int:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return 0  # it will not run either way
    return next(_needed(tree), 0)


def _needed(node: ast.AST) -> Iterator[int]:
    """Lines of text that names the folder, but for what only stands in for something else."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    if isinstance(node, ast.keyword) and node.arg in ("help", "description"):
        return
    if isinstance(node, ast.Call) and any(_is_name(part) for part in node.args):
        return
    if isinstance(node, ast.IfExp | ast.BoolOp) and any(_asks(part) for part in ast.iter_child_nodes(node)):
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and _NAMED.search(node.value):
        yield node.lineno
    for child in ast.iter_child_nodes(node):
        yield from _needed(child)


def _is_name(node: ast.AST) -> bool:
    """Whether this is the name of a variable that we set."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and bool(_FALLBACK.fullmatch(node.value))


def _asks(node: ast.AST) -> bool:
    """Whether this asks for such a variable."""
    return any(_is_name(part) for part in ast.walk(node))


def _in_shell(text: str) -> int:
    for number, line in enumerate(text.splitlines(), 1):
        said = re.sub(r"\$\{(SM|MODELYARD)_\w+:?-[^}]*\}", "", line.partition("#")[0])
        if _NAMED.search(said):
            return number
    return 0
