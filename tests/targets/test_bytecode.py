from __future__ import annotations

import importlib.util
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.targets import bytecode


def laid(folder: Path) -> tuple[Path, Path]:
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "one.py").write_text("print('one')\n")
    return folder / "inner" / "one.py", Path(importlib.util.cache_from_source(str(folder / "inner" / "one.py")))


def test_all_is_compiled_once(tmp_path: Path) -> None:
    source, kept = laid(tmp_path)
    bytecode.compile_all(tmp_path)
    at = kept.stat().st_mtime_ns
    bytecode.compile_all(tmp_path)
    assert kept.stat().st_mtime_ns == at and not list(tmp_path.rglob("*.work"))
    source.write_text("this is no python\n")
    assert subprocess.run([sys.executable, str(kept)], capture_output=True, text=True, check=True).stdout == "one\n"


def test_what_a_full_disk_cuts_off_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python writes bytecode with one call, and does not look whether all of it was written."""
    _, kept = laid(tmp_path)
    compiled = py_compile.compile
    cut: list[str] = []

    def cut_off(file: str, cfile: str, **options: bool) -> None:
        compiled(file, cfile=cfile, doraise=options["doraise"])
        whole = Path(cfile).read_bytes()
        Path(cfile).write_bytes(whole[: len(whole) - 20])
        cut.append(cfile)

    monkeypatch.setattr(py_compile, "compile", cut_off)
    bytecode.compile_all(tmp_path)
    assert cut and not kept.exists() and not list(tmp_path.rglob("*.work"))
    monkeypatch.undo()
    bytecode.compile_all(tmp_path)
    assert kept.exists(), "the next time there is room"


def test_a_script_that_is_none_keeps_nobody_from_the_others(tmp_path: Path) -> None:
    source, kept = laid(tmp_path)
    source.write_text("this is no python\n")
    bytecode.compile_all(tmp_path)
    assert not kept.exists() and not (tmp_path / bytecode.WHOLE).exists()
