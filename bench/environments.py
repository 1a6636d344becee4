"""Environments of the peers, below `.bench`; what their processes keep of ours, which version they are, and why one failed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parent.parent / ".bench"


def python(name: str, packages: tuple[str, ...]) -> Path:
    """The interpreter of an environment of these packages, made where it is not there. Raises CalledProcessError."""
    folder = BENCH / "environments" / name
    if not (folder / ".ready").exists():
        uv = str(Path(sys.executable).with_name("uv"))
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(folder)], check=True)
        install = [uv, "pip", "install", "-q", "--compile-bytecode", "--python", str(folder / "bin" / "python"), *packages]
        subprocess.run(install, check=True, capture_output=True, text=True)
        (folder / ".ready").touch()
    return folder / "bin" / "python"


def version(interpreter: Path, package: str) -> str:
    """Raises CalledProcessError."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([str(interpreter), "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def kept() -> dict[str, str]:
    """Our variables that every process under test has too; no others."""
    return {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR")}


def why(exc: Exception) -> str:
    """The last line of what a failed command said."""
    said = getattr(exc, "stderr", None) or getattr(exc, "stdout", None) or str(exc)
    lines = [line for line in str(said).strip().splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(exc).__name__
