"""Bytecode of the runtime, which is read-only for every runner, so that each would compile it anew (0.05 s)."""

from __future__ import annotations

import contextlib
import importlib.util
import py_compile
from importlib.machinery import SourcelessFileLoader
from pathlib import Path

WHOLE = ".compiled"


def compile_all(folder: Path) -> None:
    """Compile what lies in a folder, once; what cannot be kept is compiled by whoever imports it, as always."""
    if (folder / WHOLE).exists():
        return
    with contextlib.suppress(OSError, EOFError, ValueError, TypeError, ImportError, py_compile.PyCompileError):
        for source in folder.rglob("*.py"):
            _compile(source)
        (folder / WHOLE).touch()


def _compile(source: Path) -> None:
    """To be there whole or not at all: Python itself keeps what a full disk has cut off, and then cannot import it."""
    kept = Path(importlib.util.cache_from_source(str(source)))
    work = kept.with_suffix(".work")
    try:
        py_compile.compile(str(source), cfile=str(work), doraise=True)
        SourcelessFileLoader(source.stem, str(work)).get_code(source.stem)  # which raises for half of it
        work.replace(kept)
    finally:
        work.unlink(missing_ok=True)
